"""Configuration-coordinate diagrams of springs whose frequencies and minima are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.units import _amu, _e, _hbar
from PIL import Image

from mlh.calculators.engines import ModelEngine
from mlh.commands import cli
from mlh.defects.ccd import HBAR_OMEGA, check_pair, fractions_of, path_between, run_ccd
from mlh.report.defect_diagram import write_ccd
from mlh.structures import write_structure

SPRING = {0: 40.0, 1: 25.0}  # eV/A^2
LENGTH = {0: 0.74, 1: 1.05}


class Spring(Calculator):  # type: ignore[misc]
    """A molecule with a harmonic bond that depends on its charge."""

    implemented_properties: ClassVar[list[str]] = ["energy"]
    calls: ClassVar[list[float]] = []

    def __init__(self, charge: int) -> None:
        super().__init__()
        self.charge = charge

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, changes)
        bond = self.atoms.get_distance(0, 1, mic=True)
        self.calls.append(bond)
        energy = 0.5 * SPRING[self.charge] * (bond - LENGTH[self.charge]) ** 2 - 30.0 + 12.0 * self.charge
        self.results = {"energy": energy, "magmom": float(self.charge)}


class SpringEngine:
    kind = "spring"

    def __init__(self, charge: int = 0) -> None:
        self.charge = charge

    def calculator(self) -> Calculator:
        return Spring(self.charge)

    def describe(self) -> dict[str, Any]:
        return {"kind": "spring", "charge": self.charge}

    def charged(self, charge: int) -> SpringEngine:
        return SpringEngine(charge)


def molecule(length: float, shift: float = 0.0) -> Atoms:
    """Across the boundary of its cell, and drifted."""
    places = np.array([[0.0, 0.3, shift], [0.0, 0.3, shift - length]])
    return Atoms("N2", places, cell=[6.0] * 3, pbc=True)


def test_both_springs_are_found(tmp_path: Path) -> None:
    initial, final = molecule(LENGTH[0]), molecule(LENGTH[1], 0.4)
    final.wrap()
    found = run_ccd(initial, final, (0, 1), SpringEngine(), tmp_path, fractions_of(5, 0.25))
    mass = initial.get_masses()[0]
    # Each atom moves by half of the change of the bond.
    assert found.dq == pytest.approx(np.sqrt(2.0 * mass) * 0.5 * (LENGTH[1] - LENGTH[0]))
    for curve, own in ((found.initial, 0.0), (found.final, 1.0)):
        reduced = 0.5 * mass * _amu
        hertz = np.sqrt(SPRING[curve.charge] * _e * 1e20 / reduced)
        assert curve.hbar_omega == pytest.approx(_hbar * hertz / _e, rel=1e-6)
        assert curve.minimum == pytest.approx(own, abs=1e-9)
        assert curve.moments == (float(curve.charge),) * 7
    content = json.loads((tmp_path / "ccd.json").read_text())
    assert content["final"]["relaxation_energy"] == pytest.approx(0.5 * SPRING[1] * 0.31**2)
    assert content["Q"][0] == pytest.approx(-0.25 * found.dq) and len(content["Q"]) == 7
    done = len(Spring.calls)
    again = run_ccd(initial, final, (0, 1), SpringEngine(), tmp_path, fractions_of(5, 0.25))
    assert again == found and len(Spring.calls) == done  # every point has its file
    pixels = np.asarray(Image.open(write_ccd(tmp_path, content)).convert("L"))
    assert pixels.std() > 5


def test_constant_of_the_frequency() -> None:
    assert pytest.approx(_hbar * np.sqrt(_e * 1e20 / _amu) / _e, rel=1e-7) == HBAR_OMEGA


def test_the_path_ends_at_both_structures() -> None:
    initial, final = molecule(0.74), molecule(1.05)
    start, middle, end = path_between(initial, final, (0.0, 0.5, 1.0))
    np.testing.assert_allclose(start.positions, initial.positions)
    assert end.get_distance(0, 1) == pytest.approx(1.05)
    assert middle.get_distance(0, 1) == pytest.approx(0.895)
    np.testing.assert_allclose(end.get_center_of_mass(), initial.get_center_of_mass(), atol=1e-12)


def test_wrong_input_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected another structure"):
        check_pair(molecule(0.74), molecule(0.74, 0.2))
    with pytest.raises(ValueError, match="points: expected at least 3"):
        fractions_of(2, 0.0)
    with pytest.raises(ValueError, match="extend: expected 0 to 1"):
        fractions_of(3, 2.0)
    with pytest.raises(ValueError, match="neutral cells only"):
        run_ccd(
            *(molecule(0.74), molecule(1.0), (0, 1), ModelEngine("sio2-vo")), tmp_path / "x", (0.0, 0.5, 1.0)
        )
    assert not (tmp_path / "x" / "points").exists()


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / name for name in ("zero", "plus")]
    for folder, length in zip(folders, LENGTH.values(), strict=True):
        folder.mkdir()
        write_structure(folder / "relaxed.extxyz", molecule(length))
    monkeypatch.setattr("mlh.commands.ccd.engine_of", lambda *_: _Checked())
    words = ["mlh", "ccd", *map(str, folders), "--dft", "--out", str(tmp_path / "out")]
    for more, status, said in (
        ([], 0, "dQ 0.8204"),
        (["--charges", "0"], 2, "--charges: expected two charges such as 0,1"),
    ):
        monkeypatch.setattr("sys.argv", [*words, *more])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert int(left.value.code or 0) == status
        assert said in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "out" / "ccd.png").exists()


class _Checked(SpringEngine):
    def calculator(self) -> Any:
        calculator = super().calculator()
        calculator.check_elements = lambda atoms: None
        return calculator
