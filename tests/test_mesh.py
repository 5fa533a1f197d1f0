"""The mesh of the uniform grid: what it carries in skewed cells; no result depends on the cell chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.cell import Cell
from numpy.typing import NDArray

import mlh
from mlh.basis.species import Basis
from mlh.dft.mesh import GridMesh, field_mesh, plane_mesh, reduced_axes, reduced_mesh
from mlh.dft.system import System
from mlh.structures import load_structure
from term_derivatives import term_derivative
from toy_system import TRICLINIC, on_pattern_of, positive_matrix, toy_atoms, toy_basis

FloatArray = NDArray[np.float64]


def random_cells(n: int) -> list[FloatArray]:
    """Cells (Bohr) of any shape: skewed, long, flat, of both handednesses."""
    rng = np.random.default_rng(7)
    cells = [rng.normal(size=(3, 3)) * rng.choice([5.0, 12.0, 30.0], size=(3, 1)) for _ in range(3 * n)]
    return [c for c in cells if abs(np.linalg.det(c)) > 500.0][:n]


def shortest(vectors: FloatArray, reach: int) -> float:
    """Length of the shortest lattice vector, by trying."""
    m = np.array([m for m in product(range(-reach, reach + 1), repeat=3) if any(m)])
    return float(np.linalg.norm(m @ vectors, axis=1).min())


def turned(atoms: Atoms, M: list[list[int]]) -> Atoms:
    """The same crystal in another cell of its lattice."""
    other = atoms.copy()
    other.set_cell(np.array(M) @ atoms.cell.array)
    return other


# --- the mesh ----------------------------------------------------------------------------------------


def test_every_cell_gets_a_mesh_that_carries_the_cutoff() -> None:
    """Up to the rounding of the numbers of points, and without more points than an orthogonal cell has."""
    ideal = (np.sqrt(200.0) / np.pi) ** 3
    for cell in random_cells(200):
        mesh = reduced_mesh(cell, 200.0)
        assert abs(round(float(np.linalg.det(np.array(mesh.axes))))) == 1
        assert 0.8 * 200.0 < mesh.effective_cutoff(cell) < 1.3 * 200.0
        assert np.prod(mesh.shape) < 1.3 * ideal * abs(np.linalg.det(cell))
        assert field_mesh(cell, 200.0).effective_cutoff(cell) > 0.8 * 200.0


def test_effective_cutoff_is_half_of_the_shortest_vector_between_equal_waves() -> None:
    for cell in random_cells(20):
        mesh = GridMesh((11, 8, 14))
        K = 2.0 * np.pi * np.array(mesh.shape)[:, None] * np.linalg.inv(cell).T
        assert mesh.effective_cutoff(cell) == pytest.approx(0.25 * shortest(K, 12) ** 2, rel=1e-12)


def test_reduction_ends_at_the_shortest_vectors() -> None:
    for cell in random_cells(50):
        vectors = np.array(reduced_axes(cell, 1e-9)) @ cell
        m = np.array([m for m in product((-1, 0, 1), repeat=3) if sum(map(abs, m)) > 1])
        for d in range(3):
            with_d = m[m[:, d] != 0] @ vectors
            assert np.linalg.norm(with_d, axis=1).min() > np.linalg.norm(vectors[d]) * (1.0 - 1e-8)
        assert np.linalg.det(vectors) == pytest.approx(np.linalg.det(cell), rel=1e-9)


@pytest.mark.parametrize(
    "cell",
    [
        np.diag([9.0, 9.3, 10.2]),
        Cell.fromcellpar([9.2, 9.2, 10.2, 90, 90, 120]).array,
        Cell.fromcellpar([9.2, 9.2, 10.2, 90, 90, 120.4]).array,
        Cell.fromcellpar([7.0, 7.0, 7.0, 60, 60, 60]).array,
        TRICLINIC,
    ],
)
def test_cells_that_are_not_skewed_keep_their_grid(cell: FloatArray) -> None:
    assert reduced_mesh(cell, 200.0) == plane_mesh(cell, 200.0)


# --- results do not depend on the cell ---------------------------------------------------------------


def skewed_toy() -> Atoms:
    """The toy crystal in a cell with angles of 22 to 150 degrees."""
    return turned(toy_atoms(), [[1, 2, 0], [0, 1, 1], [1, 3, 2]])


def test_energy_forces_and_stress_do_not_depend_on_the_cell() -> None:
    """The reduced cell of the skewed one is that of TRICLINIC up to order and signs."""
    here, there = System(toy_atoms(), toy_basis(), 60.0), System(skewed_toy(), toy_basis(), 60.0)
    assert there.mesh.axes != here.mesh.axes
    assert sorted(there.grid_shape) == sorted(here.grid_shape)
    solutions = [mlh.scf(s, max_steps=1, smearing="fermi-dirac", width=0.02) for s in (here, there)]
    a, b = solutions
    assert b.energies.total == pytest.approx(a.energies.total, abs=2e-6)
    np.testing.assert_allclose(b.forces().total, a.forces().total, atol=2e-5)
    np.testing.assert_allclose(b.stress().total, a.stress().total, atol=2e-6)


def test_held_mesh_in_a_skewed_cell_is_smooth_and_has_the_stress() -> None:
    """The derivative at frozen D along a shear that a new reduction would answer with other axes."""
    system = System(skewed_toy(), toy_basis(), 40.0)
    assert not system.mesh.along_cell
    D = positive_matrix(system, 3)
    shear = np.array([[0.0, 0.5, 0.2], [0.5, 0.0, 0.0], [0.2, 0.0, 0.1]])

    def energies(x: float) -> FloatArray:
        atoms = skewed_toy()
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + x * shear), scale_atoms=True)
        moved = System(atoms, system.basis, 40.0, grid_shape=system.mesh)
        e = moved.energies(on_pattern_of(moved, D)).as_dict()
        return np.array([e[term] for term in terms])

    terms, h = ("neutral_atom", "hartree", "xc"), 2e-4
    numeric = (energies(h) - energies(-h)) / (2.0 * h)
    analytic = [np.vdot(term_derivative(system, D, term).strain, shear) for term in terms]
    np.testing.assert_allclose(analytic, numeric, rtol=1e-7, atol=2e-7)


def test_fields_to_look_at_run_along_the_vectors_of_the_cell() -> None:
    """Density on the user's cell, at its own points: the same values as in another cell of the lattice."""
    system = System(skewed_toy(), toy_basis(), 40.0)
    f = system.neutral_density()
    np.testing.assert_array_equal(f.cell, system.cell)
    assert f.integral() == pytest.approx(system.n_electrons, abs=2e-3)
    other = System(toy_atoms(), toy_basis(), 40.0, grid_shape=(8, 8, 8)).neutral_density()
    fixed = System(skewed_toy(), toy_basis(), 40.0, grid_shape=(8, 8, 8)).neutral_density()
    M = np.array([[1, 2, 0], [0, 1, 1], [1, 3, 2]])
    k = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), axis=-1) @ M % 8
    np.testing.assert_allclose(fixed.values, other.values[k[..., 0], k[..., 1], k[..., 2]], atol=1e-12)


