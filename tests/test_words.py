"""Words that can be trusted: names stay as they are, on any terminal, and times go beyond a day."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from ase import Atoms
from ase.io import write
from matplotlib.figure import Figure
from rich.progress import Progress
from typer.testing import CliRunner

import mlh
from mlh.commands.cli import app
from mlh.commands.dataset import _Shower
from mlh.common.examples import example
from mlh.common.terminal import clock_text, forgive_encoding, say, terminal, warnings_in_lines
from mlh.model.domain import OutOfDomainWarning
from mlh.report.plots import save_figure
from mlh.report.tables import defect_table, two_column_table

runner = CliRunner()
PACKAGE = Path(mlh.__file__).parent


@pytest.fixture
def hydrogen(tmp_path: Path) -> str:
    path = tmp_path / "h2[red].xyz"
    write(path, Atoms("H2", [[1.0, 1.0, 1.0], [1.0, 1.0, 1.75]], cell=[4.0, 4.1, 4.2], pbc=True))
    return str(path)


@pytest.mark.parametrize("name", ["run[/b]", "r[old]", "a:smile:b", "[red]", "[link=x]y"])
def test_names_are_plain_text(name: str, tmp_path: Path, hydrogen: str) -> None:
    """Brackets are no styles of rich; the folder is named as it is, in one piece."""
    folder = tmp_path / ("long-" * 20) / name
    command = ["relax", hydrogen, "--dft", "--cutoff", "40", "--max-steps", "0", "--out", str(folder)]
    result = runner.invoke(app, command)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    said = result.stderr.replace("\n", "")  # titles are broken where the path of the folder makes them long
    assert f"files in {folder}" in result.stderr and hydrogen in said
    assert result.exit_code == 1 and result.stdout == ""


def test_tables_and_titles_are_plain_text() -> None:
    console = terminal(stderr=False)
    console.file, console.width = io.StringIO(), 120
    console.print(two_column_table("a[b] - c[/d]", [("[red]", "x[/y]")]))
    host = {"energy": 0.0, "fmax": 0.0, "steps": 0, "seconds": 0.0, "status": "[odd]"}
    run = {"host": host, "vacancies": [], "failures": [{"site": 1, "reason": "x[/b]"}]}
    console.print(defect_table(run, "vacancies in [i]g.xyz"))
    text = console.file.getvalue()
    for part in ("a[b] - c[/d]", "[red]", "x[/y]", "[odd]", "x[/b]", "vacancies in [i]g.xyz"):
        assert part in text


def test_there_is_one_way_to_a_terminal() -> None:
    """Consoles and bars of rich are made in one module; nobody prints a string through rich's markup."""
    for path in PACKAGE.rglob("*.py"):
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(PACKAGE))
        if "rich" not in text or name == "common/terminal.py":
            continue
        imported = " ".join(re.findall(r"from rich\S* import (.*)", text))
        for made in ("Console", "Progress", "TextColumn", "track"):
            if re.search(rf"\b{made}\b", imported):
                assert not re.search(rf"(?<![.\w]){made}\((?!quiet=True)", text), f"{name}: {made}"
        assert not re.search(r"\[/?(red|yellow|bold|dim)\]", text), name
        for call in re.findall(r"onsole\.print\((.*)", text):
            assert re.match(r"\w*table\(|Text\(", call), f"{name}: {call}"


def test_no_help_has_words_that_rich_takes_for_styles() -> None:
    """mlh[defects] would be shown as mlh."""

    def texts(command: Any, name: str) -> Iterator[tuple[str, str]]:
        yield name, " ".join(str(t) for t in (command.help, command.epilog) if t)
        for parameter in command.params:
            yield f"{name} {parameter.name}", str(getattr(parameter, "help", None) or "")
        for key, sub in getattr(command, "commands", {}).items():
            yield from texts(sub, f"{name} {key}")

    found = dict(texts(typer.main.get_command(app), "mlh"))
    assert len(found) > 300
    assert {name: text for name, text in found.items() if re.search(r"\[/?[a-z@#]", text)} == {}


def test_times_go_beyond_a_day() -> None:
    assert clock_text(100000.0) == "27:46:40"
    assert clock_text(59.6) == "00:01:00" and clock_text(0.0) == "00:00:00"
    console = terminal()
    console.file = io.StringIO()
    state = SimpleNamespace(seconds_left=1e6, finished=1, n_jobs=9, failed=0, fraction=0.1, message="[m]")
    _Shower(Progress(console=console))(state)  # type: ignore[arg-type]
    assert "left 277:46:40 [m]" in console.file.getvalue()


def test_an_ascii_terminal_gets_every_table() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    forgive_encoding(stream)
    stream.write("g/cm³ 1 Å, 5 ± 2°, a \udce4 \u4e2d")
    stream.flush()
    assert stream.buffer.getvalue() == b"g/cm3 1 A, 5 +- 2 deg, a \xe4 ?"


def test_info_of_a_structure_on_an_ascii_terminal() -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    words = [sys.executable, "-m", "mlh", "info", "alpha-quartz"]
    environment = {"PATH": "", "PYTHONPATH": str(PACKAGE.parent), **plain}
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"density (g/cm3)" in done.stdout and done.stdout.isascii()


def test_say_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say(terminal(), "x[/b]", style="red")
    assert capsys.readouterr() == ("", "x[/b]\n")


def test_a_warning_is_one_line_and_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Step after step outside the domain of a model: one line, whatever the numbers."""
    with warnings_in_lines(lambda text: text.replace("kpts", "--kpts")):
        for residual in ("1.25e-01", "9.00e-02"):
            text = f"rms of H[D] - H_predicted is {residual} eV:\nuse DFT (kpts)"
            warnings.warn(text, OutOfDomainWarning, stacklevel=1)
    err = capsys.readouterr().err
    assert err == "warning: rms of H[D] - H_predicted is 1.25e-01 eV: use DFT (--kpts)\n"


def test_shipped_examples_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder; a file of that name comes first."""
    monkeypatch.chdir(tmp_path)
    assert example("examples/train_sio2.yaml").is_file()
    assert example("none.yaml") == Path("none.yaml")
    Path("train_sio2.yaml").write_text("x", encoding="utf-8")
    assert example("train_sio2.yaml").read_text(encoding="utf-8") == "x"


def test_dollars_in_a_name_are_no_formula(tmp_path: Path) -> None:
    """Titles of pictures are names of files, drawn after the work."""
    figure = Figure()
    figure.subplots().set_title(r"a$\frac$.xyz")
    figure.suptitle(r"$\nothing$")
    save_figure(figure, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000
