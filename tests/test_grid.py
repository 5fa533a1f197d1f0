"""The uniform grid, the spheres and the Poisson equation, seen from Python."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from numpy.typing import NDArray
from scipy.special import erf

from mlh import _core
from mlh.basis.species import Basis
from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.grid_function import GridFunction, hartree_potential, hartree_strain
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from toy_system import TRICLINIC, positive_matrix, toy_atoms, toy_basis

FloatArray = NDArray[np.float64]


def fractions(shape: tuple[int, int, int]) -> FloatArray:
    """Fractional coordinates of the grid points, (n1, n2, n3, 3)."""
    return np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), axis=-1)


def noise(shape: tuple[int, int, int], seed: int) -> FloatArray:
    return np.random.default_rng(seed).normal(size=shape)


# --- Poisson -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [(1, 0, 0), (0, 0, 1), (1, -2, 3), (-3, 2, 1)])
def test_hartree_potential_of_a_plane_wave(m: tuple[int, int, int]) -> None:
    """n = cos(G.r) has V = 4 pi n / G^2."""
    shape = (12, 15, 16)
    n = np.cos(2.0 * np.pi * fractions(shape) @ np.array(m) + 0.3)
    G = 2.0 * np.pi * np.linalg.inv(TRICLINIC) @ np.array(m)
    assert np.abs(hartree_potential(n, TRICLINIC) - 4.0 * np.pi * n / (G @ G)).max() < 1e-12


def test_hartree_potential_of_a_constant_is_zero() -> None:
    assert np.abs(hartree_potential(np.full((8, 9, 10), 0.7), TRICLINIC)).max() < 1e-13


@pytest.mark.parametrize("shape", [(8, 9, 10), (7, 9, 11), (8, 8, 8)])
def test_hartree_operator_is_symmetric(shape: tuple[int, int, int]) -> None:
    """(f, V g) = (V f, g), also for the highest waves of even grids: H is the derivative of the energy."""
    f, g = noise(shape, 1), noise(shape, 2)
    left = float(np.vdot(f, hartree_potential(g, TRICLINIC)))
    right = float(np.vdot(hartree_potential(f, TRICLINIC), g))
    assert abs(left) > 1e-3
    assert left == pytest.approx(right, rel=1e-11, abs=1e-11)
    assert float(np.vdot(f, hartree_potential(f, TRICLINIC))) > 0.0


def test_hartree_potential_is_the_real_part_of_a_transform_of_all_waves() -> None:
    """On even skewed grids, where half meshes of real transforms tempt to read N/2 with one sign."""
    shape = (8, 10, 12)
    n = noise(shape, 3)
    m = np.stack(np.meshgrid(*[np.fft.fftfreq(k, 1.0 / k) for k in shape], indexing="ij"), axis=-1)
    square = ((m @ (2.0 * np.pi * np.linalg.inv(TRICLINIC).T)) ** 2).sum(axis=-1)
    square[0, 0, 0] = np.inf
    expected = np.fft.ifftn(4.0 * np.pi / square * np.fft.fftn(n)).real
    assert np.abs(hartree_potential(n, TRICLINIC) - expected).max() < 1e-13 * np.abs(expected).max()


@pytest.mark.parametrize("shape", [(8, 8, 8), (6, 10, 12)])
def test_hartree_potential_prefers_no_axis(shape: tuple[int, int, int]) -> None:
    """Cyclic exchange of the axes, a symmetry of a rhombohedral cell: also of its highest waves."""
    n = noise(shape, 4)
    here = hartree_potential(n, TRICLINIC)
    turned = hartree_potential(np.ascontiguousarray(n.transpose(2, 0, 1)), TRICLINIC[[2, 0, 1]])
    assert np.abs(turned - here.transpose(2, 0, 1)).max() < 1e-13 * np.abs(here).max()
    inverted = hartree_potential(np.roll(n[::-1, ::-1, ::-1], 1, axis=(0, 1, 2)), TRICLINIC)
    assert np.abs(np.roll(inverted[::-1, ::-1, ::-1], 1, axis=(0, 1, 2)) - here).max() < 1e-12


@pytest.mark.parametrize("shape", [(8, 9, 10), (7, 9, 11), (8, 8, 8)])
def test_hartree_strain_of_noise_in_a_skewed_cell(shape: tuple[int, int, int]) -> None:
    """The derivative of the energy by differences, highest waves included."""
    n = noise(shape, 5)

    def energy(eps: FloatArray) -> float:
        cell = TRICLINIC @ (np.eye(3) + eps)
        return 0.5 * float(np.vdot(n, hartree_potential(n, cell))) * abs(float(np.linalg.det(cell))) / n.size

    strain, h = hartree_strain(n, TRICLINIC), 1e-4
    for a, b in ((0, 0), (1, 2), (0, 1)):
        eps = np.zeros((3, 3))
        eps[a, b] += 0.5 * h
        eps[b, a] += 0.5 * h
        assert strain[a, b] == pytest.approx((energy(eps) - energy(-eps)) / (2.0 * h), abs=1e-7)


def test_hartree_energy_of_gaussians() -> None:
    """A pair of opposite Gaussians: E = sqrt(2 a/pi) - erf(sqrt(a/2) d)/d, and the lattice of dipoles."""
    edge, a, d, n = 24.0, 0.8, 2.0, 72
    x = (np.arange(n) / n - 0.5) * edge

    def gaussian(center: float) -> FloatArray:
        fx = np.exp(-a * (x - center) ** 2)
        f = np.exp(-a * x**2)
        return np.asarray((a / np.pi) ** 1.5 * fx[:, None, None] * f[None, :, None] * f[None, None, :])

    dn = gaussian(0.5 * d) - gaussian(-0.5 * d)
    cell = np.eye(3) * edge
    energy = 0.5 * float(np.vdot(dn, hartree_potential(dn, cell))) * (edge / n) ** 3
    isolated = 2.0 * np.sqrt(a / (2.0 * np.pi)) - erf(np.sqrt(a / 2.0) * d) / d
    # Cubic array of dipoles p = d with a conducting surrounding: -2 pi p^2 / 3 V, next order L^-5.
    assert energy == pytest.approx(isolated - 2.0 * np.pi * d**2 / (3.0 * edge**3), abs=1e-5)


# --- GridFunction ------------------------------------------------------------------------------------


def test_grid_function_integrates_and_subtracts() -> None:
    values = 0.5 + np.cos(2.0 * np.pi * fractions((6, 8, 10))[..., 1])
    f = GridFunction(values, TRICLINIC)
    volume = abs(float(np.linalg.det(TRICLINIC)))
    assert f.integral() == pytest.approx(0.5 * volume, rel=1e-13)
    assert (f - GridFunction(np.full((6, 8, 10), 0.5), TRICLINIC)).integral() == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="expected shapes"):
        GridFunction(np.zeros(5), TRICLINIC)
    with pytest.raises(ValueError, match="expected the same cell and grid"):
        f - GridFunction(values, 1.1 * TRICLINIC)
    with pytest.raises(ValueError, match="expected the same cell and grid"):
        f - GridFunction(np.zeros((6, 8, 9)), TRICLINIC)


# --- the core's grid ---------------------------------------------------------------------------------


def test_grid_size_is_openmx_rule() -> None:
    """N = L sqrt(Ecut) / pi for a cubic cell, to the nearest 2-3-5-7-smooth number."""
    assert list(_core.grid_size(np.eye(3) * 20.0, 200.0)) == [90, 90, 90]
    with pytest.raises(ValueError, match="cutoff_ry: expected a positive energy"):
        _core.grid_size(np.eye(3) * 20.0, -1.0)
    with pytest.raises(ValueError, match="cell"):
        _core.grid_size(np.zeros(3), 100.0)


def integral(system: System, uniform: FloatArray, sphere: FloatArray) -> float:
    """Of a function given on grid and spheres."""
    grid = system.grid
    return float(grid.volume_element * np.vdot(grid.weight, uniform) + np.vdot(grid.sphere_weight, sphere))


def test_partition_of_unity_integrates_to_the_number_of_electrons() -> None:
    system = System(toy_atoms(), toy_basis(), cutoff_ry=250.0)
    grid = system.grid
    neutral = grid.neutral()
    assert grid.n_sphere_points == 3 * 2152  # 26 radii up to 2.35 Bohr, fewer directions where w is small
    assert integral(system, grid.neutral_density, neutral.sphere) == pytest.approx(22.0, abs=1e-4)
    D = positive_matrix(system, 1)  # Tr D S = 22 from the two-centre integrals
    n = grid.density(D.data[0])
    assert integral(system, np.reshape(n.uniform, grid.shape), n.sphere) == pytest.approx(22.0, abs=5e-4)
    # The plain grid and the spheres overlap: neither alone is the integral.
    assert np.vdot(grid.sphere_weight, neutral.sphere) > 3.0


def test_products_in_single_precision_are_those_in_double() -> None:
    """Density, matrix and gradient, on packs of two octets in place of one; not bitwise the same."""
    system = System(toy_atoms(), toy_basis(), cutoff_ry=250.0)
    grid = system.grid
    D = [positive_matrix(system, seed).data[0] for seed in (1, 2)]
    n = grid.density(D[0])
    v = grid.exchange_correlation("PBE", [n]).potential[0] + grid.neutral_atoms()

    def off(single: FloatArray, full: FloatArray) -> float:
        return float(np.abs(np.asarray(single) - np.asarray(full)).max() / np.abs(full).max())

    small = grid.density(D[0], single=True)
    errors = [off(small.uniform, n.uniform), off(small.sphere, n.sphere)]
    errors.append(off(grid.matrix(v, single=True), grid.matrix(v)))
    full, single = (grid.orbital_gradient(D, [v, v], 1, one) for one in (False, True))
    errors += [off(single[k], full[k]) for k in (0, 1)]
    errors += [off(single[2][0].uniform, full[2][0].uniform), off(single[2][0].sphere, full[2][0].sphere)]
    print("relative errors in single precision:", errors)
    assert 0.0 < max(errors) < 1e-6
    np.testing.assert_allclose(full[2][0].uniform, grid.density(D[1]).uniform, atol=1e-12)


def test_spheres_and_plain_grid_converge_to_the_same_energy() -> None:
    """Without spheres the grid must be far finer: V_na and XC of a hard atom."""
    basis = toy_basis()
    plain = Basis([replace(s, sphere=None) for s in basis])
    atoms = Atoms("O", positions=[[0.11, 0.23, 0.37]], cell=np.eye(3) * 7.0 * BOHR_ANGSTROM, pbc=True)
    energies = {}
    for name, b, cutoff in (("split", basis, 250.0), ("coarse", plain, 250.0), ("fine", plain, 2000.0)):
        system = System(atoms, b, cutoff_ry=cutoff)
        e = system.energies(positive_matrix(system, 2))
        energies[name] = np.array([e.neutral_atom, e.xc, e.hartree])
    split = np.abs(energies["split"] - energies["fine"])
    coarse = np.abs(energies["coarse"] - energies["fine"])
    print(f"V_na, xc, Hartree against 2000 Ry: split {split}, plain {coarse}")
    assert split.max() < 5e-5
    assert split[1] < coarse[1]


def test_hard_wrong_input_to_the_core_is_named() -> None:
    system = System(toy_atoms(), toy_basis(), cutoff_ry=30.0)
    grid = system.grid
    with pytest.raises(ValueError, match=r"D: expected shape .*got \(3\)"):
        grid.density(np.zeros(3))
    with pytest.raises(TypeError, match="D: expected a C-contiguous array of float64"):
        grid.density(np.zeros(system.pattern.nnz, dtype=np.float32))
    with pytest.raises(ValueError, match="values: expected shape"):
        grid.uniform_potential(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="expected 1 or 2 spin components, got 0"):
        grid.exchange_correlation("PBE", [])


def test_zero_density_matrix_gives_zero_density() -> None:
    system = System(toy_atoms(), toy_basis(), cutoff_ry=30.0)
    e = system.energies(BlockMatrix.zeros(system.pattern))
    assert not system.density(BlockMatrix.zeros(system.pattern)).values.any()
    assert (e.kinetic, e.nonlocal_, e.neutral_atom, e.xc) == (0.0, 0.0, 0.0, 0.0)
    assert e.hartree > 0.0  # of -n_a
