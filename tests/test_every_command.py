"""Every command with empty, damaged, wrong and unusual input: status, streams, words.

The commands and their options are read from the application itself: a new command fails here until a line
says what right input of it is, and a new option is tried with wrong values at once.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np
import pytest
import typer
from ase import Atoms
from typer.models import ArgumentInfo, OptionInfo

from mlh.basis.gth.table import gth_potential
from mlh.commands import cli
from mlh.dataset.sample import BasisRecord, Sample
from mlh.dataset.store import DatasetWriter
from mlh.dft.system import System
from mlh.structures import write_structure
from pseudopotential_files import write_psp8

ENGINE = ("--dft", "--cutoff", "60")
RIGHT: dict[str, tuple[str, ...]] = {
    "scf": ("h2.xyz", "--cutoff", "60"),
    "relax": ("h2.xyz", *ENGINE),
    "md": ("h2.xyz", *ENGINE),
    "neb": ("h2.xyz", "h2t.xyz", *ENGINE),
    "modes": ("h2.xyz", *ENGINE),
    "amorphous": ("SiO2", "--atoms", "24", "--out", "new.xyz"),
    "vacancies": ("h2.xyz", "--species", "H", "--out", "new.xyz"),
    "defect": ("h2o.xyz", *ENGINE),
    "benchmark acwf": (
        "--elements",
        "H",
        "--set",
        "unaries",
        "--cutoff",
        "60",
        "--kspacing",
        "1",
        "--out",
        "new",
    ),
    "dataset build": ("data.yaml", "--out", "new.h5", "--dry-run"),
    "dataset check": ("data.h5",),
    "dataset info": ("data.h5",),
    "dataset merge": ("data.h5", "more.h5", "--out", "new.h5"),
    "dataset select": ("asio2_48_b", "--model", "sio2-vo", "--out", "new.extxyz"),
    "dataset export": ("data.h5", "--out", "new.extxyz"),
    "dataset import-openmx": ("runs", "--out", "new.h5"),
    "train": ("train.yaml",),
    "evaluate": ("sio2-vo", "data.h5"),
    "accuracy": ("asio2_48_b", "--model", "sio2-vo", "--out", "new"),
    "compare": ("h2.xyz", "h2.xyz"),
    "demo": ("--out", "new"),
    "info": ("h2.xyz",),
    "basis make": ("H.psp8", "--size", "minimal"),
    "models show": ("sio2-vo",),
    "cite": ("data.h5",),
    "bands": ("h2.xyz", *ENGINE, "--path", "GX"),
    "dos": ("h2.xyz", *ENGINE),
    "charges": ("h2.xyz", *ENGINE),
    "density": ("h2.xyz", *ENGINE),
    "orbitals": ("h2.xyz", *ENGINE),
    "report": ("run",),
    "export doped": ("run",),
    "ccd": ("h2.xyz", "h2-long.xyz", *ENGINE),
    "export pydefect": ("run",),
    "openmx-input": ("h2.xyz", "--species", "H=H5.0-s1,H_PBE19", "--out", "new.dat"),
}
"""A command line that is right, up to the calculation."""
SIGNED = (
    "--pressure",
    "--potential",
    "--total-moment",
    "--charge",
    "--window",
    "--center",
    "--site",
    "--edge-shifts",
)
"""Options whose numbers may be negative."""


SUPPLIED = ("h2.xyz", "h2t.xyz", "h2o.xyz", "data.yaml", "data.h5", "more.h5", "train.yaml", "H.psp8")


@dataclass(frozen=True)
class Option:
    """One option of one command."""

    command: str
    name: str
    kind: Any
    values: int

    def __str__(self) -> str:
        return f"{self.command} {self.name}"


def commands() -> Iterator[tuple[str, Callable[..., None]]]:
    """Names and functions of all commands, those of groups too."""
    groups = [("", cli.app), *((f"{g.name} ", g.typer_instance) for g in cli.app.registered_groups)]
    for prefix, group in groups:
        assert group is not None
        for command in group.registered_commands:
            assert command.callback is not None
            yield f"{prefix}{command.name}", command.callback


def options(command: str, function: Callable[..., None]) -> Iterator[Option]:
    """Its options that take values, with their types."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name in inspect.signature(function).parameters:
        if hints[name] is typer.Context:
            continue
        kind, info = typing.get_args(hints[name])[:2]
        if isinstance(info, ArgumentInfo) or info.hidden:
            continue
        assert isinstance(info, OptionInfo)
        kinds = [k for k in typing.get_args(kind) if k is not type(None)]
        kind = kinds[0] if typing.get_origin(kind) in (UnionType, typing.Union) else kind
        repeated = kind if typing.get_origin(kind) is list else None
        kind = typing.get_args(kind)[0] if repeated else kind
        count = len(typing.get_args(kind)) if typing.get_origin(kind) is tuple else 1
        kind = typing.get_args(kind)[0] if count > 1 else kind
        spelled = [d for d in (info.default, *(info.param_decls or ())) if str(d).startswith("--")]
        if kind is not bool:
            yield Option(command, spelled[0] if spelled else "--" + name.replace("_", "-"), kind, count)


