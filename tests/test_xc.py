"""libxc wrapper: formulas, derivatives, thresholds, shapes, independence of the number of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from mlh._core import evaluate_xc

Array = NDArray[np.float64]


def random_points(n: int, nspin: int, seed: int = 0) -> tuple[Array, Array]:
    """Densities over ten decades with reduced gradients up to about 3, and a consistent sigma."""
    rng = np.random.default_rng(seed)
    density = np.exp(rng.uniform(-12.0, 2.0, (n, nspin)))
    gradient = rng.normal(size=(n, nspin, 3)) * density[:, :, None] ** (4.0 / 3.0)
    pairs = [(0, 0)] if nspin == 1 else [(0, 0), (0, 1), (1, 1)]
    sigma = np.stack([np.sum(gradient[:, a] * gradient[:, b], axis=1) for a, b in pairs], axis=1)
    return density, np.ascontiguousarray(sigma)


def pw92_correlation(n: Array) -> Array:
    """Energy per electron of Perdew and Wang, PRB 45, 13244 (1992), eq. (10), unpolarised."""
    rs = (3.0 / (4.0 * np.pi * n)) ** (1.0 / 3.0)
    a, a1, b = 0.031091, 0.21370, (7.5957, 3.5876, 1.6382, 0.49294)
    series = sum(beta * rs ** ((k + 1) / 2.0) for k, beta in enumerate(b))
    return -2.0 * a * (1.0 + a1 * rs) * np.log1p(1.0 / (2.0 * a * series))


def test_pw92_is_slater_exchange_and_perdew_wang_correlation() -> None:
    n = np.logspace(-6, 2, 50)
    e, v, v_sigma = evaluate_xc("PW92", n[:, None].copy())
    expected = -0.75 * (3.0 / np.pi) ** (1.0 / 3.0) * n ** (4.0 / 3.0) + n * pw92_correlation(n)
    np.testing.assert_allclose(e, expected, rtol=1e-6)
    assert v.shape == (50, 1)
    assert np.all(v_sigma == 0.0)


def test_pbe_enhancement_factor() -> None:
    """F(s) = 1 + kappa - kappa / (1 + mu s^2 / kappa) from the difference of two gradients at fixed density.

    Fully polarised, with one spin: correlation is small there but not zero, so compare exchange through
    the limit of large density, where it dominates.
    """
    n = np.full(3, 1e9)
    s = np.array([0.0, 1.0, 3.0])
    k_fermi = (3.0 * np.pi**2 * n) ** (1.0 / 3.0)
    sigma = (2.0 * k_fermi * s * n) ** 2
    e, _, _ = evaluate_xc("PBE", n[:, None].copy(), sigma[:, None].copy())
    kappa, mu = 0.804, 0.06672455060314922 * np.pi**2 / 3.0
    exchange = -0.75 * (3.0 / np.pi) ** (1.0 / 3.0) * n ** (4.0 / 3.0)
    factor = 1.0 + kappa - kappa / (1.0 + mu * s**2 / kappa)
    np.testing.assert_allclose(e / exchange, factor, rtol=1e-3)


@pytest.mark.parametrize("name", ["PBE", "PW92", "PZ", "PBE-PW92"])
@pytest.mark.parametrize("nspin", [1, 2])
def test_derivatives_are_those_of_the_energy(name: str, nspin: int) -> None:
    density, sigma = random_points(200, nspin)
    _, v_density, v_sigma = evaluate_xc(name, density, sigma)
    for values, derivative in ((density, v_density), (sigma, v_sigma)):
        for column in range(values.shape[1]):
            step = 1e-4 * np.abs(values[:, column])
            energies = []
            for sign in (1.0, -1.0):
                moved = values.copy()
                moved[:, column] += sign * step
                args = (moved, sigma) if values is density else (density, moved)
                energies.append(evaluate_xc(name, *args)[0])
            numeric = (energies[0] - energies[1]) / (2.0 * step)
            scale = np.abs(numeric) + np.abs(evaluate_xc(name, density, sigma)[0]) / np.abs(values[:, column])
            np.testing.assert_array_less(np.abs(numeric - derivative[:, column]), 1e-6 * scale + 1e-300)


@pytest.mark.parametrize("name", ["PBE", "PW92", "PZ"])
def test_equal_spins_give_the_unpolarised_result(name: str) -> None:
    n, sigma = random_points(300, 1)
    e1, v1, s1 = evaluate_xc(name, n, sigma)
    e2, v2, s2 = evaluate_xc(name, np.repeat(n / 2, 2, axis=1), np.repeat(sigma / 4, 3, axis=1))
    np.testing.assert_allclose(e2, e1, rtol=1e-12)
    np.testing.assert_allclose(v2, np.repeat(v1, 2, axis=1), rtol=1e-10)
    # sigma = uu + 2 ud + dd: the derivative along grad n_up = grad n_down = grad n / 2
    np.testing.assert_allclose((s2[:, 0] + s2[:, 1] + s2[:, 2]) / 4, s1[:, 0], rtol=1e-9, atol=1e-300)


def test_pbe_agrees_with_pyscf() -> None:
    libxc = pytest.importorskip("pyscf.dft.libxc")
    density, sigma = random_points(500, 1)
    zero = np.zeros(len(density))
    eps, (v, v_sigma), _, _ = [
        x[:2] if isinstance(x, tuple | list) else x
        for x in libxc.eval_xc("PBE", np.array([density[:, 0], np.sqrt(sigma[:, 0]), zero, zero]), 0, 1)
    ]
    e, v_density, v_s = evaluate_xc("PBE", density, sigma)
    np.testing.assert_allclose(e, density[:, 0] * eps, rtol=1e-10)
    np.testing.assert_allclose(v_density[:, 0], v, rtol=1e-10)
    np.testing.assert_allclose(v_s[:, 0], v_sigma, rtol=1e-8)


def perdew_zunger(n: Array, polarised: bool) -> Array:
    """Energy per electron of Perdew and Zunger, PRB 23, 5048 (1981), table XII: gas without or with spin."""
    rs = (3.0 / (4.0 * np.pi * n)) ** (1.0 / 3.0)
    gamma, b1, b2 = (-0.0843, 1.3981, 0.2611) if polarised else (-0.1423, 1.0529, 0.3334)
    a, b, c, d = (0.01555, -0.0269, 0.0007, -0.0048) if polarised else (0.0311, -0.048, 0.0020, -0.0116)
    dilute = gamma / (1.0 + b1 * np.sqrt(rs) + b2 * rs)
    return np.where(rs >= 1.0, dilute, a * np.log(rs) + b + c * rs * np.log(rs) + d * rs)


def test_pz_is_slater_exchange_and_the_fit_of_perdew_and_zunger() -> None:
    n = np.logspace(-6, 2, 50)
    exchange = -0.75 * (3.0 / np.pi) ** (1.0 / 3.0) * n ** (4.0 / 3.0)
    e, _, _ = evaluate_xc("PZ", n[:, None].copy())
    np.testing.assert_allclose(e, exchange + n * perdew_zunger(n, False), rtol=1e-8)
    e, _, _ = evaluate_xc("PZ", np.stack([n, 1e-20 * n], axis=1))
    np.testing.assert_allclose(e, 2.0 ** (1.0 / 3.0) * exchange + n * perdew_zunger(n, True), rtol=1e-6)


@pytest.mark.parametrize(("name", "theirs"), [("PW92", "lda_x,lda_c_pw"), ("PZ", "lda_x,lda_c_pz")])
@pytest.mark.parametrize("nspin", [1, 2])
def test_local_functionals_agree_with_pyscf(name: str, theirs: str, nspin: int) -> None:
    libxc = pytest.importorskip("pyscf.dft.libxc")
    density, _ = random_points(500, nspin)
    given = density[:, 0] if nspin == 1 else (density[:, 0], density[:, 1])
    eps, derivatives, _, _ = libxc.eval_xc(theirs, given, nspin - 1, 1)
    e, v, _ = evaluate_xc(name, density)
    np.testing.assert_allclose(e, density.sum(axis=1) * eps, rtol=1e-10)
    np.testing.assert_allclose(v, np.reshape(derivatives[0], (500, nspin)), rtol=1e-10)


@pytest.mark.parametrize("nspin", [1, 2])
def test_negligible_and_negative_densities_give_exact_zeros(nspin: int) -> None:
    density = np.repeat(np.array([[0.0], [0.4e-14], [-1e-3], [0.1]]), nspin, axis=1)
    sigma = np.full((4, 1 if nspin == 1 else 3), 1e-3)
    results = evaluate_xc("PBE", density, sigma)
    for result in results:
        assert np.all(result[:3] == 0.0)
        assert np.all(result[3] != 0.0)


def test_a_nan_density_stays_visible() -> None:
    e, _, _ = evaluate_xc("PBE", np.array([[np.nan], [0.1]]), np.zeros((2, 1)))
    assert np.isnan(e[0])
    assert np.isfinite(e[1])


def test_no_points() -> None:
    e, v, s = evaluate_xc("PBE", np.zeros((0, 2)), np.zeros((0, 3)))
    assert (e.shape, v.shape, s.shape) == ((0,), (0, 2), (0, 3))


@pytest.mark.parametrize(
    ("name", "density", "sigma", "message"),
    [
        (
            "B3LYP",
            np.ones((2, 1)),
            np.ones((2, 1)),
            "expected 'PBE', 'PBE-PW92', 'PBE-OpenMX', 'PW92' or 'PZ', got 'B3LYP'",
        ),
        ("PBE", np.ones((2, 3)), np.ones((2, 1)), r"density: expected shape .* got .*\(2, 3\)"),
        ("PBE", np.ones(2), np.ones((2, 1)), r"density: expected shape .* got .*\(2,\)"),
        ("PBE", np.ones((2, 2)), np.ones((2, 1)), r"sigma: expected .*\(2, 3\), got .*\(2, 1\)"),
        ("PBE", np.ones((2, 1)), None, "sigma: expected an array"),
        ("PBE", np.ones((2, 1), np.float32), np.ones((2, 1)), "density: expected .*float64.* got .*float32"),
        ("PBE", np.ones((2, 4))[:, ::2], np.ones((2, 3)), "density: expected a C-contiguous"),
    ],
)
def test_wrong_input_says_name_expected_got(name: str, density: Array, sigma: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_xc(name, density, sigma)


def digest(seed: int = 3) -> str:
    """Digest of the results on points that fill several chunks and a part of one."""
    density, sigma = random_points(1999, 2, seed)
    return hashlib.sha256(b"".join(x.tobytes() for x in evaluate_xc("PBE", density, sigma))).hexdigest()


def test_results_do_not_depend_on_threads_or_chunks() -> None:
    density, sigma = random_points(1999, 2, 3)
    whole = evaluate_xc("PBE", density, sigma)
    parts = [evaluate_xc("PBE", density[a:b].copy(), sigma[a:b].copy()) for a, b in ((0, 777), (777, 1999))]
    for k in range(3):
        np.testing.assert_array_equal(np.concatenate([part[k] for part in parts]), whole[k])
    code = "from test_xc import digest; print(digest())"
    for threads in ("1", "3"):
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        }
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == digest()


@pytest.mark.parametrize("name", ["PW92", "PZ", "PBE", "PBE-PW92"])
def test_an_empty_spin_has_the_potential_that_its_energy_has(name: str) -> None:
    """de/dn of a spin that holds nothing, or nearly so, is the slope of e: finite, and the same from 0 to
    1e-10 of the density. PBE's own slope there is infinite; a floor on each spin made hundreds of Hartree."""
    for n, slope in ((0.3, 0.5), (0.03, 0.05), (1e-3, 3e-3)):
        share = np.array([0.0, 1e-14, 1e-12, 1e-10])

        def point(minority: Array, n: float = n, slope: float = slope) -> tuple[Array, Array]:
            density = np.stack([np.full_like(minority, n), minority], axis=1)
            rows = [np.full_like(minority, slope**2), np.zeros_like(minority), np.zeros_like(minority)]
            return density, np.stack(rows, axis=1)

        _, v, _ = evaluate_xc(name, *point(share * n))
        assert np.abs(v[:, 1]).max() < 1.0
        assert np.ptp(v[:, 1]) < 2e-3, "the exchange of 1e-10 of the density is all that differs"
        low, high = (evaluate_xc(name, *point(np.array([x * n])))[0][0] for x in (1e-10, 1.0e-9))
        middle = evaluate_xc(name, *point(np.array([5e-10 * n])))[1][0, 1]
        assert (high - low) / (9e-10 * n) == pytest.approx(middle, rel=1e-2, abs=1e-3)
