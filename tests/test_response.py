"""First-order change of D and W along a change of the Hamiltonian, against differences and symmetries."""

from __future__ import annotations

import numpy as np
import pytest

from mlh.solver import Responding, SecondResponding, solve

KPTS = [None, (3, 1, 1), {"size": (2, 2, 2), "gamma": True}]
FILLINGS = [
    pytest.param(1, {}, id="insulator"),
    pytest.param(1, {"smearing": "fermi-dirac", "width": 0.02}, id="fermi-dirac"),
    pytest.param(1, {"smearing": "gaussian", "width": 0.03}, id="gaussian"),
    pytest.param(2, {"smearing": "fermi-dirac", "width": 0.02}, id="free moment"),
    pytest.param(2, {"smearing": "fermi-dirac", "width": 0.02, "spin_moment": 1.0}, id="fixed moment"),
    pytest.param(2, {"spin_moment": 2.0}, id="triplet"),
]


@pytest.fixture
def problem(pattern, random_matrix):
    """H (two spins), S and changes of both."""
    H = random_matrix(pattern, 1, 0.1, identity=0.0) + random_matrix(pattern, 9, 0.05, nspin=2)
    return H, random_matrix(pattern, 2, 0.004, identity=1.0), pattern


@pytest.mark.parametrize("kpts", KPTS)
@pytest.mark.parametrize(("nspin", "filling"), FILLINGS)
def test_response_is_the_derivative(problem, random_matrix, kpts, nspin, filling):
    H, S, pattern = problem
    H = H if nspin == 2 else H.spin(0)
    R, dS = random_matrix(pattern, 5, 0.1, nspin=nspin), random_matrix(pattern, 6, 0.01)
    state = solve(H, S, 6, kpts=kpts, **filling)
    assert isinstance(state, Responding)
    response = state.response(R)
    step = 2e-5

    def difference(matrix):
        one, two = (matrix(n * step).data - matrix(-n * step).data for n in (1, 2))
        return (8 * one - two) / (12 * step)

    dD = difference(lambda t: solve(H + t * R, S, 6, kpts=kpts, **filling).D)
    dW = difference(lambda t: solve(H + t * R, S, 6, kpts=kpts, **filling).W)
    size = np.abs(dD).max()
    assert size > 1e-3
    np.testing.assert_allclose(response.D.data, dD, atol=1e-6 * size)
    np.testing.assert_allclose(response.W.data, dW, atol=1e-6 * size)
    # What moves with the overlap: Tr R dD = -Tr (dW/dH R) dS.
    moved = difference(lambda t: solve(H, S + t * dS, 6, kpts=kpts, **filling).D)
    expected = float(np.sum(R.data * moved))
    assert -response.W.dot(dS) == pytest.approx(expected, abs=1e-7)


def test_response_is_symmetric_and_keeps_the_electrons(problem, random_matrix):
    H, S, pattern = problem
    A, B = random_matrix(pattern, 7, 0.1, nspin=2), random_matrix(pattern, 8, 0.1, nspin=2)
    state = solve(H, S, 6, kpts=(2, 2, 1), smearing="fermi-dirac", width=0.02)
    a, b = state.response(A).D, state.response(B).D
    assert a.dot(B) == pytest.approx(b.dot(A), abs=1e-12)
    assert a.dot(S) == pytest.approx(0.0, abs=1e-12)


def test_equal_levels_have_the_slope_of_the_occupation(pattern, random_matrix):
    """A shift of all levels moves the Fermi level along: nothing changes, however degenerate they are."""
    S = random_matrix(pattern, 2, 0.004, identity=1.0)
    H = 0.3 * S
    state = solve(H, S, 5, smearing="fermi-dirac", width=0.05)
    assert np.abs(state.response(S).D.data).max() < 1e-12
    np.testing.assert_allclose(state.response(S).W.data, state.D.data, atol=1e-12)


@pytest.mark.parametrize("kpts", KPTS)
@pytest.mark.parametrize("nspin", [1, 2])
def test_second_response_is_half_the_slope_of_the_first(problem, random_matrix, kpts, nspin):
    H, S, pattern = problem
    H = H if nspin == 2 else H.spin(0)
    R, filling = random_matrix(pattern, 5, 0.05, nspin=nspin), {} if nspin == 1 else {"spin_moment": 2.0}
    state = solve(H, S, 6, kpts=kpts, **filling)
    assert isinstance(state, SecondResponding)
    second, step = state.second_response(R), 1e-4
    sides = [
        [solve(H + n * t * R, S, 6, kpts=kpts, **filling).response(R) for t in (step, -step)] for n in (1, 2)
    ]
    for name in ("D", "W"):
        one, two = (getattr(plus, name).data - getattr(minus, name).data for plus, minus in sides)
        expected = 0.5 * (8 * one - two) / (12 * step)
        size = np.abs(expected).max()
        assert size > 1e-3
        np.testing.assert_allclose(getattr(second, name).data, expected, atol=2e-7 * size)
    smeared = solve(H, S, 6, kpts=kpts, smearing="fermi-dirac", width=0.02)
    with pytest.raises(ValueError, match="full and empty states"):
        smeared.second_response(R)
