"""Energies and forces of many geometries by one engine, here or in worker processes that stay."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

import mlh._core as _core
from mlh.jobs.pool import ProgressFunction, Workers
from mlh.relaxation.jobs import EngineLike

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Geometry:
    """Atoms to calculate; series: geometries of one follow each other, and share a calculator that starts
    each from the one before."""

    key: int
    atoms: ase.Atoms
    series: int = 0


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The energy (eV) whose gradient the forces are, forces (natoms, 3) without constraints, eV/Angstrom."""

    key: int
    energy: float
    forces: Array
    seconds: float
    forces_exact: bool = True


class Evaluations:
    """`with Evaluations(engine, processes) as evaluate: for done in evaluate(geometries): ...`.

    They come in any order. Geometry k goes to worker k modulo processes, so that the images of a path meet
    their own calculators again.
    """

    def __init__(self, engine: EngineLike, processes: int = 1) -> None:
        if processes < 1:
            raise ValueError(f"processes: expected at least 1, got {processes}")
        self._evaluator, self._processes = _Evaluator(engine), processes
        threads = max(1, _core.get_num_threads() // processes)
        self._workers = Workers[tuple[Geometry, ...]](self._evaluator, processes, threads)

    def __enter__(self) -> Evaluations:
        return self

    def __exit__(self, *error: object) -> None:
        self._workers.__exit__(*error)

    def __call__(self, geometries: Sequence[Geometry]) -> Iterator[Evaluated]:
        """All of them; RuntimeError where one fails."""
        if self._processes == 1 or len(geometries) < 2:
            for geometry in geometries:
                yield self._evaluator.evaluate(geometry)
            return
        parts = [tuple(geometries[k :: self._processes]) for k in range(self._processes)]
        for event in self._workers.run([part for part in parts if part]):
            if event.kind == "progress":
                yield event.value
            elif event.kind == "failed":
                raise RuntimeError(str(event.value))


class _Evaluator:
    """Pickled without its calculators, which every process makes for itself."""

    def __init__(self, engine: EngineLike) -> None:
        self._engine = engine
        self._calculators: dict[int, Calculator] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_calculators": {}}

    def __call__(self, geometries: tuple[Geometry, ...], progress: ProgressFunction) -> None:
        for geometry in geometries:
            progress(self.evaluate(geometry))

    def evaluate(self, geometry: Geometry) -> Evaluated:
        """One geometry, here."""
        began = time.perf_counter()
        if geometry.series not in self._calculators:
            self._calculators[geometry.series] = self._engine.calculator()
        atoms = geometry.atoms.copy()
        atoms.calc = self._calculators[geometry.series]
        forces = atoms.get_forces(apply_constraint=False)
        energy = float(atoms.get_potential_energy(force_consistent=True))
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise RuntimeError(f"calculator: expected finite energy and forces, got {energy} eV and {forces}")
        exact = bool(atoms.calc.results.get("forces_exact", True))
        return Evaluated(geometry.key, energy, np.array(forces), time.perf_counter() - began, exact)
