"""A shared machine: threads that wait by spinning, and threads of LAPACK, take what others need.

Measured beside other processes (96 atoms, refine 1, two threads on two cores at load 8): 41 s a step, with
one thread of LAPACK 24 to 31, with passive waiting too 17 to 19, about the share of the machine.
"""

from __future__ import annotations

import os

BUSY = 1.5
"""Load per core above which others work on this machine too; this process alone brings at most 1."""


def busy() -> bool:
    """Whether the machine has more to do than it has cores; False where nothing is known."""
    try:
        load = os.getloadavg()[0]
    except OSError:
        return False
    return load > BUSY * (os.cpu_count() or 1)


def wait_passively_when_busy() -> None:
    """Let OpenMP's threads sleep instead of spin between loops on a busy machine, unless the user chose.

    Acts only before the first library with OpenMP is loaded: at the start of a command.
    """
    if busy():
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
