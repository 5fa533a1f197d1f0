"""What energy and forces of a structure will need, before the work: memory and processor time.

Counted of the structure: orbitals, stored elements of a matrix, points of the grid, orbitals that reach a
point, k points, spins. What one of each costs was measured on glasses of SiO2 (bench/README.md); of other
bases and elements expect the right order. A table for planning: memory within a third, times within a half.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from ase import Atoms
from threadpoolctl import threadpool_limits

from mlh.calculators.engines import DFTEngine, Engine
from mlh.dft.system import System
from mlh.matrix.kpoints import as_kpoints
from mlh.solver import Localized, Purification, Solver

GB = 1e9
"""Bytes."""

RATE = 54.0
"""GFlop/s of a product of matrices by one thread of the machine that the times were measured on."""


@dataclass(frozen=True)
class Counts:
    """What there is of a structure in a basis."""

    atoms: int
    orbitals: int
    elements: int
    """Stored in one matrix of one spin."""
    points: int
    reach: float
    """Orbitals that reach a point of the grid, mean over the cell."""
    kpoints: int = 1
    spins: int = 1

    @classmethod
    def of(cls, system: System) -> Counts:
        """Without building a matrix or a grid."""
        species = [system.basis[symbol] for symbol in system.symbols]
        volume = sum(o.cutoff**3 * (2 * o.l + 1) for one in species for o in one.orbitals) * 4.0 * np.pi / 3.0
        return cls(
            atoms=len(system.symbols),
            orbitals=system.n_orbitals,
            elements=int(system.pattern.nnz),
            points=int(np.prod(system.mesh.shape)),
            reach=float(volume / system.cell_volume),
            kpoints=len(as_kpoints(system.kpts)),
            spins=system.nspin,
        )


@dataclass(frozen=True)
class Estimate:
    """Energy and forces of one geometry."""

    counts: Counts
    memory: float
    """Bytes of the process at its peak."""
    seconds: float
    """Of processors, all threads together, on an idle machine like this one."""

    def wall(self, threads: int) -> float:
        """Seconds on so many idle threads."""
        return self.seconds / threads


def estimate(atoms: Atoms, engine: Engine) -> Estimate:
    """What energy and forces of these atoms need; cheap, also where the run itself would not fit."""
    calculator = engine.calculator()
    calculator.check_elements(atoms)
    system, _ = calculator.system_for(atoms)
    return of_counts(Counts.of(system), engine)


def of_counts(counts: Counts, engine: Engine) -> Estimate:
    """The same from the counts."""
    steps = _STEPS if isinstance(engine, DFTEngine) else 1 + engine.refine
    memory, seconds = _assembly(counts, engine, steps)
    held, once = _solver(counts, engine.solver)
    return Estimate(counts, memory + held, (seconds + steps * once) * RATE / gflop_rate())


# Measured (`bench/python/estimate.py`, a run beside its estimate): bytes, and processor seconds at RATE.
_STEPS = 10
"""Of self-consistency."""
_PROCESS, _TORCH = 0.19e9, 0.29e9
_GEOMETRY, _PASS, _EXACT = 2.4e-10, 6e-11, 4.8e-10
"""By points times the square of the orbitals that reach one: once, for every step, for exact forces."""
_NETWORK = 3.3e-3


def _held(engine: Engine) -> tuple[float, float]:
    """How many matrices and fields of a spin there are at the peak."""
    if isinstance(engine, DFTEngine) or engine.refine:
        return 30.0, 22.0  # with those of the mixing
    return (80.0, 47.0) if _exact(engine) else (12.0, 12.0)


def _exact(engine: Engine) -> bool:
    """Whether forces take the responses of the density matrix and the way back through the network."""
    return not isinstance(engine, DFTEngine) and engine.refine == 0 and engine.forces == "exact"


def _assembly(counts: Counts, engine: Engine, steps: int) -> tuple[float, float]:
    """Bytes and seconds of matrices and grid."""
    matrices, fields = _held(engine)
    numbers = counts.spins * (matrices * counts.elements + fields * counts.points)
    passes = _GEOMETRY + counts.spins * (_PASS * steps + (_EXACT if _exact(engine) else 0.0))
    memory, seconds = _PROCESS + 8.0 * numbers, counts.points * counts.reach**2 * passes
    if isinstance(engine, DFTEngine):
        return memory, seconds
    return memory + _TORCH, seconds + _NETWORK * counts.atoms


def _solver(counts: Counts, solver: Solver) -> tuple[float, float]:
    """Bytes, and seconds of one density matrix with its energy-weighted one."""
    n, spins = float(counts.orbitals), counts.spins
    if isinstance(solver, Localized):
        return 1.2e5 * spins * n, 7e-3 * spins * n
    if isinstance(solver, Purification):
        return 2.5e5 * spins * n, 2.5e-2 * spins * n
    states = spins * counts.kpoints
    numbers, operations = (2.0, 4.0) if counts.kpoints > 1 else (1.0, 1.0)  # complex ones
    return 8.0 * numbers * n**2 * (4.0 + states), 2.6e-10 * operations * n**3 * states


@lru_cache(maxsize=1)
def gflop_rate() -> float:
    """GFlop/s of a product of matrices by one thread here; of its own processor time."""
    a = np.ones((768, 768))
    with threadpool_limits(limits=1):
        a @ a
        start = time.process_time()
        a @ a
        spent = time.process_time() - start
    return 2e-9 * 768**3 / max(spent, 1e-3)


def machine_memory() -> float | None:
    """Bytes that a process of this machine can have: of the machine, or of the group that it is in."""
    known = [value for value in (_physical(), _limit()) if value]
    return min(known) if known else None


def _physical() -> float | None:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (OSError, ValueError):
        return None


def _limit() -> float | None:
    """Of a control group, as a batch system sets it."""
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return float(Path(name).read_text())
        except (OSError, ValueError):  # there is none, or "max"
            continue
    return None
