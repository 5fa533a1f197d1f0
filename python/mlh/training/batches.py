"""Which structures make a batch, and which of their pairs enter the loss. Reproducible from seed and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mlh.network.topology import Geometry, Topology


def epoch(sizes: Sequence[int], batch: int, rng: np.random.Generator) -> list[list[int]]:
    """All structures in random order, in batches of structures of similar size (so that parallel processes
    finish together). What does not fill a batch waits for another epoch.
    """
    order = rng.permutation(len(sizes))
    classes = np.round(2 * np.log2(np.maximum(np.asarray(sizes)[order], 1)))
    order = order[np.argsort(classes, kind="stable")]
    skip = int(rng.integers(len(order) % batch + 1))
    batches = [order[k : k + batch].tolist() for k in range(skip, len(order) - batch + 1, batch)]
    return [batches[k] for k in rng.permutation(len(batches))]


@dataclass(frozen=True)
class Order:
    """Batches that are still to come in this epoch, the last one first, and the generator of the next one."""

    waiting: tuple[tuple[int, ...], ...]
    rng: Mapping[str, Any]

    @classmethod
    def start(cls, seed: int) -> Order:
        """Before the first epoch."""
        return cls((), np.random.default_rng(seed).bit_generator.state)


def draw(order: Order, sizes: Sequence[int], batch: int) -> tuple[tuple[int, ...], Order]:
    """The next batch of structures of these sizes, and what is left."""
    if not order.waiting:
        rng = np.random.default_rng()
        rng.bit_generator.state = dict(order.rng)
        made = epoch(sizes, batch, rng)
        order = Order(tuple(tuple(b) for b in made), rng.bit_generator.state)
    return order.waiting[-1], Order(order.waiting[:-1], order.rng)


@dataclass(frozen=True, eq=False)
class ChosenPairs:
    """rows[g]: pairs of group g that enter the loss; weights[g]: by how much each counts."""

    rows: list[torch.Tensor]
    weights: list[torch.Tensor]


def choose_pairs(
    topology: Topology, geometry: Geometry, beyond: float, fraction: float, rng: np.random.Generator
) -> ChosenPairs | None:
    """All pairs up to `beyond` (Bohr), and a random `fraction` of the farther ones, 1 / fraction as weight.

    Far pairs are most of the pairs but carry little of the error; the expected loss is that of all pairs.
    """
    if fraction >= 1.0:
        return None
    rows, weights = [], []
    for group in topology.groups:
        r = geometry.r[group.start : group.start + group.count].detach().cpu().numpy()
        near, far = np.flatnonzero(r <= beyond), np.flatnonzero(r > beyond)
        kept = min(len(far), max(1, round(fraction * len(far))))
        chosen = np.concatenate([near, rng.choice(far, kept, replace=False)])
        weight = np.concatenate([np.ones(len(near)), np.full(kept, len(far) / max(kept, 1))])
        rows.append(torch.from_numpy(chosen).to(geometry.r.device))
        weights.append(torch.from_numpy(weight).to(geometry.r))
    return ChosenPairs(rows, weights)
