"""The network: structure -> blocks of dH = H - H_Harris, exactly O(3)-equivariant, Hermitian, cut off
smoothly.

    densities of neighbours (fixed, whitened) -> node features -> [messages along edges, products on the
    sphere] x layers
      -> on-site block:  mean + scale * linear(gated node features), per element
      -> off-site block: in the edge frame, mean(r) + scale(r) * head(node features of i and j, r), per pair
      of elements

mean and scale are fitted to the training data (`mlh.model.baseline`); the network learns the remainder, of
order one. Both directions of a pair of equal elements are computed and averaged (H_ij = H_ji^T); for
different elements one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from mlh.model.features import Geometry, PairGroup, Topology, build_geometry
from mlh.model.graph import GraphInput
from mlh.model.harmonics import edge_frames
from mlh.model.irreps import OrbitalSet, orbital_frames, pair_parts, site_parts, to_lab
from mlh.model.layers import (
    SILU_GAIN,
    GatedOrderLayer,
    OrderLinear,
    Reversible,
    SpeciesLinear,
    SphereProducts,
    both_directions,
    invariants,
    join_orders,
    rotate_to_edges,
    soft_norm,
    split_degrees,
    split_orders,
)
from mlh.model.longrange import LongRange

SMALL = 0.1  # factor on the heads' last weights at the start: training begins near the fitted means


class NetworkConfig(BaseModel):
    """Sizes of the network. Lengths in Bohr."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(32, ge=1, description="channels per l of the node features")
    lmax: int = Field(
        4, ge=0, description="largest l of the node features (raised to what the on-site blocks need)"
    )
    layers: int = Field(2, ge=0, description="message-passing layers")
    message_cutoff: float = Field(11.0, gt=0, description="Bohr; neighbours that send messages")
    message_m_max: int = Field(2, ge=0, description="largest order |m| about the edge that messages carry")
    long_range_channels: int = Field(
        4, ge=0, description="fields of learned charges; 0: strictly local network"
    )
    long_range_sigma: float = Field(3.0, gt=0, description="Bohr; smearing of the learned charges")
    n_radial: int = Field(10, ge=1, description="radial functions of the neighbour densities and messages")
    pair_widths: tuple[int, ...] = Field(
        (128, 64, 48, 24, 16), description="hidden channels of M = 0, 1, .. of pairs"
    )
    n_knots: int = Field(32, ge=4, description="knots in the distance of the pair functions")
    chunk: int = Field(8192, ge=1, description="pairs or edges processed at once when no gradient is needed")

    @property
    def sigma(self) -> float | None:
        """Smearing of the long-range part, None without one."""
        return self.long_range_sigma if self.long_range_channels else None


@dataclass(frozen=True, eq=False)
class Blocks:
    """dH in Hartree in the internal order of a Topology: sites[s] (atoms of element s, n, n), pairs[g] (pairs
    of group g, n_a, n_b) for the first direction of each pair."""

    sites: list[torch.Tensor]
    pairs: list[torch.Tensor]