def is_choice(kind: Any) -> bool:
    """Literal["a", "b"]."""
    return typing.get_origin(kind) is typing.Literal


ALL = dict(commands())
NUMBERS = [o for c, f in ALL.items() for o in options(c, f) if o.kind in (int, float)]
TEXTS = [o for c, f in ALL.items() for o in options(c, f) if o.kind is str or is_choice(o.kind)]


class WorkBegan(BaseException):
    """A calculation was started."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small right input of every kind."""
    folder = tmp_path_factory.mktemp("inputs")
    h2 = Atoms("H2", [[1.0, 1.0, 1.0], [1.0, 1.2, 1.72]], cell=[4.0, 4.1, 4.2], pbc=True)
    write_structure(folder / "h2.xyz", h2)
    turned = h2.copy()
    turned.rotate(40, "x", center="COM")
    write_structure(folder / "h2t.xyz", turned)
    water = Atoms("OH2", [[1, 1, 1], [1, 1, 1.97], [1, 1.95, 0.8]], cell=[5, 5, 5], pbc=True)
    write_structure(folder / "h2o.xyz", water)
    longer = h2.copy()
    longer.set_distance(0, 1, 0.9)
    write_structure(folder / "h2-long.xyz", longer)
    system = System(h2, cutoff_ry=60.0)
    record = BasisRecord.of(system.basis)
    zero = np.zeros(system.pattern.nnz)
    for file, names in (("data.h5", "abc"), ("more.h5", "de")):
        writer = DatasetWriter(folder / file, record, {"xc": "PBE", "cutoff_ry": 60.0})
        for name in names:
            kept = {"origin": name, "group": name}
            writer.append(Sample.from_system(system, zero, {"x": 1.0}, np.zeros((2, 3)), **kept))
    source = "sources: [{name: a, file: h2.xyz, host: [{}]}]"
    (folder / "data.yaml").write_text(f"name: d\nengine: {{cutoff_ry: 60}}\n{source}\n", encoding="utf-8")
    split = "split: {by: random, validation: 0.34, test: 0.0}"
    (folder / "train.yaml").write_text(f"dataset: data.h5\noutput: new\n{split}\n", encoding="utf-8")
    (folder / "run").mkdir()
    write_psp8(gth_potential("H"), folder / "H.psp8")
    return folder


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def works() -> None:
    """Calculations are done."""


@pytest.fixture
def mlh_command(
    inputs: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Ended]:
    """`mlh ...` in the folder of the inputs, by the entry point itself; calculations raise `WorkBegan` unless
    the test is about them."""

    def work(*_: Any, **__: Any) -> None:
        raise WorkBegan

    if "works" not in request.fixturenames:
        for target in ("mlh.calculators.dft.scf", "mlh.calculators.mlh.scf", "mlh.training.run._run"):
            monkeypatch.setattr(target, work)
        amorphous = importlib.import_module("mlh.structures.amorphous")  # a function has that name too
        monkeypatch.setattr(amorphous._Run, "advance", work)
    monkeypatch.chdir(inputs)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["mlh", *words])
        capsys.readouterr()
        status: Any = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code
        streams = capsys.readouterr()
        return Ended(int(status or 0), streams.out, streams.err)

    return run


