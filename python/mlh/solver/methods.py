"""The solvers by name, and `solve`: one Hamiltonian without preparation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, overload

from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPointsSpec
from mlh.solver.contract import Filling, Solver, SolverOf
from mlh.solver.dense import Dense, Solution
from mlh.solver.localized import Localized
from mlh.solver.occupations import Smearing
from mlh.solver.purification import Purification
from mlh.solver.state import State

StateT = TypeVar("StateT", bound=State)

_SOLVERS: dict[str, Callable[[], Solver]] = {
    "dense": Dense,
    "purification": Purification,
    "localized": Localized,
}


def register_solver(name: str, make: Callable[[], Solver]) -> None:
    """Make a solver available by name, with its default settings; the name must be free."""
    if name in _SOLVERS:
        raise ValueError(f"name: expected other than {', '.join(_SOLVERS)}, got {name!r}")
    _SOLVERS[name] = make


def solver_names() -> tuple[str, ...]:
    """Names of all solvers."""
    return tuple(_SOLVERS)


def as_solver(spec: Solver | str) -> Solver:
    """A solver from its name, with default settings, or itself."""
    if not isinstance(spec, str):
        return spec
    if spec not in _SOLVERS:
        raise ValueError(f"solver: expected one of {', '.join(map(repr, _SOLVERS))}, got {spec!r}")
    return _SOLVERS[spec]()


@overload
def solve(
    H: BlockMatrix,
    S: BlockMatrix,
    n_electrons: float,
    *,
    kpts: KPointsSpec = ...,
    smearing: Smearing = ...,
    width: float = ...,
    spin_moment: float | None = ...,
) -> Solution: ...
@overload
def solve(
    H: BlockMatrix,
    S: BlockMatrix,
    n_electrons: float,
    *,
    kpts: KPointsSpec = ...,
    smearing: Smearing = ...,
    width: float = ...,
    spin_moment: float | None = ...,
    solver: SolverOf[StateT],
) -> StateT: ...
@overload
def solve(
    H: BlockMatrix,
    S: BlockMatrix,
    n_electrons: float,
    *,
    kpts: KPointsSpec = ...,
    smearing: Smearing = ...,
    width: float = ...,
    spin_moment: float | None = ...,
    solver: Solver | str,
) -> State: ...
def solve(
    H: BlockMatrix,
    S: BlockMatrix,
    n_electrons: float,
    *,
    kpts: KPointsSpec = None,
    smearing: Smearing = "none",
    width: float = 0.0,
    spin_moment: float | None = None,
    solver: Solver | str = Dense(),  # noqa: B008  # immutable
) -> State:
    """Density matrices of the `n_electrons` per cell in the lowest states of H C = S C e.

    H: nspin 1 or 2, Hartree. S: the overlap. kpts: None (Gamma), a mesh or KPoints (`mlh.matrix.kpoints`).
    width: Hartree. spin_moment: N_up - N_down held fixed (nspin 2 only); None lets both spins share one Fermi
    level. solver: `Dense()` diagonalises and gives a `Solution` with the eigenstates, at a cost cubic in the
    atoms; `Localized(threshold)` and `Purification(threshold)` (insulators at Gamma, fixed moment) give a
    `LocalizedState` and a `PurifiedState` without eigenstates, at a cost linear in the atoms, with errors set
    by the threshold (docs/theory.md). More Hamiltonians of one geometry: solver.prepare(S, kpts) once, then
    .occupied(H, Filling(n_electrons)).
    """
    chosen = as_solver(solver)
    chosen.check(kpts, smearing)
    return chosen.prepare(S, kpts).occupied(H, Filling(n_electrons, smearing, width, spin_moment))
