"""The default integration: uniform grid plus atom-centred spheres around hard atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import mlh._core as _core
from mlh.basis.families import default_integration
from mlh.basis.resolution import check_integrals
from mlh.basis.species import Basis
from mlh.dft.mesh import FloatArray, GridMesh, reduced_mesh
from mlh.dft.terms.contract import Discretisation, Geometry, LocalTerm, MatrixTerm, PairTerm
from mlh.dft.terms.local import ExchangeCorrelation, Hartree, NeutralAtoms
from mlh.dft.terms.pair import PairEnergy
from mlh.dft.terms.two_center import Kinetic, Nonlocal
from mlh.matrix.kpoints import KPointsSpec


@dataclass(frozen=True, slots=True)
class SphereIntegration:
    """Uniform grid fixed to the cell; n V_na and e_xc on spheres around the species that carry one.

    unresolved: also for species that the grid cannot integrate without a sphere, to look at their errors.
    """

    unresolved: bool = False

    def discretise(self, geometry: Geometry) -> Discretisation:
        """Terms of one geometry."""
        return SphereDiscretisation(geometry)

    def check(self, basis: Basis, cutoff_ry: float) -> None:
        """Grid and spheres must carry the hard functions of every species."""
        own = default_integration(basis)
        if not self.unresolved:
            check_integrals(basis, cutoff_ry, remedy=None if own == "spheres" else own)

    def mesh(self, cell: FloatArray, cutoff_ry: float) -> GridMesh:
        """Along the vectors of a reduced cell, so that it carries all waves of the cutoff."""
        return reduced_mesh(cell, cutoff_ry)

    def kpoints(self, spec: KPointsSpec) -> KPointsSpec:
        """As asked for."""
        return spec


class SphereDiscretisation(Discretisation):
    """Terms of the default integration."""

    @property
    def tables(self) -> _core.TwoCenterTables:
        """Converged two-centre integrals, shared by every System of the basis."""
        return two_center_tables(self.geometry.basis)

    def _make_grid(self) -> _core.Grid:
        g = self.geometry
        return _core.Grid(g.structure, g.basis.to_core(), g.pattern, *g.mesh)

    @cached_property
    def matrix_terms(self) -> Sequence[MatrixTerm]:
        """Kinetic energy and nonlocal potential."""
        return (Kinetic(self.geometry, self.tables), Nonlocal(self.geometry, self.tables))

    @cached_property
    def local_terms(self) -> Sequence[LocalTerm]:
        """V_na, Hartree, exchange-correlation."""
        grid, g = self.grid, self.geometry
        return (NeutralAtoms(grid), Hartree(grid), ExchangeCorrelation(grid, g.xc))

    @cached_property
    def pair_terms(self) -> Sequence[PairTerm]:
        """E_scc = 1/2 sum' [Z_I Z_J / R - J_IJ(R)] - 1/2 sum_I J_II(0)."""
        tables, structure = self.tables, self.geometry.structure
        return (PairEnergy("core_repulsion", lambda: tables.core_repulsion(structure)),)


@dataclass(frozen=True)
class _TablesKey:
    """Tables depend on the functions AND on the order of the species (the core's indices)."""

    basis: Basis

    def __hash__(self) -> int:
        return hash((self.basis.fingerprint, self.basis.symbols))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _TablesKey)
            and self.basis.fingerprint == other.basis.fingerprint
            and self.basis.symbols == other.basis.symbols
        )


def two_center_tables(basis: Basis) -> _core.TwoCenterTables:
    """Two-centre integrals of a basis, built once."""
    return _two_center_tables(_TablesKey(basis))


@lru_cache(maxsize=16)
def _two_center_tables(key: _TablesKey) -> _core.TwoCenterTables:
    return _core.TwoCenterTables(key.basis.to_core())


INTEGRATIONS = {"spheres": SphereIntegration()}
"""By the names of `mlh.dft.integrations`."""
