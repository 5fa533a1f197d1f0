"""A model against DFT at the same geometry: Hamiltonian, energy, forces, wall time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ase
import numpy as np
from numpy.typing import NDArray

from mlh.calculators import DFTCalculator, MLHCalculator
from mlh.common.units import ANGSTROM
from mlh.matrix.block_matrix import BlockMatrix

if TYPE_CHECKING:
    from mlh.accuracy.metrics import Metrics

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PointComparison:
    """Model minus DFT at one geometry; eV, eV/Angstrom, seconds."""

    label: str
    n_atoms: int
    hamiltonian: Metrics  # of dH, meV
    energy_error: float
    energy_error_estimate: float
    forces_model: FloatArray
    forces_dft: FloatArray
    residual: float
    seconds_model: float
    seconds_dft: float
    scf_steps: int

    @property
    def energy_error_per_atom(self) -> float:
        """eV per atom."""
        return self.energy_error / self.n_atoms

    @property
    def force_mae(self) -> float:
        """Mean |dF| over all components, eV/Angstrom."""
        return float(np.abs(self.forces_model - self.forces_dft).mean())

    def describe(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "label": self.label,
            "n_atoms": self.n_atoms,
            "hamiltonian": self.hamiltonian.as_dict(),
            "energy_error": self.energy_error,
            "energy_error_per_atom": self.energy_error_per_atom,
            "energy_error_estimate": self.energy_error_estimate,
            "force_mae": self.force_mae,
            "force_largest_error": float(np.abs(self.forces_model - self.forces_dft).max()),
            "residual": self.residual,
            "seconds_model": self.seconds_model,
            "seconds_dft": self.seconds_dft,
            "scf_steps": self.scf_steps,
            "units": "eV, eV/Angstrom, seconds; hamiltonian in meV",
        }


def compare_at(
    atoms: ase.Atoms, model: MLHCalculator, dft: DFTCalculator, label: str = ""
) -> PointComparison:
    """Evaluate both calculators at one geometry.

    DFT starts from the Harris Hamiltonian, so that its time is that of a calculation from nothing.
    """
    n_atoms = len(atoms)
    energy_model, forces_model, seconds_model = _evaluate(atoms, model)
    fresh_dft = _fresh(dft)
    energy_dft, forces_dft, seconds_dft = _evaluate(atoms, fresh_dft)
    if model.predicted_dh is None or fresh_dft.result is None:
        raise RuntimeError("compare_at: expected a predicted and a converged Hamiltonian, got none")
    results: dict[str, Any] = model.results
    target = fresh_dft.result.H - fresh_dft.system.harris_hamiltonian()
    errors = hamiltonian_errors(atoms, model.predicted_dh, target, fresh_dft.system.overlap())
    return PointComparison(
        label=label,
        n_atoms=n_atoms,
        hamiltonian=errors,
        energy_error=energy_model - energy_dft,
        energy_error_estimate=float(results["energy_error"]),
        forces_model=forces_model,
        forces_dft=forces_dft,
        residual=float(results["residual"]),
        seconds_model=seconds_model,
        seconds_dft=seconds_dft,
        scf_steps=fresh_dft.result.n_steps,
    )


def hamiltonian_errors(
    atoms: ase.Atoms, predicted: BlockMatrix, target: BlockMatrix, overlap: BlockMatrix
) -> Metrics:
    """Errors of dH over all stored elements, raw and after the best H -> H + c S (`mlh.accuracy.metrics`)."""
    from mlh.accuracy.metrics import Case, evaluate  # late: they load torch
    from mlh.network.graph import graph_from_arrays

    pattern = target.pattern
    if not np.array_equal(predicted.pattern.offset, pattern.offset):
        raise ValueError("hamiltonian: expected matrices of the same Pattern")
    graph = graph_from_arrays(atoms.numbers, atoms.positions * ANGSTROM, atoms.cell[:] * ANGSTROM, pattern)
    return evaluate([Case(graph, target.data[0], predicted.data[0], overlap.data[0])])


def summarize(points: Sequence[PointComparison]) -> dict[str, float]:
    """Means over geometries; eV, eV/Angstrom, seconds."""
    if not points:
        raise ValueError("points: expected at least one comparison, got none")
    return {
        "hamiltonian_mae_mev": _mean([point.hamiltonian.mae_mev for point in points]),
        "hamiltonian_aligned_mae_mev": _mean([point.hamiltonian.aligned_mae_mev or 0.0 for point in points]),
        "energy_error_per_atom": _mean([abs(point.energy_error_per_atom) for point in points]),
        "force_mae": _mean([point.force_mae for point in points]),
        "seconds_model": _mean([point.seconds_model for point in points]),
        "seconds_dft": _mean([point.seconds_dft for point in points]),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _evaluate(atoms: ase.Atoms, calculator: MLHCalculator | DFTCalculator) -> tuple[float, FloatArray, float]:
    """Energy (eV), forces (eV/Angstrom) and wall time (s)."""
    calculator.reset()  # a result kept from the same geometry would make the time meaningless
    plain = ase.Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell[:], pbc=atoms.pbc)
    start = time.perf_counter()
    forces = np.asarray(calculator.get_property("forces", plain), dtype=np.float64)
    energy = float(calculator.get_property("energy", plain))
    return energy, forces, time.perf_counter() - start


def _fresh(dft: DFTCalculator) -> DFTCalculator:
    """The same settings without memory of an earlier geometry."""
    return DFTCalculator(
        theory=dft.theory,
        energy_tol_ev=dft.energy_tol_ev,
        residual_tol_ev=dft.residual_tol_ev,
        max_scf_steps=dft.max_scf_steps,
        restart=False,
    )
