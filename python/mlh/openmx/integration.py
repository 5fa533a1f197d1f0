"""The integration of OpenMX 3.9: its energies, Hamiltonians and forces from its basis.

Plain uniform grid, density gradients by second-order central differences, V_na expanded in projectors,
E_xc corrected by a reference functional on fine atomic meshes, electrostatics of the neutral atoms by
quadrature on cylinders. Formulas: docs/theory.md, "The integration of OpenMX"; its use: docs/openmx.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import mlh._core as _core
from mlh.basis.species import Basis
from mlh.common.choices import check_choice
from mlh.dft.mesh import GridMesh, plane_mesh
from mlh.dft.terms.contract import (
    AtomicCoefficients,
    Derivative,
    Discretisation,
    Geometry,
    LocalTerm,
    MatrixTerm,
    PairTerm,
)
from mlh.dft.terms.local import ExchangeCorrelation, Hartree, NeutralAtoms, atomic_gradient
from mlh.dft.terms.pair import PairEnergy
from mlh.dft.terms.spheres import two_center_tables
from mlh.dft.terms.two_center import Kinetic, Nonlocal
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPoints, KPointsSpec
from mlh.openmx.basis import OpenMXSpecies
from mlh.openmx.electrostatics import FineMesh, core_tables
from mlh.openmx.expansion import projector_expansion
from mlh.openmx.kpoints import openmx_kpoints

FloatArray = NDArray[np.float64]

_FUNCTIONALS = {"PBE": "PBE-PW92", "PW92": "PW92", "PZ": "PZ"}
"""OpenMX's own form of each: its PBE rounds the constants of Perdew and Wang, as libxc's PW92 does."""
_STENCIL_ORDER = 2

NeutralAtom = Literal["projectors", "grid"]


@dataclass(frozen=True, slots=True)
class OpenMXIntegration:
    """Integrals as OpenMX 3.9 does them; needs a basis of OpenMX files (`mlh.load_openmx_basis`).

    neutral_atom: "projectors" (scf.ProExpn.VNA on, OpenMX's default) or "grid" (off). grid_origin: Cartesian
    position of a grid point, Bohr (scf.fixed.grid); None: the grid follows the centroid of the atoms.

    quirks: also do what is not right physics, for comparison with OpenMX digit by digit: forces count the
    slope of the damping between distant orbitals twice and leave out that the grid follows the atoms,
    correlation never sees a polarisation above 0.99 (1e-6 Ha of a molecule with an unpaired electron), and
    (n1, n2, n3) k points are its shifted half mesh. The forces are then not the derivative of the energy, and
    there is no stress.
    """

    neutral_atom: NeutralAtom = "projectors"
    grid_origin: tuple[float, float, float] | None = None
    quirks: bool = False

    def __post_init__(self) -> None:
        check_choice("neutral_atom", self.neutral_atom, NeutralAtom)
        origin = self.grid_origin
        if origin is not None and (len(origin) != 3 or not np.isfinite(origin).all()):
            raise ValueError(f"grid_origin: expected three finite numbers in Bohr or None, got {origin!r}")

    def discretise(self, geometry: Geometry) -> Discretisation:
        """Terms of one geometry; ValueError for another basis or functional."""
        foreign = [s.symbol for s in geometry.basis if not isinstance(s, OpenMXSpecies)]
        if foreign:
            raise ValueError(
                "basis: the integration of OpenMX needs a basis of mlh.load_openmx_basis, got another for "
                f"{', '.join(foreign)}"
            )
        if geometry.xc not in _FUNCTIONALS:
            expected = ", ".join(_FUNCTIONALS)
            raise ValueError(f"xc: expected one of {expected} with OpenMX's integration, got {geometry.xc!r}")
        return OpenMXDiscretisation(geometry, self)

    def check(self, basis: Basis, cutoff_ry: float) -> None:
        """Nothing: what its grid does not carry is OpenMX's own error, and moves with the atoms."""

    def mesh(self, cell: FloatArray, cutoff_ry: float) -> GridMesh:
        """OpenMX's: by the distance of the lattice planes, whatever waves that carries in a skewed cell."""
        return plane_mesh(cell, cutoff_ry)

    def kpoints(self, spec: KPointsSpec) -> KPointsSpec:
        """With `quirks` OpenMX's mesh in place of (n1, n2, n3); anything else as it is."""
        if self.quirks and isinstance(spec, Sequence) and not isinstance(spec, KPoints):
            return openmx_kpoints(spec)
        return spec


INTEGRATIONS = {"openmx": OpenMXIntegration(), "openmx-grid-vna": OpenMXIntegration(neutral_atom="grid")}
"""By the names of `mlh.dft.integrations`: as OpenMX 3.9 by default; with scf.ProExpn.VNA off."""


class OpenMXDiscretisation(Discretisation):
    """Terms of OpenMX's integration."""

    def __init__(self, geometry: Geometry, options: OpenMXIntegration) -> None:
        super().__init__(geometry)
        self._options = options
        self._species = [s for s in geometry.basis if isinstance(s, OpenMXSpecies)]
        self._key = _SpeciesKey(tuple(self._species))

    @property
    def tables(self) -> _core.TwoCenterTables:
        """Two-centre integrals by OpenMX's quadratures."""
        return two_center_tables(self.geometry.basis)

    @cached_property
    def origin(self) -> FloatArray:
        """Point (0, 0, 0) of the grid, Bohr: centroid - sum_d (floor(N_d / 2) - [N_d even] / 2) a_d / N_d."""
        if self._options.grid_origin is not None:
            return np.array(self._options.grid_origin, dtype=np.float64)
        g = self.geometry
        n = np.array(g.mesh.shape)
        steps = (n // 2 - 0.5 * (n % 2 == 0)) / n
        centroid = np.asarray(g.structure.positions).mean(axis=0)
        return np.asarray(centroid - steps @ g.mesh.cell(g.cell), dtype=np.float64)

    @cached_property
    def _shifted(self) -> _core.Structure:
        """The atoms as seen from the first grid point."""
        s = self.geometry.structure
        return _core.Structure(self.geometry.cell, np.asarray(s.positions) - self.origin, s.species)

    def _make_grid(self) -> _core.Grid:
        g = self.geometry
        return _core.Grid(self._shifted, g.basis.to_core(), g.pattern, *g.mesh)

    @cached_property
    def origin_grid(self) -> _core.Grid:
        """The grid that starts at the origin of the cell."""
        g = self.geometry
        return _core.Grid(g.structure, g.basis.to_core(), g.pattern, *g.mesh)

    @property
    def exact_stress(self) -> bool:
        """False with `quirks`."""
        return not self._options.quirks

    def on_grid(self, derivative: Derivative) -> Derivative:
        """A grid that follows the centroid feels no common shift of the atoms; a fixed one keeps its origin
        under strain, while the core's derivative moves it along."""
        if self._options.quirks:
            return derivative
        net = derivative.atoms.sum(axis=0)
        if self._options.grid_origin is None:
            return Derivative(derivative.atoms - net / len(derivative.atoms), derivative.strain)
        outer = np.outer(net, self.origin)
        return Derivative(derivative.atoms, derivative.strain + 0.5 * (outer + outer.T))

    @cached_property
    def matrix_terms(self) -> Sequence[MatrixTerm]:
        """Kinetic energy, nonlocal potential and, by default, V_na."""
        g = self.geometry
        slope = 2.0 if self._options.quirks else 1.0
        terms: list[MatrixTerm] = [Kinetic(g, self.tables), Nonlocal(g, self.tables, slope)]
        if self._options.neutral_atom == "projectors":
            terms.append(ExpandedNeutralAtoms(g, _expansion(self._key), slope))
        return terms

    @cached_property
    def local_terms(self) -> Sequence[LocalTerm]:
        """Hartree, exchange-correlation and, where it is not expanded, V_na."""
        grid = self.grid
        functional = _FUNCTIONALS[self.geometry.xc]
        if self._options.quirks and functional == "PBE-PW92":
            functional = "PBE-OpenMX"
        terms: list[LocalTerm] = [
            Hartree(grid),
            ExchangeCorrelation(grid, functional, _STENCIL_ORDER),
        ]
        if self._options.neutral_atom == "grid":
            terms.append(NeutralAtoms(grid))
        return terms

    @cached_property
    def pair_terms(self) -> Sequence[PairTerm]:
        """E_scc with J_IJ by quadrature on cylinders, and the reference functional: on fine meshes around the
        atoms, sum_I int rho_I eps_0(sum_J rho_J) with rho = n_a + n_core, less the same on the grid.
        """
        structure, cores, mesh = self.geometry.structure, _core_tables(self._key), _fine_mesh(self._key)
        return (
            PairEnergy("core_repulsion", lambda: cores.repulsion(structure)),
            PairEnergy("xc", lambda: mesh.energy(structure)),
            GridReference(self),
        )


class ExpandedNeutralAtoms:
    """Tr D V_na, V_na between different atoms expanded in projectors, within an atom exact."""

    name = "neutral_atom"

    def __init__(self, geometry: Geometry, tables: _core.ProjectorExpansion, damping_slope: float) -> None:
        self._geometry, self._tables, self._slope = geometry, tables, damping_slope

    @cached_property
    def matrix(self) -> BlockMatrix:
        """V_na, Hartree."""
        g = self._geometry
        return BlockMatrix(g.pattern, self._tables.matrix(g.structure, g.pattern))

    def derivative(self, D: FloatArray) -> Derivative:
        """At fixed D."""
        g = self._geometry
        return Derivative(*self._tables.gradient(g.structure, g.pattern, D, self.matrix.data[0], self._slope))


class GridReference:
    """-int rho eps_0(rho) over the uniform grid: what the fine meshes add, as the grid sees it."""

    name = "xc"

    def __init__(self, discretisation: Discretisation) -> None:
        self._discretisation = discretisation

    @cached_property
    def _density(self) -> FloatArray:
        grid = self._discretisation.grid
        density = np.array(grid.neutral_density)
        return density + grid.core_density if grid.has_core else density

    @cached_property
    def _values(self) -> tuple[FloatArray, FloatArray]:
        """eps_0 and d(rho eps_0)/drho on the grid."""
        eps, slope = _core.perdew_zunger(self._density.ravel())
        return eps.reshape(self._density.shape), (eps + self._density.ravel() * slope).reshape(
            self._density.shape
        )

    @cached_property
    def energy(self) -> float:
        """Hartree."""
        grid = self._discretisation.grid
        return -grid.volume_element * float(np.vdot(self._density, self._values[0]))

    @cached_property
    def derivative(self) -> Derivative:
        """dE/dtau and dE/deps through n_atom and n_core."""
        grid, v = self._discretisation.grid, self._values[1]
        core = grid.uniform_potential(-v) if grid.has_core else None
        part = atomic_gradient(grid, AtomicCoefficients(density=-grid.volume_element * v, core=core))
        moved = Derivative(part.atoms, part.strain + np.eye(3) * self.energy)
        return self._discretisation.on_grid(moved)


@dataclass(frozen=True)
class _SpeciesKey:
    """Species in the order of the core's indices, compared by what determines them."""

    species: tuple[OpenMXSpecies, ...]

    def __hash__(self) -> int:
        return hash(tuple(s.digest for s in self.species))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SpeciesKey) and [s.digest for s in self.species] == [
            s.digest for s in other.species
        ]


@lru_cache(maxsize=4)
def _expansion(key: _SpeciesKey) -> _core.ProjectorExpansion:
    return projector_expansion(key.species)


@lru_cache(maxsize=16)
def _core_tables(key: _SpeciesKey) -> _core.CoreTables:
    return core_tables(key.species)


@lru_cache(maxsize=16)
def _fine_mesh(key: _SpeciesKey) -> FineMesh:
    return FineMesh(key.species)
