"""Blocks of dH in the order of a Topology <-> flat matrix data in the order of the Pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.network.orbitals import OrbitalSet
from mlh.network.topology import Topology


@dataclass(frozen=True, eq=False)
class Blocks:
    """dH in Hartree in the internal order of a Topology: sites[s] (atoms of element s, n, n), pairs[g] (pairs
    of group g, n_a, n_b) for the first direction of each pair.

    Of two spins they are the mean of both, and `spin` has half of up minus down.
    """

    sites: list[torch.Tensor]
    pairs: list[torch.Tensor]
    spin: Blocks | None = None

    def to(self, target: torch.dtype | torch.device) -> Blocks:
        """The same in another precision or on another device."""
        sites, pairs = ([b.to(target) for b in blocks] for blocks in (self.sites, self.pairs))
        return Blocks(sites, pairs, None if self.spin is None else self.spin.to(target))


def blocks_from_data(topology: Topology, data: torch.Tensor, orbitals: Sequence[OrbitalSet]) -> Blocks:
    """Flat matrix data (nnz,) in the Pattern's layout -> Blocks in the internal order."""
    sites, pairs = [], []
    for atoms, o in zip(topology.species_slices(), orbitals, strict=True):
        sites.append(_gather(data, topology.offset[topology.site_pair[atoms]], o.size, o.size))
    for g in topology.groups:
        starts = topology.offset[topology.pair[g.start : g.start + g.count]]
        pairs.append(_gather(data, starts, orbitals[g.a].size, orbitals[g.b].size))
    return Blocks(sites, pairs)


def _gather(data: torch.Tensor, starts: torch.Tensor, n_a: int, n_b: int) -> torch.Tensor:
    return data[starts[:, None] + torch.arange(n_a * n_b, device=data.device)].reshape(-1, n_a, n_b)


def data_from_blocks(topology: Topology, blocks: Blocks, orbitals: Sequence[OrbitalSet]) -> torch.Tensor:
    """Blocks -> flat data (nnz,) of the whole Pattern: H_ij(R) and its transpose H_ji(-R), exactly."""
    data = blocks.sites[0].new_zeros(topology.nnz)
    for atoms, o, block in zip(topology.species_slices(), orbitals, blocks.sites, strict=True):
        starts = topology.offset[topology.site_pair[atoms]]
        data[(starts[:, None] + torch.arange(o.size**2, device=data.device)).flatten()] = block.flatten()
    for g, block in zip(topology.groups, blocks.pairs, strict=True):
        size = torch.arange(orbitals[g.a].size * orbitals[g.b].size, device=data.device)
        pair = topology.pair[g.start : g.start + g.count]
        data[(topology.offset[pair][:, None] + size).flatten()] = block.flatten()
        data[(topology.offset[topology.reverse[pair]][:, None] + size).flatten()] = block.mT.flatten()
    return data


def spin_data(topology: Topology, blocks: Blocks, orbitals: Sequence[OrbitalSet]) -> NDArray[np.float64]:
    """Blocks -> dH by spin, (1, nnz), or up and down (2, nnz)."""
    mean = data_from_blocks(topology, blocks, orbitals).double().cpu().numpy()
    if blocks.spin is None:
        return np.asarray(mean[None])
    half = data_from_blocks(topology, blocks.spin, orbitals).double().cpu().numpy()
    return np.stack([mean + half, mean - half])
