"""Self-consistency: H_in -> D -> H[D] = dE/dD, until H[D] = H_in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlh.common.timing import Stopwatch
from mlh.common.units import HARTREE_EV
from mlh.dft.energies import Energies, Forces, Stress
from mlh.matrix.block_matrix import BlockMatrix, same_pattern
from mlh.matrix.kpoints import KPoints, KPointsSpec, as_kpoints
from mlh.matrix.symmetry import Symmetry
from mlh.scf.mixing import PulayMixer
from mlh.scf.screening import ChargeSpace, Screening
from mlh.solver import (
    Factor,
    Method,
    OverlapFactor,
    Smearing,
    Solution,
    State,
    check_method,
    factorise,
    projected_w,
    residual_energy,
)
from mlh.solver.dense import diagonalise
from mlh.solver.purification import THRESHOLD, purify

SPLITTING = 0.05
"""Ha per unit of moment: half the exchange splitting that an initial moment puts on its atom."""

_SMEAR = "smearing_ev=0.1, --smearing 0.1"

SMALL_GAP = 0.02
"""Ha. Below this gap integer occupations may keep changing places."""


BROKEN = 0.01
"""Ha. A start that lacks the symmetry of the crystal by more, beyond what the grid does to the Harris
Hamiltonian, is taken to be meant: no symmetry is imposed."""


class EvaluationLike(Protocol):
    """Energy contributions at a density matrix and their derivative H = dE/dD."""

    @property
    def H(self) -> BlockMatrix: ...
    @property
    def energies(self) -> Energies: ...


class SystemLike(ChargeSpace, Protocol):
    """What self-consistency needs to know of a system; `mlh.System` is one."""

    @property
    def n_electrons(self) -> float: ...
    @property
    def nspin(self) -> int: ...
    @property
    def kpts(self) -> KPointsSpec: ...
    def overlap(self) -> BlockMatrix: ...
    def harris_hamiltonian(self) -> BlockMatrix: ...
    def evaluate(self, D: BlockMatrix) -> EvaluationLike: ...
    def forces(self, D: BlockMatrix, W: BlockMatrix) -> Forces: ...
    def forces_and_stress(self, D: BlockMatrix, W: BlockMatrix) -> tuple[Forces, Stress]: ...


@dataclass(frozen=True, slots=True)
class SCFStep:
    """One self-consistency step. Energies and residuals in Hartree, time in seconds."""

    step: int
    energy: float
    energy_change: float
    """E - E of the step before; on the first step the second-order estimate of the error."""
    residual: float
    """max |H[D] - H_in|."""
    residual_rms: float
    energy_error: float
    """Second-order estimate of E - E_ground (`mlh.solver.residual_energy`)."""
    magnetic_moment: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class SCFResult:
    """The state reached. H is dE/dD at D; `solution` is the occupied space of the last input Hamiltonian.

    With irreducible k points D, H, forces and stress have the symmetry of the crystal, which the grid breaks
    a little: the energy is minimal among symmetric D.
    """

    system: SystemLike
    solution: State
    H: BlockMatrix
    residual_matrix: BlockMatrix
    """H[D] - H_in, Hartree."""
    energies: Energies
    converged: bool
    history: tuple[SCFStep, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time by phase."""

    @property
    def D(self) -> BlockMatrix:
        """Density matrix."""
        return self.solution.D

    @property
    def W(self) -> BlockMatrix:
        """Energy-weighted density matrix D H[D] D (see `mlh.solver.projected_w`)."""
        return projected_w(self.solution, self.H)

    @property
    def eigenvalues(self) -> NDArray[np.float64]:
        """(nspin, nk, norb), Hartree."""
        return self.eigenstates.eigenvalues

    @property
    def eigenstates(self) -> Solution:
        """The solution with its eigenstates; an error when the method has none."""
        if isinstance(self.solution, Solution):
            return self.solution
        raise ValueError(
            "method: eigenstates (levels, bands, orbitals) need method='dense', "
            f"got a {type(self.solution).__name__} without eigenstates"
        )

    @property
    def fermi_level(self) -> float:
        """Hartree."""
        return self.solution.fermi_level

    @property
    def n_steps(self) -> int:
        """Self-consistency steps taken."""
        return len(self.history)

    @property
    def residual(self) -> float:
        """max |H[D] - H_in|, Hartree."""
        return self.history[-1].residual

    @property
    def residual_rms(self) -> float:
        """rms of H[D] - H_in over the stored elements, Hartree."""
        return self.history[-1].residual_rms

    @property
    def energy_error(self) -> float:
        """Second-order estimate of E[D] - E_ground, Hartree."""
        return self.history[-1].energy_error

    @property
    def advice(self) -> str:
        """What to do about a state that is not the ground state, in words; empty when all is well."""
        s = self.solution
        integer = s.integer_occupations
        gap = f"{s.gap * HARTREE_EV:.3f} eV"
        without = "there is no gap, as in a metal" if s.metallic else f"the gap is {gap}"
        if integer and s.gap < 0.0:
            return f"occupied and empty levels overlap by {gap[1:]}, as in a metal: smear them ({_SMEAR})"
        if self.converged:
            return ""
        if integer and s.gap < SMALL_GAP:
            spin = "" if s.nspin == 2 else "; an open shell also needs its spins apart (spin=True, --spin)"
            return f"the gap is only {gap} and levels change places: smear the occupations ({_SMEAR}){spin}"
        wider = "" if integer else "a wider smearing or "
        return f"{without}; try {wider}more steps (max_scf_steps, --max-steps)"

    def forces(self) -> Forces:
        """Forces -dE/dtau, Hartree/Bohr."""
        return _symmetric_forces(self.system.forces(self.D, self.W), self.solution.kpts.symmetry)

    def forces_and_stress(self) -> tuple[Forces, Stress]:
        """Forces and the stress (1/V) dE/deps (Hartree/Bohr^3), both of the free energy, in one pass."""
        forces, stress = self.system.forces_and_stress(self.D, self.W)
        symmetry = self.solution.kpts.symmetry
        if symmetry is not None:
            stress = Stress(**{name: symmetry.tensor(part) for name, part in stress.as_dict().items()})
        return _symmetric_forces(forces, symmetry), stress

    def stress(self) -> Stress:
        """Stress (1/V) dE/deps of the free energy, Hartree/Bohr^3."""
        return self.forces_and_stress()[1]


