"""Heads: features of an atom -> its on-site block; features of both ends of a pair -> its off-site block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.edge_frames.layers import (
    GatedOrderLayer,
    OrderLinear,
    Reversible,
    both_directions,
    invariants,
    split_orders,
)
from mlh.network.edge_frames.parts import pair_parts
from mlh.network.knots import KnotFunctions
from mlh.network.layers import SILU_GAIN, SMALL
from mlh.network.orbitals import OrbitalSet
from mlh.network.site_blocks import SiteBlocks
from mlh.network.sphere import rows


class SiteHead(SiteBlocks):
    """On-site blocks of one element."""

    def __init__(self, orbitals: OrbitalSet, lmax: int, channels: int) -> None:
        super().__init__(orbitals)
        self.places = rows(self.irreps.lmax).slices()
        self.scalars = nn.Sequential(
            nn.Linear(channels, 2 * channels),
            nn.SiLU(),
            nn.Linear(2 * channels, (len(self.counts) + 1) * channels),
        )
        self.weights = nn.ParameterList(
            [nn.Parameter(SMALL * torch.randn(channels, n) / channels**0.5) for n in self.counts]
        )
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (atoms, (lmax+1)^2, channels) -> (atoms, n, n) Hartree."""
        scalars = self.scalars(x[:, 0])
        gates = 2 * torch.sigmoid(scalars).reshape(len(x), len(self.counts) + 1, self.channels)
        parts = []
        for big_l, place in enumerate(self.places):
            part = (x[:, place] * gates[:, big_l : big_l + 1]) @ self.weights[big_l]
            if big_l == 0:
                hidden = scalars[:, None, len(self.counts) * self.channels :]
                part = part + (nn.functional.silu(hidden) * SILU_GAIN) @ self.weights[0]
            parts.append(part)
        return self.assemble(parts)


class PairHead(Reversible):
    """Off-site blocks of one pair of elements (a, b), in the frame of the edge a -> b."""

    def __init__(self, a: OrbitalSet, b: OrbitalSet, lmax: int, config: EdgeFramesConfig) -> None:
        super().__init__(lmax)
        parts = pair_parts(a, b)
        self.counts, self.lmax, self.channels = parts.counts, lmax, config.channels
        self.a, self.b = a, b
        m_max = len(parts.counts) - 1
        given = config.pair_widths
        widths = [given[min(m, len(given) - 1)] for m in range(m_max + 1)]
        n_in = [2 * config.channels * (lmax + 1 - m) for m in range(m_max + 1)]
        self.knots = KnotFunctions(a.cutoff + b.cutoff, config.n_knots)
        self.gains = nn.Linear(config.n_knots, (lmax + 1) * 2 * config.channels)
        self.first = GatedOrderLayer(n_in, widths, config.n_knots)
        self.second = GatedOrderLayer(widths, widths, sum(widths[1:]))
        self.out_gains = nn.Linear(config.n_knots, sum(widths))
        self.last = OrderLinear(widths, parts.counts)
        with torch.no_grad():
            for weight in (self.last.first.weight, self.last.first.bias, *self.last.weights):
                weight.mul_(SMALL)
        self.widths = widths
        n_parts = sum(parts.counts)
        self.register_buffer("mean", torch.zeros(config.n_knots, parts.counts[0], dtype=torch.float64))
        self.register_buffer("log_scale", torch.zeros(config.n_knots, n_parts, dtype=torch.float64))
        self.register_buffer(
            "basis", torch.from_numpy(parts.basis.reshape(len(parts.basis), -1)), persistent=False
        )
        self.register_buffer("part", torch.from_numpy(parts.part), persistent=False)
        self.mean: torch.Tensor
        self.log_scale: torch.Tensor
        self.basis: torch.Tensor
        self.part: torch.Tensor
        for linear in (self.gains, self.out_gains):
            nn.init.normal_(linear.weight, std=0.3)
            nn.init.ones_(linear.bias)

    def forward(
        self, x_i: Sequence[torch.Tensor], x_j: Sequence[torch.Tensor], r: torch.Tensor
    ) -> torch.Tensor:
        """Rotated features by l and distances -> (pairs, n_a, n_b) in the edge frame, Hartree.

        For equal elements the block is the mean of both directions, B_ij and F B_ji^T F (F: half turn).
        """
        if self.a != self.b:
            return self.directed([torch.cat(parts, dim=2) for parts in zip(x_i, x_j, strict=True)], r)
        blocks = self.directed(both_directions(x_i, x_j, self.flips), torch.cat([r, r]))
        one, other = blocks.chunk(2)
        sign = torch.cat([self.flips[l] for l in self.a.shells])
        return 0.5 * (one + other.mT * (sign[:, None] * sign))

    def directed(self, joined: Sequence[torch.Tensor], r: torch.Tensor) -> torch.Tensor:
        """Features of both atoms by l, (pairs, 2l+1, 2 channels) -> blocks in the edge frame."""
        weights, envelope = self.knots(r)
        gains = self.gains(weights).reshape(len(r), self.lmax + 1, 1, 2 * self.channels).unbind(dim=1)
        scaled = [part * gain for part, gain in zip(joined, gains, strict=True)]
        h = self.first(split_orders(scaled, len(self.counts) - 1), weights)
        update = self.second(h, invariants(h))
        h = [p + q for p, q in zip(h, update, strict=True)]
        gain = self.out_gains(weights).split(self.widths, dim=1)
        h = [h[0] * gain[0], *(part * g[:, None] for part, g in zip(h[1:], gain[1:], strict=True))]
        out = self.last(h)
        components = torch.cat([part.flatten(1) for part in out], dim=1)
        scale = torch.exp(weights @ self.log_scale)
        components = components * scale[:, self.part]
        n0 = self.counts[0]
        components = torch.cat([components[:, :n0] + weights @ self.mean, components[:, n0:]], dim=1)
        block = (components * envelope[:, None]) @ self.basis
        out_block: torch.Tensor = block.reshape(-1, self.a.size, self.b.size)
        return out_block
