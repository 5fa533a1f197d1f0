"""Charged cells: electrons, derivatives of the energy, files, and what is refused."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from ase import Atoms
from numpy.typing import NDArray

import mlh
from mlh.calculators import DFTCalculator
from mlh.dft.theory import Theory
from mlh.dft.theory_record import theory_of_record, theory_record
from mlh.labelling.labels import EngineSettings
from term_derivatives import water

FloatArray = NDArray[np.float64]
STEP = 0.002  # Angstrom


def energy(atoms: Atoms, **options: object) -> DFTCalculator:
    calculator = DFTCalculator(**options)  # type: ignore[arg-type]
    atoms.calc = calculator
    atoms.get_potential_energy()
    return calculator


def displaced(atoms: Atoms, atom: int, axis: int, step: float) -> Atoms:
    moved = atoms.copy()
    moved.positions[atom, axis] += step
    return moved


def strained(atoms: Atoms, eps: FloatArray) -> Atoms:
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ (np.eye(3) + eps), scale_atoms=True)
    return moved


def slope(values: list[float], step: float) -> float:
    """Fourth-order central difference of four values at -2, -1, 1, 2 steps."""
    return (values[0] - 8.0 * values[1] + 8.0 * values[2] - values[3]) / (12.0 * step)


def test_forces_and_stress_of_a_charged_cell_are_derivatives() -> None:
    """Of H2O+ with its unpaired electron."""
    atoms, tight = (
        water(),
        {"charge": 1.0, "cutoff_ry": 120.0, "energy_tol_ev": 1e-10, "residual_tol_ev": 1e-6},
    )
    fixed = {**tight, "grid_shape": mlh.System(atoms, cutoff_ry=120.0).mesh}

    def at(geometry: Atoms) -> float:
        return float(energy(geometry, **fixed).results["free_energy"])

    here = atoms.copy()
    calculator = energy(here, **fixed)
    assert calculator.system.nspin == 2 and calculator.results["magmom"] == pytest.approx(1.0)
    forces, stress = here.get_forces(), here.get_stress(voigt=False)
    values = [at(displaced(atoms, 0, 1, k * STEP)) for k in (-2, -1, 1, 2)]
    assert forces[0, 1] == pytest.approx(-slope(values, STEP), abs=2e-6)
    eps = np.array([[1.0, 0.4, 0.0], [0.4, 0.0, 0.0], [0.0, 0.0, 0.0]])
    values = [at(strained(atoms, 0.001 * k * eps)) for k in (-2, -1, 1, 2)]
    assert float(np.vdot(stress, eps)) * atoms.get_volume() == pytest.approx(slope(values, 0.001), abs=1e-5)


def test_the_charge_counts_electrons_and_mulliken_charges() -> None:
    atoms = water()
    calculator = energy(atoms, charge=1, cutoff_ry=60.0)
    assert calculator.system.n_electrons == 7.0
    assert calculator.results["charges"].sum() == pytest.approx(1.0, abs=1e-8)
    assert calculator.theory.describe()["charge"] == 1


def test_both_solvers_give_the_same_charged_state() -> None:
    energies = [
        energy(water(), charge=-1, cutoff_ry=60.0, total_moment=1.0, solver=solver).results["energy"]
        for solver in ("dense", "purification")
    ]
    assert energies[1] == pytest.approx(energies[0], abs=1e-3)


def test_what_a_charge_cannot_be_is_refused() -> None:
    for charge, words in (
        (8, r"charge: expected less than \+8 .*got \+8"),
        (-90, r"no less than -\d+ .*got -90"),
    ):
        with pytest.raises(ValueError, match=words):
            mlh.System(water(), cutoff_ry=60.0, charge=charge)
    with pytest.raises(ValueError, match="charge: expected a finite number"):
        Theory(charge=float("nan"))
    with pytest.raises(ValueError, match="even number of electrons, got 7"):
        energy(water(), charge=1, spin=False, cutoff_ry=60.0)
    with pytest.raises(
        ValueError, match=r"spin_moment: expected 0 to .*in each spin, got 9\.5 up and -1\.5 down"
    ):
        energy(water(), charge=0, total_moment=11.0, cutoff_ry=60.0)


def test_records_keep_the_charge() -> None:
    theory = Theory(charge=2.0, cutoff_ry=60.0)
    system = mlh.System.of(water(), theory)
    assert theory_of_record(theory_record(theory, system)).charge == 2.0
    of_before = {k: v for k, v in theory_record(theory, system).items() if k != "charge"}
    assert theory_of_record(of_before).charge == 0.0
    assert "charge" not in Theory().describe() and Theory(charge=1.0) != Theory()
    assert "charge" not in EngineSettings().as_dict() and EngineSettings(charge=1.0).theory.charge == 1.0


def test_an_ion_in_a_box_says_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    atoms = Atoms("H", positions=[[0.0, 0.0, 0.0]])
    with caplog.at_level(logging.WARNING, "mlh.dft"):
        calculator = energy(atoms, charge=-1, cutoff_ry=60.0)
    assert calculator.system.n_electrons == 2.0
    text = "\n".join(record.message for record in caplog.records)
    assert "charge -1 of a molecule, in a periodic box" in text and "eV below that of the ion alone" in text


def test_what_may_mislead_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The stress of a charged cell, each once; initial charges that the calculation does not have."""
    atoms = water()
    atoms.calc = DFTCalculator(charge=1, cutoff_ry=60.0)
    with caplog.at_level(logging.WARNING, "mlh.dft"):
        atoms.get_forces()
        assert "stress of a charged cell" not in caplog.text
        atoms.get_stress()
        atoms.get_stress()
        assert caplog.text.count("the stress of a charged cell depends on the convention") == 1
        atoms.set_initial_charges([1.0, 0.0, 0.0])
        neutral = DFTCalculator(cutoff_ry=60.0)
        neutral.system_for(atoms)
        assert "initial charges of the atoms add up to +1 and are not used" in caplog.text
