"""Every command of every page runs as it is printed, in the order of the page, in an empty folder.

Only what the package ships and what lines before have written is there. Calculations of minutes are not done:

* relaxations (`mlh relax`, `mlh defect`) run to the end with calculators that find every structure at rest;
* what needs a state of electrons, a Monte Carlo run or a training runs until that begins, and the files that
  it would write are put there (`STAND_INS`);
* `WHOLE` runs as printed;
* `PARSED` needs what no test has (results of OpenMX, a cluster): only its options are checked, in
  tests/test_documentation.py.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule as ase_molecule
from ase.calculators.calculator import Calculator
from ase.cli.main import main as ase_main

import mlh
from mlh.calculators import DFTCalculator, MLHCalculator
from mlh.commands import cli
from mlh.dataset.sample import BasisRecord, Sample
from mlh.dataset.store import DatasetWriter
from mlh.dft.system import System
from mlh.model.card import find_model
from mlh.structures import crystal, load_structure, write_structure
from mlh.training.config import load_config, save_config
from test_documentation import PAGES, ROOT

WHOLE = (
    *("mlh vacancies", "mlh info", "mlh compare glass-relaxed", "mlh compare vo", "mlh report", "mlh bands"),
    *("mlh scf si.xyz", "mlh orbitals si.h5", "mlh dataset info", "mlh openmx-input"),
    *("mlh models", "mlh cite", "mlh --log run.log info"),
)
OPENMX = (
    ("mlh openmx-input", "mlh scf Methane.dat", "mlh relax Methane.dat")
    if "MLH_OPENMX_DATA" not in os.environ
    else ()
)  # they need its database
PARSED = (
    *("mlh dataset import-openmx", "mlh dataset info data.h5", "mlh scf alpha-quartz --openmx-data"),
    *(
        "mlh dataset build quartz.yaml",
        "mlh train quartz-training.yaml",
        "mlh bands |",
        "mlh md |",
        "mlh defect |",
        *OPENMX,
    ),
    *("mlh export", "mlh ccd", "mlh basis make", "mlh scf quartz.cif --basis"),
    *("mlh relax alpha-quartz:2x2x2 --model quartz", "mlh defect alpha-quartz:2x2x2 --model quartz"),
)
BEGUN = "the work began"


def lines_of(page: Path) -> list[str]:
    """Commands in code that is indented by four, without what explains them."""
    found = re.findall(r"^    ((?:mlh(?: --log \S+)?|ase) [a-z].*)$", page.read_text(encoding="utf-8"), re.M)
    return [
        re.split(r"\s{2,}|\s#", line)[0] for line in found if "[OPTIONS]" not in line and "..." not in line
    ]


def work(*_: Any, **__: Any) -> None:
    raise RuntimeError(BEGUN)


class Still:
    """What stands in for `calculate`: every structure is at rest, with the energy 0."""

    def __call__(self, calculator: Any, atoms: Atoms | None = None, *_: Any, **__: Any) -> None:
        Calculator.calculate(calculator, atoms)
        n = len(calculator.atoms)
        calculator.results = {
            "energy": 0.0,
            "free_energy": 0.0,
            "forces": np.zeros((n, 3)),
            "stress": np.zeros(6),
        }


def data_set(path: Path) -> None:
    """Five samples of quartz with dH = 0."""
    system = System(crystal("alpha-quartz"), cutoff_ry=200.0)
    writer = DatasetWriter(path, BasisRecord.of(system.basis), {"xc": "PBE", "cutoff_ry": 200.0})
    zero = np.zeros(system.pattern.nnz)
    for k in range(5):
        kept = {"origin": f"{k}", "group": f"{k}", "info": {"split": "test" if k > 3 else ""}}
        writer.append(Sample.from_system(system, zero, {"x": 1.0}, np.zeros((9, 3)), **kept))


def glass(path: Path) -> None:
    write_structure(path, load_structure("asio2_48_b"))


def model(words: list[str]) -> None:
    """The folder of a training: the shipped model with the configuration of the line."""
    config = load_config(words[2], [words[k + 1] for k, word in enumerate(words) if word == "--set"])
    config.output.mkdir(exist_ok=True)
    shutil.copy(find_model("sio2-vo"), config.output / "model.npz")
    save_config(config, config.output / "config.yaml")


def moving(path: Path) -> None:
    """A frame of a run of molecular dynamics."""
    atoms = crystal("alpha-quartz")
    atoms.set_momenta(np.full((len(atoms), 3), 0.1))
    write_structure(path, atoms)


def chosen(words: list[str]) -> None:
    """Structures with the configuration that labels them."""
    out = Path(option(words, "--out") or "chosen.extxyz")
    write_structure(out, crystal("alpha-quartz"))
    source = f"sources: [{{name: a, frames: {out.name}}}]"
    out.with_suffix(".yaml").write_text(f"name: {out.stem}\n{source}\n", encoding="utf-8")


def labelled_runs() -> None:
    """A data set, and a folder of runs."""
    data_set(Path("sio2.h5"))
    moving(Path("runs") / "md" / "trajectory.extxyz")


def option(words: Sequence[str], *names: str) -> str | None:
    """The value of an option."""
    return next((words[k + 1] for k, word in enumerate(words) if word in names), None)


STAND_INS: dict[str, Callable[[list[str]], None]] = {
    "mlh amorphous": lambda words: glass(Path(option(words, "--out") or "host.xyz")),
    "mlh dataset build": lambda words: data_set(Path(option(words, "--out") or "sio2.h5")),
    "mlh dataset select": chosen,
    "mlh train": model,
    "mlh md": lambda words: moving(Path(option(words, "--out") or "md") / "trajectory.extxyz"),
    "mlh density asio2_48_b --model sio2-vo --out n": lambda words: cube(Path("n.cube")),
}
"""What a line that only begins would have written."""


def cube(path: Path) -> None:
    """A density on the grid of the line that subtracts it."""
    from mlh.dft.grid_function import GridFunction
    from mlh.io import write_cube

    system, atoms = DFTCalculator().system_for(load_structure("asio2_48_b"))
    write_cube(path, atoms, GridFunction(np.zeros(tuple(system.grid.shape)), system.cell), "n")


def run(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Status and both streams of a command line."""
    monkeypatch.setattr(sys, "argv", words)
    capsys.readouterr()
    try:
        cli.main() if words[0] == "mlh" else ase_main(args=words[1:])
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    streams = capsys.readouterr()
    return status, streams.out + streams.err