def _symmetric_forces(forces: Forces, symmetry: Symmetry | None) -> Forces:
    if symmetry is None:
        return forces
    return Forces(**{name: symmetry.vectors(part) for name, part in forces.as_dict().items()})


def scf(
    system: SystemLike,
    *,
    D0: BlockMatrix | None = None,
    H0: BlockMatrix | None = None,
    factor: Factor | None = None,
    energy_tol: float = 1e-7,
    residual_tol: float = 1e-5,
    max_steps: int = 60,
    smearing: Smearing = "none",
    width: float = 0.0,
    total_spin: float | None = None,
    initial_moments: Sequence[float] | NDArray[np.float64] | None = None,
    mixer: PulayMixer | None = None,
    callback: Callable[[SCFStep], Any] | None = None,
    method: Method = "dense",
    threshold: float = THRESHOLD,
) -> SCFResult:
    """Iterate H_in -> D -> H[D] with Pulay mixing of H until it is self-consistent.

    Start: H0 (any Hamiltonian: a prediction, the last geometry's), or H[D0], or the Harris Hamiltonian.
    Converged when |energy change| < energy_tol (Ha) and max |H[D] - H_in| < residual_tol (Ha); otherwise the
    last state is returned with converged=False. max_steps=1 evaluates the given start without iterating.
    total_spin: N_up - N_down held fixed. initial_moments: N_up - N_down of every atom, which splits the
    spins of the start and is imposed in sum on the first step only. width: Ha. method, threshold: the solver
    of every step, see `mlh.solve`; factor: what `mlh.solver.factorise` made of the overlap for that method.
    """
    if D0 is not None and H0 is not None:
        raise ValueError("D0, H0: expected at most one of them, got both")
    if max_steps < 1:
        raise ValueError(f"max_steps: expected at least 1, got {max_steps}")
    for name, tolerance in (("energy_tol", energy_tol), ("residual_tol", residual_tol)):
        if not tolerance > 0.0:
            raise ValueError(f"{name}: expected a positive number, got {tolerance}")
    check_method(method, system.kpts, smearing)
    watch = Stopwatch()
    with watch("first Hamiltonian"):
        H_in = _start(system, D0, H0)
    S = system.overlap()
    initial_spin = None
    if initial_moments is not None:
        moments = _checked_moments(system, initial_moments)
        initial_spin = float(moments.sum())
        H_in = _split(H_in, S, moments)
    with watch("overlap"):
        overlap = factor or factorise(S, _kpoints_of(system, H_in), method, threshold)
    symmetry = overlap.kpts.symmetry if isinstance(overlap, OverlapFactor) else None
    symmetric = _unchanged if symmetry is None else symmetry.matrix
    H_in = symmetric(H_in)
    mixer = mixer if mixer is not None else PulayMixer()
    # Without smearing there is a gap, and no long-wave divergence to remove.
    screening = _screening(system, overlap, width) if smearing != "none" else None
    history: list[SCFStep] = []
    while True:
        began = time.perf_counter()
        moment = total_spin if total_spin is not None or history else initial_spin
        with watch("eigenstates"):
            solution = _occupied(H_in, overlap, system.n_electrons, smearing, width, moment)
        with watch("density, energy, H"):
            evaluation = system.evaluate(solution.D)
        energies = evaluation.energies.with_entropy(solution.entropy_energy)
        H = symmetric(evaluation.H)
        R = H - H_in
        error = residual_energy(solution, R)
        step = SCFStep(
            step=len(history) + 1,
            energy=energies.total,
            energy_change=energies.total - history[-1].energy if history else error,
            residual=R.max_abs(),
            residual_rms=R.rms(),
            energy_error=error,
            magnetic_moment=solution.magnetic_moment,
            seconds=time.perf_counter() - began,
        )
        history.append(step)
        if callback is not None:
            callback(step)
        converged = abs(step.energy_change) < energy_tol and step.residual < residual_tol
        if converged or len(history) == max_steps:
            return SCFResult(system, solution, H, R, energies, converged, tuple(history), watch.seconds)
        with watch("mixing"):
            precondition = None if screening is None else partial(_screened, screening, solution)
            H_in = symmetric(BlockMatrix(system.pattern, mixer.next(H_in.data, R.data, precondition)))


