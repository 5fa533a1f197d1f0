"""System: a structure in a basis, with everything that is a function of the density matrix.

    E[D] = Tr D T + Tr D Vnl + int n V_na + 1/2 int dn V_H[dn] + E_xc[n] + E_scc ,   dn = n - n_a
    H[D] = dE/dD = T + Vnl + <phi| V_na + V_H[dn] + V_xc |phi> ,   H0 = H at n = n_a (Harris)

Integrals over V_na and e_xc are split by a smooth partition of unity between spheres around hard atoms and
the uniform grid (docs/theory.md); V_xc is the exact derivative of the discretised E_xc.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlh import _core
from mlh.energies import Energies, Forces
from mlh.grid_function import GridFunction, hartree_potential
from mlh.pattern import BlockMatrix, Pattern, same_pattern
from mlh.pseudo.library import load_basis
from mlh.solver import KPointsSpec
from mlh.species import Basis
from mlh.units import ANGSTROM

FloatArray = NDArray[np.float64]

FUNCTIONALS = ("PBE", "PW92")
"""Exchange-correlation functionals of the core."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Energy contributions at a density matrix and H = dE/dD."""

    H: BlockMatrix
    energies: Energies


@dataclass(frozen=True, slots=True, eq=False)
class _Fields:
    """What one density matrix puts on the grid; kept so that forces after an evaluation reuse it."""

    density: list[_core.Density]  # per spin
    hartree: FloatArray  # V_H of n - n_a, (n1, n2, n3)
    hartree_energy: float
    xc: _core.ExchangeCorrelation
    potential: list[_core.Potential]  # per spin: V_na + V_H + V_xc with weights


