"""Energies, Hamiltonian and forces of `System`: every derivative against central differences.

Term by term at frozen D (dE/dR), in a random direction of D (dE/dD = H), and for self-consistent energies.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from numpy.typing import NDArray

import mlh
from mlh.basis.species import Basis, RadialFunction, Species
from mlh.common.units import BOHR_ANGSTROM, HARTREE_EV
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix, transfer
from mlh.structures.crystals import crystal
from relaxed_case import RelaxedCase, insulator_scf, toy_scf, triplet_scf
from term_derivatives import CASES, TERMS, central_difference, term_derivative, water
from toy_system import (
    POSITIONS,
    TRICLINIC,
    compact,
    normalised,
    on_pattern_of,
    positive_matrix,
    scaled,
    shifted,
    symmetric_step,
    toy_atoms,
    toy_basis,
)

FloatArray = NDArray[np.float64]

# --- each term at frozen D ---------------------------------------------------------------------------


class FrozenCase:
    """A system, a density matrix, and the numeric slope of every term along one direction of all atoms."""

    def __init__(self, make: Callable[[], System]) -> None:
        self.system = make()
        self.D = positive_matrix(self.system, 3)
        self.direction = np.random.default_rng(4).normal(size=self.system.positions.shape)

        def terms(x: float) -> FloatArray:
            s = self.system
            atoms = Atoms(
                s.symbols,
                positions=(s.positions + x * self.direction) * BOHR_ANGSTROM,
                cell=s.cell * BOHR_ANGSTROM,
                pbc=True,
            )
            moved = System(atoms, s.basis, s.cutoff_ry, xc=s.xc, nspin=s.nspin)
            energies = moved.energies(on_pattern_of(moved, self.D)).as_dict()
            return np.array([energies[term] for term in TERMS])

        self.numeric = dict(zip(TERMS, central_difference(terms, 5e-4), strict=True))


@pytest.fixture(scope="module", params=list(CASES))
def frozen(request: pytest.FixtureRequest) -> FrozenCase:
    return FrozenCase(CASES[request.param])


@pytest.mark.parametrize("term", TERMS)
def test_term_gradient_at_frozen_density_matrix(frozen: FrozenCase, term: str) -> None:
    gradient = term_derivative(frozen.system, frozen.D, term).atoms
    analytic = float(np.vdot(gradient, frozen.direction))
    assert np.abs(gradient).max() > 1e-3
    assert analytic == pytest.approx(frozen.numeric[term], rel=1e-7, abs=2e-7)


def test_forces_are_the_sum_of_the_terms(frozen: FrozenCase) -> None:
    zero = frozen.D.spin_sum().zeros_like()
    forces = frozen.system.forces(frozen.D, zero)
    gradient = np.sum([term_derivative(frozen.system, frozen.D, term).atoms for term in TERMS], axis=0)
    assert np.abs(forces.total + gradient).max() < 1e-11 * max(1.0, np.abs(gradient).max())
    assert not forces["overlap"].any()
    named = sum(forces[n] for n in ("kinetic", "nonlocal", "orbital", "atomic", "core_repulsion"))
    assert np.abs(named - forces.total).max() < 1e-12


def test_two_centre_terms_have_no_net_force(frozen: FrozenCase) -> None:
    for term in ("kinetic", "nonlocal", "core_repulsion"):
        gradient = term_derivative(frozen.system, frozen.D, term).atoms
        assert np.abs(gradient.sum(axis=0)).max() < 1e-10


# --- dE/dD = H ---------------------------------------------------------------------------------------


def test_hamiltonian_is_the_derivative_of_the_energy(frozen: FrozenCase) -> None:
    system, D = frozen.system, frozen.D
    step = symmetric_step(system, 5, 0.02 * D.rms())

    def total(x: float) -> FloatArray:
        return np.array(system.energies(D + x * step).total)

    H = system.hamiltonian(D)
    assert H.nspin == system.nspin
    assert H.symmetry_error() < 1e-12
    numeric = float(central_difference(total, 0.1))
    analytic = H.dot(step)
    assert abs(analytic) > 1e-3
    assert analytic == pytest.approx(numeric, abs=1e-8)


def test_matrices_add_up_to_the_hamiltonian_and_the_energies(frozen: FrozenCase) -> None:
    system, D = frozen.system, frozen.D
    evaluation, energies = system.evaluate(D), system.energies(D)
    assert evaluation.energies == energies
    total = D.spin_sum()
    assert energies.kinetic == pytest.approx(total.dot(system.kinetic()), rel=1e-14)
    assert energies.nonlocal_ == pytest.approx(total.dot(system.nonlocal_potential()), rel=1e-14)
    assert energies.neutral_atom == pytest.approx(total.dot(system.neutral_atom_potential()), rel=1e-11)
    assert energies.total == pytest.approx(sum(energies.as_dict().values()), rel=1e-15)
    assert system.density(D).values.shape == tuple(system.grid.shape)


# --- Harris ------------------------------------------------------------------------------------------


def test_harris_hamiltonian_is_h_at_the_density_of_neutral_atoms() -> None:
    """With n_I = Z R_s^2 / 4 pi the density matrix Z on the s orbital of each atom has n = n_a: H[D] = H0."""

    def species(symbol: str, valence: float, decay: float, sphere: bool) -> Species:
        s, p = normalised(0, decay, 3.2), normalised(1, decay, 3.2)
        n = RadialFunction(0, valence * s.g**2 / (4.0 * np.pi))
        toy = toy_basis()["O"]
        well = scaled(compact(0, 1.0, 3.0), -3.0)
        return Species(symbol, valence, [s, p], [], well, n, sphere=toy.sphere if sphere else None)

    basis = Basis([species("Si", 4.0, 0.3, False), species("O", 6.0, 0.5, True)])
    system = System(toy_atoms(), basis, cutoff_ry=100.0)
    data = np.zeros(system.pattern.nnz)
    for atom, symbol in enumerate(system.symbols):
        p = system.pattern.find(atom, atom, (0, 0, 0))
        assert p >= 0
        data[system.pattern.offset[p]] = basis[symbol].valence
    D = BlockMatrix(system.pattern, data)
    H, H0 = system.hamiltonian(D), system.harris_hamiltonian()
    assert np.abs(system.density(D).values - system.neutral_density().values).max() < 1e-6
    assert H0.max_abs() > 0.5
    assert (H - H0).max_abs() < 1e-6
    assert system.energies(D).hartree < 1e-10


# --- invariances -------------------------------------------------------------------------------------


def test_permutation_of_the_atoms_changes_nothing() -> None:
    order = np.array([2, 0, 3, 1])
    atoms = toy_atoms()
    results = []
    for a in (atoms, atoms[order]):
        r = toy_scf(System(a, toy_basis(), cutoff_ry=40.0))
        results.append((r.energies.total, r.forces().total))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-9)
    assert np.abs(results[0][1][order] - results[1][1]).max() < 1e-7


def test_lattice_translations_of_atoms_change_nothing() -> None:
    """Positions are never wrapped; an atom moved by a lattice vector is the same atom."""
    moved = POSITIONS.copy()
    moved[1] += 2.0 * TRICLINIC[0] - TRICLINIC[2]
    reference, other = (System(toy_atoms(p), toy_basis(), cutoff_ry=60.0) for p in (POSITIONS, moved))
    a, b = (s.harris_hamiltonian().to_dense() for s in (reference, other))
    assert np.abs(a - b).max() < 1e-11
    repulsion = [s.discretisation.pair_terms[0].energy for s in (reference, other)]
    assert repulsion[0] == pytest.approx(repulsion[1], abs=1e-11)


def test_a_density_matrix_changed_behind_its_back_is_another_one() -> None:
    """The array behind a BlockMatrix may be writeable elsewhere: no result comes from the numbers before."""
    make = CASES["triclinic"]
    system = make()
    numbers = positive_matrix(system, 3).data.copy()
    D, W = BlockMatrix(system.pattern, numbers), BlockMatrix.zeros(system.pattern)
    before = system.evaluate(D)
    numbers *= 0.9
    fresh = make()
    same = BlockMatrix(fresh.pattern, numbers)
    now, expected = system.evaluate(D), fresh.evaluate(same)
    assert abs(now.energies.total - before.energies.total) > 1e-3
    assert now.energies.total == expected.energies.total
    assert np.array_equal(now.H.data, expected.H.data)
    numbers *= 0.9
    assert np.array_equal(system.forces(D, W).total, make().forces(same, W).total)


def test_results_do_not_depend_on_threads(threads: Callable[[int], None]) -> None:
    results = []
    for count in (1, 2):
        threads(count)
        system = System(toy_atoms(), toy_basis(), cutoff_ry=60.0, nspin=2)
        D = positive_matrix(system, 6)
        evaluation = system.evaluate(D)
        forces = system.forces(D, D)
        results.append((evaluation.energies.total, evaluation.H.data, forces.total))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-12)
    assert np.abs(results[0][1] - results[1][1]).max() < 1e-12
    assert np.abs(results[0][2] - results[1][2]).max() < 1e-12


def test_spin_polarised_and_unpolarised_agree_for_equal_spins() -> None:
    one = System(toy_atoms(), toy_basis(), cutoff_ry=60.0)
    two = System(toy_atoms(), toy_basis(), cutoff_ry=60.0, nspin=2)
    D = positive_matrix(one, 7)
    half = BlockMatrix(two.pattern, np.repeat(0.5 * D.data, 2, axis=0))
    a, b = one.evaluate(D), two.evaluate(half)
    assert a.energies.total == pytest.approx(b.energies.total, abs=1e-10)
    assert np.abs(a.H.data - b.H.data).max() < 1e-10
    W = D * 0.1
    assert np.abs(one.forces(D, W).total - two.forces(half, W).total).max() < 1e-10


# --- self-consistent forces --------------------------------------------------------------------------


def test_forces_of_a_cell_smaller_than_the_orbital_range() -> None:
    case = RelaxedCase(toy_atoms(), toy_scf, basis=toy_basis(), cutoff_ry=40.0)
    print(f"toy: {case}")
    assert np.abs(case.forces).max() > 1e-2
    assert case.error < 1e-6


def test_forces_with_k_points() -> None:
    """Two silicon atoms off their sites, four k points, several images of every pair."""
    a = 2.715
    atoms = Atoms(
        "Si2", positions=[[0, 0, 0], [1.45, 1.25, 1.40]], cell=[[0, a, a], [a, 0, a], [a, a, 0]], pbc=True
    )
    case = RelaxedCase(atoms, insulator_scf, kpts=(2, 2, 1), cutoff_ry=50.0)
    print(f"Si2, 2x2x1: {case}")
    assert np.abs(case.forces).max() > 1e-3
    assert case.error < 1e-5


def test_forces_of_water_in_a_triclinic_box() -> None:
    case = RelaxedCase(water(), insulator_scf, cutoff_ry=50.0)
    print(f"H2O, 50 Ry: {case}")
    assert case.error < 1e-5


def test_forces_of_triplet_oxygen_off_equilibrium() -> None:
    atoms = Atoms("O2", positions=[[2.0, 2.1, 1.9], [2.2, 2.4, 3.2]], cell=np.diag([4.6, 4.8, 5.6]), pbc=True)
    case = RelaxedCase(atoms, triplet_scf, cutoff_ry=50.0, nspin=2)
    print(f"O2 triplet, 50 Ry: {case}")
    assert case.result.solution.magnetic_moment == pytest.approx(2.0, abs=1e-8)
    assert case.error < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("cutoff_ry", [60.0, 200.0])
def test_forces_of_rattled_quartz(cutoff_ry: float) -> None:
    atoms = crystal("alpha-quartz")
    atoms.rattle(0.05, seed=2)
    case = RelaxedCase(atoms, insulator_scf, cutoff_ry=cutoff_ry)
    print(f"quartz, {cutoff_ry} Ry: {case}")
    assert case.error < 1e-5
    if cutoff_ry >= 200.0:
        assert case.net_force < 5e-3  # eV/Angstrom, summed over the cell (design)


@pytest.mark.slow
def test_egg_box_of_quartz() -> None:
    """Rigid shifts by parts of a grid step at 200 Ry: at most 0.1 meV per atom (design)."""
    atoms = crystal("alpha-quartz")
    system = System(atoms, cutoff_ry=200.0)
    result = insulator_scf(system)
    energies = [result.energies.total]
    steps = system.cell / np.array(system.grid.shape)[:, None]
    for part in ([0.5, 0.0, 0.0], [0.0, 0.0, 0.5], [0.37, 0.21, 0.44]):
        moved = System(shifted(atoms, np.array(part) @ steps), cutoff_ry=200.0)
        energies.append(insulator_scf(moved, transfer(result.H, moved.pattern)).energies.total)
    egg = float(np.ptp(energies)) * HARTREE_EV * 1e3 / len(atoms)
    print(f"quartz, 200 Ry: egg box {egg:.3f} meV/atom")
    assert egg < 0.1


def rotated(symbols: str, positions: list[list[float]], edge: float, angle: float) -> Atoms:
    """A molecule in a cubic box that no orbital leaves, turned about an axis of low symmetry."""
    atoms = Atoms(symbols, positions=positions, cell=np.eye(3) * edge, pbc=True)
    atoms.rotate(np.degrees(angle), (1.0, 2.0, 0.5), center=(0, 0, 0))
    atoms.positions += 0.5 * edge
    return atoms


def rotation_error(symbols: str, positions: list[list[float]], edge: float) -> float:
    """Spread of the energy (Hartree) over three orientations at 200 Ry, for Harris states."""
    energies = []
    for angle in (0.0, 0.6, 1.3):
        system = System(rotated(symbols, positions, edge, angle), cutoff_ry=200.0)
        result = mlh.scf(system, max_steps=1, smearing="fermi-dirac", width=0.02)
        energies.append(result.energies.total)
    spread = float(np.ptp(energies))
    print(f"{symbols}, 200 Ry: rotation changes the energy by {spread:.1e} Ha")
    return spread


@pytest.mark.slow
def test_rotating_a_molecule_changes_the_energy_only_within_the_error_of_the_grid() -> None:
    """O2, the reference of formation energies: at most 1.6 meV per molecule."""
    spread = rotation_error("O2", [[0, 0, -0.6035], [0, 0, 0.6035]], 7.8)
    assert 0.0 < spread < 6e-5


@pytest.mark.slow
def test_rotating_methane() -> None:
    """The cores of H lie at the rim of the sphere of C."""
    h = 1.09 / np.sqrt(3.0)
    corners = [[0.0, 0, 0], [h, h, h], [h, -h, -h], [-h, h, -h], [-h, -h, h]]
    assert rotation_error("CH4", corners, 8.6) < 2e-5
