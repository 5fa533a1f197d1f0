"""Charge and moment of the cell on its atoms, by weights that are learned and add up to one.

    q_a = Q w_a,   mu_a = M w'_a,   w_a = max(s_a / 2 - t, 0)^2,   sum_a w_a = 1

with affinities s_a that every atom has of its surroundings and one number t per cell (1.5-entmax: B.
Peters, V. Niculae, A. F. T. Martins, ACL 2019). Atoms whose affinity is far below the highest ones have
exactly nothing, and t does not depend on them: a defect that holds the charge holds it in a larger cell too,
and atoms far from it do not see how many they are. Weights are once differentiable in the affinities.

With Q = M = 0 nothing is added to any feature. The mean of both spins depends on mu_a^2, so that it is the
same for M and -M; half of up minus down is proportional to the moments around an atom and changes its sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mlh.network.edge_frames.features import EdgeGeometry
from mlh.network.edge_frames.layers import SpeciesLinear, split_degrees
from mlh.network.layers import SILU_GAIN
from mlh.network.topology import Topology

_EVEN = 0.1  # affinities at the start: all atoms have a share, and all learn


@dataclass(frozen=True, eq=False)
class SiteState:
    """charges, moments (n, weights): those of the cell, distributed by every set of weights."""

    charges: torch.Tensor
    moments: torch.Tensor


def site_weights(affinities: torch.Tensor) -> torch.Tensor:
    """(n, k) -> weights (n, k) of zero or more, every column with the sum 1."""
    half = 0.5 * affinities
    with torch.no_grad():
        ordered = torch.sort(half, dim=0, descending=True).values
        count = torch.arange(1, len(half) + 1, device=half.device, dtype=half.dtype)[:, None]
        mean = ordered.cumsum(dim=0) / count
        spread = (ordered**2).cumsum(dim=0) - count * mean**2
        t = mean - torch.sqrt(((1.0 - spread) / count).clamp(min=0.0))
        last = (t <= ordered).sum(dim=0, keepdim=True).clamp(min=1) - 1
        found = t.gather(0, last)
    # One step of Newton's method at the solution: its value stays, its derivative is that of t.
    above = (half - found).clamp(min=0.0)
    found = found + ((above**2).sum(dim=0) - 1.0) / (2.0 * above.sum(dim=0))
    return (half - found).clamp(min=0.0) ** 2


class CellState(nn.Module):
    """Node features -> charges and moments of the atoms; both -> node features."""

    def __init__(self, n_species: int, lmax: int, channels: int, n_weights: int, n_radial: int) -> None:
        super().__init__()
        self.lmax, self.channels, self.n_weights = lmax, channels, n_weights
        self.hidden = SpeciesLinear(n_species, 0, channels, channels)
        self.affinity = nn.Linear(channels, 2 * n_weights, bias=False)
        self.mix = SpeciesLinear(n_species, lmax, channels, channels)
        self.gain = nn.Linear(3 * n_weights, (lmax + 2) * channels, bias=False)
        self.reach = nn.Parameter(0.3 * torch.randn(n_species, n_species, n_radial) / n_radial**0.5)
        with torch.no_grad():
            self.affinity.weight.mul_(_EVEN)

    def sites(self, x: torch.Tensor, topology: Topology) -> SiteState:
        """Of node features (n, (lmax+1)^2, channels)."""
        hidden = nn.functional.silu(self.hidden(x[:, :1], topology.species_slices())[:, 0]) * SILU_GAIN
        weights = site_weights(self.affinity(hidden))
        charges, moments = weights[:, : self.n_weights], weights[:, self.n_weights :]
        return SiteState(topology.charge * charges, topology.moment * moments)

    def forward(self, x: torch.Tensor, state: SiteState, topology: Topology) -> torch.Tensor:
        """x with what charges and moments add to it; even in the moments."""
        given = torch.cat([state.charges, state.charges**2, state.moments**2], dim=1)
        *gains, scalars = torch.split(self.gain(given), self.channels, dim=1)
        mixed = split_degrees(self.mix(x, topology.species_slices()), self.lmax)
        parts = [part * gain[:, None] for part, gain in zip(mixed, gains, strict=True)]
        parts[0] = parts[0] + scalars[:, None]
        return x + torch.cat(parts, dim=1)

    def nearby(
        self, state: SiteState, topology: Topology, geometry: EdgeGeometry, radial: torch.Tensor
    ) -> torch.Tensor:
        """Moments around every atom (n,): its own, and those of the neighbours by the distance."""
        moments = state.moments[:, 0]
        total = moments
        for a, b, start, stop in geometry.edges.groups:
            edges = geometry.edges.index[start:stop]
            i, j = topology.i[edges], topology.j[edges]
            total = total.index_add(0, i, (radial[start:stop] @ self.reach[a, b]) * moments[j])
            total = total.index_add(0, j, (radial[start:stop] @ self.reach[b, a]) * moments[i])
        return total
