"""All input is checked before the work: no self-consistency runs, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from typer.testing import CliRunner

from mlh.calculators import dft, mlh
from mlh.commands.cli import app
from mlh.structures import crystal, write_structure

DFT = ["--dft", "--cutoff", "60", "--orbitals", "Si=5.0-s1p1", "--orbitals", "O=5.0-s1p1"]
DEFECT = ["orbitals", "q.xyz", *DFT, "--defect", "--around", "0"]
WRONG: dict[str, tuple[list[str], str]] = {
    "atom of the plane": (["density", "q.xyz", *DFT, "--plane", "0,1,9"], "three different atoms of 0 to 8"),
    "plane on a line": (["density", "line.xyz", *DFT, "--plane", "0,1,2"], "on one line"),
    "same atom twice": (["orbitals", "q.xyz", *DFT, "--plane", "0,1,1"], "three different atoms"),
    "margin": (["density", "q.xyz", *DFT, "--plane", "0,1,2", "--margin", "0"], "positive lengths"),
    "spin density without spin": (["density", "q.xyz", *DFT, "--kind", "spin"], "--spin"),
    "spin of a model": (["density", "q.xyz", "--model", "sio2-vo", "--kind", "spin"], "two spin components"),
    "grid of --minus": (["density", "q.xyz", *DFT, "--minus", "other.cube"], "the same cell and the grid"),
    "width": (["dos", "q.xyz", *DFT, "--width", "0"], "positive width"),
    "mesh": (["dos", "q.xyz", *DFT, "--mesh", "0", "1", "1"], "three positive integers"),
    "window of the DOS": (["dos", "q.xyz", *DFT, "--window", "1", "-1"], "two increasing energies"),
    "window of bands": (["bands", "q.xyz", *DFT, "--window", "1", "1"], "two increasing energies"),
    "path": (["bands", "q.xyz", *DFT, "--path", "GQ"], "path: expected at least two of the points"),
    "state": (["orbitals", "q.xyz", *DFT, "--states", "humo"], "expected homo, lumo"),
    "band": (["orbitals", "q.xyz", *DFT, "--states", "9999"], "expected bands 0 to"),
    "k point": (["orbitals", "q.xyz", *DFT, "--k", "1"], "expected 0 to 0 and 0 to 0"),
    "channel": (["orbitals", "q.xyz", *DFT, "--channel", "down"], "expected 0 to 0"),
    "defect without a place": (["orbitals", "q.xyz", *DFT, "--defect"], "where its defect is"),
    "atoms around": (["orbitals", "q.xyz", *DFT, "--defect", "--around", "0,99"], "expected atoms of 0 to 8"),
    "host": (
        ["orbitals", "q.xyz", *DFT, "--defect", "--around", "0", "--host", "line.xyz"],
        "host: expected",
    ),
    "missing host": ([*DEFECT, "--host", "no.xyz"], "no.xyz"),
    "folder as a file": (["scf", "q.xyz", "--cutoff", "60", "--density", "folder"], "got a folder"),
    "file as a folder": (
        ["scf", "q.xyz", "--extxyz", "q.xyz/out.xyz"],
        "expected a folder",
    ),
    "one name twice": (["scf", "q.xyz", "--density", "x", "--matrices", "x"], "another name for every file"),
    "folder of a relaxation": (["relax", "q.xyz", *DFT, "--out", "q.xyz"], "expected a folder"),
    "folder of a defect run": (["defect", "q.xyz", *DFT, "--out", "q.xyz"], "expected a folder"),
    "finished defect run": (["defect", "q.xyz", *DFT, "--out", "run"], "holds a relaxation already"),
    "finished demo": (["demo", "--out", "demo"], "holds a relaxation already"),
    "second host": (["accuracy", "q.xyz", "no.xyz", "--model", "sio2-vo", "--out", "new"], "no.xyz"),
    "picture of another kind": (["info", "q.xyz", "--plot", "p.xyz"], "expected a picture"),
    "k points of two structures": (["compare", "q.xyz", "q.xyz", "--kpts", "2", "2", "2"], "--model"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("input")
    write_structure(folder / "q.xyz", crystal("alpha-quartz"))
    write_structure(
        folder / "line.xyz", Atoms("O3", [[1, 1, 1], [1, 1, 2.5], [1, 1, 4]], cell=[6] * 3, pbc=True)
    )
    write(folder / "other.cube", Atoms("O", cell=[6] * 3, pbc=True), data=np.zeros((4, 4, 4)))
    for name in ("folder", "run/host", "demo/model/host"):
        (folder / name).mkdir(parents=True)
        (folder / name / "relaxed.extxyz").write_text("", encoding="utf-8")
    return folder


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_costs_nothing(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("the work began")

    monkeypatch.chdir(folder)
    monkeypatch.setattr(dft, "scf", work)
    monkeypatch.setattr(mlh, "scf", work)
    before = sorted(path for path in folder.rglob("*"))
    command, words = WRONG[case]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert result.exit_code != 0 and result.stdout == ""
    assert not isinstance(result.exception, AssertionError)
    assert words in result.output + str(result.exception)
    assert sorted(path for path in folder.rglob("*")) == before
