"""Electrostatic potentials at atoms and along axes: against direct sums, on other grids, in other cells."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from numpy.typing import NDArray

from mlh.calculators import DFTCalculator
from mlh.common.units import HARTREE_EV
from mlh.dft.potentials import TEST_CHARGE, planar_potentials, site_potentials
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.scf.loop import scf
from mlh.structures.crystals import crystal

FloatArray = NDArray[np.float64]


def state(atoms: Atoms, cutoff_ry: float) -> tuple[System, BlockMatrix]:
    system = System(atoms, cutoff_ry=cutoff_ry)
    return system, scf(system).D


def skewed() -> Atoms:
    return Atoms(
        "SiO",
        positions=[[0.3, 0.2, 0.1], [1.6, 0.9, 0.8]],
        cell=[[4.2, 0.3, 0.0], [0.2, 4.4, 0.5], [-0.4, 0.1, 4.6]],
        pbc=True,
    )


@pytest.fixture(scope="module")
def oxide() -> tuple[System, BlockMatrix]:
    return state(skewed(), 200.0)


def waves_of_deformation(system: System, D: BlockMatrix) -> tuple[FloatArray, NDArray[np.complex128]]:
    """G and 4 pi dn(G)/G^2, G = 0 left out."""
    change = system.density(D) - system.neutral_density()
    spectrum = np.fft.fftn(change.values) / change.values.size
    index = np.stack(np.meshgrid(*(np.fft.fftfreq(n, 1.0 / n) for n in spectrum.shape), indexing="ij"), -1)
    G = index.reshape(-1, 3) @ (2.0 * np.pi * np.linalg.inv(change.cell).T)
    square = np.square(G).sum(axis=1)
    return G[1:], 4.0 * np.pi * spectrum.ravel()[1:] / square[1:]


def test_site_potentials_are_gaussian_averages(oxide: tuple[System, BlockMatrix]) -> None:
    """V_H by a sum over waves, V_na by a fine mesh of its own around an atom."""
    system, D = oxide
    G, v = waves_of_deformation(system, D)
    damping = np.exp(-0.5 * TEST_CHARGE**2 * np.square(G).sum(axis=1))
    axis = 0.06 * np.arange(-50, 51)
    mesh = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    weight = np.exp(-np.square(mesh).sum(axis=1) / (2.0 * TEST_CHARGE**2))
    weight /= weight.sum()
    images = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3) @ system.cell
    for atom, value in enumerate(site_potentials(system, D)):
        here = system.positions[atom]
        smooth = float(np.real(np.sum(v * damping * np.exp(1j * G @ here))))
        atomic = 0.0
        for name, position in zip(system.symbols, system.positions, strict=True):
            f = system.basis[name].neutral_potential
            for image in images:
                if np.linalg.norm(position + image - here) < f.cutoff + 5.0:
                    r = np.linalg.norm(mesh + here - position - image, axis=1)
                    atomic += float(weight @ np.where(r < f.cutoff, f.spline(np.minimum(r, f.cutoff)), 0.0))
        assert value == pytest.approx(-(smooth + atomic), abs=2e-6)


def test_planar_potentials_are_sums_of_waves_along_the_axis(oxide: tuple[System, BlockMatrix]) -> None:
    """At each cell vector; the mean over an axis is the mean of V_na."""
    system, D = oxide
    mean = -sum(
        4.0 * np.pi * f.step * float(np.sum(f.mesh**2 * f.g))
        for f in (system.basis[name].neutral_potential for name in system.symbols)
    )
    profiles = planar_potentials(system, D)
    for profile in profiles:
        assert profile.mean() == pytest.approx(mean / system.cell_volume, abs=1e-10)
    # The planes of (x, y, z) averaged over all points: V_na on the grid, where its core is smooth enough.
    v = system.discretisation.grid.neutral_potential.mean(axis=(0, 1))
    change = system.density(D) - system.neutral_density()
    hartree = (
        np.fft.ifftn(
            np.concatenate(([0.0], waves_of_deformation(system, D)[1])).reshape(change.values.shape)
        ).real
        * change.values.size
    )
    assert profiles[2] == pytest.approx(-(v + hartree.mean(axis=(0, 1))), abs=2e-3)
    for axis, profile in enumerate(profiles):
        assert len(profile) == change.values.shape[axis]


def test_other_grids_and_cells_give_the_same_differences() -> None:
    """Self-consistent on other grids, shifted against the grid, and twice the cell: within 1 meV."""
    quartz = crystal("alpha-quartz")
    moved = quartz.copy()
    moved.positions[0] += (0.1, 0.05, 0.0)
    reference = site_potentials(*state(moved, 200.0)) * HARTREE_EV
    assert np.ptp(reference[:3]) > 0.05
    assert site_potentials(*state(moved, 300.0)) * HARTREE_EV == pytest.approx(reference, abs=1e-3)
    shifted = moved.copy()
    shifted.positions += (0.05, 0.03, 0.07)
    assert site_potentials(*state(shifted, 200.0)) * HARTREE_EV == pytest.approx(reference, abs=1e-3)


def test_calculators_give_them_in_volt() -> None:
    atoms = skewed()
    atoms.calc = DFTCalculator(cutoff_ry=200.0)
    atoms.get_potential_energy()
    result = atoms.calc.result
    expected = site_potentials(result.system, result.D) * HARTREE_EV
    np.testing.assert_allclose(atoms.calc.site_potentials(), expected, atol=1e-12)
    profiles = atoms.calc.planar_potentials()
    assert [len(p) for p in profiles] == list(result.system.grid.shape)