def test_potential_matrix_lives_on_the_grid_of_the_integrals() -> None:
    system = System(skewed_toy(), toy_basis(), 60.0)
    ones = system.potential_matrix(np.ones(system.grid_shape))
    assert (ones - system.overlap()).max_abs() < 2e-3


# --- crystals ----------------------------------------------------------------------------------------


def rhombohedral() -> tuple[Basis, list[Atoms]]:
    """Layers of edge-sharing octahedra, with 24 degrees between its vectors."""
    cell = Cell.fromcellpar([7.0, 7.0, 7.0, 24.0, 24.0, 24.0]).array
    atoms = Atoms("AlO2", scaled_positions=[[0, 0, 0], [0.284] * 3, [0.716] * 3], cell=cell, pbc=True)
    atoms.rattle(0.03, seed=3)
    other = [[[1, 0, 0], [-1, 1, 0], [0, -1, 1]], [[1, 0, 0], [0, 1, 0], [-1, -1, 1]]]
    basis = mlh.load_basis("gth-pbe", orbitals={"Al": "6.0-s1p1", "O": "5.0-s1p1"}, elements=["Al", "O"])
    return basis, [atoms, *(turned(atoms, M) for M in other)]


def tetragonal() -> tuple[Basis, list[Atoms]]:
    """Body-centred, with a short axis."""
    a, c = 3.0, 7.4
    cell = 0.5 * np.array([[-a, a, c], [a, -a, c], [a, a, -c]])
    positions = [[0.05, 0, 0], [0, 0, 1.75], [1.5, 0.1, 1.85]]
    atoms = Atoms("SiOH", positions=positions, cell=cell, pbc=True)
    other = [[[1, 0, 0], [1, 1, 0], [0, 0, 1]], [[1, 2, 0], [0, 1, 0], [1, 3, 1]]]
    small = {"Si": "6.0-s1p1", "O": "5.0-s1p1", "H": "5.0-s1"}
    basis = mlh.load_basis("gth-pbe", orbitals=small, elements=["Si", "O", "H"])
    return basis, [atoms, *(turned(atoms, M) for M in other)]


