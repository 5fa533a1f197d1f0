"""One step of a training: gradients of a batch, AdamW, average of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mlh.network.contract import HamiltonianNetwork
from mlh.training.batches import choose_pairs
from mlh.training.config import OptimizerConfig
from mlh.training.loss import structure_loss
from mlh.training.setup import Setup
from mlh.training.wavefunction import StatesOfSamples


@dataclass(frozen=True, eq=False)
class Learner:
    """Network, its averaged weights and the optimiser: what a step changes, in place.

    states: reference states of the training samples, made when the loss asks for them.
    """

    network: HamiltonianNetwork
    average: HamiltonianNetwork
    optimizer: torch.optim.Optimizer
    states: StatesOfSamples


def make_learner(setup: Setup, network: HamiltonianNetwork) -> Learner:
    """Before the first step."""
    settings = setup.config.optimizer
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.99),
        fused=True,
    )
    return Learner(network, deepcopy(network), optimizer, StatesOfSamples(setup.train))


def add_gradients(setup: Setup, learner: Learner, batch: Sequence[int], step: int) -> float:
    """Gradients of the loss of this process's share of a batch; its part of the raw MAE in meV."""
    learner.optimizer.zero_grad()
    size, mae = setup.config.optimizer.batch, 0.0
    for position, index in setup.ranks.share(enumerate(batch)):
        loss, raw = _structure(setup, learner, index, [setup.config.seed, step, position])
        (loss / size).backward()  # type: ignore[no-untyped-call]
        mae += raw / size
    return mae


def _structure(setup: Setup, learner: Learner, index: int, seed: list[int]) -> tuple[torch.Tensor, float]:
    """Loss and raw MAE of one training structure; seed: of the choice of its far pairs."""
    topology, geometry, reference = setup.train[index]
    loss = setup.config.loss
    rng = np.random.default_rng(seed)
    chosen = choose_pairs(topology, geometry, loss.far_distance, loss.far_fraction, rng)
    states = learner.states[index] if loss.wavefunction else None
    predicted = learner.network(topology, geometry, None if chosen is None else chosen.rows)
    return structure_loss(predicted, reference, loss, chosen, states)


def descend(learner: Learner, settings: OptimizerConfig, rate: float, step: int) -> None:
    """One step of the optimiser with the gradients of all processes, the `step`-th (from 0)."""
    norm = torch.nn.utils.clip_grad_norm_(learner.network.parameters(), settings.clip)
    if not torch.isfinite(norm):
        raise FloatingPointError(f"step {step}: the gradient is not finite; lower optimizer.learning_rate")
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    learner.optimizer.step()
    _average_weights(learner, settings.ema, step + 1)


def _average_weights(learner: Learner, ema: float, steps: int) -> None:
    """EMA with a shorter memory during the first steps."""
    decay = min(ema, steps / (steps + 10.0))
    averages = [p.detach() for p in learner.average.parameters()]
    weights = [p.detach() for p in learner.network.parameters()]
    get_ema_multi_avg_fn(decay)(averages, weights, steps)  # type: ignore[no-untyped-call]
