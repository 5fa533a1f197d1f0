"""What the documentation shows is what the software does."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from mlh.commands.cli import app
from mlh.structures import crystal, rattle, write_structure
from mlh.training.config import load_config

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_the_command_line_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("cli_reference", ROOT / "scripts" / "cli_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.reference(), "run scripts/cli_reference.py"


def commands_of(page: Path) -> list[str]:
    """Lines of code that call mlh: indented by four, with words that a shell would take."""
    found = []
    for line in page.read_text(encoding="utf-8").splitlines():
        match = re.match(r"(?:    |> )(mlh (?:--log \S+ )?[a-z].*)$", line)
        if match and not re.search(r"\.\.\.|\[OPTIONS\]| \| |COMMAND", match[1]):
            command = re.split(r"\s{2,}|\s#", match[1])[0]
            found.append(command)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_the_pages_parse(page: Path) -> None:
    """Every command and option that a page shows exists."""
    root = typer.main.get_command(app)
    for line in commands_of(page):
        words = shlex.split(line)[1:]
        words = words[2:] if words[0] == "--log" else words
        command = root.commands[words[0]]
        if hasattr(command, "commands") and words[1:2] and words[1] in command.commands:
            command, words = command.commands[words[1]], words[1:]
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        options = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert options <= known, f"{page.name}: {line}"


def test_the_pages_show_commands() -> None:
    assert sum(len(commands_of(page)) for page in PAGES) > 20


def test_every_command_shows_help_and_an_example() -> None:
    runner = CliRunner()
    for command in app.registered_commands:
        result = runner.invoke(app, [str(command.name), "--help"])
        assert result.exit_code == 0
        assert "Example" in (command.epilog or ""), command.name


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    """Data sets: every structure can be made. Training: every key is known."""
    if "network:" in path.read_text(encoding="utf-8"):
        assert load_config(path).network.channels > 0
        return
    result = CliRunner().invoke(app, ["dataset", "build", str(path), "--dry-run"])
    assert result.exit_code == 0, result.output
    # The unseen host of the demonstration is never in a training set.
    if "split: test" not in path.read_text(encoding="utf-8"):
        assert "glass-b" not in result.stdout.split()


def test_the_program_of_the_library_is_the_one_that_is_tested() -> None:
    """docs/architecture.md shows what ctest `installed_package` builds and runs."""
    program = (ROOT / "cpp" / "tests" / "package" / "main.cpp").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown = "".join(f"    {line}\n" if line else "\n" for line in program.splitlines())
    assert shown in page


@pytest.mark.slow
def test_the_python_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, on a crystal of nine atoms in place of the glass."""
    monkeypatch.chdir(tmp_path)
    write_structure(tmp_path / "glass.xyz", rattle(crystal("alpha-quartz"), 0.002, 1))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 2
    output = io.StringIO()
    scope: dict[str, object] = {}
    with contextlib.redirect_stdout(output):
        for block in blocks:
            exec(compile(block.replace("fmax=0.02", "fmax=5.0"), "README.md", "exec"), scope)
    numbers = [float(line) for line in output.getvalue().splitlines() if re.fullmatch(r"[\d.e+-]+", line)]
    assert len(numbers) == 2 and numbers[0] >= 0.0 > numbers[1]  # a residual, an energy
    assert scope["result"].converged  # type: ignore[attr-defined]
