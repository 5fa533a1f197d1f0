"""Finished calculations arrive in the HDF5 data set as they were calculated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlh.energies import Energies
from mlh.model.dataset import Dataset
from mlh.pattern import BlockMatrix
from mlh.structures import vacancies
from mlh.system import System
from mlh.workflow.dataset_config import DatasetConfig
from mlh.workflow.dataset_plan import load_host, plan
from mlh.workflow.dataset_store import dataset_report, store_hdf5
from mlh.workflow.labels import Label, load_engine_basis, load_labels, save_labels


@pytest.fixture(scope="module")
def config() -> DatasetConfig:
    source = {"name": "quartz", "crystal": "alpha-quartz", "host": [{"copies": 2, "rattle": 0.03}]}
    defect = {"species": "O", "sites": 1}
    return DatasetConfig.model_validate(
        {
            "name": "two",
            "sources": [{**source, "vacancies": [defect]}, {**source, "name": "other", "kpts": [1, 1, 2]}],
        }
    )


def labels_of(config: DatasetConfig) -> list[tuple[Label, dict[str, Any]]]:
    """Labels with random, Hermitian dH of the right size; no DFT."""
    settings = config.engine.settings()
    found = []
    for seed, job in enumerate(plan(config)):
        random = np.random.default_rng(seed)
        pattern = System(job.atoms, load_engine_basis(settings, ["Si", "O"])).pattern
        matrix = BlockMatrix(pattern, random.normal(size=(1, pattern.nnz)))
        label = Label(
            atoms=job.atoms,
            energies=Energies(kinetic=random.normal(), nonlocal_=random.normal()),
            forces=random.normal(size=(len(job.atoms), 3)),
            delta_h=(matrix + matrix.transpose()).data,
            scf_steps=7,
            residual=1e-6,
            seconds=1.5,
        )
        found.append((label, {**job.record, "job": job.id, "kpts": list(job.engine.kpts)}))
    return found


def test_labels_survive_their_file(tmp_path: Path, config: DatasetConfig) -> None:
    label, record = labels_of(config)[2]
    save_labels(tmp_path / "one.npz", [label], [record])
    (again,), (content,) = load_labels(tmp_path / "one.npz")
    assert content == record
    assert again.energies == label.energies
    np.testing.assert_array_equal(again.atoms.positions, label.atoms.positions)
    np.testing.assert_array_equal(again.forces, label.forces)
    np.testing.assert_array_equal(again.delta_h, label.delta_h)


def test_store_and_report(tmp_path: Path, config: DatasetConfig) -> None:
    labels = labels_of(config)
    assert store_hdf5(tmp_path / "set.h5", config, labels) == 5
    with Dataset(tmp_path / "set.h5") as data:
        assert data.settings["cutoff_ry"] == 200.0
        assert [sample.group for sample in data] == ["quartz"] * 3 + ["other"] * 2
        for (label, record), sample in zip(labels, data, strict=True):
            np.testing.assert_allclose(sample.dh, label.delta_h[0], atol=1e-6)
            np.testing.assert_array_equal(sample.forces, label.forces)
            assert sample.total_energy == pytest.approx(label.energies.total, abs=1e-12)
            assert sample.info["kpts"] == record["kpts"]
        assert data[2].info["defect_removed"] == "O"
    report = dataset_report(tmp_path / "set.h5")
    assert [row["samples"] for row in report["sources"]] == [3, 2]
    assert report["compositions"] == {"O6Si3": 4, "O5Si3": 1}
    assert report["warnings"] == []
    store_hdf5(tmp_path / "hosts.h5", config, labels[3:])
    assert "rank 1 for 2 elements" in dataset_report(tmp_path / "hosts.h5")["warnings"][0]


def test_nothing_is_left_behind_when_storing_fails(tmp_path: Path, config: DatasetConfig) -> None:
    good = labels_of(config)[0]

    def broken() -> Any:
        yield good
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store_hdf5(tmp_path / "set.h5", config, broken())
    assert not (tmp_path / "set.h5").exists()
    assert store_hdf5(tmp_path / "set.h5", config, []) == 0
    assert not (tmp_path / "set.h5").exists()
    assert len(vacancies(load_host(config.sources[0]), [3])[0]) == 8
