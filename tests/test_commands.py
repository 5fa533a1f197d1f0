"""Commands of structures and workflows: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlh.calculators.engines import DFTEngine, ModelEngine, choose_engine, dft_engine_of
from mlh.commands.cli import app
from mlh.commands.demo import _free_folder
from mlh.dft.theory import Theory
from mlh.model.card import find_model
from mlh.relaxation.identity import _same_engine
from mlh.solver import Dense, Purification
from mlh.structures import crystal, rattle, read_frames, structure_hash, write_structure

runner = CliRunner()


def test_vacancies_writes_frames_with_provenance_and_never_overwrites(tmp_path: Path) -> None:
    out = tmp_path / "v.extxyz"
    command = ["vacancies", "alpha-quartz:2x1x1", "--sites", "index:5,12", "--out", str(out), "--json"]
    result = runner.invoke(app, command)
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert [row["site"] for row in content["defects"]] == [5, 12]
    frames = read_frames(out)
    assert [frame.info["defect_site"] for frame in frames] == [5, 12]
    assert frames[0].info["host_hash"] == structure_hash(crystal("alpha-quartz", (2, 1, 1)))
    again = runner.invoke(app, command)
    assert isinstance(again.exception, FileExistsError)
    wrong = runner.invoke(app, ["vacancies", "coesite", "--sites", "some"])
    assert wrong.exit_code == 2
    assert "inequivalent" in wrong.output


def test_compare_structures(tmp_path: Path) -> None:
    reference = crystal("alpha-cristobalite")
    write_structure(tmp_path / "a.extxyz", reference)
    write_structure(tmp_path / "b.extxyz", rattle(reference, 0.05, 2))
    files = [str(tmp_path / "b.extxyz"), "--with", str(tmp_path / "a.extxyz")]
    result = runner.invoke(app, ["compare", *files, "--center", "0", "0", "0", "--json"])
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert 0.5 < content["dQ (sqrt(amu) A)"] < 3.0
    assert set(content["coordinate MAE around the centre (A)"]) == {"3 A", "5 A", "7 A", "9 A", "12 A"}
    assert runner.invoke(app, ["compare", files[0]]).exit_code == 2


def test_dry_run_lists_the_calculations(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "name: a\nsources:\n- {name: q, crystal: alpha-quartz, host: [{}], "
        "relaxations: [{of: host, rattle: 0.1, max_steps: 4}]}\n"
    )
    result = runner.invoke(app, ["dataset", "build", str(config), "--dry-run"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split("  ")[1:] for line in lines] == [["O6Si3", "up to 1 SCF"], ["O6Si3", "up to 5 SCF"]]
    assert not list(tmp_path.glob("*.jobs"))


def test_engine_is_chosen_explicitly() -> None:
    assert choose_engine("m", False, refine=1) == ModelEngine("m", 1)
    assert choose_engine(None, True, theory=Theory(cutoff_ry=150.0)) == DFTEngine(Theory(cutoff_ry=150.0))
    for model, dft in ((None, False), ("m", True)):
        with pytest.raises(ValueError, match="exactly one of a model and DFT"):
            choose_engine(model, dft)
    with pytest.raises(ValueError, match="self-consistent already"):
        choose_engine(None, True, refine=2)
    with pytest.raises(ValueError, match="one of 'dense', 'purification', 'localized', got 'sparse'"):
        choose_engine("m", False, solver="sparse")


def test_solver_of_an_engine_reaches_the_calculator_and_the_summary() -> None:
    dense, sparse = (choose_engine("sio2-vo", False, solver=s) for s in ("dense", Purification(1e-4)))
    assert "method" not in dense.describe()
    assert sparse.describe()["method"] == "purification" and sparse.describe()["threshold"] == 1e-4
    calculator = sparse.calculator()
    assert calculator.solver == Purification(1e-4)
    dft = dft_engine_of(sparse)
    assert dft.calculator().solver == Purification(1e-4)
    assert dft.calculator(solver="dense").solver == Dense()


def test_demo_folder_goes_on_or_moves_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _free_folder() == (Path("demo"), False)
    (tmp_path / "demo").mkdir()
    assert _free_folder() == (Path("demo"), True)
    (tmp_path / "demo" / "demo.json").write_text("{}")
    assert _free_folder() == (Path("demo-2"), False)


def test_a_model_of_other_elements_is_refused_before_the_reference(tmp_path: Path) -> None:
    atoms = crystal("silicon")
    atoms.symbols[0] = "Ge"
    write_structure(tmp_path / "ge.xyz", atoms)
    out = tmp_path / "vo"
    command = ["defect", str(tmp_path / "ge.xyz"), "--species", "Si", "--model", "sio2-vo", "--out", str(out)]
    result = runner.invoke(app, command)
    assert result.exit_code != 0 and "got Ge" in str(result.exception)
    assert "reference" not in result.output and not out.exists()


def test_another_model_under_the_same_path_does_not_go_on(tmp_path: Path) -> None:
    """A trajectory is of a model's content: a copy under another name goes on, another model does not."""
    shipped = find_model("sio2-vo")
    mine, copy = tmp_path / "mine.npz", tmp_path / "copy.npz"
    for path in (mine, copy):
        path.write_bytes(shipped.read_bytes())
    stored = ModelEngine(str(mine)).describe()
    assert _same_engine(stored, ModelEngine(str(copy)).describe())
    assert not _same_engine(stored, ModelEngine(str(copy), refine=1).describe())
    mine.write_bytes(shipped.read_bytes() + b"another")
    assert not _same_engine(stored, ModelEngine(str(mine)).describe())
    before = {key: value for key, value in stored.items() if key != "digest"}
    assert _same_engine(before, ModelEngine(str(mine)).describe())
    assert not _same_engine(before, ModelEngine(str(copy)).describe())