@pytest.fixture(autouse=True)
def nothing_new(inputs: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """What a command writes although it is refused fails the test, and does not disturb the next."""
    before = set(inputs.rglob("*"))
    yield
    new = [path for path in inputs.rglob("*") if path not in before]
    for path in reversed(new):
        path.rmdir() if path.is_dir() else path.unlink()
    assert new == [] or "works" in request.fixturenames


def right(option: Option) -> list[str]:
    """The right command line, changed so that the option may stand in it."""
    words = list(RIGHT[option.command])
    if option.name == "--model":
        words = [word for word in words if word not in ENGINE]
    if option.command == "compare" and option.name in ("--model", "--with"):
        words = words[:1]
    further = {
        "info --basis": [],
        "info --element": ["--basis", "gth-pbe"],
        "orbitals --around": [*words, "--defect"],
        "orbitals --host": [*words, "--defect", "--around", "0"],
        "orbitals --site": [*words, "--defect"],
        "dataset build --dask": words[:-1],
        "dataset select --sites": [*words, "--vacancies", "O"],
    }
    return [*option.command.split(), *further.get(str(option), words)]


def test_every_command_is_here() -> None:
    """A new command needs a line in RIGHT."""
    assert set(ALL) == set(RIGHT)


def refused(ended: Ended, words: str = "") -> None:
    """Status 2, nothing on standard output, a sentence on standard error."""
    assert ended.status == 2 and ended.out == "", ended
    assert "Traceback" not in ended.err and len(ended.err.strip()) > 10
    assert words in ended.err, ended


@pytest.mark.parametrize("option", NUMBERS, ids=str)
def test_numbers_that_are_none(option: Option, mlh_command: Callable[..., Ended]) -> None:
    """Text, not-a-number, infinity, a negative count or size are refused before the work."""
    values = ["x", "-7"] if option.kind is int else ["x", "nan", "inf", "-7"]
    for value in values:
        if not (value == "-7" and option.name in SIGNED):
            refused(mlh_command(*right(option), option.name, *[value] * option.values))


@pytest.mark.parametrize("option", TEXTS, ids=str)
def test_texts_that_name_nothing(option: Option, mlh_command: Callable[..., Ended]) -> None:
    """A name that does not exist is repeated in the message, brackets and all."""
    for value in ("no-such[/b]", ""):
        ended = mlh_command(*right(option), option.name, value)
        refused(ended, "" if option.name == "--openmx-species" else value)  # first of all without its data


FILES = [(c, k) for c, words in RIGHT.items() for k, word in enumerate(words) if word in SUPPLIED]
DAMAGED: dict[str, Callable[[Path, Path], Any]] = {
    "missing": lambda path, whole: None,
    "empty": lambda path, whole: path.write_bytes(b""),
    "noise": lambda path, whole: path.write_bytes(np.random.default_rng(1).bytes(4000)),
    "half": lambda path, whole: path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2]),
    "another kind": lambda path, whole: path.write_text(
        "Wer immer strebend sich bemueht\n", encoding="utf-8"
    ),
    "folder": lambda path, whole: path.mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize(("command", "place"), FILES, ids=[f"{c}-{RIGHT[c][k]}" for c, k in FILES])
def test_damaged_files_are_named(
    command: str, place: int, damage: str, mlh_command: Callable[..., Ended], inputs: Path
) -> None:
    words = list(RIGHT[command])
    whole = inputs / words[place]
    path = inputs / f"broken{whole.suffix}"
    DAMAGED[damage](path, whole)
    words[place] = path.name
    try:
        refused(mlh_command(*command.split(), *words), path.name)
    finally:
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)


RUNS: dict[str, tuple[str, ...]] = {
    "scf": (), "relax": ("--max-steps", "0", "--out", "relaxed"),
    "md": ("--steps", "1", "--out", "moved"),
    "neb": ("--images", "1", "--max-steps", "0", "--out", "path"),
    "modes": ("--out", "modes"), "vacancies": (), "dataset build": (),
    "dataset check": (), "dataset info": (), "dataset merge": (), "compare": (), "info": (),
    "basis make": (),
    "models show": (), "cite": (),
    "bands": ("--points", "4"), "dos": (), "charges": (), "density": (), "orbitals": ("--format", "none"),
}  # fmt: skip
"""Commands that run in a moment, with what makes them so; those of workflows run in tests of their own."""


@pytest.mark.usefixtures("works")
@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
@pytest.mark.parametrize("command", RUNS)
def test_results_and_words_are_apart(command: str, as_json: bool, mlh_command: Callable[..., Ended]) -> None:
    """Results on standard output, and JSON alone there with --json; words on standard error; status 0, and 1
    of a relaxation that may not move."""
    json_too = as_json and "as_json" in inspect.signature(ALL[command]).parameters
    line = [*command.split(), *RIGHT[command], *RUNS[command], *["--json"] * json_too]
    ended = mlh_command(*line)
    assert ended.status == (1 if command in ("relax", "neb") else 0), ended
    if json_too:
        json.loads(ended.out)
    elif command in ("relax", "md", "vacancies"):
        assert ended.out == "" and ended.err
    else:
        assert ended.out and not ended.out.startswith("{")
    if command in ("scf", "relax", "md", "neb", "modes", "bands", "dos", "charges", "density", "orbitals"):
        assert ended.err, "progress is said"


@pytest.mark.usefixtures("works")
def test_a_calculation_that_fails_is_status_one(mlh_command: Callable[..., Ended]) -> None:
    """Not wrong input: the words on standard error, an object on standard output on request."""
    ended = mlh_command("scf", "h2.xyz", "--cutoff", "60", "--max-steps", "1", "--json")
    assert ended.status == 1 and json.loads(ended.out)["converged"] is False and "not converged" in ended.err
