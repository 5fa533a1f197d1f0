"""What a notebook shows: results as HTML, bars and what is being done in the output of the cell."""

from __future__ import annotations

import sys
import time
import types
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from rich.progress import BarColumn

import mlh
from mlh.common import html, notebook, terminal
from mlh.common.activity import doing
from mlh.common.units import HARTREE_EV
from mlh.defects.cases import vacancy_cases
from mlh.defects.run import DefectRun, RelaxedDefect
from mlh.dft.energies import Energies
from mlh.model.card import read_card
from mlh.relaxation.loop import RelaxSettings, relax
from mlh.report.curves import relaxation_figure


class Checked(HTMLParser):
    """Every element that begins ends, and the texts of the cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_energies_are_a_table() -> None:
    energies = Energies(kinetic=1.5, xc=-2.0)
    cells = Checked(energies._repr_html_()).cells
    assert cells[:3] == ["contribution", "Ha", "eV"]
    assert cells[cells.index("xc") + 1] == "-2.0000000000"
    assert float(cells[-1]) == pytest.approx(-0.5 * HARTREE_EV, abs=1e-6)


def test_figures_are_pictures() -> None:
    """Without pyplot, which a notebook would need to have imported."""
    steps = relax(molecule("H2O"), EMT(), RelaxSettings(fmax=0.5)).steps
    assert relaxation_figure(steps, None)._repr_png_().startswith(b"\x89PNG")


def test_text_of_the_user_is_text() -> None:
    section = html.Section("<b>", [("a & b", "<script>")])
    assert "<script>" not in section.as_html() and Checked(section.as_html()).cells == ["a & b", "<script>"]


def test_a_state_and_a_model_card() -> None:
    atoms = Atoms("H2", [[1.0, 1.0, 1.0], [1.0, 1.0, 1.75]], cell=[4.0] * 3, pbc=True)
    result = mlh.scf(mlh.System.of(atoms, mlh.Theory(cutoff_ry=60.0)))
    cells = Checked(result._repr_html_()).cells
    assert f"converged in {len(result.history)} steps" in cells and "kinetic" in cells
    card = read_card("sio2-vo")
    cells = Checked(card._repr_html_()).cells
    assert "PBE" in cells and "H of 96 atoms, meV" in cells
    assert mlh.load_model("sio2-vo")._repr_html_() == card._repr_html_()


def test_a_relaxation_and_a_run_of_defects() -> None:
    """Few steps are all there; of many the first and the last; what has not converged says so."""
    atoms = molecule("CH3CH2OH")
    short = relax(atoms, EMT(), RelaxSettings(fmax=0.5))
    assert short.converged and len(short.steps) > 2
    text = short._repr_html_()
    assert [c for c in Checked(text).cells if c.isdigit()][-1] == str(short.steps[-1].step)
    assert text.count("<svg") == 2 and "converged in" in text
    long = relax(atoms, EMT(), RelaxSettings(fmax=1e-4, max_steps=15))
    cells = Checked(long._repr_html_()).cells
    assert "..." in cells and f"{long.energy:.6f}" in cells and "NOT converged" in long._repr_html_()
    (case,) = vacancy_cases(atoms, [2])
    defect = RelaxedDefect(case, atoms.positions[2], atoms, short, 1.25)
    run = DefectRun(atoms, long, (defect,), {case: "no <state>"}, Path("no"))
    cells = Checked(run._repr_html_()).cells
    assert "1.2500" in cells and "failed: no <state>" in cells


class ZMQInteractiveShell:
    """What a Jupyter kernel has."""


class Output:
    """A place in the output of a cell that is replaced."""

    places: list[Output]

    def __init__(self, data: str) -> None:
        self.seen = [data]

    def update(self, data: str) -> None:
        self.seen.append(data)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[Output]:
    """As in a notebook: everything that is displayed."""
    shown: list[Output] = []

    def display(data: str, display_id: bool) -> Output:
        assert display_id
        shown.append(Output(data))
        return shown[-1]

    ipython, module = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    module.display, module.HTML = display, str  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


def test_nothing_moves_outside_of_notebooks_and_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    assert not notebook.in_notebook()
    with mlh.progress(), doing("something long"):
        time.sleep(0.01)
    assert capsys.readouterr() == ("", "")


def test_a_bar_in_a_notebook(kernel: list[Output], capsys: pytest.CaptureFixture[str]) -> None:
    """It is drawn again while it grows, with its colours, and goes away unless it is to stay."""
    for transient in (True, False):
        console = terminal.terminal()
        with terminal.bar(
            console, BarColumn(), terminal.Words(lambda t: t.description), transient=transient
        ) as b:
            task = b.add_task("k <points>", total=2)
            b.advance(task)
            time.sleep(0.4)
            b.advance(task)
    gone, stays = kernel
    assert gone.seen[0] == "" and gone.seen[-1] == "" and "k &lt;points&gt;" in gone.seen[2]
    assert "color" in stays.seen[-1] and "k &lt;points&gt;" in stays.seen[-1]
    assert capsys.readouterr() == ("", "")


def test_a_spinner_in_a_notebook(kernel: list[Output], capsys: pytest.CaptureFixture[str]) -> None:
    """The text in a place of its own that is empty in the end, and no codes of a terminal in the output."""
    with terminal.working(terminal.terminal(), "reading <samples>"):
        time.sleep(0.1)
    (gone,) = kernel
    assert "reading &lt;samples&gt;" in gone.seen[1] and gone.seen[-1] == ""
    assert capsys.readouterr() == ("", "")


def test_what_is_done_in_a_notebook(kernel: list[Output], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "PATIENCE_IN_NOTEBOOKS", 0.02)
    with mlh.progress():
        with doing("eigenstates"):
            time.sleep(0.2)
        with doing("forces"):
            pass
    (area,) = kernel
    assert any("eigenstates" in text for text in area.seen) and area.seen[-1] == ""


def test_words_in_a_notebook_are_lines(kernel: list[Output], capsys: pytest.CaptureFixture[str]) -> None:
    """Without the red of standard error, and not one output per line."""
    terminal.say(terminal.terminal(), "step 1")
    assert capsys.readouterr() == ("step 1\n", "") and kernel == []
