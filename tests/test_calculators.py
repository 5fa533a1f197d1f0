"""ASE calculators on small cells: forces, restarts, spin, models, boxes, errors."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculatorSetupError, SCFError
from ase.md.verlet import VelocityVerlet
from ase.units import fs

import mlh
from mlh.basis.families import load_basis
from mlh.basis.species import Basis
from mlh.calculators import DFTCalculator, MLHCalculator
from mlh.common.units import HARTREE_EV
from mlh.dft.system import System
from mlh.dft.theory import Theory
from mlh.dft.vacuum import EXTRA_GAP
from mlh.matrix.block_matrix import BlockMatrix
from mlh.model.committee import Committee
from mlh.model.domain import OutOfDomainWarning
from toy_system import toy_basis

CUTOFF = 100.0  # Ry: coarse, so that the tests are quick; derivatives are exact at any cutoff
TIGHT = {"cutoff_ry": CUTOFF, "energy_tol_ev": 1e-7, "residual_tol_ev": 1e-5}


@pytest.fixture(scope="module")
def basis() -> Basis:
    return load_basis("gth-pbe", elements=["H", "O", "Si"])


@pytest.fixture
def water() -> Atoms:
    """Periodic water molecule in a small box, off any symmetric position."""
    atoms = molecule("H2O")
    atoms.set_cell([5.0, 5.5, 5.2])
    atoms.pbc = True
    atoms.positions += [1.31, 2.17, 2.73]
    atoms.rattle(0.03, seed=1)
    return atoms


@dataclass(frozen=True)
class ExactModel:
    """Predicts the dH of a converged calculation, plus an error of a given size."""

    basis: Basis
    cutoff_ry: float = CUTOFF
    xc: str = "PBE"
    error: float = 0.0
    seed: int = 0

    def predict(self, system: System) -> BlockMatrix:
        result = mlh.scf(system, energy_tol=1e-10, residual_tol=1e-7)
        noise = np.random.default_rng(self.seed).normal(size=result.H.data.shape)
        error = BlockMatrix(system.pattern, self.error * noise).symmetrised()
        return result.H - system.harris_hamiltonian() + error


def test_dft_forces_are_the_gradient_of_the_energy(water, basis):
    water.calc = DFTCalculator(basis, **TIGHT)
    forces = water.get_forces()
    h = 1e-3  # Angstrom; differences over h and 2 h are extrapolated to h = 0
    for atom, axis in [(0, 1), (1, 2)]:
        differences = []
        for step in (h, 2 * h):
            energies = []
            for sign in (1, -1):
                moved = water.copy()
                moved.calc = DFTCalculator(basis, **TIGHT)
                moved.positions[atom, axis] += sign * step
                energies.append(moved.get_potential_energy(force_consistent=True))
            differences.append((energies[0] - energies[1]) / (2 * step))
        numerical = -(4 * differences[0] - differences[1]) / 3
        assert forces[atom, axis] == pytest.approx(numerical, abs=1e-4)


def test_results_and_units(water, basis):
    calc = DFTCalculator(basis, cutoff_ry=CUTOFF)
    water.calc = calc
    energy = water.get_potential_energy()
    assert "forces" not in calc.results
    state = calc.result
    water.get_forces()
    assert calc.result is state, "the forces must reuse the converged state"
    assert energy == pytest.approx(state.energies.total * HARTREE_EV)
    assert calc.results["free_energy"] == pytest.approx(energy)
    assert calc.results["eigenvalues"].shape == (1, 1, calc.system.n_orbitals)
    assert calc.results["residual"] < calc.residual_tol_ev
    assert 5.0 < state.solution.gap * HARTREE_EV < 10.0
    homo, lumo = state.solution.homo, state.solution.lumo
    assert homo * HARTREE_EV < calc.results["fermi_level"] < lumo * HARTREE_EV


def test_a_trajectory_restarts_from_the_last_step(water, basis):
    steps: list[int] = []
    calc = DFTCalculator(basis, cutoff_ry=CUTOFF, on_scf_step=lambda s: steps.append(s.step))
    water.calc = calc
    water.get_potential_energy()
    first = len(steps)
    water.positions[1] += [0.01, 0.0, -0.01]
    warm = water.get_potential_energy()
    second = len(steps) - first
    fresh = water.copy()
    fresh.calc = DFTCalculator(basis, cutoff_ry=CUTOFF)
    assert second < first
    assert warm == pytest.approx(fresh.get_potential_energy(), abs=2e-5)


def test_molecular_dynamics_conserves_the_energy():
    """Velocity Verlet with the forces of the free energy: what the atoms gain, the electrons lose."""
    atoms = Atoms("Si2", [[0.1, 0.0, 0.2], [1.5, 1.3, 1.2]], cell=np.eye(3) * 2.8, pbc=True)
    steps: list[int] = []
    atoms.calc = DFTCalculator(
        Basis([toy_basis()["Si"]]),
        smearing_ev=1.5,
        grid_shape=(12, 12, 12),
        energy_tol_ev=1e-7,
        residual_tol_ev=1e-5,
        on_scf_step=lambda s: steps.append(s.step),
    )
    start = atoms.get_potential_energy(force_consistent=True)
    first = len(steps)
    VelocityVerlet(atoms, 0.4 * fs).run(6)
    gained = atoms.get_kinetic_energy()
    lost = start - atoms.get_potential_energy(force_consistent=True)
    assert gained > 0.1
    assert lost == pytest.approx(gained, rel=3e-3)
    assert len(steps) - first < 6 * first, "every step starts from the ones before"


def test_not_converging_raises_the_error_of_ase(water, basis):
    water.calc = DFTCalculator(basis, cutoff_ry=CUTOFF, max_scf_steps=2)
    with pytest.raises(SCFError, match=r"not converged in 2 steps.*expected below"):
        water.get_potential_energy()
    assert water.calc.results == {}


def test_oxygen_molecule_is_a_triplet(basis):
    atoms = molecule("O2")
    atoms.set_cell(np.eye(3) * 6.0)
    atoms.pbc = True
    atoms.positions += 2.9
    fixed = DFTCalculator(basis, cutoff_ry=CUTOFF, spin=True, total_moment=2)
    free = DFTCalculator(basis, cutoff_ry=CUTOFF, spin=True)
    closed = DFTCalculator(basis, cutoff_ry=CUTOFF, spin=False, smearing_ev=0.01)
    triplet = fixed.get_potential_energy(atoms)
    assert fixed.results["magmom"] == pytest.approx(2.0)
    atoms.set_initial_magnetic_moments([1.0, 1.0])
    assert free.get_potential_energy(atoms) == pytest.approx(triplet, abs=1e-4)
    assert free.results["magmom"] == pytest.approx(2.0)
    assert closed.get_potential_energy(atoms) > triplet + 0.5
    assert closed.results["free_energy"] < closed.results["energy"]


def test_perfect_model_gives_the_dft_answer(water, basis):
    reference = water.copy()
    reference.calc = DFTCalculator(basis, **TIGHT)
    water.calc = MLHCalculator(ExactModel(basis))
    assert water.get_potential_energy() == pytest.approx(reference.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(water.get_forces(), reference.get_forces(), atol=1e-4)
    assert water.calc.results["residual"] < 1e-4
    assert water.calc.result.n_steps == 1


def test_imperfect_model_is_variational_and_knows_its_error(water, basis):
    reference = water.copy()
    reference.calc = DFTCalculator(basis, **TIGHT)
    exact = reference.get_potential_energy()
    water.calc = MLHCalculator(ExactModel(basis, error=2e-3))
    error = water.get_potential_energy() - exact
    estimate = water.calc.results["energy_error"]
    assert 1e-5 < error < estimate < 10 * error
    rms, largest = water.calc.results["residual_rms"], water.calc.results["residual"]
    assert 1e-3 < rms < largest

    water.calc = MLHCalculator(ExactModel(basis, error=2e-3), refine=3)
    refined = water.get_potential_energy() - exact
    assert -1e-6 < refined < 0.1 * error
    assert water.calc.results["residual"] < 0.5 * largest


def test_error_estimate_follows_the_true_error_over_two_decades(water, basis):
    """H_sc + noise of four sizes, over a factor of several hundred in the energy error."""
    calc = DFTCalculator(basis, **TIGHT)
    exact = calc.get_potential_energy(water)
    system, H = calc.system, calc.result.H
    ratios, errors = [], []
    for seed, size in enumerate((3e-4, 1e-3, 3e-3, 6e-3)):
        noise = np.random.default_rng(seed).normal(size=H.data.shape)
        H_in = H + BlockMatrix(system.pattern, size * noise).symmetrised()
        state = mlh.scf(system, H0=H_in, max_steps=1)
        errors.append(state.energies.total * HARTREE_EV - exact)
        ratios.append(state.energy_error * HARTREE_EV / errors[-1])
    assert 0.0 < errors[0] < 0.01 * errors[-1]
    # Noise hardly moves charge: nothing screens it, and the estimate is nearly the error itself. The largest
    # (0.9 eV in three atoms) is beyond second order.
    assert all(1.0 < ratio < 2.0 for ratio in ratios[:3]) and 0.5 < ratios[3] < 2.0, ratios


def test_model_refuses_elements_that_it_does_not_know(water):
    calc = MLHCalculator(ExactModel(load_basis("gth-pbe", elements=["Si", "O"])))
    with pytest.raises(CalculatorSetupError, match=r"elements that the model knows \(Si, O\), got H"):
        calc.get_potential_energy(water)
    with pytest.raises(ValueError, match="refine"):
        MLHCalculator(calc.model, refine=-1)


def test_missing_box_is_added_with_a_message_and_kept(basis, caplog):
    atoms = molecule("H2O")
    calc = DFTCalculator(basis, cutoff_ry=60.0)
    with caplog.at_level("WARNING", logger="mlh"):
        calc.get_potential_energy(atoms)
    assert "a box of" in caplog.text and "dipole 1.88 Debye" in caplog.text
    box = calc.periodic_atoms.cell.array.copy()
    gaps = np.diag(box) - np.ptp(atoms.positions, axis=0)
    np.testing.assert_allclose(gaps.min(), 2 * basis["O"].cutoff * 0.529177 + EXTRA_GAP, rtol=1e-5)
    atoms.positions[1, 1] += 0.05
    calc.get_potential_energy(atoms)
    np.testing.assert_array_equal(calc.periodic_atoms.cell.array, box)
    assert not atoms.pbc.any() and not atoms.cell.rank


def test_too_little_vacuum_is_an_error(basis):
    atoms = molecule("H2O", vacuum=1.0)
    with pytest.raises(ValueError, match=r"expected at least 6\.35 Angstrom between images"):
        DFTCalculator(basis).get_potential_energy(atoms)


def test_wrong_options():
    with pytest.raises(ValueError, match="total_moment"):
        DFTCalculator(spin=False, total_moment=2)
    with pytest.raises(ValueError, match="smearing_ev"):
        DFTCalculator(smearing_ev=-0.1)
    with pytest.raises(CalculatorSetupError, match="no calculation"):
        _ = DFTCalculator().system


def test_changed_parameters_are_what_is_computed(water, basis):
    """Case 06: `set` and assignment gave the energy of before."""
    expected = DFTCalculator(basis, cutoff_ry=80).get_potential_energy(water)
    calc = DFTCalculator(basis, cutoff_ry=60)
    before = calc.get_potential_energy(water)
    assert abs(before - expected) > 1e-4
    assert calc.set(cutoff_ry=80) == {"cutoff_ry": 80}
    assert calc.get_potential_energy(water) == pytest.approx(expected, abs=1e-6)
    assert (calc.cutoff_ry, calc.todict()["cutoff_ry"]) == (80, 80)
    calc.cutoff_ry = 60
    assert calc.get_potential_energy(water) == pytest.approx(before, abs=1e-6)
    assert calc.set(cutoff_ry=60) == {} and calc.results
    calc.max_scf_steps = 1
    with pytest.raises(SCFError):
        calc.get_potential_energy(water)
    with pytest.raises(ValueError, match=r"set: expected parameters among .*, got cutof"):
        calc.set(cutof=80)
    with pytest.raises(ValueError, match="cutoff_ry: expected a grid cutoff"):
        calc.cutoff_ry = 5
    assert calc.cutoff_ry == 60
    with pytest.raises(ValueError, match="xc: belongs to the model"):
        MLHCalculator(ExactModel(basis)).xc = "PW92"


def test_a_level_of_theory_as_one_value(basis):
    theory = Theory(basis, cutoff_ry=60, smearing_ev=0.1)
    calc = DFTCalculator(theory=theory, cutoff_ry=80)
    assert (calc.theory.cutoff_ry, calc.smearing_ev) == (80, 0.1)
    assert theory == Theory(basis, cutoff_ry=60, smearing_ev=0.1) != calc.theory
    atoms = molecule("OH", vacuum=4.0)
    metal = Theory(basis, smearing_ev=0.1, kpts=(2, 2, 2))
    assert metal.nspin(atoms) == 2, "it has initial moments"
    atoms.set_initial_magnetic_moments(None)
    assert Theory(basis).nspin(atoms) == 2 and Theory(basis, spin=False).nspin(atoms) == 1
    assert Theory(basis).nspin(molecule("H2O")) == 1
    assert Theory(basis, smearing_ev=0.1).nspin(atoms) == 2 and metal.nspin(atoms) == 1
    with pytest.raises(ValueError, match="xc: expected one of PBE, PW92, PZ, got 'B3LYP'"):
        Theory(xc="B3LYP")


def test_a_committee_reports_how_far_its_members_disagree(water, basis):
    members = [ExactModel(basis, error=2e-3, seed=k) for k in range(3)]
    water.calc = MLHCalculator(Committee(members), spread=True)
    water.get_forces()
    results = water.calc.results
    predictions = [m.predict(water.calc.system).data for m in members]
    assert np.allclose(water.calc.predicted_dh.data, np.mean(predictions, axis=0))
    # symmetrised Gaussian noise: standard deviation error/sqrt(2) off the diagonal
    assert results["committee_dh_std"] == pytest.approx(2e-3 / np.sqrt(2) * HARTREE_EV, rel=0.1)
    alone = [MLHCalculator(member).get_potential_energy(water) for member in members]
    assert results["committee_energy_std"] == pytest.approx(np.std(alone, ddof=1), rel=1e-6)
    assert results["committee_forces_std"].shape == (3,) and (results["committee_forces_std"] > 0).all()


def test_a_committee_needs_models_of_one_level_of_theory(basis):
    model = ExactModel(basis)
    with pytest.raises(ValueError, match="at least 2 models, got 1"):
        Committee([model])
    with pytest.raises(ValueError, match="expected equal xc, got PBE"):
        Committee([model, ExactModel(basis, xc="PW92")])
    with pytest.raises(ValueError, match="another basis"):
        Committee([model, ExactModel(load_basis("gth-pbe", elements=["H", "O"]))])
    with pytest.raises(ValueError, match="spread: expected False for a single model"):
        MLHCalculator(model, spread=True)


def test_a_residual_larger_than_on_the_test_set_is_out_of_domain(water, basis):
    @dataclass(frozen=True)
    class WithCard(ExactModel):
        usual_residual: float = 1e-3

    calculator = MLHCalculator(WithCard(basis, error=2e-3))
    with pytest.warns(OutOfDomainWarning, match=r"on the model's test set it was at most 1\.00e-03 eV"):
        calculator.get_potential_energy(water)
    usual = calculator.results["residual_rms"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLHCalculator(WithCard(basis, error=2e-3, usual_residual=usual)).get_potential_energy(water)