class KnotFunctions(nn.Module):
    """Smooth functions of the distance: w_k(r) = softmax_k(-(r - r_k)^2 / 2 d^2), sum_k w_k = 1, and an
    envelope.
    """

    def __init__(self, cutoff: float, n_knots: int, shortest: float = 1.0) -> None:
        super().__init__()
        self.cutoff = cutoff
        knots = torch.linspace(shortest, cutoff, n_knots, dtype=torch.float64)
        self.width = float(knots[1] - knots[0])
        self.register_buffer("knots", knots, persistent=False)
        self.knots: torch.Tensor

    def forward(self, r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """r (pairs,) -> weights (pairs, n_knots) and the envelope (1 - (r/c)^2)^3, zero beyond."""
        weights = torch.softmax(-((r[:, None] - self.knots) ** 2) / (2 * self.width**2), dim=1)
        return weights, torch.clamp(1 - (r / self.cutoff) ** 2, min=0.0) ** 3


class MessageLayer(Reversible):
    """m_i = sum_j (maps of x_i, x_j in the frame of i -> j with weights that depend on r), then products on
    the sphere.
    """

    def __init__(self, n_species: int, config: NetworkConfig, lmax: int) -> None:
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
        self.long_range = LongRange(n_species, lmax, c, fields) if fields else None
        self.update = NodeUpdate(n_species, lmax, c, 2 * c + fields)

    def messages(
        self,
        x: torch.Tensor,
        topology: Topology,
        radial: torch.Tensor,
        frames: Sequence[torch.Tensor],
        first: int,
        inverse_root: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Messages to i and to j of the edges first .. first + len(radial), in the lab: twice (edges,
        (lmax+1)^2, channels).
        """
        last = first + radial.shape[0]
        edges = topology.edges[first:last]
        x = soft_norm(x)
        gains, scale = self._weights(topology, radial, first, inverse_root)
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
        self, topology: Topology, radial: torch.Tensor, first: int, inverse_root: torch.Tensor
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Distance-dependent factors of the inputs by l, (2 edges, 1, 2 channels), and of the messages,
        (2 edges,): first all edges as i <- j, then all as j <- i.
        """
        last = first + radial.shape[0]
        gains: list[torch.Tensor] = []
        scale: list[torch.Tensor] = []
        for direction in (0, 1):
            for a, b, start, stop in topology.edge_groups:
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
        geometry: Geometry,
        radial: torch.Tensor,
        inverse_root: torch.Tensor,
        chunk: int,
    ) -> torch.Tensor:
        """x (n, (lmax+1)^2, channels), radial (E, n_radial) normalised -> the same shape."""
        total = torch.zeros_like(x)
        n_edges = len(topology.edges)
        step = n_edges if geometry.edge_frames is not None else chunk
        for first in range(0, n_edges, max(step, 1)):
            last = min(first + step, n_edges)
            edges = topology.edges[first:last]
            frames = (
                geometry.edge_frames
                if geometry.edge_frames is not None
                else edge_frames(geometry.vectors[edges], self.lmax)
            )
            to_i, to_j = self.messages(x, topology, radial[first:last], frames, first, inverse_root)
            total = total.index_add(0, topology.i[edges], to_i).index_add(0, topology.j[edges], to_j)
        slices = topology.species_slices()
        inputs = [x, total]
        if self.long_range is not None:
            if geometry.waves is None:
                raise ValueError("geometry: expected waves for the long-range part, got none")
            inputs.append(self.long_range(soft_norm(x), slices, geometry.waves))
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


class SiteHead(nn.Module):
    """On-site blocks of one element."""

    def __init__(self, orbitals: OrbitalSet, lmax: int, channels: int) -> None:
        super().__init__()
        parts = site_parts(orbitals)
        self.counts = parts.counts
        self.scalars = nn.Sequential(
            nn.Linear(channels, 2 * channels),
            nn.SiLU(),
            nn.Linear(2 * channels, (len(parts.counts) + 1) * channels),
        )
        self.weights = nn.ParameterList(
            [nn.Parameter(SMALL * torch.randn(channels, n) / channels**0.5) for n in parts.counts]
        )
        self.channels = channels
        n_parts = sum(parts.counts)
        self.register_buffer("mean", torch.zeros(parts.counts[0], dtype=torch.float64))
        self.register_buffer("scale", torch.ones(n_parts, dtype=torch.float64))
        self.register_buffer(
            "basis", torch.from_numpy(parts.basis.reshape(len(parts.basis), -1)), persistent=False
        )
        self.mean: torch.Tensor
        self.scale: torch.Tensor
        self.basis: torch.Tensor
        self.size = orbitals.size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (atoms, (lmax+1)^2, channels) -> (atoms, n, n) Hartree."""
        scalars = self.scalars(x[:, 0])
        gates = 2 * torch.sigmoid(scalars).reshape(len(x), -1, self.channels)
        columns, first = [], 0
        for big_l, n in enumerate(self.counts):
            if n == 0:
                continue
            part = (x[:, big_l * big_l : (big_l + 1) ** 2] * gates[:, big_l : big_l + 1]) @ self.weights[
                big_l
            ]
            if big_l == 0:
                hidden = scalars[:, None, len(self.counts) * self.channels :]
                part = part + (nn.functional.silu(hidden) * SILU_GAIN) @ self.weights[0]
            part = part * self.scale[first : first + n]
            if big_l == 0:
                part = part + self.mean
            first += n
            columns.append(part.flatten(1))
        block = torch.cat(columns, dim=1) @ self.basis
        return block.reshape(-1, self.size, self.size)


class PairHead(Reversible):
    """Off-site blocks of one pair of elements (a, b), in the frame of the edge a -> b."""

    def __init__(self, a: OrbitalSet, b: OrbitalSet, lmax: int, config: NetworkConfig) -> None:
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


class HamiltonianNetwork(nn.Module):
    """All of it. `orbitals`: the elements the model knows; weights per element and pair of elements."""

    def __init__(self, orbitals: Sequence[OrbitalSet], config: NetworkConfig) -> None:
        super().__init__()
        self.orbitals, self.config = tuple(sorted(orbitals, key=lambda o: o.number)), config
        self.lmax = max(config.lmax, *(2 * o.shells[-1] for o in self.orbitals))
        n = len(self.orbitals)
        n_features = n * config.n_radial
        self.register_buffer("edge_scale", torch.ones(config.n_radial, dtype=torch.float64))
        self.register_buffer("density_mean", torch.zeros(n, n_features, dtype=torch.float64))
        self.register_buffer(
            "whitening", torch.eye(n_features, dtype=torch.float64).repeat(n, self.lmax + 1, 1, 1)
        )
        self.register_buffer("neighbours", torch.tensor(1.0, dtype=torch.float64))
        self.edge_scale: torch.Tensor
        self.density_mean: torch.Tensor
        self.whitening: torch.Tensor
        self.neighbours: torch.Tensor
        self.embed = NodeUpdate(n, self.lmax, config.channels, n_features)
        self.layers = nn.ModuleList([MessageLayer(n, config, self.lmax) for _ in range(config.layers)])
        self.site_heads = nn.ModuleList([SiteHead(o, self.lmax, config.channels) for o in self.orbitals])
        self.pair_heads = nn.ModuleDict(
            {
                f"{a}_{b}": PairHead(self.orbitals[a], self.orbitals[b], self.lmax, config)
                for a in range(n)
                for b in range(a, n)
            }
        )

    def geometry(self, topology: Topology, positions: torch.Tensor, keep_frames: bool) -> Geometry:
        """The positional part of the input for this network."""
        c = self.config
        return build_geometry(
            topology, positions, self.orbitals, self.lmax, c.n_radial, c.message_cutoff, c.sigma, keep_frames
        )

    def whitened(self, topology: Topology, densities: torch.Tensor) -> torch.Tensor:
        """Neighbour densities with the training mean (l = 0) removed, unit covariance per element and l."""
        rows = []
        for s, atoms in enumerate(topology.species_slices()):
            x = densities[atoms]
            parts = [(x[:, :1] - self.density_mean[s]) @ self.whitening[s, 0]]
            parts += [x[:, l * l : (l + 1) ** 2] @ self.whitening[s, l] for l in range(1, self.lmax + 1)]
            rows.append(torch.cat(parts, dim=1))
        return torch.cat(rows, dim=0)

    def node_features(self, topology: Topology, geometry: Geometry) -> torch.Tensor:
        """(n, (lmax+1)^2, channels), internal order."""
        slices = topology.species_slices()
        x: torch.Tensor = self.embed(None, self.whitened(topology, geometry.densities), slices)
        radial = geometry.edge_radial * self.edge_scale
        for layer in self.layers:
            x = layer(x, topology, geometry, radial, torch.rsqrt(self.neighbours), self.config.chunk)
        return soft_norm(x)

    def forward(self, topology: Topology, geometry: Geometry) -> Blocks:
        """dH of every on-site block and of the first direction of every pair."""
        x = self.node_features(topology, geometry)
        slices = topology.species_slices()
        sites = [head(x[atoms]) for head, atoms in zip(self.site_heads, slices, strict=True)]
        return Blocks(sites, [self._pairs(group, x, topology, geometry) for group in topology.groups])

    def _pairs(
        self, group: PairGroup, x: torch.Tensor, topology: Topology, geometry: Geometry
    ) -> torch.Tensor:
        """Blocks (count, n_a, n_b) of one group, in chunks when the frames are not stored."""
        a, b = self.orbitals[group.a], self.orbitals[group.b]
        step = group.count if geometry.frames is not None else self.config.chunk
        out = []
        for first in range(0, group.count, max(step, 1)):
            rows = slice(group.start + first, group.start + min(first + step, group.count))
            frames = (
                [d[rows] for d in geometry.frames]
                if geometry.frames is not None
                else edge_frames(geometry.vectors[rows], self.lmax)
            )
            x_i = rotate_to_edges(x, topology.i[rows], frames)
            x_j = rotate_to_edges(x, topology.j[rows], frames)
            block = self.pair_heads[f"{group.a}_{group.b}"](x_i, x_j, geometry.r[rows])
            out.append(to_lab(block, orbital_frames(a, frames), orbital_frames(b, frames)))
        return torch.cat(out) if out else x.new_zeros(0, a.size, b.size)


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
    return data[starts[:, None] + torch.arange(n_a * n_b)].reshape(-1, n_a, n_b)


def data_from_blocks(topology: Topology, blocks: Blocks, orbitals: Sequence[OrbitalSet]) -> torch.Tensor:
    """Blocks -> flat data (nnz,) of the whole Pattern: H_ij(R) and its transpose H_ji(-R), exactly."""
    data = blocks.sites[0].new_zeros(topology.nnz)
    for atoms, o, block in zip(topology.species_slices(), orbitals, blocks.sites, strict=True):
        starts = topology.offset[topology.site_pair[atoms]]
        data[(starts[:, None] + torch.arange(o.size**2)).flatten()] = block.flatten()
    for g, block in zip(topology.groups, blocks.pairs, strict=True):
        size = torch.arange(orbitals[g.a].size * orbitals[g.b].size)
        pair = topology.pair[g.start : g.start + g.count]
        data[(topology.offset[pair][:, None] + size).flatten()] = block.flatten()
        data[(topology.offset[topology.reverse[pair]][:, None] + size).flatten()] = block.mT.flatten()
    return data


def prepare(
    network: HamiltonianNetwork, graph: GraphInput, dtype: torch.dtype, keep_frames: bool
) -> tuple[Topology, Geometry]:
    """Topology and geometry of one graph for this network."""
    from mlh.model.features import build_topology

    topology = build_topology(graph, network.orbitals, network.config.message_cutoff, network.config.sigma)
    positions = torch.as_tensor(graph.positions, dtype=torch.float64)
    geometry = network.geometry(topology, positions, keep_frames)
    return topology, cast_geometry(geometry, dtype)


def cast_geometry(geometry: Geometry, dtype: torch.dtype) -> Geometry:
    """Geometry computed in FP64 and stored in another precision."""

    def many(tensors: list[torch.Tensor] | None) -> list[torch.Tensor] | None:
        return None if tensors is None else [t.to(dtype) for t in tensors]

    return Geometry(
        geometry.vectors.to(dtype),
        geometry.r.to(dtype),
        many(geometry.frames),
        geometry.densities.to(dtype),
        geometry.edge_radial.to(dtype),
        many(geometry.edge_frames),
        None if geometry.waves is None else geometry.waves.to(dtype),
    )
