"""What the predicted matrix elements mean: energies, forces, eigenvalues and densities against the labels.

Per sample, without self-consistency (`refine` more steps when asked for): H_pred = H_Harris + dH_pred -> D ->
E[D], forces; the reference state is that of H_Harris + dH_label. Eigenvalues where the solver has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlh.accuracy.metrics import system_of_sample
from mlh.common.units import ANGSTROM, EV, HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV

if TYPE_CHECKING:
    from mlh.dataset.sample import BasisRecord, Sample
    from mlh.solver import Filling, Solver, State

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PhysicsCase:
    """Errors of one sample; energies in eV per cell, forces (natoms, 3) in eV/Angstrom."""

    origin: str
    n_atoms: int
    energy_error: float
    energy_estimate: float
    """The model's own second-order estimate of energy_error."""
    forces: Array = field(repr=False)
    reference_forces: Array = field(repr=False)
    occupied_mae: float | None
    """Mean absolute error of the occupied eigenvalues after the best common shift, eV; None: no levels."""
    shift: float | None
    """That shift, eV."""
    gap_error: float | None
    density_mae: float
    """Mean over the cell of |n_pred - n_label|, electrons/Angstrom^3."""
    residual: float
    """Largest element of H[D] - H_predicted, eV."""
    residual_rms: float
    """Root mean square of the same, eV."""


@dataclass(frozen=True)
class PhysicsMetrics:
    """Averages over samples."""

    n_samples: int
    energy_mae_mev_per_atom: float
    energy_max_mev_per_atom: float
    estimate_mae_mev_per_atom: float
    """MAE of (energy_error - energy_estimate): what is left when the estimate is subtracted."""
    kappa: float
    """Share of the estimate that is error: the slope of energy_error over energy_estimate."""
    kappa_spread: float
    """Standard deviation of the ratios of the samples."""
    corrected_mae_mev_per_atom: float
    """MAE of (energy_error - kappa * energy_estimate)."""
    force_mae_mev_a: float
    force_rmse_mev_a: float
    force_max_mev_a: float
    occupied_eigenvalue_mae_mev: float | None
    """None: the solver has no levels."""
    gap_mae_mev: float | None
    density_mae_e_a3: float
    residual_rms_ev: float
    residual_rms_largest_ev: float
    """Of all samples; a prediction with a much larger one is outside the domain of the model."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def evaluate_sample(
    sample: Sample,
    predicted: Array,
    record: BasisRecord,
    settings: dict[str, Any],
    refine: int = 0,
    solver: Solver | str = "dense",
) -> PhysicsCase:
    """Errors of the state that a predicted dH, (nnz,) or of two spins (2, nnz), Hartree, gives, against the
    label of the sample."""
    from mlh.matrix.block_matrix import BlockMatrix
    from mlh.scf.loop import scf
    from mlh.solver import as_solver

    system = system_of_sample(sample, record, settings)
    moment = sample.graph.moment if system.nspin == 2 else None
    filling = replace(_filling(system.n_electrons, settings), moment=moment)
    chosen = as_solver(solver)
    chosen.check(system.kpts, filling.smearing)
    prepared = chosen.prepare(system.overlap(), system.kpts)
    harris = system.harris_hamiltonian()
    spins = np.broadcast_to(np.atleast_2d(predicted), (system.nspin, system.pattern.nnz))
    start = harris + BlockMatrix(system.pattern, np.ascontiguousarray(spins))
    state = scf(
        system,
        H0=start,
        prepared=prepared,
        max_steps=1 + refine,
        smearing=filling.smearing,
        width=filling.width,
        total_spin=filling.moment,
    )
    density = system.density(state.D).values
    forces = state.forces().total
    reference = harris + BlockMatrix(system.pattern, sample.spins)
    label = prepared.occupied(reference, filling)
    difference = np.abs(density - system.density(label.D).values).mean()
    return PhysicsCase(
        origin=sample.origin,
        n_atoms=len(sample.graph.numbers),
        energy_error=(state.energies.total - sample.total_energy) * HARTREE_EV,
        energy_estimate=state.energy_error * HARTREE_EV,
        forces=forces * HARTREE_BOHR_EV_ANGSTROM,
        reference_forces=np.asarray(sample.forces) * HARTREE_BOHR_EV_ANGSTROM,
        **_level_errors(state.solution, label),
        density_mae=float(difference) * ANGSTROM**3,
        residual=state.history[0].residual * HARTREE_EV,
        residual_rms=state.history[0].residual_rms * HARTREE_EV,
    )


def _level_errors(state: State, label: State) -> dict[str, float | None]:
    """Of the occupied eigenvalues and the gap, eV."""
    from mlh.solver import Solution

    if not (isinstance(state, Solution) and isinstance(label, Solution)):
        return dict.fromkeys(("occupied_mae", "shift", "gap_error"))
    occupied = label.occupations > 0.5 * label.degeneracy
    error = (state.eigenvalues - label.eigenvalues)[occupied] * HARTREE_EV
    shift = float(error.mean())
    gap = (state.gap - label.gap) * HARTREE_EV
    return {"occupied_mae": float(np.abs(error - shift).mean()), "shift": shift, "gap_error": gap}


def _filling(n_electrons: float, settings: dict[str, Any]) -> Filling:
    """The occupations of labels of a level of theory."""
    from mlh.solver import Filling

    width = settings.get("smearing_ev")
    if width is None:
        return Filling(n_electrons)
    return Filling(n_electrons, settings.get("smearing", "fermi-dirac"), width * EV)


def summarise(cases: Sequence[PhysicsCase]) -> PhysicsMetrics:
    """Averages over samples (forces: over all components)."""
    if not cases:
        raise ValueError("cases: expected at least one sample, got none")
    energy = np.array([c.energy_error / c.n_atoms for c in cases]) * 1000.0
    estimate = np.array([c.energy_estimate / c.n_atoms for c in cases]) * 1000.0
    kappa = float(energy @ estimate / max(float(estimate @ estimate), np.finfo(float).tiny))
    ratios = energy / np.maximum(estimate, np.finfo(float).tiny)
    forces = np.concatenate([(c.forces - c.reference_forces).ravel() for c in cases]) * 1000.0
    return PhysicsMetrics(
        n_samples=len(cases),
        energy_mae_mev_per_atom=float(np.abs(energy).mean()),
        energy_max_mev_per_atom=float(np.abs(energy).max()),
        estimate_mae_mev_per_atom=float(np.abs(energy - estimate).mean()),
        kappa=kappa,
        kappa_spread=float(ratios.std()),
        corrected_mae_mev_per_atom=float(np.abs(energy - kappa * estimate).mean()),
        force_mae_mev_a=float(np.abs(forces).mean()),
        force_rmse_mev_a=float(np.sqrt((forces**2).mean())),
        force_max_mev_a=float(np.abs(forces).max()),
        occupied_eigenvalue_mae_mev=_mean_mev([c.occupied_mae for c in cases]),
        gap_mae_mev=_mean_mev([c.gap_error for c in cases]),
        density_mae_e_a3=float(np.mean([c.density_mae for c in cases])),
        residual_rms_ev=float(np.mean([c.residual_rms for c in cases])),
        residual_rms_largest_ev=max(c.residual_rms for c in cases),
    )


def _mean_mev(values: Sequence[float | None]) -> float | None:
    """Mean of |eV| in meV; None where there are none."""
    known = [abs(value) for value in values if value is not None]
    return float(np.mean(known)) * 1000.0 if known else None