def no_work(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Put in place what is not done in this line."""
    for target in (
        *("mlh.calculators.dft.scf", "mlh.calculators.mlh.scf", "mlh.analysis.state.ElectronicState.at"),
        *("mlh.model.model.Model.predict", "mlh.model.model.Model.predict_graph"),
        *("mlh.training.run.set_up", "mlh.commands.dataset.build_dataset"),
    ):
        monkeypatch.setattr(target, work)
    monkeypatch.setattr(importlib.import_module("mlh.structures.amorphous")._Run, "advance", work)
    if "--charges" in line:
        monkeypatch.setattr("mlh.commands.defect.reference_energies", work)
    elif line.startswith(("mlh relax", "mlh defect")):
        for calculator in (DFTCalculator, MLHCalculator):
            monkeypatch.setattr(calculator, "calculate", lambda self, *a, **k: Still()(self, *a, **k))


def methane() -> None:
    """OpenMX's own example, where it is."""
    for file in Path(os.environ.get("MLH_OPENMX_DATA", ".")).glob("examples/Methane.dat"):
        shutil.copy(file, ".")


def mirrored() -> None:
    """What the Python of the page makes of its relaxed ammonia."""
    atoms = ase_molecule("NH3")
    atoms.positions[:, 2] *= -1.0
    write_structure("mirrored.extxyz", atoms)


GIVEN = {
    "data_format.md": labelled_runs,
    "model.md": lambda: data_set(Path("sio2.h5")),
    "openmx.md": methane,
    "dynamics.md": mirrored,
}
"""What a page says that it goes on from."""
WITH_LINES = [page for page in PAGES if lines_of(page) and page.name != "cli.md"]


@pytest.mark.parametrize("page", WITH_LINES, ids=lambda page: page.name)
def test_the_lines_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLH_CACHE_DIR", str(tmp_path / "cache"))
    assert not (tmp_path / "examples").exists() and ROOT not in tmp_path.parents
    GIVEN.get(page.name, lambda: None)()
    for line in lines_of(page):
        if line.startswith(PARSED):
            continue
        words = shlex.split(line)
        with monkeypatch.context() as patch:
            if not line.startswith(WHOLE):
                no_work(patch, line)
            status, text = run(words, patch, capsys)
        begun = status == 1 and BEGUN in text
        assert status == 0 or begun, f"{page.name}: {line}\n{text}"
        if begun and (make := next((m for start, m in STAND_INS.items() if line.startswith(start)), None)):
            make(words)


def python_of(page: str, first: str) -> str:
    """The indented code of a page from its first line on."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    start = lines.index(f"    {first}")
    code = []
    for line in lines[start:]:
        if line and not line.startswith("    "):
            break
        code.append(line[4:])
    return "\n".join(code)


def test_the_python_of_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, with calculators that find everything at rest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLH_CACHE_DIR", str(tmp_path / "cache"))
    glass(Path("glass.xyz"))
    model(["mlh", "train", "examples/train_sio2.yaml", "--set", "output=my-model"])
    no_work(monkeypatch, "mlh relax")
    scope: dict[str, Any] = {}
    exec(compile(python_of("tutorial.md", "from pathlib import Path"), "tutorial.md", "exec"), scope)
    assert [vacancy.formation_energy for vacancy in scope["run"].defects] == [0.0] * 5


def test_the_python_of_the_data_format_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one hydrogen molecule for `system`, its state and its forces; the split needs three groups."""
    monkeypatch.chdir(tmp_path)
    atoms = Atoms("H2", [[1.0, 1.0, 1.0], [1.0, 1.0, 1.75]], cell=[4.0] * 3, pbc=True)
    system = System(atoms, cutoff_ry=60.0)
    result = mlh.scf(system)
    code = python_of("data_format.md", "from mlh.dataset.store import Dataset, DatasetWriter, Sample")
    adding = next(line for line in code.splitlines() if line.startswith("writer.append"))
    code = code.replace(adding, f"for k in range(3):\n  {adding}", 1)
    code = code.replace('group="host-3"', 'group=f"{k}"')
    scope = {
        "system": system,
        "basis": BasisRecord.of(system.basis),
        "H": result.H,
        "energies": result.energies,
        "forces": result.forces(),
    }
    exec(compile(code, "data_format.md", "exec"), scope)
    assert len(scope["parts"]["train"]) == 1  # type: ignore[arg-type, index, call-overload]


@pytest.mark.parametrize(("page", "first"), [("openmx.md", "import mlh")])
def test_the_python_of_other_pages_compiles(page: str, first: str) -> None:
    """OpenMX's own results are not here."""
    compile(python_of(page, first), page, "exec")


def test_the_python_of_the_electronic_structure_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the prediction: every import, every structure and model by name."""
    page = (ROOT / "docs" / "electronic_structure.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.S)
    no_work(monkeypatch, "")
    with pytest.raises(RuntimeError, match=BEGUN):
        exec(compile(block, "electronic_structure.md", "exec"), {})


def test_the_python_of_dynamics_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, after the lines before it, with calculators that find everything at rest."""
    monkeypatch.chdir(tmp_path)
    for name, atoms in (("ammonia", ase_molecule("NH3")), ("quartz", crystal("alpha-quartz"))):
        Path(name).mkdir()
        write_structure(Path(name) / "relaxed.extxyz", atoms)
    no_work(monkeypatch, "mlh relax")
    scope: dict[str, Any] = {}
    page = (ROOT / "docs" / "dynamics.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(compile(block, "dynamics.md", "exec"), scope)
    assert len(load_structure("mirrored.extxyz")) == 4
    assert scope["run"].steps[-1].temperature == pytest.approx(600.0)


DOCS = ROOT / "docs"
RUN_AS_PRINTED = sorted(
    [
        *(DOCS / "api").glob("*.md"),
        *(DOCS / f"{name}.md" for name in ("index", "install", "limits", "ten_minutes", "theory")),
    ]
)
"""Pages whose Python is short enough to run as it is."""
RUN_OTHERWISE = {
    "architecture.md": "ctest installed_package",
    "data_format.md": "test_the_python_of_the_data_format_runs",
    "openmx.md": "its lines, where OpenMX's database is",
    "contributing.md": "make",
    "changelog.md": "what others say",
    "changes.md": "what others say",
}
"""Pages without a line of mlh, and what runs their example, or why there is none."""


@pytest.mark.parametrize("page", RUN_AS_PRINTED, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_python_of_a_page_runs_as_printed(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder; what it prints of numbers is finite."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    assert blocks
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), scope)
    assert "nan" not in capsys.readouterr().out
    if page.name == "theory.md":  # the derivative that it shows is one
        change, exact = scope["difference"], 2 * np.vdot(scope["evaluated"].H.data, scope["change"].data)
        assert change == pytest.approx(exact, abs=1e-9) and abs(change) > 1e-4


def test_no_page_without_an_example_that_runs() -> None:
    """A line of mlh that is not only parsed, Python that runs, or a test that is named here."""
    for page in [*PAGES, *(DOCS / "api").glob("*.md")]:
        lines = [line for line in lines_of(page) if not line.startswith(PARSED)]
        assert lines or page in RUN_AS_PRINTED or page.name in RUN_OTHERWISE, page.name
