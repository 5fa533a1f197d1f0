"""Method "purification" against the dense solver: density matrices, error control, forces, messages."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from conftest import self_identity, toy_pattern
from mlh import DFTCalculator, _core
from mlh.common.units import ANGSTROM, HARTREE_EV
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix, Pattern
from mlh.scf.loop import scf
from mlh.solver import (
    Filling,
    InverseFactor,
    Purification,
    PurificationError,
    residual_energy,
    solve,
)
from mlh.solver.spectrum import gap_bounds, spectral_bounds
from mlh.structures import load_structure
from toy_system import toy_atoms, toy_basis

N_ATOMS = 24


def insulator(nspin: int = 1) -> tuple[BlockMatrix, BlockMatrix, int]:
    """Random blocks in a periodic box of two species with an on-site gap: H, S, number of occupied states."""
    rng = np.random.default_rng(3)
    pattern = toy_pattern(19.0, rng.uniform(0.0, 19.0, (N_ATOMS, 3)), [i % 2 for i in range(N_ATOMS)])
    on_site = self_identity(pattern).data[0] > 0.0
    levels = np.where(np.arange(int(on_site.sum())) % 5 < 2, -0.5, 0.6)
    data = np.repeat(blocks(pattern, 1, 0.04).data, nspin, axis=0)
    data[0, on_site] += levels
    if nspin == 2:
        data[1, on_site] += levels + 0.05
    return BlockMatrix(pattern, data), blocks(pattern, 2, 0.02, 1.0), int((levels < 0).sum())


def blocks(pattern: Pattern, seed: int, size: float, identity: float = 0.0) -> BlockMatrix:
    values = np.random.default_rng(seed).standard_normal((1, pattern.nnz))
    return BlockMatrix(pattern, size * values).symmetrised() + identity * self_identity(pattern)


@pytest.mark.parametrize(("threshold", "tolerance"), [(1e-6, 1e-4), (1e-9, 1e-6)])
def test_density_matrices_against_dense(threshold, tolerance):
    H, S, occupied = insulator()
    dense = solve(H, S, 2 * occupied)
    state = solve(H, S, 2 * occupied, solver=Purification(threshold))
    np.testing.assert_allclose(state.D.data, dense.D.data, atol=tolerance)
    np.testing.assert_allclose(state.W.data, dense.W.data, atol=tolerance)
    assert state.band_energy == pytest.approx(dense.band_energy, abs=tolerance)
    assert state.D.dot(S) == pytest.approx(2 * occupied, abs=tolerance)
    assert abs(state.report.electron_error) < tolerance
    # Bounds of the gap, from the side where they hold.
    assert dense.homo <= state.homo + 1e-6 < state.lumo <= dense.lumo + 1e-6
    assert state.gap > 0.8 * dense.gap
    assert state.homo < state.fermi_level < state.lumo


def test_error_falls_with_the_threshold():
    H, S, occupied = insulator()
    reference = solve(H, S, 2 * occupied).D
    errors = [
        (solve(H, S, 2 * occupied, solver=Purification(t)).D - reference).rms() for t in (1e-4, 1e-5, 1e-6)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2] > 0.0


def test_precision_follows_the_threshold():
    """Single only where truncation leaves out more than rounding does; the two do not mix."""
    _, S, _ = insulator()
    single, double = InverseFactor.of(S, 1e-5), InverseFactor.of(S, 9e-6)
    assert single.G.single and single.delta.single and not double.G.single
    assert single.error == pytest.approx(double.error, rel=1e-3)
    with pytest.raises(ValueError, match="precision of A"):
        single.G.dot(double.G)
    with pytest.raises(ValueError, match="precision of A"):
        _core.sparse_join([single.G.row_part(0, 2), double.G.row_part(1, 2)])


def test_two_spins_with_a_fixed_moment():
    H, S, occupied = insulator(nspin=2)
    n = 2 * occupied
    dense = solve(H, S, n, spin_moment=0.0)
    state = solve(H, S, n, spin_moment=0.0, solver=Purification(1e-8))
    assert state.magnetic_moment == 0.0 and state.nspin == 2
    np.testing.assert_allclose(state.D.data, dense.D.data, atol=1e-5)
    np.testing.assert_allclose(state.W.data, dense.W.data, atol=1e-5)
    with pytest.raises(ValueError, match="needs the moment fixed"):
        solve(H, S, n, solver="purification")


def test_a_factor_is_reused_and_threads_change_nothing(threads):
    H, S, occupied = insulator()
    prepared = Purification(1e-5).prepare(S)
    results = []
    for count in (1, 2, 3):
        threads(count)
        state = prepared.occupied(H, Filling(2 * occupied))
        fresh = solve(H, S, 2 * occupied, solver=Purification(1e-5))
        np.testing.assert_array_equal(state.D.data, fresh.D.data)
        results.append((state.D.data, state.W.data, residual_energy(state, blocks(H.pattern, 7, 1e-3))))
    for D, W, error in results[1:]:
        np.testing.assert_array_equal(D, results[0][0])
        np.testing.assert_array_equal(W, results[0][1])
        assert error == results[0][2]


def test_residual_energy_bounds_the_sum_over_states():
    H, S, occupied = insulator()
    dense = solve(H, S, 2 * occupied)
    state = solve(H, S, 2 * occupied, solver=Purification(1e-6))
    for seed, size in ((5, 1e-3), (6, 1e-7)):
        R = blocks(H.pattern, seed, size)
        exact = residual_energy(dense, R)
        assert 0.99 * exact < residual_energy(state, R) < 1.2 * exact
    assert residual_energy(state, BlockMatrix.zeros(H.pattern)) == 0.0


def test_what_the_method_cannot_do_is_said():
    H, S, occupied = insulator()
    n = 2 * occupied
    state = solve(H, S, n, solver=Purification(1e-4))
    with pytest.raises(AttributeError, match="without eigenstates"):
        _ = state.eigenvalues
    with pytest.raises(ValueError, match="Gamma only"):
        solve(H, S, n, kpts=(2, 1, 1), solver="purification")
    with pytest.raises(ValueError, match="integer occupations"):
        solve(H, S, n, smearing="gaussian", width=0.01, solver="purification")
    with pytest.raises(ValueError, match="even number of electrons"):
        solve(H, S, n + 1, solver="purification")
    with pytest.raises(ValueError, match="threshold: expected"):
        solve(H, S, n, solver=Purification(0.1))
    with pytest.raises(ValueError, match="not positive definite"):
        solve(H, -1.0 * S, n, solver="purification")
    with pytest.raises(ValueError, match="solver: expected one of"):
        solve(H, S, n, solver="magic")
    with pytest.raises(ValueError, match="needs 1 to"):
        solve(H, S, 0, solver="purification")


@pytest.mark.parametrize("threshold", [1e-4, 1e-6])
def test_a_metal_is_refused(threshold):
    H, S, occupied = insulator()
    levels = solve(H, S, 2 * occupied).eigenvalues[0, 0]
    # Filled up to a level within a band.
    closest = int(np.argmin(np.diff(levels[occupied + 1 :]))) + occupied + 2
    assert solve(H, S, 2 * closest).gap < 0.003
    with pytest.raises(PurificationError, match="for insulators"):
        solve(H, S, 2 * closest, solver=Purification(threshold))


def test_bounds_of_a_spectrum():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((60, 60))
    A += A.T
    values = np.linalg.eigvalsh(A)
    low, high = spectral_bounds(lambda x: A @ x, 60)
    assert low <= values[0] + 1e-9 and high >= values[-1] - 1e-9
    assert high - low < 1.1 * (values[-1] - values[0])
    # Nothing known of the gap: the bounds do not show one.
    assert gap_bounds([], -1.0, 2.0) == (2.0, -1.0)


def test_small_cells_fold_the_images():
    """Every orbital meets several images of itself: the folded matrices are those at Gamma."""
    system = System(toy_atoms(), toy_basis(), 60.0)
    S = system.overlap()
    folded = _core.BlockSparse.fold(S.pattern, S.data[0])
    dense = S.to_dense()
    n = len(dense)
    got = np.stack([folded.apply(np.eye(n)[k].copy()) for k in range(n)])
    np.testing.assert_allclose(got, dense, atol=1e-12)


def toy_dimer(shift: float = 0.0) -> Atoms:
    """An insulator of two atoms; the oxygen moved along (0.6, 0, 0.8) by `shift` (Angstrom)."""
    oxygen = np.array([1.5, 0.1, 0.0]) + shift * np.array([0.6, 0.0, 0.8])
    return Atoms("SiO", positions=[[0.0, 0.0, 0.0], oxygen], cell=4.2 * np.eye(3), pbc=True)


def test_scf_and_forces():
    """The same state as the dense solver, and forces that are the derivative of its energy."""
    options = {"energy_tol": 1e-10, "residual_tol": 1e-7}
    pure_options = {**options, "solver": Purification(1e-9)}
    system = System(toy_dimer(), toy_basis(), 60.0)
    dense, pure = scf(system, **options), scf(system, **pure_options)
    assert pure.converged
    assert pure.energies.total == pytest.approx(dense.energies.total, abs=1e-8)
    assert pure.energy_error == pytest.approx(dense.energy_error, abs=1e-9)
    np.testing.assert_allclose(pure.forces().total, dense.forces().total, atol=1e-6)
    h = 0.004
    energies = [scf(System(toy_dimer(x), toy_basis(), 60.0), **pure_options).energies.total for x in (h, -h)]
    along = float(pure.forces().total[1] @ [0.6, 0.0, 0.8])
    assert along == pytest.approx(-(energies[0] - energies[1]) / (2 * h * ANGSTROM), abs=2e-5)
    with pytest.raises(ValueError, match="eigenstates"):
        _ = pure.eigenvalues


def test_scf_with_spin():
    system = System(toy_dimer(), toy_basis(), 60.0, nspin=2)
    options = {"energy_tol": 1e-9, "residual_tol": 1e-6, "total_spin": 0.0, "initial_moments": [1.0, -1.0]}
    dense = scf(system, **options)
    pure = scf(system, solver=Purification(1e-9), **options)
    assert pure.solution.magnetic_moment == 0.0
    assert pure.converged == dense.converged
    assert pure.energies.total == pytest.approx(dense.energies.total, abs=1e-7)


def test_calculator():
    """Forces and energy without eigenvalues in the results; settings that do not go together are errors."""
    results = []
    for solver in ("dense", Purification(1e-9)):
        atoms = toy_dimer()
        atoms.calc = DFTCalculator(toy_basis(), cutoff_ry=60.0, solver=solver)
        results.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.calc.results))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-4)
    assert "eigenvalues" in results[0][2] and "eigenvalues" not in results[1][2]
    with pytest.raises(ValueError, match="Gamma only"):
        DFTCalculator(toy_basis(), kpts=(2, 2, 2), solver="purification")


def test_glass_of_48_atoms():
    """Harris states of a-SiO2 in the production basis: energy, electrons and D within the stated errors."""
    system = System(load_structure("asio2_48_a"), "gth-pbe", cutoff_ry=60.0)
    H, S, n = system.harris_hamiltonian(), system.overlap(), system.n_electrons
    dense, state = solve(H, S, n), solve(H, S, n, solver=Purification(1e-5))
    assert abs(state.band_energy - dense.band_energy) * HARTREE_EV < 1e-5 * 48
    assert abs(state.D.dot(S) - n) < 1e-5 * 48
    assert (state.D - dense.D).max_abs() < 1e-3
    assert 0.5 * dense.gap < state.gap <= dense.gap + 1e-6


@pytest.mark.parametrize("nspin", [1, 2])
@pytest.mark.parametrize("order", ["response", "second_response"])
def test_response_against_dense(nspin: int, order: str) -> None:
    """First and second order of D and W along a small change of H, which truncation must not swallow."""
    H, S, occupied = insulator(nspin)
    filling = {} if nspin == 1 else {"spin_moment": 0.0}
    dense = solve(H, S, 2 * occupied, **filling)
    state = solve(H, S, 2 * occupied, solver=Purification(1e-9), **filling)
    R = BlockMatrix(H.pattern, np.repeat(blocks(H.pattern, 7, 1e-5).data, nspin, axis=0))
    expected, found = getattr(dense, order)(R), getattr(state, order)(R)
    for name in ("D", "W"):
        reference = getattr(expected, name).data
        np.testing.assert_allclose(getattr(found, name).data, reference, atol=1e-5 * np.abs(reference).max())
