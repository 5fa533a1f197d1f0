"""Dense solver: eigenstates, occupations, density matrices and their derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from conftest import toy_pattern
from mlh.common.units import KELVIN
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import as_kpoints, monkhorst_pack
from mlh.solver import Dense, Filling, OverlapFactor, occupy, projected_w, residual_energy, solve
from mlh.solver.occupations import filled_bands

KPTS = [None, (3, 1, 1), {"size": (2, 2, 2), "gamma": True}]


@pytest.fixture
def problem(pattern, random_matrix):
    """H and S on one pattern; S is positive definite."""
    return random_matrix(pattern, 1, 0.1, identity=0.0), random_matrix(pattern, 2, 0.004, identity=1.0)


@pytest.mark.parametrize("kpts", KPTS)
def test_eigenvalues_against_scipy(problem, kpts):
    H, S = problem
    solution = solve(H, S, 4, kpts=kpts)
    for k, point in enumerate(solution.kpts.points):
        expected = scipy.linalg.eigh(H.to_dense(point), S.to_dense(point), eigvals_only=True)
        np.testing.assert_allclose(solution.eigenvalues[0, k], expected, atol=1e-11)


@pytest.mark.parametrize("kpts", KPTS)
@pytest.mark.parametrize("nspin", [1, 2])
def test_traces_of_the_density_matrices(problem, random_matrix, kpts, nspin):
    H, S = problem
    if nspin == 2:
        H = H + random_matrix(H.pattern, 9, 0.05, nspin=2)
    solution = solve(H, S, 6, kpts=kpts, spin_moment=2.0 if nspin == 2 else None)
    assert solution.D.dot(S) == pytest.approx(6.0, abs=1e-11)
    assert solution.D.dot(H) == pytest.approx(solution.band_energy, abs=1e-11)
    assert solution.W.dot(S) == pytest.approx(solution.band_energy, abs=1e-11)
    assert solution.D.symmetry_error() < 1e-13
    assert solution.magnetic_moment == pytest.approx(2.0 if nspin == 2 else 0.0)


def test_density_matrix_is_idempotent_at_gamma(problem):
    H, S = problem
    solution = solve(H, S, 6)
    c = solution.coefficients[0][0][:, :3]
    dense, overlap = 2 * c @ c.T, S.to_dense()
    np.testing.assert_allclose(dense @ overlap @ dense, 2 * dense, atol=1e-12)
    expected = BlockMatrix.from_dense_gamma(H.pattern, dense)
    np.testing.assert_allclose(expected.data, solution.D.data, atol=1e-14)


@pytest.mark.parametrize("kpts", KPTS)
@pytest.mark.parametrize(("smearing", "width"), [("none", 0.0), ("fermi-dirac", 0.02), ("gaussian", 0.03)])
def test_free_energy_derivatives(problem, random_matrix, kpts, smearing, width):
    """d(band + entropy) = Tr D dH - Tr W dS: Hellmann-Feynman with a moving overlap."""
    H, S = problem
    dH, dS = random_matrix(H.pattern, 3, 0.1), random_matrix(H.pattern, 4, 0.01)

    def free_energy(t: float) -> float:
        s = solve(H + t * dH, S + t * dS, 6, kpts=kpts, smearing=smearing, width=width)
        return s.band_energy + s.entropy_energy

    at = solve(H, S, 6, kpts=kpts, smearing=smearing, width=width)
    step = 3e-5
    one, two = (free_energy(n * step) - free_energy(-n * step) for n in (1, 2))
    numerical = (8 * one - two) / (12 * step)
    assert at.D.dot(dH) - at.W.dot(dS) == pytest.approx(numerical, abs=2e-8)


@pytest.mark.parametrize("kpts", KPTS)
def test_projected_w_equals_w_at_self_consistency(problem, kpts):
    H, S = problem
    for options in ({}, {"smearing": "fermi-dirac", "width": 0.02}):
        solution = solve(H, S, 6, kpts=kpts, **options)
        np.testing.assert_allclose(projected_w(solution, H).data, solution.W.data, atol=1e-12)


def test_projected_w_of_another_hamiltonian(problem, random_matrix):
    H, S = problem
    other = random_matrix(H.pattern, 11, 0.1)
    solution = solve(H, S, 6)
    c = solution.coefficients[0][0][:, :3]
    D = 2 * c @ c.T
    expected = BlockMatrix.from_dense_gamma(H.pattern, D @ other.to_dense() @ D / 2)
    np.testing.assert_allclose(projected_w(solution, other).data, expected.data, atol=1e-12)


def test_projected_w_keeps_the_states_orthonormal(problem, random_matrix):
    """For E = Tr D F with F fixed and D kept S-orthonormal within its span, dE = -Tr W dS, W = D F D / 2."""
    H, S = problem
    F, dS = random_matrix(H.pattern, 5, 0.1), random_matrix(H.pattern, 6, 0.01)
    solution = solve(H, S, 6)
    c = solution.coefficients[0][0][:, :3]

    def energy(t: float) -> float:
        overlap = c.T @ (S + t * dS).to_dense() @ c
        return 2 * np.trace(np.linalg.solve(overlap, c.T @ F.to_dense() @ c))

    step = 1e-4
    numerical = (energy(step) - energy(-step)) / (2 * step)
    assert -projected_w(solution, F).dot(dS) == pytest.approx(numerical, abs=1e-7)


@pytest.mark.parametrize("kpts", KPTS)
def test_residual_energy_is_second_order_perturbation_theory(problem, random_matrix, kpts):
    """Band energy of H + t R: first order Tr D R, then -t^2 times the estimate."""
    H, S = problem
    R = random_matrix(H.pattern, 8, 0.1)
    solution = solve(H, S, 6, kpts=kpts)
    t = 1e-3
    plus, minus = (solve(H + s * t * R, S, 6, kpts=kpts).band_energy for s in (1, -1))
    curvature = (plus + minus - 2 * solution.band_energy) / t**2
    assert residual_energy(solution, R) > 0
    assert residual_energy(solution, R) == pytest.approx(-0.5 * curvature, rel=1e-3)


def test_a_prepared_overlap_is_reused(problem):
    H, S = problem
    prepared = Dense().prepare(S, (3, 1, 1))
    a, b = prepared.occupied(H, Filling(6)), solve(H, S, 6, kpts=(3, 1, 1))
    np.testing.assert_array_equal(a.D.data, b.D.data)


def test_folding_by_time_reversal_changes_nothing(problem):
    H, S = problem
    from mlh.matrix.kpoints import KPoints

    folded = monkhorst_pack((3, 2, 1))
    k = folded.points
    full = KPoints(np.concatenate([k, -k]), 0.5 * np.concatenate([folded.weights, folded.weights]))
    a, b = solve(H, S, 6, kpts=folded), solve(H, S, 6, kpts=full)
    np.testing.assert_allclose(a.D.data, b.D.data, atol=1e-13)


def test_gamma_mesh_equals_supercell(random_matrix):
    """A Gamma-centred mesh in the small cell is the Gamma point of the supercell (chain of one atom)."""
    cell = 5.0
    small = toy_pattern(cell, np.zeros((1, 3)), [0])
    H, S = random_matrix(small, 1, 0.05), random_matrix(small, 2, 0.004, identity=1.0)
    n = 4
    primitive = solve(H, S, 2, kpts={"size": (n, 1, 1), "gamma": True})
    images: dict[int, list[np.ndarray]] = {}
    for matrix in (H, S):
        blocks = np.zeros((n, 4, n, 4))
        for p in range(small.n_pairs):
            for a in range(n):
                blocks[a, :, (a + small.cell[p][0]) % n, :] += matrix.block(p)
        images.setdefault(0, []).append(blocks.reshape(4 * n, 4 * n))
    expected = scipy.linalg.eigh(*images[0], eigvals_only=True)
    weights = np.round(primitive.kpts.weights * n).astype(int)
    levels = np.repeat(primitive.eigenvalues[0], weights, axis=0).ravel()
    np.testing.assert_allclose(np.sort(levels), expected, atol=1e-12)


def test_monkhorst_pack_against_ase():
    from ase.dft.kpoints import monkhorst_pack as reference

    for size in [(1, 1, 1), (2, 3, 4), (4, 4, 1)]:
        mine = monkhorst_pack(size)
        assert mine.weights.sum() == pytest.approx(1.0)
        both = {tuple(np.round(s * k % 1, 9) % 1) for k in mine.points for s in (1, -1)}
        assert both == {tuple(np.round(k % 1, 9) % 1) for k in reference(size)}
    gamma = as_kpoints({"size": (2, 2, 2), "gamma": True})
    assert (np.abs(gamma.points).sum(axis=1) == 0).any()
    assert as_kpoints(None).gamma_only
    with pytest.raises(ValueError, match="size"):
        monkhorst_pack((0, 1, 1))
    with pytest.raises(ValueError, match="keys"):
        as_kpoints({"grid": (1, 1, 1)})


def test_integer_occupations_gap_and_levels():
    levels = np.array([[[-1.0, -0.5, 0.2, 0.3], [-0.9, -0.4, 0.1, 0.5]]])
    weights = np.array([0.5, 0.5])
    filled = occupy(levels, weights, 4)
    np.testing.assert_array_equal(filled.values[0], [[2, 2, 0, 0], [2, 2, 0, 0]])
    assert filled.fermi_levels[0] == pytest.approx(0.5 * (-0.4 + 0.1))
    assert filled.entropy_energy == 0.0
    with pytest.raises(ValueError, match="even number"):
        occupy(levels, weights, 3)
    with pytest.raises(ValueError, match="n_electrons"):
        occupy(levels, weights, 9)


def test_spin_fixed_moment_and_common_level():
    levels = np.array([[[-1.0, -0.5, -0.4, 0.3]], [[-0.9, -0.3, -0.2, 0.5]]])
    weights = np.ones(1)
    triplet = occupy(levels, weights, 4, spin_moment=2)
    assert triplet.values.sum(axis=(1, 2)).tolist() == [3.0, 1.0]
    assert triplet.fermi_levels[0] == pytest.approx(-0.05)
    assert triplet.fermi_levels[1] == pytest.approx(-0.6)
    common = occupy(levels, weights, 4)
    assert common.values.sum(axis=(1, 2)).tolist() == [3.0, 1.0]
    assert common.fermi_levels[0] == common.fermi_levels[1]
    with pytest.raises(ValueError, match="whole electrons"):
        occupy(levels, weights, 4, spin_moment=1)


@pytest.mark.parametrize("smearing", ["fermi-dirac", "gaussian"])
@pytest.mark.parametrize("nspin", [1, 2])
def test_smearing_counts_electrons_and_entropy_is_consistent(smearing, nspin):
    """Electron count exact, and dF/dN = mu for F = band - TS (the entropy belongs to these occupations)."""
    rng = np.random.default_rng(0)
    levels = np.sort(rng.normal(size=(nspin, 3, 6)), axis=2)
    weights = np.array([0.25, 0.25, 0.5])
    width = 3000 * KELVIN * 20

    def free_energy(n: float) -> tuple[float, float]:
        o = occupy(levels, weights, n, smearing, width)
        np.testing.assert_allclose(np.einsum("skb,k->", o.values, weights), n, rtol=1e-12)
        return np.einsum("skb,skb,k->", o.values, levels, weights) + o.entropy_energy, o.fermi_levels[0]

    step = 1e-3
    numerical = (free_energy(5 + step)[0] - free_energy(5 - step)[0]) / (2 * step)
    assert free_energy(5)[1] == pytest.approx(numerical, abs=1e-6)
    with pytest.raises(ValueError, match="width"):
        occupy(levels, weights, 5, smearing, 0.0)


def test_bad_overlap_is_an_error_in_words(problem, random_matrix):
    H, S = problem
    with pytest.raises(ValueError, match="not positive definite"):
        solve(H, -S, 4)
    single = toy_pattern(30.0, np.array([[0.0, 0, 0], [1.0, 0, 0]]), [1, 1])
    data = np.where(np.diff(single.offset) > 0, 1.0, 0.0)
    nearly = np.where(single.atom_i == single.atom_j, 1.0, 1.0 - 1e-15)
    S_bad = BlockMatrix(single, (data * nearly)[None])
    with pytest.raises(ValueError, match=r"S: .*(ill-conditioned|not positive definite)"):
        OverlapFactor.of(S_bad)


def test_gap_and_homo_lumo_of_a_solution(problem):
    H, S = problem
    solution = solve(H, S, 6)
    e = solution.eigenvalues[0, 0]
    assert (solution.homo, solution.lumo) == (e[2], e[3])
    assert solution.gap == pytest.approx(e[3] - e[2])
    assert solution.fermi_level == pytest.approx(0.5 * (e[2] + e[3]))


@pytest.mark.parametrize("smearing", ["none", "fermi-dirac", "gaussian"])
def test_levels_at_the_gap_do_not_depend_on_the_occupations(problem, smearing):
    """A width of many gaps moves electrons, not levels; half-filled levels are no edges."""
    H, S = problem
    sharp = max((solve(H, S, n) for n in (2, 4, 6)), key=lambda s: s.gap)
    n = round(sharp.D.dot(S))
    assert sharp.gap > 0.0 and not sharp.metallic
    width = 0.0 if smearing == "none" else 3.0 * sharp.gap
    smeared = solve(H, S, n, smearing=smearing, width=width)
    assert (smeared.homo, smeared.lumo) == (sharp.homo, sharp.lumo)
    polarised = solve(BlockMatrix(H.pattern, np.repeat(H.data, 2, axis=0)), S, n)
    assert (polarised.homo, polarised.lumo) == (sharp.homo, sharp.lumo)


def test_a_metal_has_no_gap():
    """Bands that overlap, an odd electron, one spin that is a metal."""
    bands = np.array([[[-1.0, -0.5, 0.2], [-0.9, 0.1, 0.3], [-0.8, 0.25, 0.4]]])
    assert filled_bands(bands, np.array([4.0]), True) is None  # 0.25 above 0.2
    assert filled_bands(bands, np.array([3.0]), True) is None
    assert filled_bands(bands, np.array([2.0]), True).tolist() == [1]
    assert filled_bands(bands, np.array([6.0]), True).tolist() == [3]
    both = np.concatenate([bands, bands + 0.1])
    assert filled_bands(both, np.array([1.3, 0.7]), True).tolist() == [1, 1]
    assert filled_bands(both, np.array([1.5, 1.5]), True) is None
    assert filled_bands(both, np.array([2.0, 1.0]), False) is None
    apart = np.concatenate([bands, bands + 2.0])
    assert filled_bands(apart, np.array([1.0, 0.0]), True).tolist() == [1, 0]


def test_a_smeared_metal_says_so(problem):
    H, S = problem
    solution = solve(H, S, 3, kpts=(2, 2, 2), smearing="fermi-dirac", width=0.01)
    assert solution.metallic and solution.gap == 0.0
    assert solution.homo == solution.lumo == solution.fermi_level
