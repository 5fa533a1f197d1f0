"""Samples of a data set as tensors, kept in memory up to a limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mlh.model.blocks import Blocks, blocks_from_data
from mlh.model.dataset import Dataset
from mlh.model.features import Geometry, Topology
from mlh.model.network import HamiltonianNetwork, prepare
from mlh.model.predict import closest_pairs

Prepared = tuple[Topology, Geometry, Blocks]


class PreparedSamples(Sequence[Prepared]):
    """Topology, geometry and reference blocks of chosen samples, in the training precision."""

    def __init__(
        self,
        dataset: Dataset,
        indices: Sequence[int],
        network: HamiltonianNetwork,
        dtype: torch.dtype,
        limit_bytes: float,
    ) -> None:
        self.dataset, self.indices, self.network, self.dtype = dataset, list(indices), network, dtype
        self._left = limit_bytes
        self._cache: dict[int, Prepared] = {}
        self.closest: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Prepared:  # type: ignore[override]
        if not 0 <= index < len(self.indices):
            raise IndexError(index)
        if index in self._cache:
            return self._cache[index]
        sample = self.dataset[self.indices[index]]
        for pair, r in closest_pairs(sample.graph).items():
            self.closest[pair] = min(r, self.closest.get(pair, np.inf))
        topology, geometry = prepare(self.network, sample.graph, self.dtype, keep_frames=True)
        blocks = blocks_from_data(topology, torch.from_numpy(sample.dh), self.network.orbitals)
        prepared = (
            topology,
            geometry,
            Blocks([b.to(self.dtype) for b in blocks.sites], [b.to(self.dtype) for b in blocks.pairs]),
        )
        size = _bytes(prepared)
        if size <= self._left:
            self._left -= size
            self._cache[index] = prepared
        return prepared


def _bytes(prepared: Prepared) -> int:
    """Memory of the large tensors."""
    _, g, b = prepared
    tensors = [*(g.frames or []), *(g.edge_frames or []), g.densities, g.edge_radial, *b.sites, *b.pairs]
    return sum(t.numel() * t.element_size() for t in tensors)


def error_sums(predicted: Blocks, reference: Blocks) -> dict[str, torch.Tensor]:
    """Sums over all elements (both directions of each pair), Hartree: on-site and off-site absolute and
    squared errors.
    """
    sites = [(p - r) for p, r in zip(predicted.sites, reference.sites, strict=True)]
    pairs = [(p - r) for p, r in zip(predicted.pairs, reference.pairs, strict=True)]
    return {
        "site_abs": torch.stack([d.abs().sum() for d in sites]).sum(),
        "site_square": torch.stack([(d * d).sum() for d in sites]).sum(),
        "pair_abs": 2 * torch.stack([d.abs().sum() for d in pairs]).sum(),
        "pair_square": 2 * torch.stack([(d * d).sum() for d in pairs]).sum(),
    }


def element_counts(blocks: Blocks) -> tuple[int, int]:
    """Number of on-site and off-site elements (both directions)."""
    return sum(b.numel() for b in blocks.sites), 2 * sum(b.numel() for b in blocks.pairs)
