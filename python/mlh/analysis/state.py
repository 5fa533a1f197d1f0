"""One electronic state, whatever made its Hamiltonian: self-consistency, a model, or a file.

    state = ElectronicState.from_calculator(atoms.calc)        # DFTCalculator or MLHCalculator
    state = ElectronicState.from_result(mlh.scf(system))
    state = ElectronicState.from_hamiltonian(system, mlh.predict(model, system))

Everything in `mlh.analysis` that is about electrons takes such a state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import eigh

from mlh.basis.ghosts import atoms_of_species
from mlh.common.blas import blas_threads_for
from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.system import System
from mlh.dft.theory import Theory
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPoints, KPointsSpec, as_kpoints
from mlh.scf.loop import SCFResult
from mlh.solver import LocalizedState, Smearing, Solution, State, solve

FloatArray = NDArray[np.float64]


class CalculatorLike(Protocol):
    """What both ASE calculators of mlh hold after a calculation."""

    result: SCFResult | None
    periodic_atoms: Atoms | None
    theory: Theory


class HasDensity(Protocol):
    """What a density matrix alone tells: densities and charges, whatever solver made it."""

    @property
    def atoms(self) -> Atoms: ...
    @property
    def system(self) -> System: ...
    @property
    def solution(self) -> State: ...
    @property
    def residual(self) -> float | None: ...


@dataclass(frozen=True, slots=True, eq=False)
class OccupiedState:
    """The occupied space of a Hamiltonian, by any solver. atoms: periodic, Angstrom. residual: Hartree."""

    atoms: Atoms
    system: System
    solution: State
    residual: float | None = None

    @classmethod
    def from_calculator(cls, calculator: CalculatorLike) -> OccupiedState:
        """Of the last calculation of a `DFTCalculator` or `MLHCalculator`."""
        result = calculator.result
        if result is None or calculator.periodic_atoms is None:
            raise ValueError("calculator: expected one that has calculated, got one without a result")
        return cls(calculator.periodic_atoms, _concrete(result.system), result.solution, result.residual)


@dataclass(frozen=True, slots=True, eq=False)
class ElectronicState:
    """A Hamiltonian with its eigenstates. `H` is the one that `solution` diagonalises: after a prediction the
    predicted (or last refined) Hamiltonian, not H[D].

    atoms: periodic, Angstrom. width: of the smearing, Hartree. spin_moment: N_up - N_down where it was held
    fixed. residual: max |H[D] - H|, Hartree, where it is known.
    """

    atoms: Atoms
    system: System
    H: BlockMatrix
    solution: Solution
    smearing: Smearing = "none"
    width: float = 0.0
    spin_moment: float | None = None
    residual: float | None = None

    @classmethod
    def from_result(
        cls,
        result: SCFResult,
        atoms: Atoms | None = None,
        smearing: Smearing = "none",
        width: float = 0.0,
    ) -> ElectronicState:
        """The state that `mlh.scf` reached. smearing, width: as given there, for other k points."""
        system = _concrete(result.system)
        return cls(
            atoms=atoms_of(system) if atoms is None else atoms,
            system=system,
            H=result.H - result.residual_matrix,
            solution=result.eigenstates,
            smearing=smearing,
            width=width,
            spin_moment=_fixed_moment(result.eigenstates),
            residual=result.residual,
        )

    @classmethod
    def from_calculator(cls, calculator: CalculatorLike) -> ElectronicState:
        """The state of the last calculation of a `DFTCalculator` or `MLHCalculator`."""
        if calculator.result is None:
            raise ValueError("calculator: expected one that has calculated, got one without a result")
        return cls.from_result(
            calculator.result,
            calculator.periodic_atoms,
            calculator.theory.occupations,
            calculator.theory.width,
        )

    @classmethod
    def near_gap(cls, calculator: CalculatorLike) -> ElectronicState:
        """The states next to the gap of the last calculation with the localized solver: for levels and
        pictures, not for densities of states, bands or other k points."""
        result = calculator.result
        if result is None or not isinstance(result.solution, LocalizedState):
            raise ValueError("calculator: expected a state of the localized solver, got another or none")
        system = _concrete(result.system)
        return cls(
            atoms=calculator.periodic_atoms or atoms_of(system),
            system=system,
            H=result.solution.H_in,
            solution=result.solution.near_gap(),
            residual=result.residual,
        )

    @classmethod
    def from_hamiltonian(
        cls,
        system: System,
        H: BlockMatrix,
        atoms: Atoms | None = None,
        smearing: Smearing = "none",
        width: float = 0.0,
        spin_moment: float | None = None,
    ) -> ElectronicState:
        """The eigenstates of any H on the pattern of the system, at the k points of the system."""
        solution = solve(
            H,
            system.overlap(),
            system.n_electrons,
            kpts=system.kpts,
            smearing=smearing,
            width=width,
            spin_moment=spin_moment,
        )
        return cls(
            atoms=atoms_of(system) if atoms is None else atoms,
            system=system,
            H=H,
            solution=solution,
            smearing=smearing,
            width=width,
            spin_moment=spin_moment,
        )

    def at(self, kpts: KPointsSpec) -> ElectronicState:
        """The same Hamiltonian solved at other k points, with its own occupations."""
        solution = solve(
            self.H,
            self.system.overlap(),
            self.system.n_electrons,
            kpts=as_kpoints(kpts),
            smearing=self.smearing,
            width=self.width,
            spin_moment=self.spin_moment,
        )
        return replace(self, solution=solution)

    def overlap_at(self, k: int) -> Any:
        """S at the k point of that number, (norb, norb); sparse where only some states are known."""
        if self.solution.first_band:
            return self.system.overlap().to_sparse_gamma()
        return dense_at(self.system.overlap(), self.solution.kpts.points[k])

    @property
    def kpts(self) -> KPoints:
        """The k points of the solution."""
        return self.solution.kpts


def atoms_of(system: System) -> Atoms:
    """The geometry of a System as periodic Atoms (Angstrom)."""
    return atoms_of_species(system.symbols, system.positions * BOHR_ANGSTROM, system.cell * BOHR_ANGSTROM)


def dense_at(matrix: BlockMatrix, k: FloatArray, spin: int = 0) -> NDArray[Any]:
    """M(k) of a fractional k point; real at Gamma."""
    return matrix.to_dense(k if np.any(k) else None, spin)


def eigenvalues_at(
    state: ElectronicState, points: FloatArray, on_point: Callable[[int], Any] | None = None
) -> FloatArray:
    """H(k) c = e S(k) c at fractional points (nk, 3): all eigenvalues (nspin, nk, norb), Hartree.

    on_point: called with the number of each point when it is done.
    """
    S = state.system.overlap()
    levels = np.empty((state.H.nspin, len(points), state.system.n_orbitals))
    with blas_threads_for(state.system.n_orbitals):
        for number, k in enumerate(np.asarray(points, dtype=np.float64)):
            overlap = dense_at(S, k)
            for spin in range(state.H.nspin):
                levels[spin, number] = eigh(dense_at(state.H, k, spin), overlap, eigvals_only=True)
            if on_point is not None:
                on_point(number)
    return levels


def _concrete(system: object) -> System:
    if not isinstance(system, System):
        raise TypeError(f"result: expected one of a mlh.System, got one of {type(system).__name__}")
    return system


def _fixed_moment(solution: Solution) -> float | None:
    """A moment that was held fixed leaves two Fermi levels."""
    levels = solution.fermi_levels
    return solution.magnetic_moment if len(levels) == 2 and levels[0] != levels[1] else None