class System:
    """One geometry in one basis. Immutable; matrices that do not depend on D are computed once.

    atoms: ase.Atoms with a three-dimensional cell (positions and cell in Angstrom). basis: a Basis or the
    name of an embedded set. cutoff_ry: grid cutoff in Rydberg. kpts: (n1, n2, n3), a mapping or a KPoints.
    xc: "PBE" or "PW92". nspin: 1, or 2 for collinear spin.
    """

    def __init__(
        self,
        atoms: Atoms,
        basis: Basis | str = "gth-pbe",
        cutoff_ry: float = 200.0,
        kpts: KPointsSpec = (1, 1, 1),
        xc: str = "PBE",
        nspin: int = 1,
    ) -> None:
        _check(atoms, cutoff_ry, xc, nspin)
        full = load_basis(basis) if isinstance(basis, str) else basis
        self.basis = full.subset(atoms.get_chemical_symbols())
        self.cutoff_ry, self.kpts, self.xc, self.nspin = float(cutoff_ry), kpts, xc, int(nspin)
        self.symbols: tuple[str, ...] = tuple(atoms.get_chemical_symbols())
        self.cell: FloatArray = np.array(atoms.cell.array) * ANGSTROM
        self.positions: FloatArray = np.array(atoms.get_positions()) * ANGSTROM
        index = np.array([self.basis.index(s) for s in self.symbols], dtype=np.int32)
        self.structure = _core.Structure(self.cell, self.positions, index)
        self.pattern: Pattern = _core.Pattern(self.structure, self.basis.to_core())
        self._last: tuple[FloatArray, _Fields] | None = None

    @property
    def n_electrons(self) -> float:
        """Valence electrons of the neutral cell."""
        return float(sum(self.basis[s].valence for s in self.symbols))

    @property
    def n_orbitals(self) -> int:
        """Orbitals in the cell."""
        return int(np.sum(self.pattern.n_orbitals))

    @property
    def cell_volume(self) -> float:
        """Bohr^3."""
        return float(abs(np.linalg.det(self.cell)))

    @cached_property
    def grid(self) -> _core.Grid:
        """Uniform grid and atom-centred spheres with the neutral-atom fields."""
        n = _core.grid_size(self.cell, self.cutoff_ry)
        return _core.Grid(self.structure, self.basis.to_core(), self.pattern, n)

    @cached_property
    def _tables(self) -> _core.TwoCenterTables:
        return _two_center_tables(_TablesKey(self.basis))

    @cached_property
    def _overlap(self) -> BlockMatrix:
        return BlockMatrix(self.pattern, self._tables.overlap(self.structure, self.pattern))

    @cached_property
    def _kinetic(self) -> BlockMatrix:
        return BlockMatrix(self.pattern, self._tables.kinetic(self.structure, self.pattern))

    @cached_property
    def _nonlocal(self) -> BlockMatrix:
        return BlockMatrix(self.pattern, self._tables.nonlocal_potential(self.structure, self.pattern))

    @cached_property
    def _core_repulsion(self) -> tuple[float, FloatArray, FloatArray]:
        return self._tables.core_repulsion(self.structure)

    @cached_property
    def _harris(self) -> BlockMatrix:
        xc = self.grid.exchange_correlation(self.xc, [self.grid.neutral()])
        potential = self.grid.effective_potential(xc.potential[0], None)
        return self._kinetic + self._nonlocal + BlockMatrix(self.pattern, self.grid.matrix(potential))

    def overlap(self) -> BlockMatrix:
        """S = <phi_i | phi_j>."""
        return self._overlap

    def kinetic(self) -> BlockMatrix:
        """T = <phi_i | -1/2 nabla^2 | phi_j>, Hartree."""
        return self._kinetic

    def nonlocal_potential(self) -> BlockMatrix:
        """Vnl = sum_K <phi_i|beta_K> E_K <beta_K|phi_j>, Hartree."""
        return self._nonlocal

    def neutral_atom_potential(self) -> BlockMatrix:
        """Vna = <phi_i | sum_I V_na,I | phi_j>, Hartree, on spheres and grid."""
        # V_na alone: the effective potential of a vanishing exchange-correlation potential.
        zero = self.grid.zero_potential()
        potential = self.grid.effective_potential(zero, None)
        return BlockMatrix(self.pattern, self.grid.matrix(potential))

    def harris_hamiltonian(self) -> BlockMatrix:
        """H0 = H at the density of superposed neutral atoms; exact, not self-consistent. Hartree."""
        return self._harris

    def evaluate(self, D: BlockMatrix) -> Evaluation:
        """Energy contributions and H = dE/dD (nspin of the system) in one pass over the grid."""
        fields = self._fields(D)
        grid_part = np.stack([self.grid.matrix(v) for v in fields.potential])
        H = BlockMatrix(self.pattern, self._kinetic.data + self._nonlocal.data + grid_part)
        return Evaluation(H, self._energies(D, fields))

    def hamiltonian(self, D: BlockMatrix) -> BlockMatrix:
        """H[D] = dE/dD, Hartree."""
        return self.evaluate(D).H

    def energies(self, D: BlockMatrix) -> Energies:
        """Energy contributions at D, Hartree."""
        return self._energies(D, self._fields(D))

    def density(self, D: BlockMatrix) -> GridFunction:
        """Electron density (both spins) on the uniform grid, electrons/Bohr^3."""
        total = sum(np.asarray(n.uniform) for n in self._fields(D).density)
        return GridFunction(np.reshape(total, self.grid.shape), self.cell)

    def neutral_density(self) -> GridFunction:
        """Density of the superposed neutral atoms on the uniform grid, electrons/Bohr^3."""
        return GridFunction(np.array(self.grid.neutral_density), self.cell)

    def forces(self, D: BlockMatrix, W: BlockMatrix) -> Forces:
        """F = -dE/dtau at fixed D + Tr[W dS/dtau], shape (natoms, 3), Hartree/Bohr.

        W: energy-weighted density matrix; for a D that is not self-consistent use the projected D H[D] D.
        """
        fields, grid = self._fields(D), self.grid
        total_D = D.spin_sum().data[0]
        args = (self.structure, self.pattern)
        orbital = sum(grid.orbital_gradient(D.data[s], v) for s, v in enumerate(fields.potential))
        dv = grid.volume_element
        n = np.reshape(sum(np.asarray(c.uniform) for c in fields.density), grid.shape)
        n_sphere = np.asarray(sum(np.asarray(c.sphere) for c in fields.density))
        e_xc = np.reshape(fields.xc.energy_density, grid.shape)
        atoms = grid.spherical_gradient(
            potential=dv * grid.weight * n,
            density=-dv * fields.hartree,
            weight=-dv * (n * grid.neutral_potential + e_xc),
            sphere_potential=grid.sphere_weight * n_sphere,
        )
        return Forces(
            kinetic=-self._tables.kinetic_gradient(*args, total_D)[0],
            nonlocal_=-self._tables.nonlocal_gradient(*args, total_D)[0],
            orbital=-np.asarray(orbital),
            neutral_atom=-atoms,
            core_repulsion=-self._core_repulsion[1],
            overlap=self._tables.overlap_gradient(*args, W.spin_sum().data[0])[0],
        )

    def _fields(self, D: BlockMatrix) -> _Fields:
        if D.nspin != self.nspin:
            raise ValueError(f"D: expected nspin {self.nspin}, got {D.nspin}")
        if self._last is not None and self._last[0] is D.data:
            return self._last[1]
        if not same_pattern(D.pattern, self.pattern):
            raise ValueError("D: expected a matrix on the pattern of the system, got one on another pattern")
        if not np.isfinite(D.data).all():
            bad = int(np.count_nonzero(~np.isfinite(D.data)))
            raise ValueError(f"D: expected finite elements, got {bad} that are not")
        grid = self.grid
        density = [grid.density(component) for component in D.data]
        n = np.reshape(sum(np.asarray(c.uniform) for c in density), grid.shape)
        dn = n - grid.neutral_density
        hartree = hartree_potential(dn, self.cell)
        xc = grid.exchange_correlation(self.xc, density)
        potential = [grid.effective_potential(v, hartree) for v in xc.potential]
        energy = 0.5 * grid.volume_element * float(np.vdot(dn, hartree))
        fields = _Fields(density, hartree, energy, xc, potential)
        self._last = (D.data, fields)
        return fields

    def _energies(self, D: BlockMatrix, fields: _Fields) -> Energies:
        total = D.spin_sum()
        return Energies(
            kinetic=total.dot(self._kinetic),
            nonlocal_=total.dot(self._nonlocal),
            neutral_atom=sum(self.grid.neutral_energy(n) for n in fields.density),
            hartree=fields.hartree_energy,
            xc=fields.xc.energy,
            core_repulsion=self._core_repulsion[0],
        )


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


@lru_cache(maxsize=16)
def _two_center_tables(key: _TablesKey) -> _core.TwoCenterTables:
    return _core.TwoCenterTables(key.basis.to_core())


def _check(atoms: Atoms, cutoff_ry: float, xc: str, nspin: int) -> None:
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
    if not 20.0 <= cutoff_ry <= 5000.0:
        raise ValueError(f"cutoff_ry: expected a grid cutoff between 20 and 5000 Ry, got {cutoff_ry}")
    if xc not in FUNCTIONALS:
        raise ValueError(f"xc: expected one of {', '.join(FUNCTIONALS)}, got {xc!r}")
    if nspin not in (1, 2):
        raise ValueError(f"nspin: expected 1 or 2, got {nspin}")
