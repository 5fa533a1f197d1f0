"""What self-consistency needs of a system, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlh.common.html import Section, page
from mlh.common.units import HARTREE_EV
from mlh.dft.energies import Energies, Forces, Stress
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPointsSpec
from mlh.matrix.populations import atom_moments
from mlh.matrix.symmetry import Symmetry
from mlh.scf.screening import ChargeSpace
from mlh.solver import Solution, State, projected_w

_SMEAR = "smearing_ev=0.1"

SMALL_GAP = 0.02
"""Ha. Below this gap integer occupations may keep changing places."""


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
    def symbols(self) -> tuple[str, ...]: ...
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


@dataclass(frozen=True, slots=True)
class SpinState:
    """One of several spin states that were compared (`mlh.scf.states`): its start in words, the moment held,
    the free energy reached (Hartree)."""

    name: str
    moment: float
    energy: float
    converged: bool
    kept: bool


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
    note: str = ""
    """Other starts that were tried, and which state was kept, in words."""
    states: tuple[SpinState, ...] = ()
    """The spin states that were compared; empty without a comparison."""

    def _repr_html_(self) -> str:
        last = self.history[-1]
        head = "converged" if self.converged else "NOT converged"
        rows = [
            ("self-consistency", f"{head} in {len(self.history)} steps"),
            ("largest element of H[D] - H, eV", f"{last.residual * HARTREE_EV:.2e}"),
            *([] if self.solution.nspin == 1 else [("N_up - N_down", f"{last.magnetic_moment:.4f}")]),
            *([("note", self.note)] if self.note else []),
        ]
        return page([Section("state", rows)]) + self.energies._repr_html_()

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
            "solver: eigenstates (levels, bands, orbitals) need the dense solver, "
            f"got a {type(self.solution).__name__} without eigenstates"
        )

    @property
    def moments(self) -> NDArray[np.float64]:
        """Mulliken moments N_up - N_down of the atoms, (natoms,)."""
        return atom_moments(self.D, self.system.overlap())

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
        if integer and s.gap < 0.0 <= _least_gap(s):
            return (
                f"an empty level of one spin lies {gap[1:]} below a full one of the other: another moment "
                f"than the fixed one of {s.magnetic_moment:g} may be lower"
            )
        if integer and s.gap < 0.0:
            return f"occupied and empty levels overlap by {gap[1:]}, as in a metal: smear them ({_SMEAR})"
        if self.converged:
            return ""
        if integer and s.gap < SMALL_GAP:
            spin = "" if s.nspin == 2 else "; an open shell also needs its spins apart (spin=True)"
            return f"the gap is only {gap} and levels change places: smear the occupations ({_SMEAR}){spin}"
        wider = "" if integer else "a wider smearing or "
        return f"{without}; try {wider}more steps (max_scf_steps)"

    def forces(self) -> Forces:
        """Forces -dE/dtau, Hartree/Bohr."""
        return symmetric_forces(self.system.forces(self.D, self.W), self.solution.kpts.symmetry)

    def forces_and_stress(self) -> tuple[Forces, Stress]:
        """Forces and the stress (1/V) dE/deps (Hartree/Bohr^3), both of the free energy, in one pass."""
        forces, stress = self.system.forces_and_stress(self.D, self.W)
        symmetry = self.solution.kpts.symmetry
        return symmetric_forces(forces, symmetry), symmetric_stress(stress, symmetry)

    def stress(self) -> Stress:
        """Stress (1/V) dE/deps of the free energy, Hartree/Bohr^3."""
        return self.forces_and_stress()[1]


def symmetric_stress(stress: Stress, symmetry: Symmetry | None) -> Stress:
    """With the symmetry of irreducible k points."""
    if symmetry is None:
        return stress
    return Stress(**{name: symmetry.tensor(part) for name, part in stress.as_dict().items()})


def symmetric_forces(forces: Forces, symmetry: Symmetry | None) -> Forces:
    """With the symmetry of irreducible k points."""
    if symmetry is None:
        return forces
    return Forces(**{name: symmetry.vectors(part) for name, part in forces.as_dict().items()})


def _least_gap(state: State) -> float:
    """The smaller gap of the two spins where each has its own Fermi level, the gap otherwise, Hartree."""
    if not isinstance(state, Solution) or state.nspin == 1 or np.ptp(state.fermi_levels) == 0.0:
        return state.gap
    full = state.occupations > 0.5
    e = state.eigenvalues
    return min(
        float(e[s][~full[s]].min(initial=np.inf) - e[s][full[s]].max(initial=-np.inf)) for s in range(2)
    )
