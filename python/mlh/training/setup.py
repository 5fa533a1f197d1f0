"""What a training has before its first step: parts of the data set, samples, network with its means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console

from mlh.common.files import require_place
from mlh.common.terminal import say, working
from mlh.dataset.store import Dataset
from mlh.network.architectures import build_network
from mlh.network.contract import HamiltonianNetwork
from mlh.network.devices import Ranks, pick_device
from mlh.training.config import TrainingConfig, differences, load_config
from mlh.training.prepared import PreparedSamples
from mlh.training.warmstart import start_from

# Settings that may change when a run goes on from its checkpoint: when it ends, what it shows, where it runs.
FREE_TO_CHANGE = {
    "steps",
    "max_minutes",
    "evaluate_every_steps",
    "evaluate_samples",
    "physics_samples",
    "checkpoint_minutes",
    "threads",
    "cache_gb",
    "output",
}

FIT_SAMPLES = 64  # enough for means and sizes; bounds the memory of the fit


@dataclass(frozen=True, eq=False)
class Setup:
    """What does not change during a training. parts: indices of the samples of "train", "validation", "test";
    train: the samples of the first, in their order.
    """

    config: TrainingConfig
    dataset: Dataset
    parts: Mapping[str, list[int]]
    train: PreparedSamples
    device: torch.device
    dtype: torch.dtype
    ranks: Ranks
    console: Console


def refuse_other_config(config: TrainingConfig) -> None:
    """Refuse to go on in the folder of another configuration, and a place where no folder can be."""
    require_place(config.output)
    path = config.output / "config.yaml"
    if path.exists() and (config.output / "checkpoint.npz").exists():
        before = load_config(path)
        different = differences(
            before.model_dump(exclude=FREE_TO_CHANGE), config.model_dump(exclude=FREE_TO_CHANGE)
        )
        if different:
            raise ValueError(
                f"output: {config.output} holds the checkpoint of another configuration "
                f"({'; '.join(different)}); choose another folder or remove it"
            )


def parts_of(dataset: Dataset, config: TrainingConfig) -> dict[str, list[int]]:
    """Indices of the training, validation and test samples; enough training samples for one batch."""
    split = config.split
    parts = dataset.split(split.seed, split.by, (split.validation, split.test))
    if split.train_samples is not None:
        order = np.random.default_rng(split.seed).permutation(parts["train"])
        parts["train"] = sorted(order[: split.train_samples].tolist())
    if config.optimizer.batch > len(parts["train"]):
        raise ValueError(
            f"optimizer.batch: expected at most the number of training samples, "
            f"{len(parts['train'])}, got {config.optimizer.batch}"
        )
    return parts


def set_up(
    config: TrainingConfig, dataset: Dataset, ranks: Ranks, console: Console
) -> tuple[Setup, HamiltonianNetwork]:
    """Setup, and the network of the first step: fresh weights and fitted means, or those of `config.init`."""
    dataset.require_trainable(bool(getattr(config.network, "charge_channels", 0)))
    if config.loss.wavefunction and dataset.polarised():
        raise ValueError(
            f"loss.wavefunction: expected 0 with spin-polarised samples, got {config.loss.wavefunction}"
        )
    if dataset.incomplete:
        missing = f"{len(dataset.incomplete)} samples were not completely written and are left out"
        say(console, missing, style="yellow")
    parts = parts_of(dataset, config)
    torch.manual_seed(config.seed)
    device = pick_device(config.device, ranks)
    dtype = torch.float32 if config.precision == "float32" else torch.float64
    sets = dataset.basis.orbital_sets
    network = build_network([sets[z] for z in dataset.elements], config.network)
    train = PreparedSamples(dataset, parts["train"], network, dtype, config.cache_gb * 1e9, device)
    with working(console, "reading the training samples"):
        for _ in train:  # also for the shortest distances and the sizes
            pass
    if config.init is not None:
        start_from(network, config.init, dataset.basis)
    else:
        with working(console, "fitting the means"):
            network.fit(train.some(FIT_SAMPLES))
    network.to(dtype).to(device)
    ranks.copy_from_first(network)
    return Setup(config, dataset, parts, train, device, dtype, ranks, console), network
