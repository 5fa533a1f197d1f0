"""Dispersion: energies of the library, derivatives, what it does not know, what is not there."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ase import Atoms

import mlh
from mlh.calculators import DFTCalculator
from mlh.common.units import BOHR_ANGSTROM, HARTREE_EV
from mlh.dft.terms.dispersion import dispersion_term
from mlh.dft.theory import Theory

POSITIONS = np.array([[0.3, 0.1, 0.2], [3.1, 0.2, -0.1], [-1.2, 2.9, 0.4]])
CELL = np.array([[7.0, 0.3, 0.0], [0.2, 8.0, 0.5], [0.0, -0.4, 9.0]])
WHOLE = (True, True, True)


def energy(name: str, positions: np.ndarray, symbols: tuple[str, ...] = ("Si", "O", "O")) -> float:
    return dispersion_term(name, "PBE", symbols, positions, CELL, WHOLE, 0.0).energy


@pytest.mark.parametrize(("name", "package"), [("D3BJ", "dftd3"), ("D4", "dftd4")])
def test_energy_attracts_and_forces_are_its_derivative(name: str, package: str) -> None:
    pytest.importorskip(package)
    term = dispersion_term(name, "PBE", ("Si", "O", "O"), POSITIONS, CELL, WHOLE, 0.0)
    assert -0.1 < term.energy < -1e-3 and term.name == "dispersion"
    for atom, axis in ((0, 0), (2, 1)):
        moved = [POSITIONS.copy() for _ in range(2)]
        for sign, positions in zip((1.0, -1.0), moved):
            positions[atom, axis] += sign * 1e-3
        slope = (energy(name, moved[0]) - energy(name, moved[1])) / 2e-3
        assert term.derivative.atoms[atom, axis] == pytest.approx(slope, abs=1e-8)
    np.testing.assert_allclose(term.derivative.atoms.sum(axis=0), 0.0, atol=1e-10)
    assert term.derivative.strain[0, 0] > 0.0  # it pulls the crystal together
    with_ghost = np.vstack([POSITIONS, [[1.5, 1.5, 1.5]]])
    assert energy(name, with_ghost, ("Si", "O", "O", "X-H")) == pytest.approx(term.energy, abs=1e-14)


def test_it_is_a_term_of_the_energy_and_of_the_forces() -> None:
    """N2 in its box: the difference to plain PBE is that of the library, images left out."""
    pytest.importorskip("dftd3")
    dimer = Atoms("N2", positions=[[0.0, 0.0, 0.0], [0.0, 0.0, 1.1]])
    plain, bound = dimer.copy(), dimer.copy()
    plain.calc = DFTCalculator(cutoff_ry=100.0)
    bound.calc = DFTCalculator(cutoff_ry=100.0, dispersion="D3BJ")
    difference = bound.get_potential_energy() - plain.get_potential_energy()
    cell = plain.calc.periodic_atoms.cell.array / BOHR_ANGSTROM
    alone = dispersion_term(
        "D3BJ", "PBE", ("N", "N"), dimer.positions / BOHR_ANGSTROM, cell, (False,) * 3, 0.0
    )
    assert difference == pytest.approx(alone.energy * HARTREE_EV, abs=2e-6)
    forces = bound.get_forces() - plain.get_forces()
    expected = -alone.derivative.atoms * HARTREE_EV / BOHR_ANGSTROM
    np.testing.assert_allclose(forces, expected, atol=2e-5)
    assert bound.calc.result.energies["dispersion"] == pytest.approx(alone.energy, abs=1e-12)
    assert bound.calc.theory.describe()["dispersion"] == "D3BJ" and Theory() != Theory(dispersion="D3BJ")


def test_what_is_not_known_or_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="dispersion: expected one of D3BJ, D4, got 'D2'"):
        Theory(dispersion="D2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="D3BJ has parameters for PBE only, got PW92"):
        Theory(dispersion="D3BJ", xc="PW92")
    monkeypatch.setitem(sys.modules, "dftd3.interface", None)
    with pytest.raises(ValueError, match=r'D3BJ needs the package dftd3, pip install "mlh\[dispersion\]"'):
        mlh.System(Atoms("N", cell=[6.0] * 3, pbc=True), cutoff_ry=60.0, dispersion="D3BJ")
