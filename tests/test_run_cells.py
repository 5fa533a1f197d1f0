"""Relaxations whose cells move: the printed criterion is the applied one, and two runs can be compared."""

from __future__ import annotations

import io
import json
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from rich.console import Console
from typer.testing import CliRunner

from mlh.accuracy.runs import compare_runs
from mlh.analysis import cell_strain, displacements, in_cell_of
from mlh.commands.cli import app
from mlh.relaxation.files import run_relaxation
from mlh.relaxation.loop import RelaxResult, RelaxSettings
from mlh.report.steps import StepPrinter, cell_change, outcome
from mlh.structures import rattle, write_structure

runner = CliRunner()


def copper() -> ase.Atoms:
    """Strained and sheared, so that one factor of the cell leaves a stress."""
    atoms = rattle(bulk("Cu", cubic=True), 0.05, 3)
    strain = np.array([[0.02, 0.01, 0.0], [0.01, -0.01, 0.0], [0.0, 0.0, 0.03]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def relaxed(folder: Path, settings: RelaxSettings) -> tuple[RelaxResult, str]:
    console = Console(file=io.StringIO(), width=200)
    printer = StepPrinter(console, "Cu", settings.fmax, settings=settings)
    result = run_relaxation(copper(), EMT(), folder, settings, on_step=printer)
    console.print(outcome(result), cell_change(copper(), result), soft_wrap=True)
    return result, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("pressure", [0.0, 5.0])
def test_the_volume_stops_at_the_pressure_that_is_printed(tmp_path: Path, pressure: float) -> None:
    settings = RelaxSettings(fmax=0.005, smax=0.02, cell="volume", pressure=pressure)
    result, text = relaxed(tmp_path, settings)
    check = result.atoms.copy()
    check.calc = EMT()
    stress = check.get_stress() * 160.2177
    left = abs(stress[:3].mean() + pressure)
    name = "hydrostatic stress + pressure" if pressure else "hydrostatic stress"
    assert result.converged and left < 0.02 < np.abs(stress).max()
    assert f"{name} {left:.3f} GPa" in text.splitlines()[-1]
    assert f"{np.abs(stress).max():.3f} GPa" in text.splitlines()[-1], "the component is named as what it is"
    assert f"{name} {result.steps[0].stress_left(settings):.3f} GPa" in text
    summary = json.loads((tmp_path / "relax.json").read_text())
    assert (
        summary["stress"] == pytest.approx(left, abs=1e-4) and summary["stress"] <= summary["stress_target"]
    )
    assert summary["stress_is"] == "|tr(stress) / 3 + pressure|" and summary["pressure"] == pressure


def test_the_stress_of_a_full_cell_counts_the_pressure(tmp_path: Path) -> None:
    settings = RelaxSettings(fmax=0.005, smax=0.02, cell="full", pressure=5.0)
    result, text = relaxed(tmp_path, settings)
    assert result.converged and result.steps[-1].stress_left(settings) < 0.02
    assert result.steps[-1].stress_gpa == pytest.approx(5.0, abs=0.03)
    assert f"stress + pressure {result.steps[-1].stress_left(settings):.3f} GPa" in text


def test_runs_with_cells_are_compared(tmp_path: Path) -> None:
    """Volumes, strain, and displacements of fractional coordinates; the command prints them."""
    for name, pressure in (("a", 0.0), ("b", 1.0)):
        settings = RelaxSettings(fmax=0.005, smax=0.02, cell="volume", pressure=pressure)
        run_relaxation(copper(), EMT(), tmp_path / name, settings)
    (row,) = compare_runs(tmp_path / "a", tmp_path / "b")["relaxations"]
    ratio = row["volume"][0] / row["volume"][1]
    assert ratio > 1.003 and row["volume_difference"] == pytest.approx(ratio - 1.0)
    assert row["cell_strain"] == pytest.approx(ratio ** (1 / 3) - 1.0, rel=1e-6)
    assert row["coordinate_mae"] < 1e-3, "one factor of the cell changes no fractional coordinate"
    result = runner.invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b")], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    assert "volume A^3" in result.stdout and "strain %" in result.stdout
    files = [str(tmp_path / name / "relaxed.extxyz") for name in "ab"]
    content = json.loads(runner.invoke(app, ["compare", *files, "--json"]).stdout)
    assert content["volume (A^3)"] == pytest.approx(row["volume"][0])
    assert content["coordinate MAE (A)"] == pytest.approx(row["coordinate_mae"])


def test_fractional_displacements_and_what_is_no_strain(tmp_path: Path) -> None:
    first, second = copper(), copper()
    first.set_cell(first.cell.array @ np.diag([1.1, 1.0, 0.95]), scale_atoms=True)
    assert cell_strain(first, second) == pytest.approx(0.1, rel=0.05)
    np.testing.assert_allclose(displacements(in_cell_of(first, second), second), 0.0, atol=1e-12)
    turned = second.copy()
    turned.rotate(30.0, "z", rotate_cell=True)
    assert cell_strain(turned, second) == pytest.approx(0.0, abs=1e-12)
    doubled = second.copy()
    doubled.set_cell(doubled.cell.array * [[2], [1], [1]])
    write_structure(tmp_path / "a.extxyz", doubled)
    write_structure(tmp_path / "b.extxyz", second)
    refused = runner.invoke(app, ["compare", str(tmp_path / "a.extxyz"), str(tmp_path / "b.extxyz")])
    assert "strains of at most 30%" in str(refused.exception)
