"""Data sets, training, checkpoints and model files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from rich.console import Console

from mlh.accuracy.metrics import MEV, Case, evaluate
from mlh.dataset.sample import BasisRecord, Sample
from mlh.dataset.store import Dataset, DatasetError, DatasetWriter
from mlh.model.card import ModelCard, ModelError, read_model, save_model
from mlh.model.domain import closest_pairs, domain_notes
from mlh.model.model import Model, load_model
from mlh.network.edge_frames.fit import mean_blocks
from mlh.network.graph import build_graph
from mlh.training.config import ConfigError, OptimizerConfig, TrainingConfig, load_config
from mlh.training.run import train
from mlh.training.schedule import Plateau, learning_rate
from model_helpers import (
    ORBITALS,
    SMALL,
    basis_record,
    is_unique_half,
    network,
    predict,
    sample,
    structure,
    write_dataset,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "set.h5")


def quiet() -> Console:
    return Console(quiet=True)


def config(data: Path, output: Path, **changes: object) -> TrainingConfig:
    base = {
        "dataset": data,
        "output": output,
        "network": SMALL,
        "steps": 6,
        "evaluate_every_steps": 3,
        "threads": 1,
        "split": {"by": "random", "validation": 0.15, "test": 0.15},
        "precision": "float64",
    }
    return TrainingConfig(**{**base, **changes})  # type: ignore[arg-type]


def test_samples_come_back_as_they_were(data: Path) -> None:
    written = sample(2, network(9))
    assert is_unique_half(written.graph)
    with Dataset(data) as dataset:
        assert len(dataset) == 8 and dataset.incomplete == [] and dataset.verify() == []
        read = dataset[2]
        assert dataset.record(2)["origin"] == read.origin == "seed-2"
        assert dataset.settings == {"xc": "PBE", "cutoff_ry": 200.0}
        assert dataset.basis.orbital_sets == ORBITALS
    assert np.array_equal(read.dh, written.dh)
    for name in ("numbers", "positions", "cell", "atom_i", "atom_j", "pair_cell", "offset", "reverse"):
        assert np.array_equal(getattr(read.graph, name), getattr(written.graph, name)), name
    assert read.energies == written.energies and read.total_energy == 1.0


def test_single_precision_file_rounds_only(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "single.h5", n=1, dtype="float32")
    exact = sample(0, network(9)).dh
    with Dataset(path) as dataset:
        error = np.abs(dataset[0].dh - exact).max()
    assert 0 < error < 1e-6 * np.abs(exact).max()


def test_damaged_and_incomplete_samples_are_detected(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "set.h5", n=3)
    with h5py.File(path, "r+") as file:
        del file["samples/0000001"].attrs["complete"]
        file["samples/0000002/positions"][0, 0] += 1e-9
    with Dataset(path) as dataset:
        assert dataset.incomplete == ["0000001"] and len(dataset) == 2
        assert dataset[0].origin == "seed-0"
        with pytest.raises(DatasetError, match="0000002 is damaged"):
            dataset[1]
        problems = dataset.verify()
    assert len(problems) == 2 and "not completely written" in problems[0]
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(DatasetError, match="not a readable HDF5"):
        Dataset(tmp_path / "text.h5")


def test_another_basis_or_level_of_theory_cannot_be_appended(data: Path) -> None:
    record = basis_record()
    with pytest.raises(DatasetError, match="a data set has one basis"):
        DatasetWriter(
            data, BasisRecord("other", "elsewhere", record.species), {"xc": "PBE", "cutoff_ry": 200.0}
        )
    with pytest.raises(DatasetError, match="expected the settings"):
        DatasetWriter(data, record, {"xc": "PW92", "cutoff_ry": 200.0})


def test_sample_refuses_wrong_shapes_and_nan() -> None:
    good = sample(0, network(9))
    with pytest.raises(ValueError, match="dh: expected"):
        Sample(good.graph, good.dh[:-1], {}, good.forces, "x")
    with pytest.raises(ValueError, match="not"):
        Sample(good.graph, good.dh * np.nan, {}, good.forces, "x")
    with pytest.raises(ValueError, match="forces: expected shape"):
        Sample(good.graph, good.dh, {}, good.forces[:-1], "x")


def test_split_keeps_groups_together_and_is_reproducible(data: Path) -> None:
    with Dataset(data) as dataset:
        parts = dataset.split(3, "group", (0.2, 0.2))
        assert parts == dataset.split(3, "group", (0.2, 0.2))
        group = {k: dataset.record(k)["group"] for k in range(8)}
        assert sorted(k for indices in parts.values() for k in indices) == list(range(8))
        seen = [{group[k] for k in indices} for indices in parts.values()]
        assert all(seen) and not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
        random = dataset.split(0, "random", (0.25, 0.25))
        assert [len(random[p]) for p in ("train", "validation", "test")] == [4, 2, 2]


def test_metrics_of_known_errors() -> None:
    graph = build_graph(*structure(0), ORBITALS)
    reference = predict(network(0), graph)
    overlap = predict(network(1), graph)
    shifted = evaluate([Case(graph, reference, reference + 0.001 * overlap, overlap)])
    assert shifted.mae_mev == pytest.approx(0.001 * np.abs(overlap).mean() * MEV)
    assert shifted.aligned_mae_mev == pytest.approx(0.0, abs=1e-9) and shifted.shift_mev == pytest.approx(
        0.001 * MEV
    )
    plain = evaluate([Case(graph, reference, np.zeros_like(reference))])
    assert plain.mae_mev == pytest.approx(plain.zero_mae_mev)
    assert plain.mae_mev == pytest.approx(np.abs(reference).mean() * MEV)
    assert plain.aligned_mae_mev is None
    n_site = sum(ORBITALS[int(z)].size ** 2 for z in graph.numbers)
    weighted = plain.onsite_mae_mev * n_site + plain.offsite_mae_mev * (graph.nnz - n_site)
    assert weighted == pytest.approx(plain.mae_mev * graph.nnz)


def test_training_beats_the_fitted_means_and_writes_a_usable_model(data: Path, tmp_path: Path) -> None:
    result = train(
        config(
            data,
            tmp_path / "run",
            steps=150,
            evaluate_every_steps=50,
            optimizer={"learning_rate": 1e-2, "warmup_steps": 5, "ema": 0.9},
        ),
        quiet(),
    )
    assert result.finished and result.steps == 150 and result.test is not None
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [50, 100, 150]
    assert log[-1]["train_mae_mev"] < 0.7 * log[0]["train_mae_mev"]
    model = load_model(tmp_path / "run")
    with Dataset(data) as dataset:
        cases = [Case(s.graph, s.dh, model.predict_graph(s.graph).dh) for s in (dataset[k] for k in range(8))]
        assert model.card.dataset == dataset.fingerprint()
    assert evaluate(cases).mae_mev < 0.8 * evaluate(cases).zero_mae_mev
    assert model.xc == "PBE" and model.cutoff_ry == 200.0
    assert (tmp_path / "run" / "learning_curve.png").stat().st_size > 1000
    assert load_config(tmp_path / "run" / "config.yaml").network == SMALL


def test_an_interrupted_run_goes_on_exactly(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "whole"), quiet())
    calls = iter([False, False, True])
    first = train(config(data, tmp_path / "parts"), quiet(), stop=lambda: next(calls))
    assert not first.finished and first.steps == 3 and (tmp_path / "parts" / "model.npz").exists()
    second = train(config(data, tmp_path / "parts"), quiet())
    assert second.finished and second.steps == 6
    whole, parts = (read_model(tmp_path / name)[0].state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    with pytest.raises(ValueError, match=r"another configuration \(seed: 0 there, 1 here\)"):
        train(config(data, tmp_path / "parts", seed=1), quiet())


def test_a_killed_run_goes_on_from_its_last_checkpoint(data: Path, tmp_path: Path) -> None:
    """Rows of the log after the checkpoint are written again, not twice."""
    calls = iter([False, False, True])
    train(config(data, tmp_path / "run"), quiet(), stop=lambda: next(calls))
    log = tmp_path / "run" / "log.jsonl"
    first = log.read_text()
    log.write_text(first + first.replace('"step": 3', '"step": 5'))
    train(config(data, tmp_path / "run"), quiet())
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [3, 6]


def test_a_training_that_does_not_learn_says_so(data: Path, tmp_path: Path) -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    lame = {"learning_rate": 1e-9, "final_learning_rate": 1e-9}
    train(config(data, tmp_path / "run", optimizer=lame), console)
    text = console.export_text()
    assert text.count("not learning: the validation MAE") == 1 and "lower optimizer.learning_rate" in text
    assert "left" in text and "of the fitted means:" in text


def test_the_rate_falls_at_plateaus_and_along_the_cosine() -> None:
    steps = OptimizerConfig(
        schedule="plateau", plateau_evaluations=2, plateau_factor=0.1, learning_rate=1e-2, warmup_steps=4
    )
    plateau = Plateau()
    assert learning_rate(steps, 0, 0.0, plateau) == pytest.approx(2.5e-3)
    for error, rate in [(1.0, 1e-2), (0.9, 1e-2), (0.9, 1e-2), (0.9, 1e-2), (0.9, 1e-3), (0.5, 1e-3)]:
        plateau = plateau.after(error, steps)
        assert learning_rate(steps, 10, 0.5, plateau) == pytest.approx(rate)
    for error in [0.5] * 40:
        plateau = plateau.after(error, steps)
    assert learning_rate(steps, 10, 0.5, plateau) == 1e-6
    cosine = OptimizerConfig(learning_rate=1e-2, warmup_steps=1)
    rates = [learning_rate(cosine, 5, p, Plateau()) for p in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([1e-2, 5.0005e-3, 1e-6])


def test_a_device_that_is_not_there_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device"):
        config(data, tmp_path / "run", device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device: expected a CUDA device for 'cuda'"):
            train(config(data, tmp_path / "run", device="cuda"), quiet())


def test_a_run_starts_from_the_weights_of_a_model(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path / "first"), quiet())
    # one step at a vanishing learning rate keeps the weights it started from
    still = {"learning_rate": 1e-30, "final_learning_rate": 1e-30, "weight_decay": 0.0}
    again = config(data, tmp_path / "again", init=str(tmp_path / "first"), steps=1, optimizer=still)
    result = train(again, quiet())
    before, after = (read_model(tmp_path / name)[0].state_dict() for name in ("first", "again"))
    assert all(torch.allclose(before[key], after[key], rtol=0, atol=1e-12) for key in before)
    assert read_model(result.model)[1].closest == read_model(tmp_path / "first")[1].closest
    with pytest.raises(ModelError, match=r"other network sizes .*features: '4x0e.* there, '5x0e"):
        other = SMALL.model_copy(update={"features": "5x0e+5x1o+5x2e+5x3o+5x4e"})
        train(config(data, tmp_path / "other", init=str(tmp_path / "first"), network=other), quiet())


def test_fitted_means_are_what_zero_output_predicts(data: Path, tmp_path: Path) -> None:
    """The two-centre means remove a large part of a purely two-centre target."""
    from mlh.network.contract import prepare
    from mlh.network.edge_frames.fit import fit_normalisation
    from mlh.network.edge_frames.network import EdgeFramesNetwork
    from mlh.training.prepared import PreparedSamples, error_sums

    net = EdgeFramesNetwork(list(ORBITALS.values()), SMALL)
    with Dataset(data) as dataset:
        samples = PreparedSamples(dataset, range(6), net, torch.float64, 1e9)
        # targets that are exactly of the fitted form, from other random means
        teacher = network(3)
        made = [(t, g, mean_blocks(teacher, t, g)) for t, g, _ in samples]
        fit_normalisation(net, made)
        assert samples[0][0].nnz == prepare(net, dataset[0].graph, torch.float64, True)[0].nnz
    left = sum(float(error_sums(mean_blocks(net, t, g), b)["pair_square"]) for t, g, b in made)
    size = sum(float((b_**2).sum()) for _, _, b in made for b_ in b.pairs)
    assert left < 1e-4 * size


def test_model_file_refuses_what_does_not_fit(tmp_path: Path) -> None:
    net = network(0)
    card = ModelCard(
        SMALL,
        basis_record(),
        {"xc": "PBE", "cutoff_ry": 200.0},
        "hash",
        {},
        {"8-14": 2.5, "8-8": 2.0},
        (8, 14),
    )
    save_model(tmp_path / "m.npz", net, card)
    back, read = read_model(tmp_path / "m.npz")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), back.state_dict().values()))
    assert read.basis == card.basis and read.network == SMALL and read.versions["mlh"]
    with pytest.raises(ModelError, match="no shipped model"):
        load_model(tmp_path / "absent")
    (tmp_path / "bad.npz").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="damaged or another kind of file"):
        load_model(tmp_path / "bad.npz")

    class Other:
        symbol, digest, orbital_label = "Si", "another", "s1p2d1"

    class Foreign:
        species = (Other(),)

    with pytest.raises(ModelError, match="other radial functions"):
        Model(back, read).check_basis(Foreign())  # type: ignore[arg-type]
    graph = build_graph(*structure(0), ORBITALS)
    notes = domain_notes(graph, {**closest_pairs(graph), "8-8": 2 * closest_pairs(graph)["8-8"]})
    assert len(notes) == 1 and "O-O at" in notes[0]
    assert "no pair" in domain_notes(graph, {})[0]


def test_configuration_errors_name_the_key(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("dataset: a.h5\noutput: out\nnetwork: {channels: 8}\n")
    changed = load_config(path, ["network.lmax=3", "optimizer.learning_rate=1e-3", "max_minutes=5"])
    assert changed.network.channels == 8 and changed.network.lmax == 3 and changed.max_minutes == 5
    assert changed.network.features == "8x0e+8x1o+8x2e+8x3o"
    assert changed.optimizer.learning_rate == 1e-3
    with pytest.raises(ConfigError, match=r"network: .*features or channels and lmax, got both"):
        load_config(path, ["network.features=8x0e"])
    for features in ("8x0e+4x1o", "8x0e+8x1e", "8x1o", "0x0e+0x1o", "s", "8x0e+8x2e"):
        path.write_text(f"dataset: a.h5\noutput: out\nnetwork: {{features: {features}}}\n")
        with pytest.raises(ConfigError, match=r"network\.features: .*expected irreps of natural parity"):
            load_config(path)
    path.write_text("dataset: a.h5\noutput: out\nnetwork: {channels: 8}\n")
    with pytest.raises(ConfigError, match=r"network\.chanels"):
        load_config(path, ["network.chanels=8"])
    with pytest.raises(ConfigError, match=r"expected key\.subkey=value"):
        load_config(path, ["nonsense"])
