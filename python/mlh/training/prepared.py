"""Samples of a data set as tensors, kept in memory up to a limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mlh.dataset.store import Dataset
from mlh.model.domain import closest_pairs
from mlh.network.blocks import Blocks, blocks_from_data
from mlh.network.contract import HamiltonianNetwork, Prepared, prepare
from mlh.training.batches import ChosenPairs


class PreparedSamples(Sequence[Prepared]):
    """Topology, geometry and reference blocks of chosen samples, in the training precision."""

    def __init__(
        self,
        dataset: Dataset,
        indices: Sequence[int],
        network: HamiltonianNetwork,
        dtype: torch.dtype,
        limit_bytes: float,
        device: torch.device | None = None,
    ) -> None:
        self.dataset, self.indices, self.network, self.dtype = dataset, list(indices), network, dtype
        self.device = device or torch.device("cpu")
        self.sizes: dict[int, int] = {}
        self._left = limit_bytes
        self._cache: dict[int, Prepared] = {}
        self.closest: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.indices)

    def some(self, n: int) -> list[Prepared]:
        """At most n of the samples, spread evenly, on the CPU."""
        cpu = torch.device("cpu")
        count = min(n, len(self))
        chosen = [self[round(k)] for k in np.linspace(0, len(self) - 1, count)]
        return [(t.to(cpu), g.to(cpu), b.to(cpu)) for t, g, b in chosen]

    def __getitem__(self, index: int) -> Prepared:  # type: ignore[override]
        if not 0 <= index < len(self.indices):
            raise IndexError(index)
        if index in self._cache:
            return self._cache[index]
        sample = self.dataset[self.indices[index]]
        for pair, r in closest_pairs(sample.graph).items():
            self.closest[pair] = min(r, self.closest.get(pair, np.inf))
        self.sizes[index] = sample.graph.n_pairs
        topology, geometry = prepare(self.network, sample.graph, self.dtype, keep_frames=True)
        blocks = blocks_from_data(topology, torch.from_numpy(sample.dh), self.network.orbitals)
        if sample.spin_dh is not None:
            spin = blocks_from_data(topology, torch.from_numpy(sample.spin_dh), self.network.orbitals)
            blocks = Blocks(blocks.sites, blocks.pairs, spin)
        prepared = (
            topology.to(self.device),
            geometry.to(self.dtype).to(self.device),
            blocks.to(self.dtype).to(self.device),
        )
        size = _bytes(prepared)
        if size <= self._left:
            self._left -= size
            self._cache[index] = prepared
        return prepared


def _bytes(prepared: Prepared) -> int:
    """Memory of the large tensors."""
    _, g, b = prepared
    twice = 1 if b.spin is None else 2
    return g.nbytes + twice * sum(t.numel() * t.element_size() for t in [*b.sites, *b.pairs])


def error_sums(
    predicted: Blocks, reference: Blocks, chosen: ChosenPairs | None = None
) -> dict[str, torch.Tensor]:
    """Sums over all elements (both directions of each pair), Hartree: on-site and off-site absolute and
    squared errors; of two spins the mean of both. chosen: the pairs that `predicted` has, with their weights.
    """
    if predicted.spin is None and reference.spin is None:
        return _error_sums(predicted, reference, chosen)
    up, down = (_error_sums(_of_spin(predicted, s), _of_spin(reference, s), chosen) for s in (1.0, -1.0))
    return {name: 0.5 * (up[name] + down[name]) for name in up}


def _of_spin(blocks: Blocks, sign: float) -> Blocks:
    """dH of one spin: up (1) or down (-1)."""
    if blocks.spin is None:
        return blocks
    sites, pairs = (
        [mean + sign * half for mean, half in zip(of_mean, of_half, strict=True)]
        for of_mean, of_half in (
            (blocks.sites, blocks.spin.sites),
            (blocks.pairs, blocks.spin.pairs),
        )
    )
    return Blocks(sites, pairs)


def _error_sums(predicted: Blocks, reference: Blocks, chosen: ChosenPairs | None) -> dict[str, torch.Tensor]:
    sites = [(p - r) for p, r in zip(predicted.sites, reference.sites, strict=True)]
    if chosen is None:
        pairs = [(p - r) for p, r in zip(predicted.pairs, reference.pairs, strict=True)]
        weights = [p.new_ones(()) for p in predicted.pairs]
    else:
        rows = zip(predicted.pairs, reference.pairs, chosen.rows, strict=True)
        pairs = [p - r[row] for p, r, row in rows]
        weights = [w[:, None, None] for w in chosen.weights]
    return {
        "site_abs": torch.stack([d.abs().sum() for d in sites]).sum(),
        "site_square": torch.stack([(d * d).sum() for d in sites]).sum(),
        "pair_abs": 2 * torch.stack([(d.abs() * w).sum() for d, w in zip(pairs, weights)]).sum(),
        "pair_square": 2 * torch.stack([(d * d * w).sum() for d, w in zip(pairs, weights)]).sum(),
    }


def element_counts(blocks: Blocks) -> tuple[int, int]:
    """Number of on-site and off-site elements (both directions)."""
    return sum(b.numel() for b in blocks.sites), 2 * sum(b.numel() for b in blocks.pairs)
