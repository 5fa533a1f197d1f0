"""System: a structure in a basis, with everything that is a function of the density matrix.

    E[D] = Tr D T + Tr D Vnl + int n V_na + 1/2 int dn V_H[dn] + E_xc[n] + E_scc ,   dn = n - n_a
    H[D] = dE/dD = T + Vnl + <phi| V_na + V_H[dn] + V_xc |phi> ,   H0 = H at n = n_a (Harris)

The terms, and how their integrals are done, come from the integration method (`mlh.dft.terms`): by default
V_na and e_xc are split by a smooth partition of unity between spheres around hard atoms and the uniform grid
(docs/theory.md); V_xc is the exact derivative of the discretised E_xc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

import mlh._core as _core
from mlh.basis.families import DEFAULT_BASIS, load_basis
from mlh.basis.ghosts import species_names
from mlh.basis.resolution import check_cutoff
from mlh.basis.species import Basis
from mlh.common.activity import doing
from mlh.common.units import ANGSTROM
from mlh.dft.energies import Energies, Forces, Stress
from mlh.dft.fields import Fields, LastFields
from mlh.dft.gradient import Trace, derivatives
from mlh.dft.grid_function import GridFunction
from mlh.dft.harris import HarrisHamiltonian
from mlh.dft.integrations import as_integration
from mlh.dft.kernel import HamiltonianChange, spin_potentials
from mlh.dft.mesh import GridMesh, as_mesh, check_mesh
from mlh.dft.terms.contract import (
    Derivative,
    Discretisation,
    Geometry,
    Integration,
    PairTerm,
)
from mlh.dft.terms.dispersion import check_dispersion, dispersion_term
from mlh.dft.terms.local import uniform_density
from mlh.dft.theory import FUNCTIONALS, Theory, check_functional, count_electrons
from mlh.dft.vacuum import PERIODIC
from mlh.matrix.block_matrix import BlockMatrix, Pattern, kept_unless_large, same_pattern
from mlh.matrix.kpoints import KPoints, KPointsSpec, as_kpoints, reduced, with_cell
from mlh.matrix.symmetry import OVERLAP_TOLERANCE, Symmetry, find_symmetry
from mlh.structures.reading import refuse_shared_sites

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Energy contributions at a density matrix and H = dE/dD."""

    H: BlockMatrix
    energies: Energies