def _unchanged(matrix: BlockMatrix) -> BlockMatrix:
    return matrix


def _kpoints_of(system: SystemLike, H: BlockMatrix) -> KPoints:
    """The k points of the system; all of the mesh where the start lacks the symmetry of irreducible ones."""
    kpts = as_kpoints(system.kpts)
    if kpts.symmetry is None or kpts.whole is None:
        return kpts
    grid = kpts.symmetry.error(system.harris_hamiltonian())
    if kpts.symmetry.error(H) > BROKEN + 2.0 * grid:
        return kpts.whole
    if H.nspin == 2 and kpts.symmetry.error(H.spin(0) - H.spin(1)) > 0.1 * BROKEN + 2.0 * grid:
        return kpts.whole
    return kpts


def _occupied(
    H: BlockMatrix, factor: Factor, n_electrons: float, smearing: Smearing, width: float, moment: float | None
) -> State:
    """The occupied space by the method that made the factor."""
    if isinstance(factor, OverlapFactor):
        return diagonalise(H, factor, n_electrons, smearing=smearing, width=width, spin_moment=moment)
    return purify(H, factor, n_electrons, moment)


def _screening(system: SystemLike, factor: Factor, width: float) -> Screening:
    if not isinstance(factor, OverlapFactor):
        raise ValueError(f"factor: expected an OverlapFactor with smearing, got {type(factor).__name__}")
    return Screening(system, factor, width)


def _checked_moments(
    system: SystemLike, moments: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    values = np.asarray(moments, dtype=np.float64)
    if system.nspin != 2:
        raise ValueError("initial_moments: expected None for an unpolarised system, got moments")
    if values.shape != (len(system.positions),) or not np.isfinite(values).all():
        raise ValueError(
            f"initial_moments: expected {len(system.positions)} finite numbers, one per atom, got {moments}"
        )
    return values


def _split(H: BlockMatrix, S: BlockMatrix, moments: NDArray[np.float64]) -> BlockMatrix:
    """Spin up lowered and spin down raised by S_ij (b_i + b_j) / 2, b = SPLITTING * moment."""
    pattern = H.pattern
    b = 0.5 * SPLITTING * moments
    pair = b[np.asarray(pattern.atom_i)] + b[np.asarray(pattern.atom_j)]
    shift = S.data[0] * np.repeat(pair, np.diff(pattern.offset))
    return BlockMatrix(pattern, H.data + np.stack([-shift, shift]))


def _screened(screening: Screening, solution: State, data: NDArray[np.float64]) -> NDArray[np.float64]:
    """The preconditioner on plain arrays, for the mixer."""
    assert isinstance(solution, Solution)
    return screening(BlockMatrix(solution.D.pattern, data), solution).data


def _start(system: SystemLike, D0: BlockMatrix | None, H0: BlockMatrix | None) -> BlockMatrix:
    """The first input Hamiltonian, with the system's number of spin components."""
    if H0 is not None:
        if not same_pattern(H0.pattern, system.pattern):
            raise ValueError(
                "H0: expected a matrix on the pattern of the system, got one on another pattern; see transfer"
            )
        bad = int(np.count_nonzero(~np.isfinite(H0.data)))
        if bad:
            raise ValueError(f"H0: expected finite elements, got {bad} that are not")
        H = H0
    elif D0 is not None:
        H = system.evaluate(D0).H
    else:
        H = system.harris_hamiltonian()
    if H.nspin == system.nspin:
        return H
    if H.nspin == 1:
        return BlockMatrix(system.pattern, np.repeat(H.data, 2, axis=0))
    raise ValueError("H0: expected nspin 1 for an unpolarised system, got 2")
