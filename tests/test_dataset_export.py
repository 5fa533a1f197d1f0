"""Energies and forces of a data set for force fields: those of DFT, in the names that MACE reads."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from mlh.calculators import DFTCalculator
from mlh.commands.cli import app
from mlh.labelling.build import build_dataset
from mlh.labelling.config import DatasetConfig
from mlh.structures import write_structure
from test_charged_model import water


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Water in a small cell, and its ion; and without a hydrogen atom."""
    folder = tmp_path_factory.mktemp("export")
    write_structure(folder / "water.xyz", water())
    common = {"file": str(folder / "water.xyz"), "split": "test"}
    ions = {"name": "water", **common, "charges": [0, 1], "host": [{"rattle": 0.02}]}
    radical = {"name": "radical", **common, "charges": [0], "vacancies": [{"species": "H", "sites": [1]}]}
    engine = {"basis": "gth-pbe", "cutoff_ry": 60.0, "smearing_ev": 0.1}
    config = DatasetConfig.model_validate({"name": "h", "engine": engine, "sources": [ions, radical]})
    assert build_dataset(config, folder / "h.h5", processes=1, threads=1).n_samples == 3
    return folder / "h.h5"


def test_frames_hold_what_dft_says(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "h.extxyz"
    line = ["dataset", "export", str(data), "--out", str(out), "--charge", "0", "--free-atoms", "--json"]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    *atoms, host, vacancy = ase.io.read(out, index=":")
    assert report["frames"] == 2 and report["charged"] == 0
    assert [f.info["config_type"] for f in (*atoms, host, vacancy)] == [
        *["IsolatedAtom"] * 2,
        "host",
        "vacancy",
    ]
    assert host.info["group"] == "water" and host.info["split"] == "test" and vacancy.info["defect_site"] == 1
    for frame in (host, vacancy):
        calculator = DFTCalculator(basis="gth-pbe", cutoff_ry=60.0, smearing_ev=0.1)
        forces = calculator.get_property("forces", frame)
        assert frame.info["REF_energy"] == pytest.approx(calculator.results["free_energy"], abs=1e-4)
        np.testing.assert_allclose(frame.arrays["REF_forces"], forces, atol=2e-3)
    energies = {str(atom.symbols): atom.info["REF_energy"] for atom in atoms}
    assert energies == report["free_atoms_ev"] and not any(atom.arrays["REF_forces"].any() for atom in atoms)
    binding = 2.0 * energies["H"] + energies["O"] - host.info["REF_energy"]
    assert 9.0 < binding < 11.0  # eV; 10.2 by PBE for the molecule at rest


def test_charged_samples_are_said(tmp_path: Path, data: Path) -> None:
    done = CliRunner().invoke(app, ["dataset", "export", str(data), "--out", str(tmp_path / "a.extxyz")])
    assert done.exit_code == 0 and "are charged, which force fields do not know" in done.output
    frames = ase.io.read(tmp_path / "a.extxyz", index=":")
    assert any(frame.info.get("charge") == 1.0 for frame in frames)
    wrong = CliRunner().invoke(
        app, ["dataset", "export", str(data), "--out", str(tmp_path / "b"), "--charge", "3"]
    )
    assert isinstance(wrong.exception, ValueError) and "expected a charge of" in str(wrong.exception)
