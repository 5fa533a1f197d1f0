"""What a term of the energy is, and how a System adds terms up.

    E[D] = sum_matrix Tr D M + sum_local E[n] + sum_pair E(tau)
    H[D] = sum_matrix M + <phi| sum_local v |phi>

A new term is one class of one of the three kinds below and one line in the list of a `Discretisation`.
Terms of the same name add up to one contribution of `Energies`. Atomic units. Every term knows its derivative
with respect to the geometry: dE/dtau, and dE/deps for r -> (1 + eps) r of atoms, cell and grid points.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

import mlh._core as _core
from mlh.basis.species import Basis
from mlh.dft.mesh import GridMesh, field_mesh
from mlh.matrix.block_matrix import BlockMatrix, Pattern, kept_unless_large
from mlh.matrix.kpoints import KPointsSpec

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """What every term of one System is given."""

    basis: Basis
    """Species in the order of the core's indices."""
    structure: _core.Structure
    pattern: Pattern
    cell: FloatArray
    """(3, 3), rows are the cell vectors, Bohr."""
    cutoff_ry: float
    xc: str
    mesh: GridMesh
    """Points of the uniform grid."""


class Derivative(NamedTuple):
    """dE/dtau (natoms, 3), Hartree/Bohr, and dE/deps (3, 3), symmetric, Hartree."""

    atoms: FloatArray
    strain: FloatArray


def sum_of_derivatives(parts: Iterable[Derivative]) -> Derivative:
    """Added up; at least one."""
    atoms, strains = zip(*parts, strict=True)
    return Derivative(np.sum(atoms, axis=0), np.sum(strains, axis=0))


class MatrixTerm(Protocol):
    """E = Tr D M with M independent of D."""

    @property
    def name(self) -> str:
        """Of the contribution to `Energies`, forces and stress."""

    @property
    def matrix(self) -> BlockMatrix:
        """M, one spin component, Hartree."""

    def derivative(self, D: FloatArray) -> Derivative:
        """At fixed D (nnz,)."""


@dataclass(frozen=True, slots=True, eq=False)
class AtomicCoefficients:
    """dE/df_g for the functions f that ride on the atoms, at fixed density; None: no dependence.

    On the uniform grid (n1, n2, n3): V_na, n_a and the weights of the spheres; on the points of the spheres:
    V_na; on all points, with their quadrature weights: the partial core density and n_a.
    """

    potential: FloatArray | None = None
    density: FloatArray | None = None
    weight: FloatArray | None = None
    sphere_potential: FloatArray | None = None
    core: _core.Potential | None = None
    neutral: _core.Potential | None = None

    def __add__(self, other: AtomicCoefficients) -> AtomicCoefficients:
        def total(a: Any, b: Any) -> Any:
            return b if a is None else a if b is None else a + b

        return AtomicCoefficients(
            *(total(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        )


class LocalChange(Protocol):
    """A local term along a change of the density: derivatives with respect to x at density + x change, x = 0,
    of everything that a `LocalState` is."""

    @property
    def energy(self) -> float:
        """int v change."""

    @property
    def potential(self) -> Sequence[_core.Potential]:
        """The kernel applied to the change: one for both spins, or one per spin."""

    def atomic(self) -> AtomicCoefficients:
        """Of the dependence on the functions that ride on the atoms."""

    def strain(self) -> FloatArray:
        """Of dE/deps (3, 3) at fixed density and functions on the points."""


class LocalState(Protocol):
    """A local term at one density."""

    @property
    def energy(self) -> float: ...

    @property
    def potential(self) -> Sequence[_core.Potential]:
        """dE/dn with quadrature weights: one for both spins, or one per spin."""

    def atomic(self) -> AtomicCoefficients:
        """How the energy depends on the functions that ride on the atoms."""

    def strain(self) -> FloatArray:
        """dE/deps (3, 3) at fixed density and functions on the points: volume element and metric."""

    def along(self, change: Sequence[_core.Density]) -> LocalChange:
        """The derivative of all of this along a change of the density (one per spin)."""


class LocalTerm(Protocol):
    """E[n] through the density on the points."""

    name: str

    def at(self, density: Sequence[_core.Density]) -> LocalState:
        """Energy and potential of a density (one per spin)."""


class PairTerm(Protocol):
    """E(tau), independent of the density matrix."""

    name: str

    @property
    def energy(self) -> float: ...

    @property
    def derivative(self) -> Derivative:
        """dE/dtau and dE/deps."""


class Discretisation(ABC):
    """A geometry with the integrals and the terms of its energy; made by an integration method."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry

    @property
    def pattern(self) -> Pattern:
        """Of the matrices."""
        return self.geometry.pattern

    @property
    @abstractmethod
    def tables(self) -> _core.TwoCenterTables:
        """Two-centre integrals of the basis."""

    @cached_property
    def grid(self) -> _core.Grid:
        """Points of the local terms."""
        return self._make_grid()

    @abstractmethod
    def _make_grid(self) -> _core.Grid: ...

    @property
    def origin_grid(self) -> _core.Grid:
        """The uniform grid with its first point at the origin of the cell."""
        return self.grid

    @cached_property
    def field_grid(self) -> _core.Grid:
        """Points for densities and states to look at: from the origin on along the vectors of the cell."""
        g = self.geometry
        if g.mesh.along_cell:
            return self.origin_grid
        return _core.Grid(g.structure, g.basis.to_core(), g.pattern, field_mesh(g.cell, g.cutoff_ry).shape)

    @property
    def exact_stress(self) -> bool:
        """Whether dE/deps of the terms is the derivative of the energy."""
        return True

    def on_grid(self, derivative: Derivative) -> Derivative:
        """Of a derivative taken with the grid at rest: what it is with the grid where the method puts it."""
        return derivative

    @property
    @abstractmethod
    def matrix_terms(self) -> Sequence[MatrixTerm]: ...

    @kept_unless_large
    def fixed_matrix(self) -> FloatArray:
        """Sum of the matrices that do not depend on D, (1, nnz)."""
        total = np.zeros((1, self.pattern.nnz))
        for term in self.matrix_terms:
            total += term.matrix.data
        return total

    @property
    @abstractmethod
    def local_terms(self) -> Sequence[LocalTerm]: ...

    @property
    @abstractmethod
    def pair_terms(self) -> Sequence[PairTerm]: ...


class Integration(Protocol):
    """How the integrals of a System are done: a plain immutable option."""

    def discretise(self, geometry: Geometry) -> Discretisation: ...

    def check(self, basis: Basis, cutoff_ry: float) -> None:
        """Before any work: ValueError where it cannot integrate a species; warnings."""

    def mesh(self, cell: FloatArray, cutoff_ry: float) -> GridMesh:
        """The uniform grid of a cell (rows, Bohr)."""

    def kpoints(self, spec: KPointsSpec) -> KPointsSpec:
        """The k points that a System of this integration uses for those asked for."""
