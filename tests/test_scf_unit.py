"""Self-consistency and mixing on a mean-field model with a known functional."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from ase.stress import full_3x3_to_voigt_6_stress

from conftest import self_identity, toy_pattern
from mlh.dft.energies import Energies, Forces, Stress
from mlh.matrix.block_matrix import BlockMatrix, Pattern, pattern_index
from mlh.scf.extrapolation import HamiltonianExtrapolation
from mlh.scf.loop import SCFStep, scf
from mlh.scf.mixing import PulayMixer
from mlh.solver import OverlapFactor, residual_energy


@dataclass(frozen=True)
class Evaluation:
    H: BlockMatrix
    energies: Energies


@dataclass(frozen=True)
class MeanField:
    """E[D] = Tr D h + 1/2 U sum_a (n_a - n0)^2 with n_a the orbital occupations D_aa (spin-resolved: also
    -1/2 J m_a^2): H = dE/dD is exact, so that every statement about derivatives can be checked."""

    pattern: Pattern
    h: BlockMatrix
    S: BlockMatrix
    n_electrons: float
    U: float = 0.3
    J: float = 0.0
    nspin: int = 1
    kpts: tuple[int, int, int] = (1, 1, 1)

    # No Coulomb interaction between sites: what screening adds is zero.
    grid_cell = 6.0 * np.eye(3)
    grid_shape = (4, 4, 4)

    @property
    def symbols(self) -> tuple[str, ...]:
        """No element: no default moments."""
        return ("X",) * int(self.pattern.n_atoms)

    @property
    def positions(self) -> np.ndarray:
        return np.zeros((self.pattern.n_atoms, 3))

    def potential_matrix(self, v: np.ndarray) -> BlockMatrix:
        return BlockMatrix.zeros(self.pattern)

    def overlap(self) -> BlockMatrix:
        return self.S

    def harris_hamiltonian(self) -> BlockMatrix:
        return self.h

    def diagonal(self) -> np.ndarray:
        return np.flatnonzero(self_identity(self.pattern).data[0])

    def evaluate(self, D: BlockMatrix) -> Evaluation:
        where = self.diagonal()
        n = D.data[:, where]
        charge = n.sum(axis=0) - 1.0
        moment = n[0] - n[1] if D.nspin == 2 else np.zeros(len(where))
        H = np.repeat(self.h.data, D.nspin, axis=0)
        for spin, sign in zip(range(D.nspin), (1, -1)):
            H[spin, where] += self.U * charge - sign * self.J * moment
        energies = Energies(
            kinetic=D.dot(self.h), hartree=0.5 * self.U * charge @ charge, xc=-0.5 * self.J * moment @ moment
        )
        return Evaluation(BlockMatrix(self.pattern, H), energies)

    def forces(self, D: BlockMatrix, W: BlockMatrix) -> Forces:
        raise NotImplementedError("the model has no positions")

    def forces_and_stress(self, D: BlockMatrix, W: BlockMatrix) -> tuple[Forces, Stress]:
        raise NotImplementedError("the model has no positions")


@pytest.fixture
def model(pattern, random_matrix) -> MeanField:
    levels = pattern_index(pattern)
    on_site = self_identity(pattern)
    ladder = np.linspace(-0.6, 0.8, levels.n_orbitals)[levels.flat // levels.n_orbitals]
    h = random_matrix(pattern, 1, 0.02) + BlockMatrix(pattern, on_site.data * ladder)
    return MeanField(pattern, h, random_matrix(pattern, 2, 0.004, identity=1.0), 8.0)


def test_model_hamiltonian_is_the_derivative_of_its_energy(model, random_matrix):
    D, dD = random_matrix(model.pattern, 3, nspin=2), random_matrix(model.pattern, 4, nspin=2)
    model = replace(model, J=0.2, nspin=2)
    step = 1e-4
    plus, minus = (model.evaluate(D + s * step * dD).energies.total for s in (1, -1))
    assert model.evaluate(D).H.dot(dD) == pytest.approx((plus - minus) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("kpts", [(1, 1, 1), (2, 2, 2)])
def test_scf_converges_to_the_minimum(model, random_matrix, kpts):
    model = replace(model, kpts=kpts)
    steps: list[SCFStep] = []
    result = scf(model, energy_tol=1e-12, residual_tol=1e-9, callback=steps.append)
    assert result.converged and result.n_steps < 25
    assert tuple(steps) == result.history
    assert result.residual < 1e-9
    np.testing.assert_array_equal(result.H.data, model.evaluate(result.D).H.data)
    assert result.D.dot(model.S) == pytest.approx(8.0, abs=1e-10)
    # Variational: density matrices of perturbed Hamiltonians lie above the ground state.
    for seed in range(4):
        shifted = scf(model, H0=result.H + random_matrix(model.pattern, 20 + seed, 0.02), max_steps=1)
        assert shifted.energies.total > result.energies.total


def test_another_start_reaches_the_same_state(model, random_matrix):
    tight = {"energy_tol": 1e-12, "residual_tol": 1e-9}
    a = scf(model, **tight)
    b = scf(model, H0=a.H + random_matrix(model.pattern, 5, 0.01), **tight)
    c = scf(model, D0=0.9 * a.D, **tight)
    for other in (b, c):
        assert other.energies.total == pytest.approx(a.energies.total, abs=1e-11)
        np.testing.assert_allclose(other.D.data, a.D.data, atol=1e-7)
    again = scf(model, H0=a.H, prepared=OverlapFactor.of(model.S), energy_tol=1e-12, residual_tol=1e-8)
    assert again.n_steps == 1 and again.converged


def test_energy_error_estimate_without_screening_is_exact_to_second_order(model, random_matrix):
    """With U -> 0 the estimate is the error; with U > 0 it is an upper bound of the right size."""
    for U, low, high in [(1e-4, 0.99, 1.01), (0.3, 0.05, 1.0)]:
        system = replace(model, U=U)
        ground = scf(system, energy_tol=1e-13, residual_tol=1e-9)
        one_shot = scf(system, H0=ground.H + random_matrix(model.pattern, 6, 0.002), max_steps=1)
        error = one_shot.energies.total - ground.energies.total
        assert error > 0
        assert low < error / one_shot.energy_error < high
        assert one_shot.energy_error == residual_energy(one_shot.solution, one_shot.residual_matrix)


def test_not_converging_is_reported(model):
    result = scf(model, max_steps=2, energy_tol=1e-14, residual_tol=1e-12)
    assert not result.converged
    assert result.n_steps == 2


def test_wrong_arguments(model):
    with pytest.raises(ValueError, match="max_steps"):
        scf(model, max_steps=0)
    with pytest.raises(ValueError, match="at most one"):
        scf(model, D0=model.h, H0=model.h)
    with pytest.raises(ValueError, match="unpolarised"):
        scf(model, H0=BlockMatrix.zeros(model.pattern, 2))


def test_fixed_moment_and_initial_moment_break_the_symmetry():
    """Degenerate p shell with an exchange term: the triplet lies below the unpolarised state."""
    pattern = toy_pattern(20.0, np.zeros((1, 3)), [0])
    unit = self_identity(pattern)
    on_site = BlockMatrix(pattern, unit.data * np.array([[-1.0] * 4 + [0.0] * 12]))
    model = MeanField(pattern, on_site, unit, 4.0, U=0.1, J=0.2, nspin=2)
    triplet = scf(model, total_spin=2)
    assert triplet.converged
    assert triplet.solution.magnetic_moment == pytest.approx(2.0)
    free = scf(model, initial_moments=[2.0])
    assert free.energies.total == pytest.approx(triplet.energies.total, abs=1e-9)
    singlet = scf(model, smearing="fermi-dirac", width=1e-3)
    assert abs(singlet.solution.magnetic_moment) < 1e-8
    assert triplet.energies.total < singlet.energies.total - 0.01


def test_entropy_enters_the_total(model):
    result = scf(model, smearing="fermi-dirac", width=0.05)
    assert result.converged
    assert result.energies.entropy < -1e-3
    assert result.energies.entropy == pytest.approx(result.solution.entropy_energy)
    assert result.energies.total == pytest.approx(result.energies.internal + result.energies.entropy)


def test_pulay_solves_a_linear_problem_in_as_many_steps_as_unknowns():
    rng = np.random.default_rng(0)
    n = 5
    A = rng.normal(size=(n, n)) + 4 * np.eye(n)
    b = rng.normal(size=n)
    mixer = PulayMixer(history=8, damping=0.3, regularisation=1e-14)
    x = np.zeros(n)
    for _ in range(n + 2):
        x = mixer.next(x, b - A @ x)
    np.testing.assert_allclose(x, np.linalg.solve(A, b), atol=1e-6)


def test_pulay_restarts_from_the_best_step_when_it_diverges():
    mixer = PulayMixer(damping=0.4)
    x0 = np.zeros(3)
    mixer.next(x0, np.array([1.0, 0.0, 0.0]))
    after = mixer.next(np.array([5.0, 5.0, 5.0]), np.array([100.0, 0.0, 0.0]))
    np.testing.assert_allclose(after, [0.2, 0.0, 0.0])
    assert mixer.damping == pytest.approx(0.2)
    with pytest.raises(FloatingPointError, match="residual"):
        mixer.next(x0, np.array([np.nan, 0.0, 0.0]))


def test_energies_and_forces_are_named_sums():
    energies = Energies(kinetic=1.0, nonlocal_=2.0, xc=-0.5, entropy=-0.25)
    assert energies.total == pytest.approx(2.25)
    assert energies.internal == pytest.approx(2.5)
    assert "nonlocal" in energies.as_dict() and "nonlocal" in str(energies)
    forces = Forces(kinetic=np.ones((2, 3)), xc=2 * np.ones((2, 3)))
    np.testing.assert_array_equal(forces.total, 3 * np.ones((2, 3)))
    np.testing.assert_array_equal(forces["xc"], 2 * np.ones((2, 3)))
    for bad in ({"a": np.ones((2, 3)), "b": np.ones((3, 3))}, {"a": np.ones((2, 2))}, {}):
        with pytest.raises(ValueError, match=r"common shape \(natoms, 3\)"):
            Forces(**bad)


def test_stress_is_a_named_sum_with_the_conventions_of_ase():
    parts = np.diag([1.0, 2.0, 3.0]), np.array([[0.0, 0.6, 0.5], [0.6, 0.0, 0.4], [0.5, 0.4, 0.0]])
    stress = Stress(kinetic=parts[0], nonlocal_=parts[1])
    np.testing.assert_array_equal(stress["nonlocal"], parts[1])
    np.testing.assert_array_equal(stress.total, parts[0] + parts[1])
    np.testing.assert_array_equal(stress.voigt, full_3x3_to_voigt_6_stress(stress.total))
    assert stress.pressure == -2.0
    assert "nonlocal" in str(stress) and "GPa" in str(stress)
    with pytest.raises(ValueError, match=r"common shape \(3, 3\)"):
        Stress(kinetic=np.ones((2, 3)))


def test_initial_moments_break_the_symmetry_of_an_antiferromagnet():
    """Two equal sites: moments that add up to zero still reach the state below the unpolarised one."""
    pattern = toy_pattern(20.0, np.array([[0.0, 0, 0], [10.0, 0, 0]]), [0, 0])
    unit = self_identity(pattern)
    on_site = BlockMatrix(pattern, unit.data * np.where(np.arange(16 * 2) % 16 == 0, -1.0, 0.0))
    model = MeanField(pattern, on_site, unit, 2.0, U=0.1, J=0.2, nspin=2)
    smeared = {"smearing": "fermi-dirac", "width": 1e-2}
    plain = scf(model, **smeared)
    split = scf(model, initial_moments=[1.0, -1.0], **smeared)
    assert split.converged
    assert split.solution.magnetic_moment == pytest.approx(0.0, abs=1e-6)
    assert split.energies.total < plain.energies.total - 0.01
    for wrong in ([1.0], [1.0, np.nan]):
        with pytest.raises(ValueError, match="initial_moments: expected 2 finite numbers"):
            scf(model, initial_moments=wrong)
    with pytest.raises(ValueError, match="initial_moments: expected None"):
        scf(replace(model, nspin=1), initial_moments=[1.0, -1.0])


def test_advice_is_words_and_only_where_it_is_needed(model):
    fine = scf(model)
    assert fine.converged and fine.advice == ""
    short = scf(model, max_steps=2, energy_tol=1e-14, residual_tol=1e-12)
    assert "more steps" in short.advice and "max_scf_steps" in short.advice
    smeared = scf(model, max_steps=2, smearing="fermi-dirac", width=0.05, residual_tol=1e-12)
    assert "wider smearing" in smeared.advice
    open_shell = replace(model, h=0.0 * model.h, nspin=1, n_electrons=6.0)
    degenerate = scf(open_shell, max_steps=2, residual_tol=1e-12, energy_tol=1e-14)
    assert degenerate.solution.gap < 0.02
    assert "smearing_ev=0.1" in degenerate.advice


def test_extrapolation_is_exact_for_what_is_linear_in_the_positions(pattern, random_matrix):
    n = int(pattern.n_atoms)
    rng = np.random.default_rng(0)
    x0, u, v = (rng.normal(size=(n, 3)) * 0.1 for _ in range(3))
    base, du, dv = (random_matrix(pattern, seed, 0.1) for seed in (30, 31, 32))
    past = HamiltonianExtrapolation(regularisation=1e-12)
    assert past.predict(x0, pattern, 1) is None
    for a, b in [(0.0, 0.0), (1.0, 0.2), (1.5, 1.0)]:
        past.add(x0 + a * u + b * v, base + a * du + b * dv)
    predicted = past.predict(x0 + 2.0 * u + 1.7 * v, pattern, 1)
    np.testing.assert_allclose(predicted.data, (base + 2.0 * du + 1.7 * dv).data, atol=1e-8)
    assert past.predict(x0 + 5.0, pattern, 1) is None, "an atom that was wrapped has no history"
    assert past.predict(x0, pattern, 2) is None
    past.clear()
    past.add(x0, base)
    np.testing.assert_array_equal(past.predict(x0 + 0.1, pattern, 1).data, base.data)
