"""fork after threads: a child of `os.fork` (what `multiprocessing` does on Linux) works like its parent.

The OpenMP runtimes (of the core, and PyTorch's own) keep their threads between loops. In a child those
threads do not exist, and its first loop would wait for them for ever. `omp_pause_resource_all` (OpenMP 5.0)
ends them before the fork; both processes make new ones when they need them. Where a runtime does not have
it, the child calculates with one thread. BLAS and the FFT have handlers of their own.
"""

from __future__ import annotations

import os
import sys

_SOFT = 1
"""omp_pause_soft: the settings of the runtime stay."""

_left: list[str] = []
"""Runtimes whose threads could not be ended before the last fork."""


def register() -> None:
    """Called once, by the package."""
    os.register_at_fork(before=_end_threads, after_in_child=_one_thread_where_left)


def _end_threads() -> None:
    _left.clear()
    if "mlh._core" not in sys.modules:
        return
    from threadpoolctl import ThreadpoolController  # not at every start of the program

    for library in ThreadpoolController().lib_controllers:
        if library.user_api != "openmp":
            continue
        pause = getattr(library.dynlib, "omp_pause_resource_all", None)
        if pause is None or pause(_SOFT) != 0:
            _left.append(str(library.filepath))


def _one_thread_where_left() -> None:
    if not _left:
        return
    import mlh._core as _core

    _core.set_num_threads(1)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
