"""The HTML report: everything a run tells, in one file that needs no network."""

from __future__ import annotations

import html
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from rich.console import Console
from typer.testing import CliRunner

from mlh.accuracy.runs import compare_runs
from mlh.commands.cli import app
from mlh.defects.cases import vacancy_cases
from mlh.defects.record import describe_run, write_defects
from mlh.defects.run import DefectSettings, compare, run_vacancies, verify
from mlh.relaxation.loop import RelaxSettings
from mlh.report.fitted_table import NO_VALUE, FittedTable
from mlh.report.html import read_run, render, scene
from test_defect_workflow import EMTEngine, copper_reference, host


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A defect run with two vacancies, one of them verified by another engine."""
    path = tmp_path_factory.mktemp("run")
    settings = DefectSettings(RelaxSettings(fmax=0.01))
    first, second = EMTEngine(), EMTEngine(1.01)
    run = run_vacancies(host(), [3, 7], first, copper_reference(), path, settings)
    checked = verify(run, vacancy_cases(host(), [7]), second, copper_reference(1.01), path / "dft", settings)
    content, verification = describe_run(run, first), describe_run(checked, second)
    write_defects(path, content, copper_reference(), {}, verification, compare(run, checked))
    return path


def test_report_holds_the_numbers_of_the_run_and_needs_no_network(folder: Path) -> None:
    text = render(read_run(folder))
    content = json.loads((folder / "defects.json").read_text())
    for vacancy in content["run"]["defects"]:
        assert f"{vacancy['formation_energy']:.3f}" in text
    assert f"{1000 * content['comparison'][0]['formation_energy_error']:.1f}" in text
    assert f"{content['references']['Cu']['energy']:.4f}" in text
    assert "Every relaxation reached its target force" in text
    for name in ("host", "V_Cu-3_0", "V_Cu-7_0", "dft/V_Cu-7_0"):
        assert f"<h3>{name} " in text, name
    assert not re.search(r"""(src|href)=["']https?:""", text) and "@import" not in text
    assert text.count("<canvas") == 5


def test_structures_are_shown_with_the_vacancy_in_the_middle(folder: Path) -> None:
    text = render(read_run(folder))
    scenes = [json.loads(html.unescape(s)) for s in re.findall(r'data-scene="([^"]*)"', text)]
    host_scene = next(s for s in scenes if len(s["positions"]) == 32)
    vacancy_scene = next(s for s in scenes if len(s["positions"]) == 31)
    assert host_scene["site"] is None and vacancy_scene["site"] == [0.0, 0.0, 0.0]
    # the removed atom leaves twelve neighbours at the nearest-neighbour distance around the middle
    distances = np.linalg.norm(vacancy_scene["positions"], axis=1)
    assert np.count_nonzero(distances < 2.8) == 12 and distances.min() > 2.2


def test_bonds_are_not_drawn_through_the_cell() -> None:
    cell = bulk("Cu", cubic=True)
    drawn = scene(cell)
    positions = np.array(drawn["positions"])
    lengths = [np.linalg.norm(positions[i] - positions[j]) for i, j in drawn["bonds"]]
    assert lengths and max(lengths) < 2.7
    assert len(drawn["edges"]) == 12


def test_what_did_not_converge_comes_first(tmp_path: Path) -> None:
    settings = DefectSettings(RelaxSettings(fmax=1e-4, max_steps=2))
    run = run_vacancies(host(), [0], EMTEngine(), copper_reference(), tmp_path, settings)
    write_defects(tmp_path, describe_run(run, EMTEngine()), copper_reference(), {})
    text = render(read_run(tmp_path))
    assert "V_Cu-0_0: unconverged, largest force" in text and "Not everything converged" in text
    assert text.index("V_Cu-0_0: unconverged") < text.index("Formation energies")


def test_command_writes_once_and_refuses_other_folders(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.html"
    arguments = ["report", str(folder), "--out", str(target)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert target.read_text().startswith("<!doctype html>")
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, FileExistsError)
    assert CliRunner().invoke(app, [*arguments, "--overwrite"]).exit_code == 0
    empty = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert isinstance(empty.exception, FileNotFoundError) and "found none" in str(empty.exception)


def test_two_runs_beside_each_other(folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["compare", str(folder), str(folder / "dft"), "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert [row["name"] for row in content["relaxations"]] == ["host", "V_Cu-7_0"]
    assert content["only_in_one"] == sorted(["V_Cu-3_0", "dft/host", "dft/V_Cu-7_0"])
    stored = json.loads((folder / "defects.json").read_text())["comparison"][0]
    row = content["relaxations"][1]
    assert row["energy_difference_per_atom"] == pytest.approx(stored["energy_error_per_atom"], abs=1e-9)
    assert row["dQ"] == pytest.approx(stored["dQ"], abs=1e-6)
    assert row["coordinate_mae_around_site"]["5"] == pytest.approx(stored["coordinate_mae"]["5"], abs=1e-6)
    table = CliRunner().invoke(app, ["compare", str(folder), str(folder / "dft")], env={"COLUMNS": "200"})
    assert "V_Cu-7_0" in table.output and "only in one of them" in table.output
    alone = CliRunner().invoke(
        app, ["compare", str(folder / "V_Cu-7_0"), str(folder / "dft" / "V_Cu-7_0"), "--json"]
    )
    assert json.loads(alone.stdout)["relaxations"][0]["dQ"] == pytest.approx(row["dQ"])
    with pytest.raises(FileNotFoundError, match="found none"):
        compare_runs(folder, tmp_path)
    with pytest.raises(ValueError, match="expected equal numbers of atoms, got 32 and 31"):
        compare_runs(folder / "host", folder / "V_Cu-7_0")


@pytest.mark.parametrize(("width", "tables"), [(30, 4), (40, 2), (60, 1)])
def test_tables_are_whole_at_every_width(width: int, tables: int) -> None:
    """Turned or in pieces, each value appears once and none is cut; empty columns do not appear."""
    rows = [[f"site{i}", f"{100 + i}.125", NO_VALUE, NO_VALUE if i else "7.25", f"{i} meV"] for i in range(4)]
    table = FittedTable(("vacancy", "energy meV/atom", "never", "once", "error"), rows, "runs")
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "never" not in text and text.count("vacancy") == tables
    assert all(text.count(cell) == 1 for row in rows for cell in row if cell != NO_VALUE)


def test_a_run_compares_with_a_run_only(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["compare", str(tmp_path), "asio2_48_a"])
    assert result.exit_code != 0
    assert "expected two folders of a run or two structures" in str(result.exception)
