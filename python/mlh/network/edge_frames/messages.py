"""Message passing: edges of both directions in their edge frames, then products on the sphere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.edge_frames.features import EdgeGeometry
from mlh.network.edge_frames.harmonics import edge_frames
from mlh.network.edge_frames.layers import (
    GatedOrderLayer,
    OrderLinear,
    Reversible,
    SpeciesLinear,
    SphereProducts,
    both_directions,
    join_orders,
    rotate_to_edges,
    split_degrees,
    split_orders,
)
from mlh.network.edge_frames.longrange import LongRange
from mlh.network.layers import soft_norm
from mlh.network.memory import made_again
from mlh.network.neighbours import Near
from mlh.network.topology import Topology


class MessageLayer(Reversible):
    """m_i = sum_j (maps of x_i, x_j in the frame of i -> j with weights that depend on r), then products on
    the sphere.
    """

    def __init__(self, n_species: int, config: EdgeFramesConfig, lmax: int) -> None:
        super().__init__(lmax)
        c = config.channels
        self.lmax, self.m_max, self.channels = lmax, min(config.message_m_max, lmax), c
        orders = range(self.m_max + 1)
        n_in = [2 * c * (lmax + 1 - m) for m in orders]
        n_out = [c * (lmax + 1 - m) for m in orders]
        self.radial = nn.Parameter(
            torch.randn(n_species, n_species, config.n_radial, (lmax + 1) * 2 * c) / config.n_radial**0.5
        )
        self.conv = GatedOrderLayer(n_in, n_out)
        self.back = OrderLinear(n_out, n_out)
        self.envelope = nn.Parameter(
            torch.randn(n_species, n_species, config.n_radial) / config.n_radial**0.5
        )
        fields = config.long_range_channels
        given = 1 if fields and config.charge_channels else 0
        self.long_range = LongRange(n_species, lmax, c, fields, given) if fields else None
        self.update = NodeUpdate(n_species, lmax, c, 2 * c + fields + given)

    def messages(
        self,
        x: torch.Tensor,
        topology: Topology,
        near: Near,
        radial: torch.Tensor,
        first: int,
        inverse_root: torch.Tensor,
        vectors: torch.Tensor,
        kept: Sequence[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Messages to i and to j of the edges first .. first + len(radial) of `near`, in the lab: twice
        (edges, (lmax+1)^2, channels). kept: frames of all edges, otherwise made from the vectors (E, 3).
        """
        last = first + radial.shape[0]
        edges = near.index[first:last]
        frames = edge_frames(vectors[edges], self.lmax) if kept is None else kept
        x = soft_norm(x)
        gains, scale = self._weights(near, radial, first, inverse_root)
        x_i = rotate_to_edges(x, topology.i[edges], frames)
        x_j = rotate_to_edges(x, topology.j[edges], frames)
        rotated = both_directions(x_i, x_j, self.flips)
        h = split_orders([part * gain for part, gain in zip(rotated, gains, strict=True)], self.m_max)
        h = self.back(self.conv(h))
        h = [h[0] * scale[:, None], *(part * scale[:, None, None] for part in h[1:])]
        to_i, to_j = [], []
        for d, flip, part in zip(frames, self.flips, join_orders(h, self.lmax, self.channels), strict=True):
            forward, backward = part.chunk(2)
            to_i.append(d @ forward)
            to_j.append(d @ (backward * flip[:, None]))
        return torch.cat(to_i, dim=1), torch.cat(to_j, dim=1)

    def _weights(
        self, near: Near, radial: torch.Tensor, first: int, inverse_root: torch.Tensor
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Distance-dependent factors of the inputs by l, (2 edges, 1, 2 channels), and of the messages,
        (2 edges,): first all edges as i <- j, then all as j <- i.
        """
        last = first + radial.shape[0]
        gains: list[torch.Tensor] = []
        scale: list[torch.Tensor] = []
        for direction in (0, 1):
            for a, b, start, stop in near.groups:
                lo, hi = max(start, first) - first, min(stop, last) - first
                if lo < hi:
                    receiver, sender = (a, b) if direction == 0 else (b, a)
                    gains.append(radial[lo:hi] @ self.radial[receiver, sender])
                    scale.append(radial[lo:hi] @ self.envelope[receiver, sender] * inverse_root)
        shaped = torch.cat(gains).reshape(-1, self.lmax + 1, 1, 2 * self.channels)
        return shaped.unbind(dim=1), torch.cat(scale)

    def forward(
        self,
        x: torch.Tensor,
        topology: Topology,
        geometry: EdgeGeometry,
        radial: torch.Tensor,
        inverse_root: torch.Tensor,
        chunk: int,
        charges: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """x (n, (lmax+1)^2, channels), radial (E, n_radial) normalised -> the same shape; charges (n, 1): of
        the atoms of a charged model."""
        total = torch.zeros_like(x)
        n_edges = len(geometry.edges)
        step = n_edges if geometry.edge_frames is not None else chunk
        for first in range(0, n_edges, max(step, 1)):
            last = min(first + step, n_edges)
            edges = geometry.edges.index[first:last]
            given = x, topology, geometry.edges, radial[first:last], first, inverse_root, geometry.vectors
            if geometry.edge_frames is not None:
                to_i, to_j = self.messages(*given, geometry.edge_frames)
            else:
                to_i, to_j = made_again(self.messages, *given)
            total = total.index_add(0, topology.i[edges], to_i).index_add(0, topology.j[edges], to_j)
        slices = topology.species_slices()
        inputs = [x, total]
        if self.long_range is not None:
            if geometry.waves is None:
                raise ValueError("geometry: expected waves for the long-range part, got none")
            inputs.append(self.long_range(soft_norm(x), slices, geometry.waves, charges))
        updated: torch.Tensor = self.update(x, torch.cat(inputs, dim=2), slices)
        return updated


class NodeUpdate(nn.Module):
    """x + gate(scalars) * linear(y, products of y), y = linear(input)."""

    def __init__(self, n_species: int, lmax: int, channels: int, n_in: int) -> None:
        super().__init__()
        self.mix = SpeciesLinear(n_species, lmax, n_in, 4 * channels)
        self.products = SphereProducts(lmax, channels)
        self.out = SpeciesLinear(n_species, lmax, 3 * channels, channels)
        self.scalars = nn.Sequential(
            nn.Linear(3 * channels, 2 * channels), nn.SiLU(), nn.Linear(2 * channels, (lmax + 2) * channels)
        )
        self.lmax, self.channels = lmax, channels

    def forward(self, x: torch.Tensor | None, inputs: torch.Tensor, slices: Sequence[slice]) -> torch.Tensor:
        """x (n, (lmax+1)^2, channels) or None (no residual), inputs (n, (lmax+1)^2, n_in)."""
        mixed = soft_norm(self.mix(inputs, slices))
        c = self.channels
        joined = torch.cat([mixed[:, :, :c], self.products(mixed[:, :, c:])], dim=2)
        y = self.out(joined, slices)
        scalars = self.scalars(joined[:, 0])
        gates = (2 * torch.sigmoid(scalars[:, : (self.lmax + 1) * c])).reshape(-1, self.lmax + 1, c)
        y = torch.cat(
            [part * gates[:, l : l + 1] for l, part in enumerate(split_degrees(y, self.lmax))], dim=1
        )
        y = torch.cat([y[:, :1] + scalars[:, None, (self.lmax + 1) * c :], y[:, 1:]], dim=1)
        return y if x is None else x + y
