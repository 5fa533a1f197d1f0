"""The library gives reasons in its own names, the commands advise in options."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

import mlh
from mlh.commands.advice import OWN, PARAMETERS, in_options, names_of
from mlh.commands.cli import app

PACKAGE = Path(mlh.__file__).parent
ROOT = typer.main.get_command(app)
COMMANDS = "|".join(ROOT.commands)  # type: ignore[attr-defined]
COMMAND_LINE = re.compile(rf"(?<![\w-])--[a-z]|\bmlh ({COMMANDS})\b")


def literals(source: str) -> Iterator[str]:
    """The string literals of a module, docstrings and other strings that stand alone excepted."""
    tree = ast.parse(source)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def test_the_check_of_literals_sees_options_and_commands() -> None:
    source = '"""Of `mlh scf --matrices`."""\nx = f"{y} (--smearing 0.1)"\nz = "see mlh scf"\nw = "a -- b"'
    found = {text: bool(COMMAND_LINE.search(text)) for text in literals(source)}
    assert found == {" (--smearing 0.1)": True, "see mlh scf": True, "a -- b": False}


def test_the_library_does_not_speak_of_the_command_line() -> None:
    modules = [p for p in PACKAGE.rglob("*.py") if "commands" not in p.relative_to(PACKAGE).parts]
    assert len(modules) > 130
    said = {
        f"{path.relative_to(PACKAGE)}: {text}"
        for path in modules
        for text in literals(path.read_text())
        if COMMAND_LINE.search(text)
    }
    assert said == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smear them (smearing_ev=0.1)", "smear them (--smearing 0.1)"),
        ("its spins apart (spin=True)", "its spins apart (--spin)"),
        ("give a mesh (kpts)", "give a mesh (--kpts)"),
        ("(kpts; gamma=False for an even mesh)", "(--kpts; --monkhorst-pack for an even mesh)"),
        ("kpts: expected three numbers", "--kpts: expected three numbers"),
        ("of one spin, the kpts of a spin: as", "of one spin, the kpts of a spin: as"),
        ("nspin=2, engine.kpts=3, spin=False", "nspin=2, engine.kpts=3, spin=False"),
    ],
)
def test_parameters_become_options(text: str, expected: str) -> None:
    assert in_options(text, PARAMETERS) == expected


def test_a_command_is_advised_in_the_options_that_it_has() -> None:
    of_defects = "reference"
    common = {name: option for name, option in PARAMETERS.items() if name != of_defects}
    assert names_of(ROOT, ["--threads", "2", "scf", "x.xyz"]) == common | OWN["scf"]
    assert of_defects in names_of(ROOT, ["defect", "x.xyz"])
    # --max-steps of a relaxation are other steps
    assert names_of(ROOT, ["relax", "scf", "--dft"]) == common
    assert names_of(ROOT, []) == {}
    assert names_of(ROOT, ["dataset", "build", "x.yaml"]) == {"data_dir": "--openmx-data"}
    assert names_of(ROOT, ["openmx-input", "x.xyz"]) == {"kpts": "--kpts", "cutoff_ry": "--cutoff"} | {
        "index": "--index",
        "data_dir": "--data",
    }
    assert names_of(ROOT, ["train", "x.yaml"]) == {"overrides": "--set"}


def standard_error(*words: str) -> str:
    """What a command says there, in one line."""
    command = [sys.executable, "-m", "mlh", *words]
    return " ".join(subprocess.run(command, capture_output=True, text=True, check=False).stderr.split())


def test_commands_say_what_to_type() -> None:
    before = Path(__file__).parent / "data" / "before"
    said = standard_error("charges", str(before / "scf.h5"))
    assert "(--kpts; one point for Gamma alone; --monkhorst-pack for an even mesh" in said
    said = standard_error("train", str(before / "train.yaml"), "--set", "steps")
    assert said == "mlh: --set: expected key.subkey=value, got 'steps'"


def test_warnings_say_what_to_type(tmp_path: Path) -> None:
    """Odd electrons, smeared with k points, are taken for a metal."""
    structure = tmp_path / "h.xyz"
    structure.write_text(
        '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nH 0 0 0\n'
    )
    options = ("--dft", "--cutoff", "40", "--kpts", "2", "1", "1", "--smearing", "0.5")
    said = standard_error("relax", str(structure), *options, "--out", str(tmp_path / "relax"))
    assert said.count("without moments; --spin polarises it") == 1, said
