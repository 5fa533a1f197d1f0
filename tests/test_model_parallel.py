"""Data-parallel training: two processes give the weights of one with the same batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from mlh.model.card import read_model
from mlh.network.contract import prepare
from mlh.network.graph import build_graph
from mlh.training.batches import choose_pairs, epoch
from mlh.training.config import TrainingConfig, save_config
from mlh.training.run import train
from model_helpers import ORBITALS, SMALL, network, structure, write_dataset


def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    """Also of batches without some of the elements, whose weights no process may let decay."""
    data = write_dataset(tmp_path / "set.h5", n=10, pure=6)
    base = TrainingConfig(
        dataset=data,
        output=tmp_path / "one",
        network=SMALL,
        steps=12,
        evaluate_every_steps=6,
        threads=1,
        split={"by": "random", "validation": 0.2, "test": 0.1},  # type: ignore[arg-type]
        optimizer={"batch": 2},  # type: ignore[arg-type]
        loss={"far_distance": 4.0, "far_fraction": 0.5},  # type: ignore[arg-type]
        precision="float64",
    )
    train(base, Console(quiet=True))
    save_config(base.model_copy(update={"output": tmp_path / "two"}), tmp_path / "two.yaml")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "mlh", "train", str(tmp_path / "two.yaml")),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    one, two = (read_model(tmp_path / name)[0].state_dict() for name in ("one", "two"))
    for key, value in one.items():
        assert torch.allclose(value, two[key], rtol=1e-9, atol=1e-11), key
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 2
    for first, second in zip(*logs, strict=True):
        a, b = json.loads(first), json.loads(second)
        assert a["mae_mev"] == pytest.approx(b["mae_mev"]) and a["n_samples"] == b["n_samples"] == 2
        assert a["train_mae_mev"] == pytest.approx(b["train_mae_mev"])


def test_batches_hold_structures_of_similar_size_and_all_are_used() -> None:
    sizes = [100] * 7 + [400] * 6
    rng = np.random.default_rng(0)
    seen: set[int] = set()
    for _ in range(20):
        batches = epoch(sizes, 2, rng)
        assert len(batches) == 6 and len({k for b in batches for k in b}) == 12
        assert sum(sizes[a] != sizes[b] for a, b in batches) <= 1
        seen |= {k for b in batches for k in b}
    assert seen == set(range(13))
    assert sorted(k for b in epoch([5, 5, 5], 1, rng) for k in b) == [0, 1, 2]


def test_chosen_pairs_have_the_loss_of_all_pairs_on_average() -> None:
    net = network(0)
    graph = build_graph(*structure(0), ORBITALS)
    topology, geometry = prepare(net, graph, torch.float64, True)
    assert choose_pairs(topology, geometry, 4.0, 1.0, np.random.default_rng(0)) is None
    value = torch.cos(3 * geometry.r)
    sums = []
    for seed in range(400):
        chosen = choose_pairs(topology, geometry, 4.0, 0.3, np.random.default_rng(seed))
        assert chosen is not None
        total = 0.0
        for group, rows, weights in zip(topology.groups, chosen.rows, chosen.weights, strict=True):
            own = value[group.start : group.start + group.count]
            total += float((own[rows] * weights).sum())
            near = geometry.r[group.start : group.start + group.count] <= 4.0
            assert set(torch.nonzero(near).flatten().tolist()) <= set(rows.tolist())
        sums.append(total)
    error = np.std(sums) / len(sums) ** 0.5
    assert 0 < error < 1.0 and abs(np.mean(sums) - float(value.sum())) < 5 * error
    whole = net(topology, geometry)
    chosen = choose_pairs(topology, geometry, 4.0, 0.3, np.random.default_rng(0))
    assert chosen is not None
    part = net(topology, geometry, chosen.rows)
    for g, rows in enumerate(chosen.rows):
        assert torch.allclose(part.pairs[g], whole.pairs[g][rows], atol=1e-12)
