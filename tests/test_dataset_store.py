"""Finished calculations arrive in the HDF5 data set as they were calculated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase
import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from mlh.commands.cli import app
from mlh.common.units import HARTREE_EV
from mlh.dataset.report import dataset_report
from mlh.dataset.store import Dataset, DatasetError
from mlh.dft.energies import Energies
from mlh.dft.system import System
from mlh.labelling.collect import store_hdf5
from mlh.labelling.config import DatasetConfig
from mlh.labelling.labels import (
    DFTLabeller,
    EngineSettings,
    Label,
    load_engine_basis,
    load_labels,
    save_labels,
)
from mlh.labelling.own_labeller import labeller_of
from mlh.labelling.plan import load_host, plan
from mlh.matrix.block_matrix import BlockMatrix
from mlh.structures import vacancies


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
            levels={"homo": -0.2, "lumo": 0.1},
        )
        found.append((label, {**job.record, "job": job.id, "kpts": job.kpts_record}))
    return found


def test_labels_survive_their_file(tmp_path: Path, config: DatasetConfig) -> None:
    label, record = labels_of(config)[2]
    save_labels(tmp_path / "one.npz", [label], [record])
    (again,), (content,) = load_labels(tmp_path / "one.npz")
    assert content == record
    assert again.energies == label.energies
    assert again.levels == label.levels
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
        assert data[2].info["levels"] == {"homo": -0.2, "lumo": 0.1}
        dh = [sample.dh for sample in data]
        pairs = [np.bincount(sample.graph.atom_i) - 1 for sample in data]
        symbols = [sample.graph.numbers for sample in data]
    report = dataset_report(tmp_path / "set.h5")
    assert [row["samples"] for row in report["sources"]] == [3, 2]
    assert report["compositions"] == {"O6Si3": 4, "O5Si3": 1}
    assert report["warnings"] == []
    matrix = report["composition_matrix"]
    assert matrix == {"elements": ["O", "Si"], "rows": [[5, 3], [6, 3]], "samples": [1, 4], "rank": 2}
    blocks = report["dh_by_block"]
    assert list(blocks) == ["O on-site", "Si on-site", "O-O", "O-Si", "Si-Si"]
    everything = np.concatenate(dh)
    assert sum(block["elements"] for block in blocks.values()) == everything.size
    assert max(block["max"] for block in blocks.values()) == pytest.approx(
        1000.0 * HARTREE_EV * np.abs(everything).max()
    )
    total = sum(block["elements"] * block["rms"] ** 2 for block in blocks.values())
    assert total == pytest.approx((1000.0 * HARTREE_EV) ** 2 * (everything**2).sum())
    oxygen = np.concatenate([p[z == 8] for p, z in zip(pairs, symbols, strict=True)])
    assert report["neighbors"]["O"]["mean"] == pytest.approx(oxygen.mean())
    forces = report["distributions"]["force on an atom (eV/A)"]
    assert forces["count"] == sum(forces["histogram"]["counts"]) == 9 * 4 + 8
    assert report["distributions"]["gap (eV)"]["mean"] == pytest.approx(0.3 * HARTREE_EV)
    assert "error" in report["splits"]["group"]  # two hosts cannot fill three parts
    assert report["splits"]["trajectory"]["train"] == 3
    json.dumps(report)
    store_hdf5(tmp_path / "hosts.h5", config, labels[3:])
    assert "rank 1 for 2 elements" in dataset_report(tmp_path / "hosts.h5")["warnings"][0]


def test_one_unusual_sample_is_found(tmp_path: Path) -> None:
    host = {"name": "q", "crystal": "alpha-quartz", "host": [{"copies": 12, "rattle": 0.03}]}
    many = DatasetConfig.model_validate({"name": "many", "sources": [host]})
    labels = labels_of(many)
    usual = [
        (replace(label, energies=Energies(kinetic=-1.0 + 0.001 * k)), r)
        for k, (label, r) in enumerate(labels)
    ]
    wrong, record = usual[7]
    usual[7] = (replace(wrong, energies=Energies(kinetic=3.0)), record)
    store_hdf5(tmp_path / "many.h5", many, usual)
    report = dataset_report(tmp_path / "many.h5")
    assert [row["sample"] for row in report["outliers"] if row["quantity"].startswith("energy")] == [7]
    assert any("outliers" in warning for warning in report["warnings"])
    result = CliRunner().invoke(
        app, ["dataset", "info", str(tmp_path / "many.h5"), "--plot", str(tmp_path / "p.png")]
    )
    assert result.exit_code == 0, result.output
    assert "composition" in result.stdout
    assert (tmp_path / "p.png").stat().st_size > 10000


def test_splits_by_trajectory_and_their_hash(tmp_path: Path, config: DatasetConfig) -> None:
    labels = [(label, {**r, "job": f"job{k // 2}"}) for k, (label, r) in enumerate(labels_of(config) * 2)]
    store_hdf5(tmp_path / "a.h5", config, labels)
    store_hdf5(tmp_path / "b.h5", config, labels[::-1])
    with Dataset(tmp_path / "a.h5") as a, Dataset(tmp_path / "b.h5") as b:
        parts, other = a.split(1, "trajectory"), b.split(1, "trajectory")
        for k in range(0, len(a), 2):
            assert sum(k in part for part in parts.values()) == 1
            assert [k in part for part in parts.values()] == [k + 1 in part for part in parts.values()]
        assert a.split_hash(parts) == b.split_hash(other)  # the same samples, in another order
        assert a.split_hash(parts) != a.split_hash(a.split(1, "random"))


def test_data_sets_are_merged_once_and_only_if_they_fit(tmp_path: Path, config: DatasetConfig) -> None:
    labels = labels_of(config)
    a, b, other, out = (tmp_path / f"{name}.h5" for name in ("a", "b", "other", "out"))
    store_hdf5(a, config, labels[:3])
    store_hdf5(b, config.model_copy(update={"name": "more"}), labels[2:])
    coarser = config.model_copy(update={"engine": config.engine.model_copy(update={"cutoff_ry": 150.0})})
    store_hdf5(other, coarser, labels[:1])
    command = ["dataset", "merge", str(a), str(b), "--out", str(out)]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    assert "5 samples" in answer.output
    assert "1 more" in answer.output
    with Dataset(out) as merged, Dataset(a) as first:
        assert not merged.verify()
        assert [sample.group for sample in merged] == ["quartz"] * 3 + ["other"] * 2
        np.testing.assert_array_equal(merged[2].dh, first[2].dh)
    assert CliRunner().invoke(app, command).exit_code != 0  # it exists
    answer = CliRunner().invoke(
        app, ["dataset", "merge", str(a), str(other), "--out", str(tmp_path / "no.h5")]
    )
    assert isinstance(answer.exception, DatasetError)
    assert "expected the settings" in str(answer.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5", "other.h5", "out.h5"]


def test_sources_kept_for_testing_are_the_test_part(tmp_path: Path, config: DatasetConfig) -> None:
    labels = labels_of(config)
    kept = [(label, {**r, "split": "test"} if r["source"] == "other" else r) for label, r in labels]
    store_hdf5(tmp_path / "set.h5", config, kept)
    with Dataset(tmp_path / "set.h5") as data:
        parts = data.split(0, "random", (0.3, 0.3))
    assert parts["test"] == [3, 4]
    assert len(parts["validation"]) == 1
    assert sorted(parts["train"] + parts["validation"]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("storage", "exact"),
    [
        ({"dtype": "float64", "compression": "none"}, True),
        ({"compression": "lzf"}, False),
        ({"level": 9}, False),
    ],
)
def test_precision_and_compression_are_choices(
    tmp_path: Path, config: DatasetConfig, storage: dict[str, Any], exact: bool
) -> None:
    chosen = DatasetConfig.model_validate({**config.model_dump(), "storage": storage})
    assert [job.id for job in plan(chosen)] == [job.id for job in plan(config)]
    labels = labels_of(config)[:1]
    store_hdf5(tmp_path / "set.h5", chosen, labels)
    with Dataset(tmp_path / "set.h5") as data:
        error = np.abs(data[0].dh - labels[0][0].delta_h[0]).max()
        assert error == 0.0 if exact else 0.0 < error < 1e-6
        assert data.verify() == []
    with h5py.File(tmp_path / "set.h5") as file:
        dh = file["samples/0000000/dh"]
        assert dh.compression == (None if exact else storage.get("compression", "gzip"))
        assert dh.dtype == ("<f8" if exact else "<f4")


def test_damage_is_found_and_other_samples_stay_readable(tmp_path: Path, config: DatasetConfig) -> None:
    store_hdf5(tmp_path / "set.h5", config, labels_of(config))
    with h5py.File(tmp_path / "set.h5", "r+") as file:
        forces = file["samples/0000001/forces"]
        forces[0, 0] = forces[0, 0] + 1e-9
        del file["samples/0000003"].attrs["complete"]
    with Dataset(tmp_path / "set.h5") as data:
        assert len(data) == 4
        assert data[0].group == "quartz"
        with pytest.raises(DatasetError, match="sample 0000001 is damaged"):
            data[1]
        assert len(data.verify()) == 2
    report = dataset_report(tmp_path / "set.h5")
    assert report["samples"] == 3
    assert {"not completely written" in w or "damaged" in w for w in report["warnings"][:2]} == {True}
    result = CliRunner().invoke(app, ["dataset", "check", str(tmp_path / "set.h5")])
    assert result.exit_code == 1
    whole = (tmp_path / "set.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="not a readable HDF5 file"):
        Dataset(tmp_path / "cut.h5")


def test_one_sample_is_read_without_the_others(tmp_path: Path, config: DatasetConfig) -> None:
    """Samples beside the one that is read may be unreadable: nobody looks at them."""
    store_hdf5(tmp_path / "set.h5", config, labels_of(config))
    with h5py.File(tmp_path / "set.h5") as file:
        spans = []
        for name in file["samples"]:
            dh = file["samples"][name]["dh"]
            spans += (
                [dh.id.get_chunk_info(k) for k in range(dh.id.get_num_chunks())] if name != "0000002" else []
            )
    content = bytearray((tmp_path / "set.h5").read_bytes())
    for span in spans:
        content[span.byte_offset : span.byte_offset + span.size] = bytes(span.size)
    (tmp_path / "set.h5").write_bytes(content)
    with Dataset(tmp_path / "set.h5") as data:
        assert data[2].info["defect_removed"] == "O"
        with pytest.raises(DatasetError, match="damaged"):
            data[1]


class Flat:
    """A labeller as a user would write it, of atoms without interaction."""

    wrong = False

    def session(self, settings: EngineSettings) -> Any:
        def label(atoms: ase.Atoms) -> Label:
            pattern = System(atoms, load_engine_basis(settings, atoms.get_chemical_symbols())).pattern
            dh = np.zeros((1, pattern.nnz + self.wrong))
            return Label(atoms.copy(), Energies(kinetic=1.0), np.zeros((len(atoms), 3)), dh, 1, 0.0, 0.0)

        return label


class TooLong(Flat):
    wrong = True


def test_own_labellers_are_found_by_name_and_checked(config: DatasetConfig) -> None:
    job = plan(config)[0]
    assert labeller_of(f"{__name__}:Flat").session(job.engine)(job.atoms).energies.total == 1.0
    with pytest.raises(ValueError, match="delta_h: expected shape"):
        labeller_of(f"{__name__}:TooLong").session(job.engine)(job.atoms)
    with pytest.raises(ValueError, match="module:name of something in PYTHONPATH"):
        labeller_of("no_such_module:Flat")
    with pytest.raises(ValueError, match="method session"):
        labeller_of("math:pi")
    assert isinstance(labeller_of(""), DFTLabeller)
    content = config.model_dump()
    content["engine"]["labeller"] = f"{__name__}:Flat"
    own = plan(DatasetConfig.model_validate(content))
    assert not {job.id for job in own} & {
        job.id for job in plan(config)
    }  # another engine, other calculations


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


def test_a_minority_material_is_no_outlier(tmp_path: Path) -> None:
    """|dH| is compared between samples of equal composition: of another material it has another size."""
    sources = [
        {"name": "q", "crystal": "alpha-quartz", "host": [{"copies": 10, "rattle": 0.03}]},
        {"name": "s", "crystal": "silicon", "host": [{"copies": 4, "rattle": 0.03}]},
    ]
    two = DatasetConfig.model_validate({"name": "two", "sources": sources})
    labels = [
        (replace(label, delta_h=(3.0 if 8 in label.atoms.numbers else 0.5) * label.delta_h), record)
        for label, record in labels_of(two)
    ]
    assert store_hdf5(tmp_path / "two.h5", two, labels) == 14
    report = dataset_report(tmp_path / "two.h5")
    assert [row for row in report["outliers"] if "dH" in row["quantity"]] == []
