"""Boxes around molecules: the energy is that of the molecule alone, whatever its dipole."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

import mlh
from mlh.commands import cli
from mlh.common.units import BOHR_ANGSTROM, HARTREE_EV
from mlh.dft.vacuum import PROLATE, dipole_tensor


def test_lattices_of_dipoles_against_known_sums() -> None:
    """A cube: -4 pi / 3 V (Makov and Payne). Square layers far apart: the planar sum 9.0336 of a square
    lattice, and 4 pi / V of tin foil across."""
    np.testing.assert_allclose(dipole_tensor(2.0 * np.eye(3)), -np.pi / 6.0 * np.eye(3), atol=1e-12)
    layers = dipole_tensor(np.diag([1.0, 1.0, 3.0]))
    assert layers[2, 2] == pytest.approx(9.0336 - 4.0 * np.pi / 3.0, abs=1e-3)
    assert [layers[0, 0], layers[1, 1]] == pytest.approx([-0.5 * 9.0336] * 2, abs=1e-3)
    prism = dipole_tensor(np.diag([1.0, 1.0, PROLATE]))
    assert abs(prism[2, 2]) < 2e-3 * 4.0 * np.pi / 3.0
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(
        dipole_tensor(np.diag([1.0, 1.2, PROLATE]) @ turned.T),
        turned @ dipole_tensor(np.diag([1.0, 1.2, PROLATE])) @ turned.T,
        atol=1e-12,
    )


def energy_and_dipole(atoms: Atoms) -> tuple[float, float]:
    """eV; e Bohr."""
    atoms.calc = mlh.DFTCalculator("gth-pbe", cutoff_ry=200.0)
    energy = atoms.get_potential_energy()
    return energy, float(np.linalg.norm(atoms.get_dipole_moment())) / BOHR_ANGSTROM


def test_water_without_a_cell_has_the_energy_of_the_molecule_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Against a large cube with the known energy of its dipoles taken off; the box of before was 8 meV low,
    and its images changed the forces by 0.02 eV/A."""
    cube = molecule("H2O", cell=[14.0] * 3)
    cube.center()
    with caplog.at_level(logging.WARNING):
        energy, dipole = energy_and_dipole(cube)
    assert "dipole 1.89 Debye: its images change the energy by about -1.7 meV in this box" in caplog.text
    volume = cube.get_volume() / BOHR_ANGSTROM**3
    alone = energy + 2.0 * np.pi / 3.0 * dipole**2 / volume * HARTREE_EV
    free = molecule("H2O")
    assert energy_and_dipole(free)[0] == pytest.approx(alone, abs=1e-3)
    assert free.get_dipole_moment() == pytest.approx(cube.get_dipole_moment(), abs=2e-3)
    np.testing.assert_allclose(free.get_forces(), cube.get_forces(), atol=5e-3)


def test_the_box_is_turned_along_the_dipole_once() -> None:
    atoms = molecule("H2O")
    atoms.rotate(40, "x")
    atoms.rotate(25, "z")
    calc = atoms.calc = mlh.DFTCalculator(cutoff_ry=100.0)
    atoms.get_forces()
    cell = calc.periodic_atoms.cell.array
    long = cell[np.argmax(np.linalg.norm(cell, axis=1))]
    dipole = calc.results["dipole"]
    assert abs(long @ dipole) == pytest.approx(np.linalg.norm(long) * np.linalg.norm(dipole), rel=1e-3)
    atoms.positions[1] += 0.03
    atoms.get_forces()
    np.testing.assert_array_equal(calc.periodic_atoms.cell.array, cell)


def test_a_molecule_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    molecule("H2O").write(tmp_path / "h2o.xyz")
    rest = ("--cutoff", "100", "--json")
    monkeypatch.setattr("sys.argv", ["mlh", "scf", str(tmp_path / "h2o.xyz"), "--basis", "gth-pbe", *rest])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert not left.value.code and report["converged"]
    assert np.linalg.norm(report["dipole"]) == pytest.approx(0.392, abs=0.005)
    assert "a box of [9.35, 10.88, 9.95] Angstrom was added" in err and "dipole 1.8" in err
