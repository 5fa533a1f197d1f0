"""The electrostatic potential at the atoms and along the axes of the cell.

    phi(r) = -(V_na(r) + V_H[dn](r)),   phi_I = int g(r - tau_I) phi(r),   g = exp(-r^2/2s^2)/(2 pi s^2)^(3/2)

in Hartree per e: positive near a positive charge, minus the energy of an electron. V_na holds V_loc of the
pseudopotentials, so that only differences between cells at atoms of one kind mean something. The zero is that
of docs/theory.md, "Charged cells".
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from mlh.basis.species import RadialFunction
from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.grid_function import GridFunction, hartree_potential
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix

FloatArray = NDArray[np.float64]

TEST_CHARGE = 0.25 / BOHR_ANGSTROM
"""Bohr; standard deviation of the Gaussian test charge at an atom, 0.25 A. It samples what a core feels; the
background of a charge q shifts it by 2 pi s^2 q / V, 4 meV in 96 atoms of SiO2."""

_REACH = 6.5
"""Standard deviations to which a Gaussian is followed (1e-9 of its value)."""


def site_potentials(system: System, D: BlockMatrix) -> FloatArray:
    """phi_I at all atoms, (natoms,), Hartree per e."""
    return -(_neutral_at_atoms(system) + _smooth_at_atoms(_hartree(system, D), system.positions))


def planar_potentials(system: System, D: BlockMatrix) -> tuple[FloatArray, FloatArray, FloatArray]:
    """phi averaged over the planes spanned by the other two vectors, along each cell vector from 0 on, on the
    points of the grid; Hartree per e."""
    smooth = _hartree(system, D)
    profiles = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        mean = np.asarray(smooth.values.mean(axis=others))
        profiles.append(-(mean + _neutral_profile(system, axis, len(mean))))
    return profiles[0], profiles[1], profiles[2]


def _hartree(system: System, D: BlockMatrix) -> GridFunction:
    """V_H[dn] on the grid along the cell vectors."""
    change = system.density(D) - system.neutral_density()
    return GridFunction(hartree_potential(change.values, change.cell), change.cell)


def _smooth_at_atoms(v: GridFunction, positions: FloatArray) -> FloatArray:
    """int g v around every atom: a sum over points is exact for band-limited v and a Gaussian this wide."""
    shape = np.array(v.values.shape)
    steps = v.cell / shape[:, None]
    inverse = np.linalg.inv(steps)
    reach = np.ceil(_REACH * TEST_CHARGE * np.linalg.norm(inverse, axis=0)).astype(int)
    offsets = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in reach), indexing="ij"), axis=-1)
    offsets = offsets.reshape(-1, 3)
    averages = np.empty(len(positions))
    for atom, position in enumerate(positions):
        place = position @ inverse
        nearest = np.round(place)
        square = np.square((offsets + (nearest - place)) @ steps).sum(axis=1)
        weight = np.exp(-square / (2.0 * TEST_CHARGE**2))
        i, j, k = ((nearest.astype(int) + offsets) % shape).T
        averages[atom] = weight @ v.values[i, j, k] / weight.sum()
    return averages


def _neutral_at_atoms(system: System) -> FloatArray:
    """int g V_na of all neutral atoms, one after the other around every atom; no grid."""
    tables = {name: _averaged(system.basis[name].neutral_potential) for name in set(system.symbols)}
    reach = max(table.x[-1] for table in tables.values())
    atoms = Atoms(
        numbers=np.zeros(len(system.symbols)), positions=system.positions, cell=system.cell, pbc=True
    )
    i, j, distance = neighbor_list("ijd", atoms, reach)
    values = np.array([float(tables[name](0.0)) for name in system.symbols])
    names = np.array(system.symbols)[j]
    for name, table in tables.items():
        near = (names == name) & (distance < table.x[-1])
        np.add.at(values, i[near], table(distance[near]))
    return values


def _averaged(function: RadialFunction) -> CubicSpline:
    """int g f around a point at distance d from the centre of f, as a spline of d:

    int_0^inf f(r) (r/d) [exp(-(r-d)^2/2s^2) - exp(-(r+d)^2/2s^2)] / (sqrt(2 pi) s) dr .
    """
    r, f = function.mesh, function.g
    d = np.arange(0.0, function.cutoff + _REACH * TEST_CHARGE, 0.02)[1:, None]
    minus, plus = (np.exp(-((r + sign * d) ** 2) / (2.0 * TEST_CHARGE**2)) for sign in (-1.0, 1.0))
    kernel = (minus - plus) / d
    centre = 2.0 * r / TEST_CHARGE**2 * np.exp(-(r**2) / (2.0 * TEST_CHARGE**2))
    sums = np.vstack([centre, kernel]) @ (r * f) * function.step / (np.sqrt(2.0 * np.pi) * TEST_CHARGE)
    return CubicSpline(np.concatenate(([0.0], d[:, 0])), sums, bc_type="clamped")


def _neutral_profile(system: System, axis: int, n: int) -> FloatArray:
    """V_na averaged over planes, at n points along a cell vector: its waves along that axis alone."""
    reciprocal = 2.0 * np.pi * np.linalg.inv(system.cell).T[axis]
    m = np.arange(n // 2 + 1)
    phases = np.exp(-1j * np.outer(m, system.positions @ reciprocal))
    names = np.array(system.symbols)
    waves = np.zeros(len(m), dtype=complex)
    for name in set(system.symbols):
        f = system.basis[name].neutral_potential
        kr = np.outer(m * np.linalg.norm(reciprocal), f.mesh)
        transform = np.sinc(kr / np.pi) @ (4.0 * np.pi * f.step * f.mesh**2 * f.g)
        waves += transform * phases[:, names == name].sum(axis=1)
    if n % 2 == 0:
        waves[-1] = waves[-1].real
    return np.asarray(np.fft.irfft(waves, n) * n / system.cell_volume)
