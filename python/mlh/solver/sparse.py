"""What the solvers at Gamma share that know the density matrix and no eigenstates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, NoReturn, Protocol, TypeVar

import numpy as np

from mlh._core import BlockSparse
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPoints, KPointsSpec, as_kpoints
from mlh.solver.inverse_factor import check_threshold
from mlh.solver.occupations import Smearing
from mlh.solver.state import Response, State


class Levels(Protocol):
    """The levels at the gap of one spin, Hartree."""

    @property
    def homo(self) -> float: ...
    @property
    def lumo(self) -> float: ...


ChannelT = TypeVar("ChannelT", bound=Levels)


def folded(H: BlockMatrix, spin: int, like: BlockSparse) -> BlockSparse:
    """One spin of H at Gamma, in the precision of `like`."""
    return BlockSparse.fold(H.pattern, H.data[spin if H.nspin == 2 else 0], like)


def stacked(spins: Sequence[np.ndarray]) -> np.ndarray:
    """(nspin, nnz) of what there is of each spin; of one alone the same memory."""
    return spins[0][None] if len(spins) == 1 else np.stack(spins)


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseState(State, Generic[ChannelT]):
    """Density matrices of the occupied space at Gamma with integer occupations, without eigenstates.

    H_in: the Hamiltonian that made D. channels: one per spin. moment: N_up - N_down, held fixed.
    """

    method: ClassVar[str]

    D: BlockMatrix
    H_in: BlockMatrix
    channels: tuple[ChannelT, ...]
    moment: float
    kpts: KPoints
    entropy_energy: float = 0.0

    @cached_property
    def _w(self) -> BlockMatrix:
        return self.projected_w(self.H_in)

    @property
    def W(self) -> BlockMatrix:
        """D H_in D / g on the pattern, Hartree."""
        return self._w

    @property
    def integer_occupations(self) -> bool:
        """Always: there is no smearing."""
        return True

    @property
    def homo(self) -> float:
        """Highest occupied level, Hartree."""
        return max(c.homo for c in self.channels)

    @property
    def lumo(self) -> float:
        """Lowest empty level, Hartree."""
        return min(c.lumo for c in self.channels)

    @property
    def fermi_level(self) -> float:
        """Halfway between the levels at the gap (of the spin where it is higher), Hartree."""
        return max(0.5 * (c.homo + c.lumo) for c in self.channels)

    @property
    def magnetic_moment(self) -> float:
        """N_up - N_down per cell, held fixed."""
        return self.moment

    @property
    def band_energy(self) -> float:
        """Tr D H_in, Hartree."""
        return self.D.dot(self.H_in)

    @property
    def eigenvalues(self) -> NoReturn:
        """None: this method has no eigenvalues."""
        raise self._no_eigenstates("eigenvalues")

    @property
    def occupations(self) -> NoReturn:
        """None: this method has no occupations of states."""
        raise self._no_eigenstates("occupations")

    @property
    def coefficients(self) -> NoReturn:
        """None: this method has no eigenstates."""
        raise self._no_eigenstates("coefficients")

    def _no_eigenstates(self, name: str) -> AttributeError:
        return AttributeError(
            f"{name}: the {self.method} solver computes the density matrix without eigenstates; "
            "use the dense solver for levels, bands and orbitals"
        )

    def _quadratic(
        self, R: BlockMatrix, like: BlockSparse, energy: Callable[[ChannelT, BlockSparse], float]
    ) -> float:
        """Sum over the spins of what is quadratic in R; thresholds see a matrix of largest element 1."""
        size = R.max_abs()
        if size == 0.0:
            return 0.0
        found = sum(energy(c, part) for c, part in self._parts(R, size, like))
        return self.degeneracy * size**2 * float(found)

    def _changes(
        self,
        R: BlockMatrix,
        like: BlockSparse,
        order: int,
        change: Callable[[ChannelT, BlockSparse], Sequence[np.ndarray]],
    ) -> Response:
        """D and W of the spins, `change`: of the order given in R, (nnz,) each."""
        size = R.max_abs()
        if size == 0.0:
            return Response(R.zeros_like(), R.zeros_like())
        found = [change(c, part) for c, part in self._parts(R, size, like)]
        scale = self.degeneracy * size**order
        return Response(
            *(BlockMatrix(R.pattern, scale * stacked(parts)) for parts in zip(*found, strict=True))
        )

    def _parts(
        self, R: BlockMatrix, size: float, like: BlockSparse
    ) -> Iterator[tuple[ChannelT, BlockSparse]]:
        return ((c, folded((1.0 / size) * R.spin(spin), 0, like)) for spin, c in enumerate(self.channels))


@dataclass(frozen=True, slots=True)
class SparseSolver:
    """Insulators at Gamma, at a cost linear in the atoms. threshold: what sets the error (docs/theory.md)."""

    threshold: float
    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_threshold(self.threshold)

    def describe(self) -> dict[str, Any]:
        """Name and threshold."""
        return {"method": self.name, "threshold": self.threshold}

    def check(self, kpts: KPointsSpec, smearing: Smearing) -> None:
        """ValueError for smearing and for k points."""
        if smearing != "none":
            raise ValueError(
                f"smearing: the {self.name} solver has integer occupations, expected no smearing, "
                f"got {smearing!r}; metals need the dense solver"
            )
        if isinstance(kpts, Mapping) and "spacing" in kpts:
            return  # becomes a mesh with the cell, and is checked then
        if not as_kpoints(kpts).gamma_only:
            raise ValueError(
                f"kpts: the {self.name} solver works at Gamma only, got {len(as_kpoints(kpts))} other k "
                "points; use a larger cell or the dense solver"
            )
