"""From labels to defects in a basis of OpenMX, from the command line; needs MLH_OPENMX_DATA."""

from __future__ import annotations

import json
import os
from pathlib import Path

import ase
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mlh.commands.cli import app
from mlh.model.card import read_card
from mlh.structures import write_structure

DATA = os.environ.get("MLH_OPENMX_DATA")
ORBITALS = {"Si": "Si7.0-s1p1 Si_PBE19", "O": "O5.0-s1p1 O_PBE19"}

needs_data = pytest.mark.skipif(not DATA, reason="MLH_OPENMX_DATA does not name a folder with OpenMX data")


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def molecule(path: Path) -> Path:
    middle, bond = np.array([3.3, 2.6, 2.6]), np.array([1.52, 0.1, 0.05])
    atoms = ase.Atoms("SiO2", [middle, middle + bond, middle - bond], cell=[6.6, 5.2, 5.2], pbc=True)
    write_structure(path, atoms)
    return path


@needs_data
@pytest.mark.slow
def test_data_set_training_relaxation_and_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MLH_OPENMX_DATA", "nowhere")  # the option alone says where the files are
    database = ("--openmx-data", DATA)
    host = molecule(tmp_path / "molecule.xyz")
    source = {
        "name": "molecule",
        "file": str(host),
        "host": [{"copies": 3, "rattle": 0.05}],
        "vacancies": [{"species": "O", "sites": 1, "structures": [{"rattle": 0.02}]}],
    }
    engine = {"basis": "openmx", "orbitals": ORBITALS, "cutoff_ry": 60.0}
    plan, data = tmp_path / "plan.yaml", tmp_path / "data.h5"
    plan.write_text(yaml.safe_dump({"name": "small", "engine": engine, "sources": [source]}))
    run("dataset", "build", plan, "--out", data, "--processes", 1, *database)

    training = {
        "dataset": str(data),
        "output": str(tmp_path / "model"),
        "steps": 2,
        "evaluate_every_steps": 2,
        "split": {"by": "random", "validation": 0.2, "test": 0.2},
        "network": {"features": "2x0e+2x1o+2x2e", "layers": 0, "pair_widths": [4], "n_knots": 4},
    }
    settings, model = tmp_path / "train.yaml", tmp_path / "model" / "model.npz"
    settings.write_text(yaml.safe_dump(training))
    run("train", settings)
    assert read_card(model).basis.name == "openmx DFT_DATA19"

    relax = ("relax", host, "--fmax", 30, "--json", "--out")
    by_model = run(*relax, tmp_path / "relax", "--model", model, "--refine", 1, *database)
    level = (*database, "--orbitals", "Si=Si7.0-s1p1,Si_PBE19", "--orbitals", "O=O5.0-s1p1,O_PBE19")
    by_dft = run(*relax, tmp_path / "relax-dft", "--dft", "--cutoff", 60, *level)
    energies = [json.loads(text[text.index("{\n") :])["energy"] for text in (by_model, by_dft)]
    assert energies[0] == pytest.approx(energies[1], abs=1.0)

    defect = ("defect", host, "--model", model, "--refine", 1, "--fmax", 30, "--no-pictures", "--host-as-is")
    run(*defect, "--out", tmp_path / "defects", "--verify-dft", 1, *database)
    content = json.loads((tmp_path / "defects" / "defects.json").read_text())
    assert abs(content["comparison"][0]["formation_energy_error"]) < 2.0


def test_a_database_is_for_models_in_its_basis(tmp_path: Path) -> None:
    host = molecule(tmp_path / "molecule.xyz")
    result = CliRunner().invoke(app, ["relax", str(host), "--model", "sio2-vo", "--openmx-data", "somewhere"])
    assert "expected a model in a basis of OpenMX, sio2-vo has gth-pbe" in str(result.exception)
