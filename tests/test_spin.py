"""Spin: which state the default start reaches, what is compared, moments, charges, dipoles of the results."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.data import atomic_numbers, ground_state_magnetic_moments

import mlh
from mlh.common.units import HARTREE_EV
from mlh.dft.system import System
from mlh.scf.moments import whole_moment
from mlh.scf.states import spin_starts

TRANSITION_METALS = {"Ti", "Zr", "Hf"}
"""Free atoms whose s and d levels cross with the moment: only a fixed moment is a statement about them."""


def oxygen(**options: bool) -> Atoms:
    return Atoms("O2", [[4.0, 4.0, 4.0], [4.0, 4.0, 5.22]], cell=[8.0] * 3, pbc=options.get("pbc", True))


def atom(symbol: str, position: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Atoms:
    return Atoms(symbol, [position], cell=[8.0] * 3, pbc=True)


@pytest.mark.parametrize("symbol", mlh.load_basis("gth-pbe").symbols)
def test_every_free_atom_converges_with_the_moment_of_its_ground_state(symbol: str) -> None:
    """On a grid point, where the density of soft pseudo-atoms vanishes; integer occupations; equal p levels;
    an empty spin (H). The moment is fixed for d atoms and free for the others."""
    moment = float(ground_state_magnetic_moments[atomic_numbers[symbol]])
    fixed = moment if symbol in TRANSITION_METALS else None
    result = mlh.scf(System(atom(symbol), cutoff_ry=70.0, nspin=2), total_spin=fixed, max_steps=25)
    assert result.converged, [f"{step.residual:.0e}" for step in result.history]
    assert result.solution.magnetic_moment == pytest.approx(moment, abs=1e-8)
    assert result.moments == pytest.approx([moment], abs=1e-8)


def test_the_empty_spin_of_hydrogen_has_ordinary_levels() -> None:
    for symbol, xc in (("H", "PBE"), ("H", "PW92")):
        system = System(atom(symbol, (0.3, 0.2, 0.1)), cutoff_ry=100.0, nspin=2, xc=xc)
        result = mlh.scf(system, total_spin=1.0)
        assert result.converged and result.n_steps < 10 and result.advice == ""
        up, down = result.eigenvalues[:, 0, 0]
        assert up == pytest.approx(-0.27, abs=0.01)
        assert up < down < 0.1, "above the full level by the exchange of one electron, and no wall"


def test_oxygen_is_a_triplet_without_being_told(caplog: pytest.LogCaptureFixture) -> None:
    atoms = oxygen()
    atoms.calc = mlh.DFTCalculator("gth-pbe", spin=True, smearing_ev=0.05)
    assert atoms.get_potential_energy() == pytest.approx(-868.771, abs=1e-3)
    assert atoms.get_magnetic_moment() == pytest.approx(2.0, abs=1e-3)
    assert atoms.get_magnetic_moments() == pytest.approx([1.0, 1.0], abs=1e-3)
    assert atoms.get_charges() == pytest.approx([0.0, 0.0], abs=1e-3)


def test_a_start_that_loses_its_moments_is_compared_with_a_polarised_one() -> None:
    """Moments too small to split anything end unpolarised; the triplet below is found and said."""
    system = System(oxygen(), cutoff_ry=60.0, nspin=2)
    smeared = {"smearing": "fermi-dirac", "width": 0.05 / HARTREE_EV}
    lost = mlh.scf(system, initial_moments=[0.0, 0.0], **smeared)
    assert abs(lost.solution.magnetic_moment) < 1e-3 and lost.note == ""
    found = mlh.scf(system, initial_moments=[1e-4, -1e-4], **smeared)
    assert found.converged and found.solution.magnetic_moment == pytest.approx(2.0, abs=0.01)
    assert found.energies.total < lost.energies.total - 0.03
    assert "ended without any" in found.note and "the second is kept" in found.note
    assert f"{lost.energies.total * HARTREE_EV:.3f}"[:-1] in found.note


def test_closed_shells_stay_closed_and_cost_one_start() -> None:
    water = molecule("H2O", cell=[7.0] * 3, pbc=True)
    one = mlh.scf(System(water, cutoff_ry=60.0))
    two = mlh.scf(System(water, cutoff_ry=60.0, nspin=2))
    assert two.note == ""
    assert two.energies.total == pytest.approx(one.energies.total, abs=1e-7)
    assert np.abs(two.moments).max() < 1e-3
    assert two.n_steps <= one.n_steps + 4


def test_a_metal_without_moments_is_compared_in_a_few_steps() -> None:
    system = System(bulk("Al"), cutoff_ry=60.0, kpts=(4, 4, 4), nspin=2)
    count = []
    result = mlh.scf(system, smearing="fermi-dirac", width=0.2 / HARTREE_EV, callback=count.append)
    assert result.converged and np.abs(result.moments).max() < 1e-3
    assert "a second start from a moment of" in result.note and "the first is kept" in result.note
    assert "did not converge" not in result.note and len(count) <= 25


def test_changed_initial_moments_start_anew() -> None:
    atoms = Atoms("N2", [[0.0, 0.0, 0.0], [0.0, 0.0, 2.6]], cell=[8.0, 8.0, 9.0], pbc=True)
    atoms.calc = mlh.DFTCalculator("gth-pbe", cutoff_ry=150.0, smearing_ev=0.05)
    atoms.set_initial_magnetic_moments([3.0, 3.0])
    assert atoms.get_potential_energy() == pytest.approx(-531.4909, abs=1e-3)
    assert atoms.get_magnetic_moment() == pytest.approx(6.0, abs=1e-3)
    atoms.set_initial_magnetic_moments([3.0, -3.0])
    assert atoms.get_potential_energy() == pytest.approx(-531.8740, abs=1e-3)
    assert atoms.get_magnetic_moment() == pytest.approx(0.0, abs=1e-3)
    moments = atoms.get_magnetic_moments()
    assert moments[0] > 2.0 and moments[1] == pytest.approx(-moments[0], abs=1e-2)


def test_an_odd_number_of_electrons_is_polarised_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    radical = molecule("OH", cell=[6.0] * 3, pbc=True)
    radical.set_initial_magnetic_moments(None)
    energies = []
    for options in ({}, {"spin": True}):
        caplog.clear()
        radical.calc = mlh.DFTCalculator(cutoff_ry=60.0, **options)
        with caplog.at_level(logging.WARNING, "mlh.dft"):
            energies.append(radical.get_potential_energy())
        assert ("odd number" in caplog.text) == (not options)
        assert radical.get_magnetic_moment() == pytest.approx(1.0, abs=1e-6)
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
    radical.calc = mlh.DFTCalculator(cutoff_ry=60.0, spin=False)
    with pytest.raises(ValueError, match="even number of electrons"):
        radical.get_potential_energy()
    water = molecule("H2O", cell=[6.0] * 3, pbc=True)
    water.calc = mlh.DFTCalculator(cutoff_ry=60.0)
    water.get_potential_energy()
    assert water.calc.system.nspin == 1
    with pytest.raises(ValueError, match="total_moment"):
        mlh.DFTCalculator(spin=False, total_moment=1.0)


def test_dipole_of_water_in_any_box() -> None:
    """1.80 D in PBE, somewhat more in a compact basis; the same wherever it lies and however the box
    is cut. The number itself is compared with PySCF in test_pyscf_energy.py."""
    found = []
    for cell, shift in (
        (np.diag([9.0, 9.0, 9.0]), 0.0),
        (np.diag([9.0, 9.0, 9.0]), 4.4),
        (np.array([[9.0, 0.0, 0.0], [3.0, 9.0, 0.0], [0.0, 0.0, 9.0]]), 1.0),
    ):
        water = molecule("H2O")
        water.set_cell(cell)
        water.positions += shift
        water.calc = mlh.DFTCalculator(cutoff_ry=150.0)
        found.append(water.get_dipole_moment())
        assert water.get_charges().sum() == pytest.approx(0.0, abs=1e-6)
        assert water.get_charges()[0] < -0.2 < 0.1 < water.get_charges()[1]
    assert np.abs(np.array(found) - found[0]).max() < 2e-3
    assert 1.75 < np.linalg.norm(found[0]) / 0.20819434 < 1.95
    assert found[0][2] < -0.3, "ASE puts the hydrogen atoms below the oxygen"
    water.pbc = True
    with pytest.raises(PropertyNotImplementedError, match="dipole: expected atoms that are periodic nowhere"):
        water.get_dipole_moment()


def test_spin_states_are_compared_and_the_lowest_is_kept() -> None:
    """Methylene is a triplet, 0.6 to 0.8 eV below its closed shells in PBE; what cannot be is refused."""
    atoms = molecule("CH2_s3B1d")
    atoms.set_initial_magnetic_moments([1.0, 0.0, 0.0])
    atoms.calc = mlh.DFTCalculator(cutoff_ry=100.0, spin_states=(0, 2, 3))
    energy = atoms.get_potential_energy()
    states = {state["start"]: state for state in atoms.calc.results["spin_states"]}
    assert set(states) == {"0", "2"}
    assert atoms.calc.results["magmom"] == pytest.approx(2.0)
    assert energy == pytest.approx(states["2"]["energy"], abs=0.01) and states["2"]["converged"]
    assert 0.4 < states["0"]["energy"] - energy < 1.5
    atoms.positions[0, 2] += 0.02  # followed: no second comparison
    atoms.get_potential_energy()
    assert atoms.calc.results["magmom"] == pytest.approx(2.0) and not atoms.calc.result.states
    assert atoms.calc.state_theory.total_moment == 2.0
    with pytest.raises(ValueError, match=r"spin_states: expected odd moments up to 5 with 5 .*got 0, 2"):
        mlh.DFTCalculator(cutoff_ry=100.0, spin_states=(0, 2), charge=1).get_potential_energy(atoms)
    for bad in ({"total_moment": 0.0}, {"spin": False}):
        with pytest.raises(ValueError, match="spin_states: expected none without spin or beside total"):
            mlh.DFTCalculator(spin_states=(0, 2), **bad)


def test_starts_of_spin_states() -> None:
    given = np.array([1.0, 0.0, 0.5, -0.2])
    names = [(s.name, s.initial.tolist()) for s in spin_starts((0, -2), given, 4) if s.initial is not None]
    assert names == [("0", [0.0] * 4), ("0 (antiparallel)", given.tolist()), ("-2", [-1.0, 0.0, -0.5, -0.2])]
    assert spin_starts((0,), np.array([1.0, 0.0, 0.5]), 3)[1].initial.tolist() == [1.0, 0.0, -0.5]
    assert [(s.moment, s.initial) for s in spin_starts((1,), None, 2)] == [(1, None)]


def test_initial_moments_need_not_be_whole() -> None:
    """Their sum is imposed on the first step, where integer occupations fill whole states."""
    cases = ((1.75, 41, 1.0), (2.0, 41, 3.0), (0.4, 8, 0.0), (1.6, 8, 2.0), (-9.0, 3, -3.0))
    for total, electrons, moment in cases:
        assert whole_moment(total, electrons) == moment
    atoms = Atoms("H", [[2.0, 2.1, 2.2]], cell=[4.0, 4.1, 4.2], pbc=True, magmoms=[0.75])
    atoms.calc = mlh.DFTCalculator(cutoff_ry=60.0)
    atoms.get_potential_energy()
    assert atoms.get_magnetic_moment() == pytest.approx(1.0, abs=1e-9)