@pytest.mark.parametrize("make", [rhombohedral, tetragonal])
def test_cells_of_one_crystal_agree(make: Callable[[], tuple[Basis, list[Atoms]]]) -> None:
    """Within 1 meV per atom and 20 meV/A at 200 Ry."""
    basis, cells = make()
    energies, forces = [], []
    for atoms in cells:
        atoms.calc = mlh.DFTCalculator(basis, smearing_ev=0.2)
        energies.append(atoms.get_potential_energy() / len(atoms))
        forces.append(atoms.get_forces())
    print(np.ptp(energies) * 1e3, np.ptp(forces, axis=0).max() * 1e3)
    assert np.ptp(energies) < 1e-3
    assert np.ptp(forces, axis=0).max() < 20e-3


def test_primitive_and_reduced_cell_of_gallium_oxide() -> None:
    """The monoclinic C cell of issue 16: 28 degrees; effective cutoff 49 of 200 Ry before. Harris states."""
    reduced = Atoms(
        "Ga4O6",
        cell=[[3.04, 0, 0], [0, 5.8, 0], [-1.52, -1.4586320930930223, 5.9384861216474238]],
        scaled_positions=[
            [0.0905, 0.7946, 0.1810],
            [0.9095, 0.2054, 0.8190],
            [0.3414, 0.6859, 0.6828],
            [0.6586, 0.3141, 0.3172],
            [0.1645, 0.1098, 0.3290],
            [0.8355, 0.8902, 0.6710],
            [0.1733, 0.5632, 0.3466],
            [0.8267, 0.4368, 0.6534],
            [0.4959, 0.2563, 0.9918],
            [0.5041, 0.7437, 0.0082],
        ],
        pbc=True,
    )
    primitive = turned(reduced, [[0, 0, 1], [1, 0, 1], [0, 1, 0]])
    assert primitive.cell.angles().min() == pytest.approx(27.9, abs=0.05)
    states = [mlh.scf(System(a), max_steps=1) for a in (reduced, primitive)]
    a, b = states
    assert b.energies.total == pytest.approx(a.energies.total, abs=10 * 1e-3 / 27.2114)
    np.testing.assert_allclose(b.forces().total, a.forces().total, atol=20e-3 / 51.422)


def test_prediction_does_not_depend_on_the_cell() -> None:
    """The shipped model in quartz: 1.25 eV off in a cell of 30 degrees before."""
    quartz = load_structure("alpha-quartz")
    quartz.rattle(0.03, seed=1)
    cells = [quartz, turned(quartz, [[1, 0, 0], [2, 1, 0], [0, 1, 1]])]
    for atoms in cells:
        atoms.calc = mlh.MLHCalculator("sio2-vo")
    energies = [atoms.get_potential_energy() for atoms in cells]
    assert energies[1] == pytest.approx(energies[0], abs=1e-4)
    np.testing.assert_allclose(cells[1].get_forces(), cells[0].get_forces(), atol=2e-3)


# --- words -------------------------------------------------------------------------------------------


def test_a_coarse_mesh_of_ones_own_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="mlh.dft"):
        system = System(skewed_toy(), toy_basis(), 61.0, grid_shape=(9, 9, 9))
        System(skewed_toy(), toy_basis(), 61.0, grid_shape=(9, 9, 9))
        System(skewed_toy(), toy_basis(), 61.0)
    (message,) = [m for m in map(logging.LogRecord.getMessage, caplog.records) if "effective" in m]
    assert f"effective cutoff in this cell is {system.effective_cutoff_ry:.0f} Ry" in message


def test_held_grid_of_a_skewed_cell_is_a_mesh() -> None:
    calculator = mlh.DFTCalculator(toy_basis(), cutoff_ry=40.0)
    held = calculator.hold_grid(skewed_toy())
    assert isinstance(held, GridMesh)
    assert held == System(skewed_toy(), toy_basis(), 40.0).mesh
    assert held.describe() == {"points": list(held.shape), "axes": [list(row) for row in held.axes]}
    straight = mlh.DFTCalculator(toy_basis(), cutoff_ry=40.0)
    assert straight.hold_grid(toy_atoms()) == tuple(plane_mesh(TRICLINIC, 40.0).shape)
