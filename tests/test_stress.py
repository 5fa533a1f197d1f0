"""Stress: every contribution against central differences of the energy under strain.

Term by term at frozen D (dE/deps), and for self-consistent energies, at a fixed number of grid points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_stress
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from numpy.typing import NDArray

import mlh
from mlh.basis.species import Basis
from mlh.calculators import DFTCalculator
from mlh.common.units import ANGSTROM
from mlh.dft.grid_function import hartree_potential, hartree_strain
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix, transfer
from mlh.scf.loop import SCFResult
from mlh.structures.crystals import crystal
from term_derivatives import CASES, TERMS, central_difference, term_derivative, water
from toy_system import TRICLINIC, on_pattern_of, positive_matrix, toy_atoms, toy_basis

FloatArray = NDArray[np.float64]

VOIGT = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


def strain_component(a: int, b: int) -> FloatArray:
    """Symmetric eps whose conjugate is the (a, b) component of dE/deps."""
    eps = np.zeros((3, 3))
    eps[a, b] += 0.5
    eps[b, a] += 0.5
    return eps


def numeric_strain(energy: Callable[[FloatArray], FloatArray], step: float) -> FloatArray:
    """d energy(eps)/d eps by central differences, shape (6, ...), in Voigt order."""
    components = [strain_component(a, b) for a, b in VOIGT]
    return np.array([central_difference(lambda x, e=e: energy(x * e), step) for e in components])


def strained(atoms: Atoms, eps: FloatArray) -> Atoms:
    """r -> (1 + eps) r for atoms and cell."""
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ (np.eye(3) + eps).T, scale_atoms=True)
    return moved


def atoms_of(system: System) -> Atoms:
    return Atoms(system.symbols, positions=system.positions / ANGSTROM, cell=system.cell / ANGSTROM, pbc=True)


def strained_system(system: System, eps: FloatArray) -> System:
    """The strained system on the same mesh."""
    return System(
        strained(atoms_of(system), eps),
        system.basis,
        system.cutoff_ry,
        system.kpts,
        system.xc,
        system.nspin,
        grid_shape=system.mesh,
    )


# --- each term at frozen D ---------------------------------------------------------------------------


class FrozenCase:
    """A system, a density matrix and the numeric dE/deps of every term, (terms, 6)."""

    def __init__(self, make: Callable[[], System]) -> None:
        self.system = make()
        self.D = positive_matrix(self.system, 3)

        def terms(eps: FloatArray) -> FloatArray:
            moved = strained_system(self.system, eps)
            energies = moved.energies(on_pattern_of(moved, self.D)).as_dict()
            return np.array([energies[term] for term in TERMS])

        self.numeric = dict(zip(TERMS, numeric_strain(terms, 2e-4).T, strict=True))


@pytest.fixture(scope="module", params=list(CASES))
def frozen(request: pytest.FixtureRequest) -> FrozenCase:
    return FrozenCase(CASES[request.param])


@pytest.mark.parametrize("term", TERMS)
def test_term_strain_at_frozen_density_matrix(frozen: FrozenCase, term: str) -> None:
    strain = term_derivative(frozen.system, frozen.D, term).strain
    analytic = np.array([strain[a, b] for a, b in VOIGT])
    error = np.abs(analytic - frozen.numeric[term])
    print(f"{term}: dE/deps up to {np.abs(analytic).max():.3g} Ha, error {error.max():.1e} Ha")
    assert np.abs(analytic).min() > 1e-4
    assert np.all(error < 2e-7 + 1e-7 * np.abs(frozen.numeric[term]))
    assert np.abs(strain - strain.T).max() < 1e-12 * np.abs(strain).max()


def test_stress_is_the_sum_of_the_terms(frozen: FrozenCase) -> None:
    system, D = frozen.system, frozen.D
    zero = D.spin_sum().zeros_like()
    stress = system.stress(D, zero)
    strains = np.sum([term_derivative(system, D, term).strain for term in TERMS], axis=0)
    assert np.abs(stress.total * system.cell_volume - strains).max() < 1e-11 * np.abs(strains).max()
    assert not stress["overlap"].any()
    assert set(stress.as_dict()) == {*TERMS, "orbital", "atomic", "overlap"}
    assert np.array_equal(system.forces_and_stress(D, zero)[0].total, system.forces(D, zero).total)


@pytest.mark.parametrize("shape", [(8, 9, 10), (7, 9, 11), (8, 8, 8)])
def test_strain_of_the_hartree_energy_is_its_derivative(shape: tuple[int, int, int]) -> None:
    """White noise holds every wave, the highest of even grids included."""
    f = np.random.default_rng(1).normal(size=shape)

    def energy(eps: FloatArray) -> FloatArray:
        cell = TRICLINIC @ (np.eye(3) + eps)
        return np.array(0.5 * abs(np.linalg.det(cell)) / f.size * np.vdot(f, hartree_potential(f, cell)))

    strain = hartree_strain(f, TRICLINIC)
    numeric = numeric_strain(energy, 1e-3)
    assert [strain[a, b] for a, b in VOIGT] == pytest.approx(numeric, rel=1e-9, abs=1e-9)


def test_stress_does_not_depend_on_threads(threads: Callable[[int], None]) -> None:
    """Bit for bit, term by term."""
    results = []
    for count in (1, 2, 3):
        threads(count)
        system = System(toy_atoms(), toy_basis(), cutoff_ry=60.0, nspin=2)
        D = positive_matrix(system, 6)
        results.append(system.stress(D, D).as_dict())
    for other in results[1:]:
        assert all(np.array_equal(other[name], value) for name, value in results[0].items())


# --- self-consistent stress --------------------------------------------------------------------------

TIGHT: dict[str, Any] = {"energy_tol": 1e-10, "residual_tol": 1e-7, "max_steps": 120}


def metal(system: System, H0: BlockMatrix | None = None) -> SCFResult:
    return mlh.scf(system, H0=H0, smearing="fermi-dirac", width=0.05, **TIGHT)


def insulator(system: System, H0: BlockMatrix | None = None) -> SCFResult:
    return mlh.scf(system, H0=H0, **TIGHT)


def triplet(system: System, H0: BlockMatrix | None = None) -> SCFResult:
    return mlh.scf(system, H0=H0, smearing="fermi-dirac", width=0.01, total_spin=2.0, **TIGHT)


def rattled_quartz() -> Atoms:
    atoms = crystal("alpha-quartz")
    atoms.rattle(0.05, seed=2)
    return atoms


def silicon() -> Atoms:
    """Two atoms off their sites in a sheared cell."""
    a = 2.715
    cell = np.array([[0, a, a], [a, 0, a], [a, a, 0]]) @ (np.eye(3) + strain_component(0, 2) * 0.04)
    return Atoms("Si2", positions=[[0, 0, 0], [1.45, 1.25, 1.40]], cell=cell, pbc=True)


def oxygen() -> Atoms:
    cell = [[4.6, 0.0, 0.0], [0.0, 4.8, 0.0], [0.3, 0.0, 5.6]]
    return Atoms("O2", positions=[[2.0, 2.1, 1.9], [2.2, 2.4, 3.2]], cell=cell, pbc=True)


def aluminium() -> System:
    """A rattled metal with one s and one p shell."""
    basis = mlh.load_basis("gth-pbe", orbitals={"Al": "6.0-s1p1"}, elements=["Al"])
    atoms = bulk("Al", "fcc", 4.05, cubic=True)
    atoms.rattle(0.08, seed=3)
    return System(atoms, basis, 20.0, kpts=(2, 2, 2))


RELAXED: dict[str, Callable[[], tuple[System, Callable[..., SCFResult]]]] = {
    "cell smaller than the orbitals": lambda: (System(toy_atoms(), toy_basis(), 40.0), metal),
    "local density": lambda: (System(toy_atoms(), toy_basis(), 40.0, xc="PW92"), metal),
    "quartz": lambda: (System(rattled_quartz(), cutoff_ry=60.0), insulator),
    "silicon, k points, smearing": lambda: (System(silicon(), cutoff_ry=50.0, kpts=(2, 2, 1)), metal),
    "aluminium": lambda: (aluminium(), metal),
    "triplet oxygen": lambda: (System(oxygen(), cutoff_ry=50.0, nspin=2), triplet),
    "water, triclinic": lambda: (System(water(), cutoff_ry=50.0), insulator),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RELAXED))
def test_stress_is_the_derivative_of_the_converged_energy(name: str) -> None:
    """Along a random strain, which has all six components; one by one they are tested at frozen D."""
    system, solve = RELAXED[name]()
    result = solve(system)
    assert result.converged
    direction = np.random.default_rng(9).normal(size=(3, 3))
    direction += direction.T
    direction /= np.linalg.norm(direction)

    def energy(x: float) -> FloatArray:
        moved = strained_system(system, x * direction)
        state = solve(moved, transfer(result.H, moved.pattern))
        assert state.converged
        return np.array(state.energies.total)

    analytic = float(np.vdot(result.stress().total, direction))
    error = abs(analytic - float(central_difference(energy, 1e-3)) / system.cell_volume)
    print(f"{name}: {analytic:.2e}, error {error:.1e} Ha/Bohr^3")
    assert abs(analytic) > 1e-5
    assert error < 2e-8


# --- at the calculator -------------------------------------------------------------------------------


def soft_crystal() -> Atoms:
    """One toy atom in a skewed cell a few per cent from equilibrium (Angstrom)."""
    cell = [[1.67, 0.06, 0.0], [0.0, 1.58, 0.05], [0.0, 0.03, 1.64]]
    return Atoms("Si", positions=[[0.1, 0.0, 0.2]], cell=cell, pbc=True)


def soft_calculator() -> DFTCalculator:
    """The toy species at a fixed number of grid points, smeared because it has no gap."""
    return DFTCalculator(
        Basis([toy_basis()["Si"]]),
        smearing_ev=1.5,
        grid_shape=(8, 8, 8),
        energy_tol_ev=1e-8,
        residual_tol_ev=1e-6,
    )


def test_calculator_gives_the_stress_of_the_free_energy_in_the_units_of_ase() -> None:
    atoms = soft_crystal()
    atoms.calc = soft_calculator()
    stress = atoms.get_stress()
    state = atoms.calc.result
    atoms.get_forces()
    assert atoms.calc.result is state and "forces" in atoms.calc.results, "one pass gives both"
    assert tuple(atoms.calc.system.grid.shape) == (8, 8, 8)
    numeric = calculate_numerical_stress(atoms, eps=1e-4, voigt=True)
    assert np.abs(stress).min() > 1e-3
    assert np.abs(stress - numeric).max() < 1e-6 * np.abs(stress).max()


def test_stress_needs_a_cell_of_the_atoms() -> None:
    """A molecule in the box that mlh adds has forces, but no stress."""
    atoms = Atoms("Si2", positions=[[0.0, 0.0, 0.0], [1.1, 0.4, 0.2]])
    atoms.calc = DFTCalculator(Basis([toy_basis()["Si"]]), cutoff_ry=20.0, smearing_ev=1.5)
    assert atoms.get_forces().shape == (2, 3)
    with pytest.raises(PropertyNotImplementedError, match="three cell vectors, got a cell of rank 0"):
        atoms.get_stress()


def test_cell_relaxes_to_the_minimum_of_the_equation_of_state() -> None:
    """At the relaxed volume the pressure vanishes, and the fitted E(V) has its minimum there."""
    atoms = soft_crystal()
    atoms.calc = soft_calculator()
    before = atoms.get_volume()
    optimizer = BFGS(FrechetCellFilter(atoms, hydrostatic_strain=True), logfile=None, alpha=500.0)
    assert optimizer.run(fmax=1e-3, steps=60)
    assert abs(atoms.get_stress()[:3].mean()) * atoms.get_volume() < 2e-3
    assert abs(atoms.get_volume() / before - 1.0) > 0.01
    volumes, energies = [], []
    for scale in (0.985, 0.995, 1.005, 1.015):
        trial = atoms.copy()
        trial.calc = soft_calculator()
        trial.set_cell(atoms.cell * scale, scale_atoms=True)
        volumes.append(trial.get_volume())
        energies.append(trial.get_potential_energy(force_consistent=True))
    volume = EquationOfState(volumes, energies).fit()[0]
    assert volume == pytest.approx(atoms.get_volume(), rel=2e-3)


def test_bad_numbers_of_grid_points_are_refused() -> None:
    for bad in ((8, 8), (8, 0, 8)):
        with pytest.raises(ValueError, match="grid_shape: expected three positive numbers"):
            System(toy_atoms(), toy_basis(), grid_shape=bad)  # type: ignore[arg-type]
