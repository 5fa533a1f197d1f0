"""The diagram of charged defects as a picture, in tables and in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mlh.defects.cases import charged_cases, vacancy_cases
from mlh.defects.charged import ChargedSettings, charged_run, describe_charged
from mlh.defects.conditions import Conditions
from mlh.defects.record import describe_run, write_defects
from mlh.defects.run import DefectSettings, run_defects
from mlh.relaxation.loop import RelaxSettings
from mlh.report.defect_diagram import PICTURE, diagram_figure, write_diagram
from mlh.report.defect_tables import conditions_table, levels_table, states_table
from mlh.report.html import read_run, render
from test_charged_run import EDGE, keep_made_up
from test_defect_workflow import ChargedEMT, copper_reference, host


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    places = [case.defect for case in vacancy_cases(host(), [3, 7])]
    settings = DefectSettings(RelaxSettings(fmax=1e-5))
    run = run_defects(
        *(host(), charged_cases(places, (-1, 0, 2)), ChargedEMT(), copper_reference(), path, settings)
    )
    keep_made_up(run)
    conditions = [Conditions("Cu-rich", {"Cu": 0.0}), Conditions("Cu-poor", {"Cu": -1.0})]
    content = describe_charged(charged_run(run, ChargedSettings()), conditions, {}, path)
    told = [{"name": c.name, "chemical_potentials": dict(c.potentials)} for c in conditions]
    described = describe_run(run, ChargedEMT())
    write_defects(path, described, copper_reference(), {}, charged=content, conditions=told)
    return path


def charged(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "defects.json").read_text())["charged"])


def shown(table: object) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


def test_the_picture_has_a_line_for_every_place(folder: Path, tmp_path: Path) -> None:
    figure = diagram_figure(charged(folder))
    axes, levels = (axes for axes in figure.axes if axes.get_title())
    assert "one-electron levels" in levels.get_title()
    assert axes.get_title() == "V_Cu, 2 places" and len(axes.get_lines()) == 2 + 2  # and the mobility edges
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["-1"]  # with the made-up edges it is the lowest all over the gap
    assert "NOT CORRECTED" in str(figure._suptitle.get_text())
    pixels = np.asarray(Image.open(write_diagram(tmp_path, charged(folder))).convert("L"))
    assert pixels.std() > 10


def test_tables(folder: Path) -> None:
    content = json.loads((folder / "defects.json").read_text())
    states = shown(states_table(content["charged"]))
    assert "V_Cu-3_+2" in states and "NOT CORRECTED" in states and "Cu-poor" in states
    levels = shown(levels_table(content["charged"]))
    assert "(+2/0)" in levels and "over the places" in levels
    level = next(x for x in content["charged"]["levels"] if x["name"] == "(+2/0)")
    assert level["level"] == pytest.approx(2.0 - EDGE + 0.2, abs=1e-6) and "outside the gap" in levels
    assert "zero: Cu fcc" in shown(conditions_table(content["conditions"], content["references"]))


def test_the_report_has_the_diagram(folder: Path) -> None:
    write_diagram(folder, charged(folder))
    run = read_run(folder)
    assert not any(path.name == PICTURE for path in run.pictures)  # it is in its own section
    text = render(run)
    assert "<h2>Charged defects</h2>" in text and "formation energies against the Fermi level" in text
    assert "Not corrected for the size of the cell" in text and "Cu-poor" in text
    assert "(+2/-1)" in text
