"""Self-consistency of real systems: k points, smearing, spin, symmetries, threads, levels that touch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mlh
from mlh import _core
from mlh.basis.species import Basis
from mlh.common.units import EV
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.scf.loop import SCFResult
from mlh.solver import Smearing
from relaxed_case import TIGHT, RelaxedCase, toy_scf
from toy_system import toy_atoms, toy_basis

EXACT: dict[str, Any] = {"energy_tol": 1e-11, "residual_tol": 1e-9}


@pytest.fixture(scope="module")
def silicon() -> Basis:
    """One s and one p shell: quick."""
    return mlh.load_basis("gth-pbe", orbitals={"Si": "6.0-s1p1"}, elements=["Si"])


def silicon_pair() -> Atoms:
    """Two silicon atoms off their sites in the primitive cell."""
    a = 2.715
    return Atoms(
        "Si2", [[0.05, 0.0, 0.02], [1.45, 1.25, 1.40]], cell=[[0, a, a], [a, 0, a], [a, a, 0]], pbc=True
    )


def aluminium() -> Atoms:
    atoms = bulk("Al", "fcc", 4.05, cubic=True)
    atoms.rattle(0.08, seed=3)
    return atoms


# --- k points ----------------------------------------------------------------------------------------


def test_k_points_of_the_primitive_cell_are_gamma_of_the_supercell(silicon: Basis) -> None:
    atoms = silicon_pair()
    mesh = {"size": (2, 2, 2), "gamma": True}
    small = System(atoms, silicon, cutoff_ry=30.0, kpts=mesh)
    n1, n2, n3 = small.grid_shape
    large = System(atoms.repeat((2, 2, 2)), silicon, cutoff_ry=30.0, grid_shape=(2 * n1, 2 * n2, 2 * n3))
    one, eight = mlh.scf(small, **EXACT), mlh.scf(large, **EXACT)
    assert one.converged and eight.converged
    assert one.energies.total == pytest.approx(eight.energies.total / 8.0, abs=1e-9)
    for name, value in one.energies.as_dict().items():
        assert value == pytest.approx(eight.energies.as_dict()[name] / 8.0, abs=1e-7), name
    forces = one.forces().total
    assert np.abs(forces).max() > 1e-2
    assert np.abs(np.tile(forces, (8, 1)) - eight.forces().total).max() < 1e-7


def test_k_points_of_a_smeared_metal_are_gamma_of_the_supercell() -> None:
    """The entropy is part of the equality; fcc aluminium, one atom, four k points in a row."""
    basis = mlh.load_basis("gth-pbe", orbitals={"Al": "6.0-s1p1"}, elements=["Al"])
    atoms = bulk("Al", "fcc", 4.05)
    small = System(atoms, basis, cutoff_ry=20.0, kpts={"size": (1, 1, 4), "gamma": True})
    n1, n2, n3 = small.grid_shape
    large = System(atoms.repeat((1, 1, 4)), basis, cutoff_ry=20.0, grid_shape=(n1, n2, 4 * n3))
    smeared: dict[str, Any] = {"smearing": "gaussian", "width": 0.5 * EV, **EXACT}
    one, four = mlh.scf(small, **smeared), mlh.scf(large, **smeared)
    assert one.energies.total == pytest.approx(four.energies.total / 4.0, abs=1e-8)
    assert one.energies.entropy < -1e-4
    assert one.energies.entropy == pytest.approx(four.energies.entropy / 4.0, abs=1e-8)


# --- forces ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smearing", ["fermi-dirac", "gaussian"])
def test_forces_of_a_smeared_metal_with_k_points(smearing: Smearing) -> None:
    """The gradient of the free energy, entropy included."""

    def solve(system: System, H0: BlockMatrix | None = None) -> SCFResult:
        result = mlh.scf(system, H0=H0, smearing=smearing, width=0.02, **TIGHT)
        assert result.converged
        return result

    basis = mlh.load_basis("gth-pbe", orbitals={"Al": "6.0-s1p1"}, elements=["Al"])
    case = RelaxedCase(aluminium(), solve, basis=basis, cutoff_ry=20.0, kpts=(2, 2, 2))
    print(f"Al4, 2x2x2, {smearing}: {case}, -TS {case.result.energies.entropy:.4f} Ha")
    assert case.result.energies.entropy < -1e-3
    assert np.abs(case.forces).max() > 1e-3
    assert case.error < 1e-5


def oxygen() -> Atoms:
    return Atoms("O2", [[2.0, 2.1, 1.9], [2.2, 2.4, 3.2]], cell=np.diag([4.6, 4.8, 5.6]), pbc=True)


def test_forces_of_a_molecule_with_a_free_moment() -> None:
    def solve(system: System, H0: BlockMatrix | None = None) -> SCFResult:
        start = None if H0 is not None else [1.0, 1.0]
        result = mlh.scf(system, H0=H0, smearing="fermi-dirac", width=0.01, initial_moments=start, **TIGHT)
        assert result.converged
        return result

    case = RelaxedCase(oxygen(), solve, cutoff_ry=50.0, nspin=2)
    print(f"O2, free moment {case.result.solution.magnetic_moment:.4f}: {case}")
    levels = case.result.solution.fermi_levels
    assert levels[0] == levels[1]
    assert 1.5 < case.result.solution.magnetic_moment < 2.1
    assert case.error < 1e-5


def test_a_state_restarts_from_its_density_matrix(silicon: Basis) -> None:
    system = System(silicon_pair(), silicon, cutoff_ry=30.0, kpts=(2, 2, 2))
    cold = mlh.scf(system)
    again = mlh.scf(system, D0=cold.D)
    assert again.n_steps <= 2 < cold.n_steps
    assert again.energies.total == pytest.approx(cold.energies.total, abs=1e-9)


# --- symmetries and threads --------------------------------------------------------------------------


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = _core.get_num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


def test_converged_results_do_not_depend_on_threads(threads: Callable[[int], None]) -> None:
    """Energies, Hamiltonian, forces and stress after the whole self-consistency."""
    results = []
    for count in (1, 2, 4):
        threads(count)
        result = toy_scf(System(toy_atoms(), toy_basis(), cutoff_ry=40.0))
        forces, stress = result.forces_and_stress()
        results.append((result.n_steps, result.energies, result.H.data, forces.total, stress.total))
    for steps, energies, H, forces, stress in results[1:]:
        assert steps == results[0][0]
        assert energies.total == pytest.approx(results[0][1].total, abs=1e-12)
        assert np.abs(H - results[0][2]).max() < 1e-12
        assert np.abs(forces - results[0][3]).max() < 1e-12
        assert np.abs(stress - results[0][4]).max() < 1e-12


def test_rotating_a_crystal_rotates_its_forces(silicon: Basis) -> None:
    """Cell and atoms together: the grid turns with them, so that only rounding is left."""
    atoms = silicon_pair()
    turned = atoms.copy()
    turned.rotate(37.0, (1.0, 2.0, 0.5), rotate_cell=True)
    R = np.linalg.solve(atoms.cell.array, turned.cell.array)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    a, b = (mlh.scf(System(x, silicon, cutoff_ry=30.0, kpts=(2, 1, 2)), **EXACT) for x in (atoms, turned))
    assert a.energies.total == pytest.approx(b.energies.total, abs=1e-9)
    assert np.abs(a.forces().total @ R - b.forces().total).max() < 1e-8


def test_rotating_spheres_changes_results_only_within_their_error() -> None:
    """The directions of the spheres are fixed in space: the toy oxygen feels the rotation slightly."""
    atoms = toy_atoms()
    turned = atoms.copy()
    turned.rotate(37.0, (1.0, 2.0, 0.5), rotate_cell=True)
    R = np.linalg.solve(atoms.cell.array, turned.cell.array)
    a, b = (toy_scf(System(x, toy_basis(), cutoff_ry=40.0)) for x in (atoms, turned))
    energy = abs(a.energies.total - b.energies.total)
    force = float(np.abs(a.forces().total @ R - b.forces().total).max())
    print(f"toy: rotation changes energy by {energy:.1e} Ha, forces by {force:.1e} Ha/Bohr")
    assert energy < 1e-6
    assert force < 2e-5


def test_permuting_atoms_with_k_points_and_spin(silicon: Basis) -> None:
    atoms = silicon_pair().repeat((2, 1, 1))
    order = np.array([2, 0, 3, 1])
    energies, forces = [], []
    for x in (atoms, atoms[order]):
        system = System(x, silicon, cutoff_ry=30.0, kpts=(1, 2, 2), nspin=2)
        result = mlh.scf(system, smearing="fermi-dirac", width=0.01, **EXACT)
        energies.append(result.energies.total)
        forces.append(result.forces().total)
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
    assert np.abs(forces[0][order] - forces[1]).max() < 1e-8


# --- levels that touch -------------------------------------------------------------------------------


def vacancy() -> Atoms:
    """Neutral vacancy with the full symmetry: two electrons in three equal levels."""
    atoms = bulk("Si", "diamond", 5.43).repeat((2, 2, 2))
    del atoms[0]
    return atoms


def test_a_vacancy_without_smearing_says_what_to_do(silicon: Basis) -> None:
    result = mlh.scf(System(vacancy(), silicon, cutoff_ry=20.0), max_steps=30)
    assert not result.converged
    assert "the gap is only" in result.advice
    assert "smearing_ev=0.1" in result.advice and "spin=True" in result.advice


@pytest.mark.parametrize("smearing", ["fermi-dirac", "gaussian"])
def test_a_vacancy_converges_with_smearing(silicon: Basis, smearing: Smearing) -> None:
    system = System(vacancy(), silicon, cutoff_ry=20.0)
    result = mlh.scf(system, smearing=smearing, width=0.1 * EV)
    assert result.converged and result.n_steps <= 20 and result.advice == ""
    shell = result.solution.occupations[0, 0, 29:32]
    assert np.ptp(shell) < 0.02, "the three levels share their electrons"
    assert 0.1 < shell.min() < shell.max() < 1.0


def test_a_vacancy_converges_with_spin_below_the_unpolarised_state(silicon: Basis) -> None:
    smeared: dict[str, Any] = {"smearing": "fermi-dirac", "width": 0.1 * EV}
    closed = mlh.scf(System(vacancy(), silicon, cutoff_ry=20.0), **smeared)
    system = System(vacancy(), silicon, cutoff_ry=20.0, nspin=2)
    open_shell = mlh.scf(system, initial_moments=[2.0 / 15.0] * 15, **smeared)
    assert open_shell.converged
    assert open_shell.solution.magnetic_moment > 1.0
    assert open_shell.energies.total < closed.energies.total - 1e-3


def test_integer_occupations_of_a_metal_are_called_out() -> None:
    basis = mlh.load_basis("gth-pbe", orbitals={"Al": "6.0-s1p1"}, elements=["Al"])
    result = mlh.scf(
        System(bulk("Al", "fcc", 4.05, cubic=True), basis, cutoff_ry=20.0, kpts=(3, 3, 3)), max_steps=30
    )
    assert result.solution.gap < 0.0
    assert "overlap by" in result.advice and "smearing_ev=0.1" in result.advice
