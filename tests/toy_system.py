"""Small systems of compact toy species: every part of the grid in play, in milliseconds.

"Si" has s, p and d orbitals and no sphere, "O" two s, a p and a sphere; both carry projectors. In the cell
below every orbital meets several images of itself. The sphere's weight falls to 1e-21 at its radius: the
production one (1.08, 0.25, 2.03) ends with a step of 4e-8 that a central difference would see.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlh.basis.species import RADIAL_STEP, Basis, Projector, RadialFunction, Species, SphereParameters
from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix, same_pattern

FloatArray = NDArray[np.float64]

TRICLINIC = np.array([[5.1, 0.0, 0.3], [1.2, 4.7, 0.0], [-0.6, 0.9, 5.6]])
"""Bohr; smaller than the range of the orbitals."""
POSITIONS = np.array([[0.1, 0.2, 0.3], [2.4, 1.9, 0.9], [3.4, 4.1, 3.9], [-7.5, 2.2, 9.9]])
"""Bohr; the last atom lies outside the cell."""


def compact(l: int, decay: float, cutoff: float) -> RadialFunction:
    """r^l exp(-a r^2) (1 - (r/rc)^2)^4, not normalised."""
    x = np.arange(round(cutoff / RADIAL_STEP) + 1) * RADIAL_STEP / cutoff
    g = np.exp(-decay * (x * cutoff) ** 2) * (1.0 - x**2) ** 4
    g[-1] = 0.0
    return RadialFunction(l, g)


def scaled(f: RadialFunction, factor: float) -> RadialFunction:
    """factor * f."""
    return RadialFunction(f.l, factor * f.g)


def normalised(l: int, decay: float, cutoff: float) -> RadialFunction:
    """`compact` with int R^2 r^2 dr = 1."""
    f = compact(l, decay, cutoff)
    return scaled(f, f.radial_integral(other=f) ** -0.5)


def density(charge: float, decay: float, cutoff: float) -> RadialFunction:
    """`compact` density with the given number of electrons."""
    f = compact(0, decay, cutoff)
    return scaled(f, charge / (4.0 * np.pi * f.radial_integral()))


def toy_basis() -> Basis:
    """Si with 9 orbitals, O with 5 and a sphere."""
    silicon = Species(
        "Si",
        4.0,
        [normalised(0, 0.3, 3.4), normalised(1, 0.3, 3.4), normalised(2, 0.4, 3.2)],
        [Projector(normalised(0, 1.0, 2.4), 0.8), Projector(normalised(1, 1.0, 2.4), -0.4)],
        scaled(compact(0, 0.6, 3.4), -2.0),
        density(4.0, 0.2, 3.4),
    )
    oxygen = Species(
        "O",
        6.0,
        [normalised(0, 0.8, 3.0), normalised(0, 0.1, 3.0), normalised(1, 0.5, 3.0)],
        [Projector(normalised(0, 1.5, 2.0), 0.5)],
        scaled(compact(0, 1.5, 3.0), -6.0),
        density(6.0, 0.5, 3.0),
        sphere=SphereParameters(1.0, 0.2, 2.35),
    )
    return Basis([silicon, oxygen], "toy")


def with_core(basis: Basis) -> Basis:
    """The same species with partial core densities, one of them inside a sphere."""
    core = {"Si": density(2.0, 1.2, 2.8), "O": density(1.0, 2.5, 2.2)}
    return Basis([replace(s, core_density=core[s.symbol]) for s in basis], f"{basis.name} with cores")


def toy_atoms(
    positions: FloatArray = POSITIONS, cell: FloatArray = TRICLINIC, symbols: str = "SiOOO"
) -> Atoms:
    """Atoms from positions and cell in Bohr."""
    return Atoms(symbols, positions=positions * BOHR_ANGSTROM, cell=cell * BOHR_ANGSTROM, pbc=True)


def shifted(atoms: Atoms, shift: FloatArray) -> Atoms:
    """The atoms moved by `shift` (natoms, 3) or (3,), Bohr."""
    moved = atoms.copy()
    moved.positions += np.asarray(shift) * BOHR_ANGSTROM
    return moved


def positive_matrix(system: System, seed: int) -> BlockMatrix:
    """Random D whose density is positive everywhere, with the right number of electrons: Tr D S = N.

    Gamma-only form, D = A A^T for every image, one independent A per spin.
    """
    random = np.random.default_rng(seed)
    n = system.n_orbitals
    A = random.normal(size=(system.nspin, n, n)) / np.sqrt(n) + 0.5 * np.eye(n)
    D = BlockMatrix.from_dense_gamma(system.pattern, A @ A.transpose(0, 2, 1))
    return D * (system.n_electrons / D.dot(system.overlap()))


def symmetric_step(system: System, seed: int, scale: float) -> BlockMatrix:
    """Random symmetric direction, every image independent."""
    data = np.random.default_rng(seed).normal(scale=scale, size=(system.nspin, system.pattern.nnz))
    return BlockMatrix(system.pattern, data).symmetrised()


def on_pattern_of(system: System, D: BlockMatrix) -> BlockMatrix:
    """The same blocks in another geometry, which must have the same Pattern."""
    assert same_pattern(system.pattern, D.pattern)
    return BlockMatrix(system.pattern, D.data)
