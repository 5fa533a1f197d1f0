"""One geometry by DFT and by a model: everything that differs, in a file, here or in another process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np

from mlh.accuracy.points import hamiltonian_errors
from mlh.calculators import DFTCalculator, MLHCalculator
from mlh.calculators.engines import ModelEngine, dft_engine_of
from mlh.common.files import read_json, write_json
from mlh.common.units import ANGSTROM, HARTREE_EV
from mlh.jobs.pool import ProgressFunction
from mlh.scf.loop import SCFResult
from mlh.structures import structure_hash


def evaluate_point(
    atoms: ase.Atoms, label: str, models: Mapping[int, MLHCalculator], dft: DFTCalculator
) -> dict[str, Any]:
    """DFT and the model, by its refining steps, at one geometry; eV, eV/Angstrom, seconds.

    H is the Hamiltonian whose eigenstates give the energy: the prediction, or what the last refining step
    made of it. density_mae: mean over the cell of |n - n_DFT|, electrons/Angstrom^3.
    """
    start = time.perf_counter()
    energy, forces = dft.get_property("energy", atoms), dft.get_property("forces", atoms)
    seconds = time.perf_counter() - start
    reference = dft.result
    if reference is None:
        raise RuntimeError("evaluate_point: expected a converged DFT state, got none")
    system = dft.system
    harris, overlap = system.harris_hamiltonian(), system.overlap()
    density = system.density(reference.D).values
    rows = {}
    for steps, calculator in models.items():
        start = time.perf_counter()
        mine = calculator.get_property("forces", atoms)
        taken = time.perf_counter() - start
        state = _state(calculator)
        h_in = state.H - state.residual_matrix
        found: dict[str, Any] = calculator.results
        errors = hamiltonian_errors(atoms, h_in - harris, reference.H - harris, overlap)
        rows[str(steps)] = {
            "hamiltonian": errors.as_dict(),
            "density_mae": float(np.abs(system.density(state.D).values - density).mean()) * ANGSTROM**3,
            "energy_error": float(found["energy"] - energy),
            "energy_error_uncorrected": float(found["energy_uncorrected"] - energy),
            "energy_error_estimate": float(found["energy_error"]),
            "force_mae": float(np.abs(mine - forces).mean()),
            "force_largest_error": float(np.abs(mine - forces).max()),
            "gap_error": float(state.solution.gap - reference.solution.gap) * HARTREE_EV,
            "residual_rms": float(found["residual_rms"]),
            "seconds": taken,
            "forces": np.asarray(mine).round(6).tolist(),
        }
    return {
        "label": label,
        "structure_hash": structure_hash(atoms),
        "n_atoms": len(atoms),
        "dft": {
            "energy": float(energy),
            "seconds": seconds,
            "scf_steps": reference.n_steps,
            "forces": np.asarray(forces).round(6).tolist(),
        },
        "model": rows,
    }


def known_point(path: Path, refine: Sequence[int]) -> dict[str, Any] | None:
    """What a file has of a geometry, when it has every number of refining steps."""
    if not path.exists():
        return None
    known = read_json(path, "remove it, and its numbers are calculated again")
    rows = [known["model"].get(str(n), {}) for n in refine]
    # Points of before have plain forces and no corrected energy: other numbers of the same name.
    return known if all("energy_error_uncorrected" in row for row in rows) else None


def measure_point(
    path: Path, title: str, atoms: ase.Atoms, models: Mapping[int, MLHCalculator], dft: DFTCalculator
) -> dict[str, Any]:
    """One geometry, into its file."""
    point = evaluate_point(atoms, title, models, dft)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, point)
    return point


@dataclass(frozen=True)
class PointJob:
    """One geometry, and the file of its numbers."""

    title: str
    path: Path
    atoms: ase.Atoms


@dataclass(frozen=True)
class PointRunner:
    """Measures geometries in other processes."""

    engines: Mapping[int, ModelEngine]
    """By the number of refining steps."""

    def __call__(self, job: PointJob, progress: ProgressFunction) -> None:
        dft = dft_engine_of(next(iter(self.engines.values())))
        models = {n: engine.calculator() for n, engine in self.engines.items()}
        measure_point(job.path, job.title, job.atoms, models, dft.calculator())


def _state(calculator: MLHCalculator) -> SCFResult:
    if calculator.result is None:
        raise RuntimeError("evaluate_point: expected a state of the model, got none")
    return calculator.result