class System:
    """One geometry in one basis. Immutable: a function of D; matrices that do not depend on D are computed
    once, and what the last D put on the points is kept by the value of D (`mlh.dft.fields`).

    atoms: ase.Atoms with a three-dimensional cell (positions and cell in Angstrom). basis: a Basis or the
    name of an embedded set. cutoff_ry: grid cutoff in Rydberg. kpts: (n1, n2, n3), Gamma-centred;
    {"size": (n1, n2, n3), "gamma": False}, Monkhorst-Pack; {"spacing": 0.2} (1/Angstrom, 2 pi included); or
    KPoints. xc: "PBE", "PW92" or "PZ". nspin: 1, or 2 for collinear spin. integration: how the integrals are
    done, a name of `mlh.dft.integrations` ("spheres", "openmx", ...) or an object such as
    OpenMXIntegration. grid_shape: points of the grid along the cell vectors, or a `GridMesh`, in place of
    those of the cutoff; only at a fixed mesh is the energy a smooth function of the cell. symmetry: True
    reduces the k points to the irreducible ones, for Hamiltonians that have the symmetry of the crystal;
    `mlh.scf` sees to that. moments: initial magnetic moments, which lower the symmetry. charge: electrons
    removed from the neutral cell, over a uniform background. dispersion: "D3BJ", "D4" or None.
    """

    def __init__(
        self,
        atoms: Atoms,
        basis: Basis | str = DEFAULT_BASIS,
        cutoff_ry: float = 200.0,
        kpts: KPointsSpec = (1, 1, 1),
        xc: str = "PBE",
        nspin: int = 1,
        integration: Integration | str | None = None,
        grid_shape: Sequence[int] | GridMesh | None = None,
        symmetry: bool = False,
        moments: Sequence[float] | FloatArray | None = None,
        charge: float = 0.0,
        dispersion: str | None = None,
    ) -> None:
        _check(atoms, cutoff_ry, xc, nspin)
        full = load_basis(basis) if isinstance(basis, str) else basis
        self.symbols: tuple[str, ...] = species_names(atoms)
        """Name of the species of every atom: its element, or "X-O" of a ghost."""
        self.basis = full.subset(self.symbols)
        check_functional(self.basis, xc)
        self.dispersion = dispersion
        if dispersion is not None:
            check_dispersion(dispersion, xc)
        self._periodic: tuple[bool, ...] = tuple(atoms.info.get(PERIODIC, atoms.pbc))
        self.charge = float(charge)
        self.n_electrons = count_electrons(self.basis, self.symbols, self.charge)
        """Valence electrons of the cell."""
        self.integration: Integration = as_integration(integration, self.basis)
        self.cutoff_ry, self.xc, self.nspin = float(cutoff_ry), xc, int(nspin)
        self.kpts: KPointsSpec = self.integration.kpoints(with_cell(kpts, atoms.cell.array))
        self.cell: FloatArray = np.array(atoms.cell.array) * ANGSTROM
        self.mesh: GridMesh = (
            self.integration.mesh(self.cell, self.cutoff_ry) if grid_shape is None else as_mesh(grid_shape)
        )
        check_mesh(self.mesh, self.effective_cutoff_ry, self.cutoff_ry)
        if grid_shape is None:
            check_cutoff(self.basis, self.cutoff_ry)
        carried = self.cutoff_ry if grid_shape is None else round(self.effective_cutoff_ry)
        self.integration.check(self.basis, carried)
        self.positions: FloatArray = np.array(atoms.get_positions()) * ANGSTROM
        index = np.array([self.basis.index(s) for s in self.symbols], dtype=np.int32)
        self.structure = _core.Structure(self.cell, self.positions, index)
        self.pattern: Pattern = _core.Pattern(self.structure, self.basis.to_core())
        self._last_fields = LastFields()
        self.k_mesh: KPointsSpec = self.kpts
        """The k points asked for; `kpts` are the irreducible ones of them."""
        if symmetry and not isinstance(self.k_mesh, KPoints) and len(as_kpoints(self.k_mesh)) > 1:
            self.kpts = reduced(self.k_mesh, self._symmetry(moments))

    def _symmetry(self, moments: Sequence[float] | FloatArray | None) -> Symmetry | None:
        """The operations of the crystal that the overlap matrix has too."""
        spins = np.zeros(len(self.symbols)) if moments is None else np.round(moments, 6)
        kinds = list(zip(self.symbols, np.asarray(spins).tolist(), strict=True))
        shells = [[orbital.l for orbital in self.basis[s].orbitals] for s in self.symbols]
        found = find_symmetry(self.pattern, self.cell, self.positions, kinds, shells)
        return None if found is None or found.error(self._overlap) > OVERLAP_TOLERANCE else found

    @classmethod
    def of(cls, atoms: Atoms, theory: Theory) -> System:
        """The system of a level of theory; occupations and moment are for the solver.

        The initial magnetic moments of the atoms lower the symmetry of a polarised calculation.
        """
        nspin = theory.nspin(atoms)
        return cls(
            atoms,
            theory.basis,
            theory.cutoff_ry,
            theory.kpts,
            theory.xc,
            nspin,
            theory.integration,
            theory.grid_shape,
            theory.symmetry,
            atoms.get_initial_magnetic_moments() if nspin == 2 else None,
            theory.charge,
            theory.dispersion,
        )

    @property
    def n_orbitals(self) -> int:
        """Orbitals in the cell."""
        return int(np.sum(self.pattern.n_orbitals))

    @property
    def cell_volume(self) -> float:
        """Bohr^3."""
        return float(abs(np.linalg.det(self.cell)))

    @cached_property
    def discretisation(self) -> Discretisation:
        """The integrals and terms of this geometry."""
        fixed = self.basis, self.structure, self.pattern, self.cell
        geometry = Geometry(*fixed, self.cutoff_ry, self.xc, self.mesh)
        return self.integration.discretise(geometry)

    @cached_property
    def _pair_terms(self) -> tuple[PairTerm, ...]:
        """Terms of the atoms alone: those of the integration, and dispersion."""
        if self.dispersion is None:
            return tuple(self.discretisation.pair_terms)
        atoms = self.symbols, self.positions, self.cell, self._periodic
        term = dispersion_term(self.dispersion, self.xc, *atoms, self.charge)
        return (*self.discretisation.pair_terms, term)

    @property
    def grid(self) -> _core.Grid:
        """Points for densities and states to look at, along the cell vectors from the origin of the cell on.

        The uniform grid of the integrals but for skewed cells, where that runs along other vectors.
        """
        return self.discretisation.field_grid

    @property
    def _points(self) -> _core.Grid:
        """Integration points with the neutral-atom fields."""
        return self.discretisation.grid

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Points of the uniform grid of the integrals along each vector of `grid_cell`."""
        return self.mesh.shape

    @property
    def grid_cell(self) -> FloatArray:
        """Vectors (rows, Bohr) along which the uniform grid of the integrals runs: those of the cell, or in a
        skewed cell those of a reduced cell of the same lattice."""
        return self.mesh.cell(self.cell)

    @property
    def effective_cutoff_ry(self) -> float:
        """Largest cutoff whose waves the uniform grid tells apart, Ry: `cutoff_ry` up to rounding."""
        return self.mesh.effective_cutoff(self.cell)

    @kept_unless_large
    def _overlap(self) -> BlockMatrix:
        tables = self.discretisation.tables
        return BlockMatrix(self.pattern, tables.overlap(self.structure, self.pattern))

    @cached_property
    def harris(self) -> HarrisHamiltonian:
        """H0 with its derivative, as a term."""
        return HarrisHamiltonian(self.discretisation)

    def _matrix(self, name: str) -> BlockMatrix:
        """The matrix of the terms of one name, local ones linear in the density included."""
        parts = [t.matrix.data[0] for t in self.discretisation.matrix_terms if t.name == name]
        if name == "neutral_atom":
            local = [t for t in self.discretisation.local_terms if t.name == name]
            parts += [self._points.matrix(t.at([self._points.neutral()]).potential[0]) for t in local]
        return BlockMatrix(self.pattern, np.asarray(sum(parts)))

    def overlap(self) -> BlockMatrix:
        """S = <phi_i | phi_j>."""
        return self._overlap

    def kinetic(self) -> BlockMatrix:
        """T = <phi_i | -1/2 nabla^2 | phi_j>, Hartree."""
        return self._matrix("kinetic")

    def nonlocal_potential(self) -> BlockMatrix:
        """Vnl = sum_K <phi_i|beta_K> E_K <beta_K|phi_j>, Hartree."""
        return self._matrix("nonlocal")

    def neutral_atom_potential(self) -> BlockMatrix:
        """Vna = <phi_i | sum_I V_na,I | phi_j>, Hartree, on spheres and grid."""
        return self._matrix("neutral_atom")

    def harris_hamiltonian(self) -> BlockMatrix:
        """H0 = H at the density of superposed neutral atoms; exact, not self-consistent. Hartree."""
        return self.harris.matrix

    def potential_matrix(self, v: FloatArray) -> BlockMatrix:
        """<phi_i | v | phi_j> of a smooth potential on the uniform grid, Hartree.

        `grid_shape` points along `grid_cell`, the first at the origin.
        """
        if v.shape != self.grid_shape or v.dtype != np.float64:
            raise ValueError(
                f"v: expected a float64 array of shape {self.grid_shape}, got {v.dtype} of shape {v.shape}"
            )
        grid = self.discretisation.origin_grid
        return BlockMatrix(self.pattern, grid.matrix(grid.uniform_potential(v)))

    def evaluate(self, D: BlockMatrix) -> Evaluation:
        """Energy contributions and H = dE/dD (nspin of the system) in one pass over the grid."""
        fields = self._fields(D)
        with doing("potential matrix"):
            parts = [np.asarray(self._points.matrix(v)) for v in fields.potential]
        data = parts[0][None] if len(parts) == 1 else np.stack(parts)
        data += self.discretisation.fixed_matrix
        return Evaluation(BlockMatrix(self.pattern, data), self._energies(D, fields))

    def change(self, D: BlockMatrix, Z: BlockMatrix, single: bool = False) -> HamiltonianChange:
        """H[D] along a change Z of D: K Z, K = dH/dD, and the derivative of Tr[Z H[D]] with the geometry.

        single: Z is small beside D; its products with orbitals are in single precision.
        """
        if Z.nspin != self.nspin or not same_pattern(Z.pattern, self.pattern):
            raise ValueError("Z: expected a matrix like D, got one of another pattern or number of spins")
        return HamiltonianChange(D, Z, self.discretisation, self._fields(D), single)

    def hamiltonian(self, D: BlockMatrix) -> BlockMatrix:
        """H[D] = dE/dD, Hartree."""
        return self.evaluate(D).H

    def energies(self, D: BlockMatrix) -> Energies:
        """Energy contributions at D, Hartree."""
        return self._energies(D, self._fields(D))

    def density(self, D: BlockMatrix) -> GridFunction:
        """Electron density (both spins) on the uniform grid, electrons/Bohr^3."""
        fields = self._fields(D)
        same = self.grid is self._points
        density = fields.density if same else [self.grid.density(component) for component in D.data]
        return GridFunction(uniform_density(self.grid, density), self.cell)

    def dipole(self, D: BlockMatrix) -> FloatArray:
        """Dipole moment sum_I Z_I tau_I - int n r of a molecule in its box, (3,), e Bohr.

        = -int (n - n_a) r, because neutral spherical atoms have none; r is taken from the image of each
        point nearest to the middle of the atoms along the cell vectors. Of an ion: about that middle, the
        mean position of the atoms.
        """
        change = self.density(D) - self.neutral_density()
        middle = np.linalg.solve(change.cell.T, self.positions.mean(axis=0))
        moment = np.zeros(3)
        for axis, count in enumerate(change.values.shape):
            x = np.arange(count) / count - middle[axis]
            profile = change.values.sum(axis=tuple(other for other in range(3) if other != axis))
            moment -= change.cell[axis] * float(profile @ (x - np.round(x)))
        return moment * change.volume_element

    def neutral_density(self) -> GridFunction:
        """Density of the superposed neutral atoms on the uniform grid, electrons/Bohr^3."""
        return GridFunction(np.array(self.grid.neutral_density), self.cell)

    def forces(self, D: BlockMatrix, W: BlockMatrix, more: Sequence[Trace] = ()) -> Forces:
        """F = -dE/dtau at fixed D + Tr[W dS/dtau], shape (natoms, 3), Hartree/Bohr.

        W: energy-weighted density matrix; for a D that is not self-consistent use the projected D H[D] D.
        more: of the sum of the energy and these.
        """
        parts = self._derivatives(D, W, more)
        return Forces(**_by_name([(name, -part.atoms) for name, part in parts]))

    def stress(self, D: BlockMatrix, W: BlockMatrix) -> Stress:
        """(1/V) (dE/deps at fixed D - Tr[W dS/deps]), shape (3, 3), Hartree/Bohr^3.

        At a fixed number of grid points and fixed fractional coordinates of atoms and k points.
        """
        return self.forces_and_stress(D, W)[1]

    def forces_and_stress(
        self, D: BlockMatrix, W: BlockMatrix, more: Sequence[Trace] = ()
    ) -> tuple[Forces, Stress]:
        """Both in one pass over the grid, for what the forces alone cost."""
        if not self.has_stress:
            raise ValueError(
                "stress: with this integration the forces are not the derivative of the energy, and there is "
                f"no stress ({self.integration})"
            )
        parts = self._derivatives(D, W, more)
        return (
            Forces(**_by_name([(name, -part.atoms) for name, part in parts])),
            Stress(**_by_name([(name, part.strain / self.cell_volume) for name, part in parts])),
        )

    @property
    def has_stress(self) -> bool:
        """Whether the integration has a stress."""
        return self.discretisation.exact_stress

    def _derivatives(
        self, D: BlockMatrix, W: BlockMatrix, more: Sequence[Trace]
    ) -> list[tuple[str, Derivative]]:
        """dE/dtau and dE/deps of all parts."""
        fields, d = self._fields(D), self.discretisation
        states = fields.states
        energy = Trace(
            list(zip(D.data, fields.potential)),
            D.spin_sum().data[0],
            lambda _: (
                reduce(add, (state.atomic() for state in states.values())),
                {name: state.strain() for name, state in states.items()},
            ),
        )
        W_gradient, W_strain = d.tables.overlap_gradient(self.structure, self.pattern, W.spin_sum().data[0])
        return [
            *derivatives(d, [energy, *more]),
            *((pair.name, pair.derivative) for pair in self._pair_terms),
            ("overlap", Derivative(-W_gradient, -W_strain)),
        ]

    def _fields(self, D: BlockMatrix) -> Fields:
        if not isinstance(D, BlockMatrix):
            raise TypeError(f"D: expected a BlockMatrix, got {type(D).__name__}")
        if D.nspin != self.nspin:
            raise ValueError(f"D: expected nspin {self.nspin}, got {D.nspin}")
        if not same_pattern(D.pattern, self.pattern):
            raise ValueError("D: expected a matrix on the pattern of the system, got one on another pattern")
        known = self._last_fields.find(D)
        if known is not None:
            return known
        if not np.isfinite(D.data).all():
            bad = int(np.count_nonzero(~np.isfinite(D.data)))
            raise ValueError(f"D: expected finite elements, got {bad} that are not")
        with doing("density on the grid"):
            density = [self._points.density(component) for component in D.data]
        states = {term.name: term.at(density) for term in self.discretisation.local_terms}
        fields = Fields(density, states, spin_potentials(list(states.values()), self.nspin))
        _core.return_free_pages()
        self._last_fields.keep(D, fields)
        return fields

    def _energies(self, D: BlockMatrix, fields: Fields) -> Energies:
        total, d = D.spin_sum(), self.discretisation
        energies = {name: state.energy for name, state in fields.states.items()}
        for term in d.matrix_terms:
            energies[term.name] = energies.get(term.name, 0.0) + total.dot(term.matrix)
        for pair in self._pair_terms:
            energies[pair.name] = energies.get(pair.name, 0.0) + pair.energy
        return Energies(energies)


def _by_name(parts: list[tuple[str, FloatArray]]) -> dict[str, FloatArray]:
    """Sums of the parts of one name."""
    sums: dict[str, FloatArray] = {}
    for name, part in parts:
        sums[name] = sums[name] + part if name in sums else part
    return sums


def _check(atoms: Atoms, cutoff_ry: float, xc: str, nspin: int) -> None:
    if not isinstance(atoms, Atoms):
        raise TypeError(f"atoms: expected an ase.Atoms, got {type(atoms).__name__}")
    if len(atoms) == 0:
        raise ValueError("atoms: expected at least one atom, got none")
    if not np.isfinite(atoms.cell.array).all():
        raise ValueError(f"atoms: expected a cell of finite numbers, got {atoms.cell.array.tolist()}")
    if atoms.cell.rank < 3 or atoms.get_volume() < 1e-3:
        cellpar = atoms.cell.cellpar().round(4).tolist()
        raise ValueError(f"atoms: expected a cell with three independent vectors, got {cellpar}")
    if not np.isfinite(atoms.get_positions()).all():
        bad = np.flatnonzero(~np.isfinite(atoms.get_positions()).all(axis=1))
        raise ValueError(f"atoms: expected finite positions, got non-finite ones at atoms {bad.tolist()}")
    refuse_shared_sites(atoms, "atoms")
    if not 20.0 <= cutoff_ry <= 5000.0:
        raise ValueError(f"cutoff_ry: expected a grid cutoff between 20 and 5000 Ry, got {cutoff_ry}")
    if xc not in FUNCTIONALS:
        raise ValueError(f"xc: expected one of {', '.join(FUNCTIONALS)}, got {xc!r}")
    if nspin not in (1, 2):
        raise ValueError(f"nspin: expected 1 or 2, got {nspin}")
