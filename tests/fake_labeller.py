"""A labeller that needs no DFT: springs to the first neighbours, with switches for failure and delay.

Stands in for the DFT engine where a test is about files, processes and resuming, never about physics.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.neighborlist import neighbor_list

from mlh.dft.energies import Energies
from mlh.dft.system import System
from mlh.labelling.config import DatasetConfig
from mlh.labelling.labels import EngineSettings, Label, LabelFunction, UnconvergedError, load_engine_basis

STIFFNESS, LENGTH, CUTOFF = 0.3, 3.04, 2.0  # Hartree/Bohr^2, Bohr, Angstrom
BOHR = 0.529177210903


@dataclass(frozen=True)
class SpringLabeller:
    """Writes one line per calculation into `log`; fails for structures with `fail_atoms` atoms."""

    log: str
    delay: float = 0.0
    fail_atoms: int = -1
    die_atoms: int = -1

    def session(self, settings: EngineSettings) -> LabelFunction:
        return self.label

    def label(self, atoms: ase.Atoms) -> Label:
        with open(self.log, "a", encoding="utf-8") as stream:
            stream.write(f"{len(atoms)} {os.environ.get('OMP_NUM_THREADS', 'any')}\n")
        time.sleep(self.delay)
        if len(atoms) == self.fail_atoms:
            raise UnconvergedError("SCF not converged in 3 steps")
        if len(atoms) == self.die_atoms:
            os._exit(9)
        first, vectors, lengths = neighbor_list("iDd", atoms, CUTOFF)
        stretch = lengths / BOHR - LENGTH
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, first, (2.0 * STIFFNESS * stretch / lengths)[:, None] * vectors)
        return Label(
            atoms=atoms.copy(),
            energies=Energies(kinetic=0.5 * STIFFNESS * float((stretch**2).sum())),
            forces=forces,
            delta_h=np.full((1, 4), float(len(atoms))),
            scf_steps=5,
            residual=1e-8,
            seconds=self.delay,
        )


class NamedLabeller:
    """Springs with a dH of the right size, found by name as a user's own labeller; log and delay come from
    the environment."""

    def session(self, settings: EngineSettings) -> LabelFunction:
        springs = SpringLabeller(os.environ["FAKE_LABELLER_LOG"], float(os.environ["FAKE_LABELLER_DELAY"]))
        basis = load_engine_basis(settings)

        def label(atoms: ase.Atoms) -> Label:
            pattern = System(atoms, basis, settings.cutoff_ry).pattern
            return replace(springs.label(atoms), delta_h=np.full((1, pattern.nnz), 0.01 * len(atoms)))

        return label


@dataclass(frozen=True)
class DieOnce:
    """Job function whose first call for "a" ends its process, as the kernel does when memory runs out."""

    folder: str

    def __call__(self, job: str, progress: Callable[[Any], None]) -> str:
        marker = Path(self.folder) / job
        if job == "a" and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return job


def store_list(path: Path, config: DatasetConfig, labels: Iterable[tuple[Label, dict[str, Any]]]) -> int:
    """Stands in for the HDF5 writer: energies and job names as text."""
    rows = [
        f"{record['job']} {label.energies.total!r} {record.get('relax_step', -1)}" for label, record in labels
    ]
    path.write_text("\n".join(rows), encoding="utf-8")
    return len(rows)
