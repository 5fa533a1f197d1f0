"""What a solver is: H and S of one geometry -> the occupied space, and what is asked of it.

    prepared = solver.prepare(S, kpts)                  once per geometry
    state = prepared.occupied(H, Filling(n_electrons))  every step

A new solver is one module: a frozen value with the members of `Solver`, named in `solver/methods.py` (or by
`register_solver`) so that command lines and files know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPoints, KPointsSpec
from mlh.solver.occupations import Smearing
from mlh.solver.state import State


@dataclass(frozen=True, slots=True)
class Filling:
    """Which states are occupied: electrons per cell, occupation function of a width (Hartree), N_up - N_down
    held fixed or None."""

    n_electrons: float
    smearing: Smearing = "none"
    width: float = 0.0
    moment: float | None = None


StateT_co = TypeVar("StateT_co", bound=State, covariant=True)


class PreparedOf(Protocol[StateT_co]):
    """What a solver made of the overlap of one geometry."""

    @property
    def kpts(self) -> KPoints: ...

    def occupied(self, H: BlockMatrix, filling: Filling) -> StateT_co:
        """The occupied space of H; ValueError for a filling that the solver cannot do."""


class SolverOf(Protocol[StateT_co]):
    """A way from H and S to the density matrix; immutable and picklable."""

    @property
    def name(self) -> str:
        """As command lines and files have it."""

    def describe(self) -> Mapping[str, Any]:
        """Plain values for the identity of a run; empty for the default solver."""

    def check(self, kpts: KPointsSpec, smearing: Smearing) -> None:
        """ValueError in words for k points or occupations that the solver cannot do."""

    def prepare(self, S: BlockMatrix, kpts: KPointsSpec = None) -> PreparedOf[StateT_co]:
        """What is needed once per geometry."""


@runtime_checkable
class Continuing(Protocol):
    """A solver, or what it prepared, that may start from a state of the same atoms nearby."""

    def after(self, state: State) -> Self:
        """The same, which starts from that state; unchanged where the state has nothing to start from."""


Prepared: TypeAlias = PreparedOf[State]
Solver: TypeAlias = SolverOf[State]
"""Whatever state it gives."""
