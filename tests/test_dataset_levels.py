"""Data sets at levels of theory beyond the default: odd electrons, smearing, an OpenMX basis."""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np
import pytest

import openmx_files as files
from mlh.calculators import DFTCalculator
from mlh.dataset.store import Dataset, DatasetError
from mlh.labelling.build import build_dataset
from mlh.labelling.config import DatasetConfig
from mlh.labelling.plan import plan
from mlh.structures import write_structure


def radical(folder: Path) -> Path:
    """OH in a box: seven valence electrons."""
    path = folder / "oh.xyz"
    write_structure(path, ase.Atoms("OH", [[2, 2, 2], [2.98, 2, 2]], cell=[4.5, 4, 4], pbc=True))
    return path


def config_of(file: Path, **engine: object) -> DatasetConfig:
    source = {"name": "oh", "file": str(file), "host": [{}]}
    level = {"cutoff_ry": 60.0, **engine}
    return DatasetConfig.model_validate({"name": "radical", "engine": level, "sources": [source]})


def test_odd_electrons_are_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"7 electrons; an odd number needs 'spin: true'"):
        plan(config_of(radical(tmp_path)))
    assert len(plan(config_of(radical(tmp_path), smearing_ev=0.1))) == 1


def test_a_spin_polarised_label_is_stored_and_read(tmp_path: Path) -> None:
    config = config_of(radical(tmp_path), spin=True, total_moment=1.0)
    target = tmp_path / "oh.h5"
    build_dataset(config, target, processes=1, threads=1)
    atoms = plan(config)[0].atoms
    calculator = DFTCalculator(cutoff_ry=60.0, spin=True, total_moment=1.0)
    energy = calculator.get_property("free_energy", atoms)
    assert calculator.result is not None
    dh = (calculator.result.H - calculator.system.harris_hamiltonian()).data
    with Dataset(target) as data:
        assert data.verify() == []
        sample = data[0]
        assert '"spin": true' in data._file.attrs["settings"]
        with pytest.raises(DatasetError, match="1 of 1 samples are spin-polarised"):
            data.require_trainable()
    assert sample.spin_dh is not None and np.abs(sample.spin_dh).max() > 1e-2
    for sign, stored in ((1, dh[0]), (-1, dh[1])):
        np.testing.assert_allclose(sample.dh + sign * sample.spin_dh, stored, atol=2e-4)
    assert sample.total_energy * 27.211386 == pytest.approx(energy, abs=1e-3)


def test_an_openmx_basis_labels_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = files.write_database(tmp_path / "DFT_DATA19", nodes=600)
    monkeypatch.setenv("MLH_OPENMX_DATA", str(tmp_path))
    symbol = files.load_basis(database).symbols[0]
    write_structure(
        tmp_path / "one.xyz", ase.Atoms([symbol] * 2, [[0, 0, 0], [1.6, 0, 0]], cell=[5, 4, 4], pbc=True)
    )
    definition = " ".join(files.load_basis(database)[symbol].definition)
    config = config_of(tmp_path / "one.xyz", basis="openmx", orbitals={symbol: definition}, smearing_ev=0.5)
    build_dataset(config, tmp_path / "one.h5", processes=1, threads=1)
    with Dataset(tmp_path / "one.h5") as data:
        assert data.basis.name == "openmx DFT_DATA19" and data.basis.orbitals == {symbol: definition}
        assert '"integration": "openmx"' in data._file.attrs["settings"]
