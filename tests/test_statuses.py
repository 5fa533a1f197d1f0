"""Exit statuses as documented: 0 right, 1 not converged or failed, 2 wrong input; results and words apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mlh.commands.cli import app
from mlh.dataset.sample import BasisRecord, Sample
from mlh.dataset.store import DatasetWriter
from mlh.dft.system import System
from mlh.structures import crystal

runner = CliRunner()
ONE = """\
name: one
engine: {cutoff_ry: 60.0, max_scf_steps: %d, orbitals: {Si: 5.0-s1p1}}
sources:
- {name: a, crystal: silicon, host: [{}]}
- {name: b, crystal: silicon, host: [{volume: 1.4}]}
"""


def test_a_failed_build_is_status_one_with_its_report(tmp_path: Path) -> None:
    """The input is right, nothing converged: not wrong input."""
    (tmp_path / "c.yaml").write_text(ONE % 2, encoding="utf-8")
    out = tmp_path / "bad.h5"
    command = ["dataset", "build", str(tmp_path / "c.yaml"), "--out", str(out), "--processes", "1"]
    result = runner.invoke(app, [*command, "--json"])
    assert result.exit_code == 1, result.exception
    report = json.loads(result.stdout)
    assert report["n_samples"] == 0 and len(report["failed"]) == report["n_jobs"] == 2
    assert all("not converged in 2 steps" in reason for reason in report["failed"].values())
    assert "no calculation succeeded" in result.stderr and not out.exists()
    again = runner.invoke(app, command)  # what is set aside is not tried again
    assert again.exit_code == 1 and again.stdout == ""


def test_a_plan_is_json_on_request(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(ONE % 2, encoding="utf-8")
    result = runner.invoke(app, ["dataset", "build", str(tmp_path / "c.yaml"), "--dry-run", "--json"])
    assert [row["formula"] for row in json.loads(result.stdout)] == ["Si8", "Si8"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two samples, and a configuration whose test part is empty."""
    folder = tmp_path_factory.mktemp("data")
    system = System(crystal("alpha-quartz"), cutoff_ry=60.0)
    writer = DatasetWriter(folder / "d.h5", BasisRecord.of(system.basis), {"xc": "PBE", "cutoff_ry": 60.0})
    zero = np.zeros(system.pattern.nnz)
    for name in "ab":
        writer.append(Sample.from_system(system, zero, {"x": 1.0}, np.zeros((9, 3)), origin=name))
    split = "{by: random, validation: 0.5, test: 0.0}"
    text = f"dataset: {folder / 'd.h5'}\noutput: {folder}\nsplit: {split}\n"
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("further", [[], ["--json"]])
def test_an_empty_part_is_one_sentence(dataset: Path, further: list[str]) -> None:
    command = ["evaluate", "sio2-vo", str(dataset / "d.h5"), "--config", str(dataset / "c.yaml")]
    result = runner.invoke(app, [*command, "--part", "test", *further])
    assert isinstance(result.exception, ValueError) and result.stdout == ""
    assert "--part test: expected at least one sample" in str(result.exception)


def test_existing_pictures_are_not_overwritten(dataset: Path, tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    picture.write_bytes(b"mine")
    data = str(dataset / "d.h5")
    commands = (["info", "silicon"], ["dataset", "info", data], ["evaluate", "sio2-vo", data])
    for command in commands:
        result = runner.invoke(app, [*command, "--plot", str(picture)])
        assert isinstance(result.exception, FileExistsError) and result.stdout == ""
    assert picture.read_bytes() == b"mine"
    done = runner.invoke(app, ["info", "silicon", "--plot", str(picture), "--overwrite", "--json"])
    assert done.exit_code == 0 and picture.stat().st_size > 1000
