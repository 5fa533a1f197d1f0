"""Irreducible k points: equal to the whole mesh, and forces and stress of the symmetric energy."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mlh
from mlh.basis.families import load_basis
from mlh.common.units import ANGSTROM, HARTREE_EV
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPoints
from mlh.matrix.symmetry import harmonic_rotation
from mlh.solver import projected_w, solve
from mlh.structures import crystal

TIGHT = {"energy_tol": 1e-10, "residual_tol": 1e-7}

CRYSTALS = {
    "zincblende": (bulk("AlP", "zincblende", 5.47), (4, 4, 4), 24),
    "diamond, Monkhorst-Pack": (bulk("Si"), {"size": (4, 4, 4), "gamma": False}, 12),
    "diamond, cubic cell": (bulk("Si", cubic=True), (2, 2, 2), 24),
    "diamond, uneven mesh": (bulk("Si"), (4, 4, 2), 8),
    "hcp": (bulk("Mg"), (4, 4, 3), 24),
    "fluorite with d": (bulk("ZrO2", "fluorite", 5.1), (3, 3, 3), 48),
    "quartz, screw axes": (crystal("alpha-quartz"), (2, 2, 2), 6),
}


def pair(atoms: Atoms, kpts: object, cutoff_ry: float = 100.0) -> list[mlh.System]:
    """The system with the whole mesh and with the irreducible points."""
    basis = load_basis("gth-pbe")
    return [mlh.System(atoms, basis, cutoff_ry, kpts, symmetry=symmetry) for symmetry in (False, True)]


def displaced() -> Atoms:
    """Silicon with one atom moved along (1, 1, 1): -3m, and a force that the symmetry leaves."""
    atoms = bulk("Si")
    atoms.positions[1] += 0.06
    return atoms


@pytest.mark.parametrize("l", range(4))
def test_harmonics_rotate_as_a_representation(l):
    turned = [np.linalg.qr(np.random.default_rng(i).standard_normal((3, 3)))[0] for i in range(2)]
    a, b, ab = (harmonic_rotation(l, Q) for Q in (*turned, turned[0] @ turned[1]))
    np.testing.assert_allclose(a @ a.T, np.eye(2 * l + 1), atol=1e-12)
    np.testing.assert_allclose(a @ b, ab, atol=1e-12)


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("width", [0.0, 0.02])
def test_density_matrices_of_a_symmetric_hamiltonian(name, width):
    """Exact: S and T know no grid. The matrices of the irreducible points are those of the whole mesh."""
    atoms, kpts, order = CRYSTALS[name]
    whole, irreducible = pair(atoms, kpts)
    S, H = whole.overlap(), whole.kinetic()
    assert len(irreducible.kpts.symmetry) == order
    assert len(irreducible.kpts) < len(irreducible.kpts.whole)
    assert irreducible.kpts.symmetry.error(S) < 1e-12
    smearing = {"smearing": "fermi-dirac", "width": width} if width else {}
    if not width and solve(H, S, whole.n_electrons, kpts=whole.kpts).gap < 0.01:
        return  # which of the levels that touch are full is not defined
    a, b = (solve(H, S, whole.n_electrons, kpts=s.kpts, **smearing) for s in (whole, irreducible))
    for first, second in ((a.D, b.D), (a.W, b.W), (projected_w(a, H), projected_w(b, H))):
        assert (first - second).max_abs() < 1e-10
    assert a.band_energy == pytest.approx(b.band_energy, abs=1e-11)
    assert a.fermi_level == pytest.approx(b.fermi_level, abs=1e-11)


@pytest.mark.parametrize("name", ["zincblende", "hcp", "silicon out of place"])
def test_self_consistency_within_the_egg_box(name):
    """1e-5 eV per atom; the grid breaks the symmetry, the symmetric state has no force that it forbids."""
    atoms, kpts, _ = CRYSTALS.get(name, (displaced(), (3, 3, 3), 12))
    smearing = {"smearing": "fermi-dirac", "width": 0.005} if name == "hcp" else {}
    a, b = (mlh.scf(s, **TIGHT, **smearing) for s in pair(atoms, kpts, 200.0 if name == "hcp" else 100.0))
    assert a.converged and b.converged
    assert abs(a.energies.total - b.energies.total) / len(atoms) * HARTREE_EV < 1e-5
    (fa, sa), (fb, sb) = a.forces_and_stress(), b.forces_and_stress()
    np.testing.assert_allclose(fa.total, fb.total, atol=2e-5)
    np.testing.assert_allclose(sa.total, sb.total, atol=2e-5)
    if name != "silicon out of place":
        assert np.abs(fb.total).max() < 1e-12
    np.testing.assert_allclose(b.forces().total, fb.total, atol=1e-14)


def test_force_and_stress_are_derivatives_of_the_symmetric_energy():
    atoms, step = displaced(), 0.003
    shape = mlh.System(atoms, cutoff_ry=80.0).grid_shape

    def state(atoms: Atoms) -> mlh.SCFResult:
        system = mlh.System(atoms, cutoff_ry=80.0, kpts=(2, 2, 2), symmetry=True, grid_shape=shape)
        assert len(system.kpts.symmetry) == 12
        return mlh.scf(system, **TIGHT)

    forces, stress = state(atoms).forces_and_stress()
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * step / np.sqrt(12) * np.array([[-1], [1]])  # the centre stays on the grid
        energies.append(state(moved).energies.total)
    slope = (energies[0] - energies[1]) / (2 * step * ANGSTROM)
    assert -slope == pytest.approx(forces.total[1].sum() / np.sqrt(3), abs=5e-6)
    energies = []
    for sign in (1, -1):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell * (1 + sign * 0.002), scale_atoms=True)
        energies.append(state(scaled).energies.total)
    volume = atoms.get_volume() * ANGSTROM**3
    assert (energies[0] - energies[1]) / 0.004 / volume == pytest.approx(np.trace(stress.total), rel=2e-3)


def test_no_symmetry_no_reduction():
    rattled = bulk("Si", cubic=True)
    rattled.rattle(0.01, seed=1)
    assert not isinstance(mlh.System(rattled, cutoff_ry=60.0, kpts=(2, 2, 2), symmetry=True).kpts, KPoints)
    assert mlh.System(bulk("Si"), cutoff_ry=60.0, symmetry=True).kpts == (1, 1, 1)
    own = KPoints(np.array([[0.1, 0.2, 0.3]]), np.ones(1))
    assert mlh.System(bulk("Si"), cutoff_ry=60.0, kpts=own, symmetry=True).kpts is own
    assert mlh.System(bulk("Si"), cutoff_ry=60.0, kpts=(2, 2, 2)).kpts == (2, 2, 2)


def test_moments_lower_the_symmetry():
    """Up and down on the two atoms of diamond leave 24 of 48 operations."""
    options = {"cutoff_ry": 60.0, "kpts": (2, 2, 2), "nspin": 2, "symmetry": True}
    assert len(mlh.System(bulk("Si"), **options, moments=[1, 1]).kpts.symmetry) == 48
    assert len(mlh.System(bulk("Si"), **options, moments=[1, -1]).kpts.symmetry) == 24


def test_a_start_without_the_symmetry_is_respected():
    system = mlh.System(bulk("Si"), cutoff_ry=60.0, kpts=(2, 2, 2), nspin=2, symmetry=True)
    kept = mlh.scf(system, initial_moments=[1.0, 1.0], max_steps=1)
    assert kept.solution.kpts.symmetry is system.kpts.symmetry
    broken = mlh.scf(system, initial_moments=[1.0, -1.0], max_steps=1)
    assert broken.solution.kpts is system.kpts.whole
    H = system.harris_hamiltonian()
    H0 = BlockMatrix(H.pattern, H.data + 0.1 * H.data * (np.arange(H.data.size) % 7 == 0))
    assert mlh.scf(system, H0=H0.symmetrised(), max_steps=1).solution.kpts is system.kpts.whole


def test_calculators_reduce_by_themselves():
    atoms = bulk("AlP", "zincblende", 5.47)
    found = []
    for symmetry in (True, False):
        atoms.calc = mlh.DFTCalculator(cutoff_ry=100.0, kpts=(3, 3, 3), symmetry=symmetry)
        found.append((atoms.get_potential_energy(), len(atoms.calc.result.solution.kpts)))
    assert found[0][0] == pytest.approx(found[1][0], abs=2e-5)
    assert [n for _, n in found] == [4, 14]
    atoms.calc = mlh.DFTCalculator(cutoff_ry=100.0, kpts=(3, 3, 3))
    atoms.get_potential_energy()
    atoms.positions[1] += [0.02, 0.01, 0.0]  # the next geometry has other symmetry
    atoms.get_potential_energy()
    assert len(atoms.calc.result.solution.kpts) == 14
