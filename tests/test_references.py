"""Reference energies of elements: crystals with a relaxed cell, given ones, and words where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.data import covalent_radii

import mlh
from mlh.calculators.engines import DFTEngine
from mlh.commands import cli
from mlh.defects.bulk import BULK, K_SPACING, SMEARING_EV, bulk_crystal
from mlh.defects.cases import DefectCase
from mlh.defects.references import (
    KNOWN,
    Reference,
    bulk_reference,
    check_known,
    given_reference,
    reference_energies,
    reference_title,
)
from mlh.dft.theory import Theory


def test_every_crystal_is_a_primitive_cell() -> None:
    for element in BULK:
        atoms = bulk_crystal(element)
        assert set(atoms.get_chemical_symbols()) == {element} and len(atoms) in (1, 2, 4, 12)
        assert atoms.pbc.all() and 5.0 < atoms.get_volume() / len(atoms) < 40.0
        nearest = np.sort(atoms.repeat(3).get_all_distances(mic=True)[0])[1]
        assert nearest == pytest.approx(2.0 * covalent_radii[atoms.numbers[0]], rel=0.25), element
    assert bulk_crystal("Si").get_volume() == pytest.approx(5.431020511**3 / 4.0, rel=1e-9)


def test_silicon_is_the_crystal_at_its_own_lattice_constant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PBE: 5.469 A (Haas, Tran and Blaha, PRB 79, 085104 (2009)); the energy is that of the crystal there."""
    theory = Theory(mlh.load_basis("gth-pbe", elements=["Si"]), 100.0)
    reference = bulk_reference("Si", theory, cache=tmp_path)
    atoms = bulk_crystal("Si")
    energies = []
    for a in (5.43, 5.46, 5.49):
        atoms.set_cell(atoms.cell * (0.25 * a**3 / atoms.get_volume()) ** (1.0 / 3.0), scale_atoms=True)
        atoms.calc = mlh.DFTCalculator(
            theory=theory, kpts={"spacing": K_SPACING}, smearing_ev=SMEARING_EV, grid_shape=(24, 24, 24)
        )
        energies.append(atoms.get_potential_energy() / 2.0)
    curvature, slope, _ = np.polyfit((5.43, 5.46, 5.49), energies, 2)
    assert -slope / (2.0 * curvature) == pytest.approx(5.469, abs=0.02)
    assert reference.energy == pytest.approx(min(energies), abs=2e-3)
    assert reference.phase == "silicon"
    monkeypatch.setattr("mlh.defects.references.relaxed_bulk", None)  # kept: not calculated again
    assert bulk_reference("Si", theory, cache=tmp_path) == reference


def test_a_given_reference_is_taken_and_an_unknown_element_needs_one(tmp_path: Path) -> None:
    engine = DFTEngine(Theory("gth-pbe"))
    found = reference_energies(["S"], engine, cache=tmp_path, given={"S": given_reference("S", -77.0)})
    assert found["S"].energy == -77.0 and found["S"].phase == "given"
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"reference: expected S=ENERGY in eV per atom, .* crystals of Al"):
        reference_energies(["S"], engine, cache=tmp_path)
    for element in KNOWN:
        check_known(element)
    with pytest.raises(ValueError, match="an element and a finite energy"):
        given_reference("Xx", 1.0)
    titles = [reference_title(e) for e in ("Cl", "Si", "Hf", "B", "S")]
    assert titles == ["Cl2", "silicon", "hcp Hf", "alpha boron", "S"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["mlh", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_a_vacancy_of_silicon_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: dict[str, Reference] = {}

    def stop(
        host: Atoms, cases: list[DefectCase], engine: object, references: dict[str, Reference], *_: object
    ) -> None:
        assert [str(case.defect.name) for case in cases] == ["V_Si"]
        taken.update(references)
        raise ValueError("far enough")

    monkeypatch.setattr("mlh.defects.study.run_defects", stop)
    words = ["defect", "alpha-quartz", "--species", "Si", "--dft", "--out", str(tmp_path / "si")]
    assert run(monkeypatch, *words, "--reference", "Si=-107.1") == 2
    assert "far enough" in capsys.readouterr().err
    assert taken == {"Si": given_reference("Si", -107.1)}
    assert run(monkeypatch, *words, "--reference", "Si:-107") == 2
    assert "--reference: expected a form such as Si=-107.1, got 'Si:-107'" in capsys.readouterr().err
    words[2:4] = ["--defect", "S_O"]
    assert run(monkeypatch, *words) == 2
    assert "--reference: expected S=ENERGY in eV per atom" in capsys.readouterr().err
