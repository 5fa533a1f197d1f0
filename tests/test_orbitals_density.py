"""Orbitals, densities and slices on the uniform grid."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

import mlh
from electronic_helpers import harris_state, silicon
from mlh.analysis.density import density_difference, density_field, electron_density, subtract
from mlh.analysis.orbitals import StateIndex, homo_index, orbitals, select_states
from mlh.analysis.slices import (
    Plane,
    atoms_near,
    axis_average,
    on_plane,
    plane_of_site,
    plane_through,
)
from mlh.analysis.state import ElectronicState
from mlh.common.units import ANGSTROM, BOHR_ANGSTROM
from mlh.dft.grid_function import GridFunction
from toy_system import TRICLINIC, toy_atoms, toy_basis


@pytest.fixture(scope="module")
def water() -> ElectronicState:
    atoms = molecule("H2O", cell=[5.0, 5.5, 5.2], pbc=True)
    atoms.center()
    return harris_state(atoms, cutoff_ry=150.0)


@pytest.fixture(scope="module")
def state() -> ElectronicState:
    return harris_state(silicon(), {"size": (2, 2, 2), "gamma": True})


def every_occupied(state: ElectronicState) -> np.ndarray:
    """sum_k w_k sum_i f_i |psi_i|^2 from the orbitals."""
    total = np.zeros(state.system.grid.shape)
    f = state.solution.occupations[0]
    for k, weight in enumerate(state.kpts.weights):
        filled = [StateIndex(0, k, int(band)) for band in np.flatnonzero(f[k])]
        for orbital in orbitals(state, filled):
            total += weight * orbital.occupation * orbital.density.values
    return total


@pytest.mark.parametrize("name", ["water", "state"])
def test_squares_of_the_orbitals_add_up_to_the_density(name, request):
    chosen = request.getfixturevalue(name)
    density = electron_density(chosen)
    np.testing.assert_allclose(every_occupied(chosen), density.function.values, atol=1e-12)


def test_orbital_against_its_own_sum(water):
    """psi at some points from the radial functions and the harmonics written out here."""
    system, c = water.system, water.solution.coefficients[0][0][:, 3]
    psi = orbitals(water, [StateIndex(0, 0, 3)])[0].real.values
    points = np.random.default_rng(2).integers(0, system.grid.shape, size=(20, 3))
    expected = []
    images = np.array(list(np.ndindex(3, 3, 3))) - 1
    for point in points:
        r = (point / system.grid.shape) @ system.cell
        value, start = 0.0, 0
        for symbol, position in zip(system.symbols, system.positions, strict=True):
            for orbital in system.basis[symbol].orbitals:
                coefficients = c[start : start + 2 * orbital.l + 1]
                for d in r - position - images @ system.cell:
                    distance = float(np.linalg.norm(d))
                    g = float(orbital(distance)) / max(distance, 1e-12) ** orbital.l
                    value += g * float(harmonics(orbital.l, d) @ coefficients)
                start += len(coefficients)
        expected.append(value)
    found = psi[tuple(points.T)]
    sign = np.sign(np.dot(found, expected))
    np.testing.assert_allclose(found, sign * np.array(expected), atol=1e-9)
    assert np.abs(expected).max() > 0.01


def harmonics(l: int, d: np.ndarray) -> np.ndarray:
    """r^l Y_lm in the order of docs/architecture.md."""
    x, y, z = d
    if l == 0:
        return np.sqrt(1.0 / (4.0 * np.pi)) * np.ones(1)
    if l == 1:
        return np.sqrt(3.0 / (4.0 * np.pi)) * d
    table = [(2 * z * z - x * x - y * y) / np.sqrt(12.0), (x * x - y * y) / 2.0, x * y, x * z, y * z]
    return np.sqrt(15.0 / (4.0 * np.pi)) * np.array(table)


def test_orbitals_are_normalised_and_positive_where_largest(water, state):
    for orbital in orbitals(water, select_states(water, "homo-2,homo,lumo")):
        values = orbital.real.values
        assert orbital.imaginary is None
        assert values.flat[np.abs(values).argmax()] > 0
        assert orbital.norm == pytest.approx(1.0, abs=2e-3)
    at_k = orbitals(state, [StateIndex(0, 1, 0)])[0]
    assert at_k.imaginary is not None
    assert at_k.norm == pytest.approx(1.0, abs=1e-3)
    largest = at_k.density.values.argmax()
    assert at_k.imaginary.values.flat[largest] == pytest.approx(0.0, abs=1e-12)


def test_states_by_name(state):
    homo = homo_index(state)
    assert homo == 3

    def bands(names: str, k: int = 0) -> list[int]:
        return [index.band for index in select_states(state, names, k=k)]

    assert bands("homo,lumo, homo-1,LUMO+2") == [2, 3, 4, 6]
    assert bands("7, 0,homo") == [0, 3, 7]
    levels = state.solution.eigenvalues[0, 1]
    inside = np.flatnonzero((levels >= levels[3] - 3.0 / 27.2114) & (levels <= levels[3] + 5.0 / 27.2114))
    assert bands("window:-3..5", k=1) == inside.tolist()
    assert 3 in inside and 1 < len(inside) < 26


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("top", "states: expected homo"),
        ("lumo+99", r"states: expected bands 0 to 25, got \[103\]"),
        ("window:0.1..0.2", "levels between 0.1 and 0.2"),
    ],
)
def test_unknown_states(state, names, message):
    with pytest.raises(ValueError, match=message):
        select_states(state, names)


def test_unknown_spin_or_k_point(state):
    with pytest.raises(ValueError, match="spin, k: expected 0 to 0"):
        select_states(state, "homo", spin=1)


def test_densities_integrate_to_the_electrons(state):
    total, difference = electron_density(state), density_difference(state)
    assert total.electrons == pytest.approx(8.0, abs=1e-10)
    assert total.integral == pytest.approx(8.0, abs=2e-3)
    assert difference.electrons == pytest.approx(0.0, abs=1e-10)
    assert difference.integral == pytest.approx(0.0, abs=2e-3)
    assert 0.3 < difference.absolute_integral < 3.0  # bonds
    np.testing.assert_array_equal(density_field(state, "total").function.values, total.function.values)
    with pytest.raises(ValueError, match="kind: expected 'total', 'spin' or 'difference'"):
        density_field(state, "all")


def test_difference_of_two_calculations(state):
    total = electron_density(state)
    nothing = subtract(total, total.function)
    assert nothing.absolute_integral == 0.0
    other = GridFunction(total.function.values[:-1], total.function.cell)
    with pytest.raises(ValueError, match="other: expected the same cell and the grid"):
        subtract(total, other)
    with pytest.raises(ValueError, match="other: expected the same cell"):
        subtract(total, GridFunction(total.function.values, 1.01 * total.function.cell))


def test_total_density_of_two_spins_is_their_sum():
    """An unpolarised state written with two spins has the same density."""
    one = mlh.System(toy_atoms(), toy_basis(), 60.0)
    two = mlh.System(toy_atoms(), toy_basis(), 60.0, nspin=2)
    H = one.harris_hamiltonian()
    double = mlh.BlockMatrix(two.pattern, np.repeat(H.data, 2, axis=0))
    a = electron_density(ElectronicState.from_hamiltonian(one, H))
    b = electron_density(ElectronicState.from_hamiltonian(two, double, spin_moment=0.0))
    np.testing.assert_allclose(a.function.values, b.function.values, atol=1e-10)


def wave(shape: tuple[int, int, int] = (24, 20, 28)) -> GridFunction:
    """cos(2 pi (x + y)) + sin(2 pi z) in fractions of a triclinic cell."""
    x, y, z = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    return GridFunction(np.cos(2 * np.pi * (x + y)) + np.sin(2 * np.pi * z), TRICLINIC)


def test_plane_has_the_values_of_the_function_beyond_the_cell_too():
    direction = np.array([[1.0, 2.0, -0.5], [0.3, -0.2, 1.0]])
    first = direction[0] / np.linalg.norm(direction[0])
    second = np.cross(np.cross(first, direction[1]), first)
    second /= np.linalg.norm(second)
    plane = Plane(np.array([0.3, -0.4, 0.2]), first, second, np.linspace(-4, 5, 31), np.linspace(-3, 3, 21))
    points = plane.origin + plane.y[:, None, None] * second + plane.x[None, :, None] * first
    u = points * ANGSTROM @ np.linalg.inv(TRICLINIC)
    exact = np.cos(2 * np.pi * (u[..., 0] + u[..., 1])) + np.sin(2 * np.pi * u[..., 2])
    np.testing.assert_allclose(on_plane(wave(), plane), exact, atol=2e-3)


def test_plane_through_atoms_holds_the_atoms():
    atoms = molecule("H2O", cell=[6.0, 6.0, 6.0], pbc=True)
    atoms.wrap()  # the hydrogens come to lie on other sides of the cell
    plane = plane_through(atoms, (1, 2, 0), margin=1.5)
    found = atoms_near(atoms, plane, 0.1)
    assert sorted(atom.index for atom in found) == [0, 1, 2]
    assert max(abs(atom.height) for atom in found) < 1e-9
    one, two = (next(atom for atom in found if atom.index == i) for i in (1, 2))
    assert (one.x, one.y) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert (two.x, two.y) == pytest.approx((atoms.get_distance(1, 2, mic=True), 0.0), abs=1e-9)
    oxygen = next(atom for atom in found if atom.index == 0)
    assert np.hypot(oxygen.x, oxygen.y) == pytest.approx(atoms.get_distance(0, 1, mic=True))


def test_planes_in_words():
    atoms = Atoms("H3", [[0, 0, 0], [1, 0, 0], [2, 0, 0]], cell=[8, 8, 8], pbc=True)
    with pytest.raises(ValueError, match="three atoms that span a plane"):
        plane_through(atoms, (0, 1, 2))
    with pytest.raises(ValueError, match="three different atoms of 0 to 2"):
        plane_through(atoms, (0, 1, 3))
    assert plane_of_site(atoms, [0, 1]) is None
    bent = Atoms("H4", [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0.5, 3, 0]], cell=[8, 8, 8], pbc=True)
    assert plane_of_site(bent, [0, 1]) == (0, 1, 3)


def test_average_along_an_axis():
    heights, values = axis_average(wave(), 2)
    np.testing.assert_allclose(values, np.sin(2 * np.pi * np.arange(28) / 28), atol=1e-12)
    volume = abs(np.linalg.det(TRICLINIC))
    thickness = volume / np.linalg.norm(np.cross(TRICLINIC[0], TRICLINIC[1]))
    assert heights[-1] == pytest.approx(thickness * BOHR_ANGSTROM * 27 / 28)
    with pytest.raises(ValueError, match="axis"):
        axis_average(wave(), 3)
