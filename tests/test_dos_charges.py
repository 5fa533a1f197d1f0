"""Density of states and Mulliken charges: sum rules, symmetry, spin."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from scipy.integrate import trapezoid

import mlh
from electronic_helpers import harris_state, silicon, two_center_state
from mlh.analysis.density import spin_density
from mlh.analysis.dos import density_of_states, describe_dos
from mlh.analysis.mulliken import (
    atom_shares,
    mulliken_charges,
    orbital_labels,
    orbital_populations,
    orbital_shares,
    participation,
)
from mlh.analysis.state import ElectronicState
from mlh.matrix.kpoints import KPoints
from mlh.structures import crystal


@pytest.fixture(scope="module")
def state() -> ElectronicState:
    return harris_state(silicon(), {"size": (2, 2, 2), "gamma": True})


@pytest.fixture(scope="module")
def atom() -> ElectronicState:
    """A nitrogen atom with three unpaired electrons."""
    calculator = mlh.DFTCalculator("gth-pbe", cutoff_ry=60.0, spin=True, total_moment=3.0, xc="PW92")
    atoms = Atoms("N", cell=[5.0, 5.2, 5.4], pbc=True)
    atoms.calc = calculator
    atoms.get_potential_energy()
    return ElectronicState.from_calculator(calculator)


def test_dos_integrates_to_the_states_and_below_the_fermi_level_to_the_electrons(state):
    dos = density_of_states(state, width=0.1)
    assert dos.integral() == pytest.approx(2.0 * state.system.n_orbitals, abs=1e-4)
    assert dos.electrons == pytest.approx(8.0, abs=1e-4)
    below = dos.energies < dos.edges.fermi_level
    assert trapezoid(dos.total[0, below], dos.energies[below]) == pytest.approx(8.0, abs=1e-2)


def test_parts_add_up_to_the_total(state):
    dos = density_of_states(state, width=0.2)
    assert list(dos.parts) == ["Si s", "Si p", "Si d"]
    np.testing.assert_allclose(sum(dos.parts.values()), dos.total, atol=1e-10)
    # s orbitals: two zetas on two atoms, each a state for two electrons.
    integrals = {name: trapezoid(part[0], dos.energies) for name, part in dos.parts.items()}
    assert integrals == pytest.approx({"Si s": 8.0, "Si p": 24.0, "Si d": 20.0}, abs=1e-4)


def test_window_is_relative_to_the_valence_top(state):
    dos = density_of_states(state, width=0.1, window=(-2.0, 0.5), n_points=26)
    np.testing.assert_allclose(dos.energies - dos.edges.reference, np.linspace(-2.0, 0.5, 26), atol=1e-9)
    full = density_of_states(state, width=0.1)
    again = np.interp(dos.energies, full.energies, full.total[0])
    np.testing.assert_allclose(dos.total[0], again, atol=0.02 * full.total.max())
    plain = describe_dos(dos)
    assert plain["energies_ev"][0] == pytest.approx(-2.0)


@pytest.mark.parametrize("settings", [{"width": 0.0}, {"window": (1.0, -1.0)}, {"n_points": 1}])
def test_dos_refuses_bad_settings(state, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        density_of_states(state, **settings)


def test_a_denser_mesh_has_the_same_electrons(state):
    dense = state.at({"size": (3, 3, 3), "gamma": True})
    assert len(dense.kpts) > len(state.kpts)
    assert density_of_states(dense, 0.1).electrons == pytest.approx(8.0, abs=1e-4)


def test_shares_of_every_state_add_up_to_one(state):
    between = state.at(KPoints(np.array([[0.2, -0.1, 0.3]]), np.ones(1)))
    assert np.iscomplexobj(between.solution.coefficients[0][0])
    shares = orbital_shares(between, 0, 0)
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-12)
    by_atom = atom_shares(state, 0, 0)
    assert by_atom.shape == (2, 26)
    np.testing.assert_allclose(by_atom.sum(axis=0), 1.0, atol=1e-12)


def test_populations_are_those_of_the_shares_and_of_the_dense_product(state):
    q = orbital_populations(state.solution.D, state.system.overlap())
    f, weights = state.solution.occupations[0], state.solution.kpts.weights
    from_states = sum(w * orbital_shares(state, 0, k) @ f[k] for k, w in enumerate(weights))
    np.testing.assert_allclose(q[0], from_states, atol=1e-12)
    gamma = two_center_state(silicon())
    c, occupied = gamma.solution.coefficients[0][0], gamma.solution.occupations[0, 0]
    direct = np.diag((c * occupied) @ c.T @ gamma.overlap_at(0))
    assert orbital_populations(gamma.solution.D, gamma.system.overlap())[0] == pytest.approx(
        direct, abs=1e-12
    )


def test_labels_follow_the_orbitals():
    labels = orbital_labels(mlh.System(crystal("alpha-quartz"), "gth-pbe", 40.0))
    assert np.bincount(labels.atom).tolist() == [13] * 9
    assert labels.l[:13].tolist() == [0, 0, *[1] * 6, *[2] * 5]


def test_charges_of_quartz():
    result = mulliken_charges(harris_state(crystal("alpha-quartz"), cutoff_ry=50.0))
    assert result.n_electrons == pytest.approx(48.0, abs=1e-9)
    assert result.charges.sum() == pytest.approx(0.0, abs=1e-9)
    silicon_charge, oxygen_charge = result.charges[:3], result.charges[3:]
    assert (silicon_charge > 0.3).all() and (oxygen_charge < -0.15).all()
    # Symmetry makes all atoms of one element equal; the grid breaks it a little.
    assert np.ptp(silicon_charge) < 5e-3 and np.ptp(oxygen_charge) < 5e-3
    assert not result.moments.any()


def test_moments_of_a_nitrogen_atom(atom):
    result = mulliken_charges(atom)
    assert result.moments == pytest.approx([3.0], abs=1e-10)
    assert result.charges == pytest.approx([0.0], abs=1e-10)
    # s2 p3: the p shell holds all of the moment.
    np.testing.assert_allclose(result.by_l[:, 0, :2], [[1.0, 3.0], [1.0, 0.0]], atol=1e-6)
    field = spin_density(atom)
    assert field.electrons == pytest.approx(3.0, abs=1e-10)
    assert field.integral == pytest.approx(3.0, abs=0.02)
    dos = density_of_states(atom, 0.1)
    assert dos.total.shape[0] == 2
    assert dos.integral() == pytest.approx(2.0 * 13, abs=1e-3)
    assert dos.electrons == pytest.approx(5.0, abs=1e-3)


def test_spin_density_needs_spin(state):
    with pytest.raises(ValueError, match="two spin components"):
        spin_density(state)


def test_participation_ratio():
    shares = np.array([[1.0, 0.25, 2.0], [0.0, 0.25, 2.0], [0.0, 0.25, 0.0], [0.0, 0.25, 0.0]])
    np.testing.assert_allclose(participation(shares), [1.0, 0.25, 0.5])
