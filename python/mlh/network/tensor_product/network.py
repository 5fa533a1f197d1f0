"""The network: structure -> blocks of dH = H - H_Harris, O(3)-equivariant, Hermitian, strictly local.

After HamGNN (Y. Zhong et al., npj Comput. Mater. 9, 182 (2023)): irreps of both parities.

    node features x_i     of the element
    orbital convolution   products of neighbours' features with the harmonics of the edge, weights from Bessel
                          functions of its length; gate                                   (`layers` times)
    on-site block         irreps -> orbital pairs by Clebsch-Gordan, per element
    pair interaction      product of both ends' features with the harmonics of the pair; gate
    off-site block        irreps -> orbital pairs by Clebsch-Gordan, per pair of elements

Means and sizes are fitted to the training data as those of edge-frames are; what is compared is the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from e3nn import o3
from torch import nn

from mlh.network.blocks import Blocks
from mlh.network.contract import HamiltonianNetwork, Prepared
from mlh.network.layers import soft_norm
from mlh.network.memory import made_again
from mlh.network.neighbours import Near, bessel_basis, near_pairs, pair_cutoffs
from mlh.network.orbitals import OrbitalSet
from mlh.network.tensor_product.config import TensorProductConfig
from mlh.network.tensor_product.heads import PairHead, SiteHead
from mlh.network.tensor_product.layers import OrbitalConvolution
from mlh.network.tensor_product.parts import pair_parts
from mlh.network.topology import Geometry, PairGroup, Topology, pair_vectors


@dataclass(frozen=True, eq=False)
class PairGeometry(Geometry):
    """Pairs, and which of them carry messages. again: products are made again on the way back."""

    edges: Near
    again: bool


def _with_blocks(features: o3.Irreps, orbitals: Sequence[OrbitalSet]) -> o3.Irreps:
    """The features and whatever irreps the blocks of these elements have beside, in the smallest number."""
    needed = {ir for a in orbitals for b in orbitals for _, ir in pair_parts(a, b).irreps}
    missing = sorted(needed - {ir for _, ir in features}, key=lambda ir: (ir.l, -ir.p))
    least = min(mul for mul, _ in features)
    return o3.Irreps([*features, *((least, ir) for ir in missing)])


class TensorProductNetwork(HamiltonianNetwork):
    """All of it. `orbitals`: the elements the model knows; weights per element and pair of elements."""

    def __init__(self, orbitals: Sequence[OrbitalSet], config: TensorProductConfig) -> None:
        super().__init__()
        self.orbitals = tuple(sorted(orbitals, key=lambda o: o.number))
        self.features = _with_blocks(o3.Irreps(config.features), self.orbitals)
        plain = "+".join(str(term) for term in self.features)
        self._config = config.model_copy(update={"features": plain})
        n = len(self.orbitals)
        self.register_buffer("edge_scale", torch.ones(config.n_radial, dtype=torch.float64))
        self.register_buffer("neighbours", torch.tensor(1.0, dtype=torch.float64))
        self.edge_scale: torch.Tensor
        self.neighbours: torch.Tensor
        scalars = o3.Irreps([term for term in self.features if term.ir == o3.Irrep("0e")])
        self.embed = nn.Parameter(torch.randn(n, scalars.dim))
        given = [scalars, *[self.features] * (config.layers - 1)]
        self.layers = nn.ModuleList([OrbitalConvolution(n, irreps, self._config) for irreps in given])
        self.site_heads = nn.ModuleList([SiteHead(o, self.features) for o in self.orbitals])
        self.pair_heads = nn.ModuleDict(
            {
                f"{a}_{b}": PairHead(self.orbitals[a], self.orbitals[b], self.features, self._config)
                for a in range(n)
                for b in range(a, n)
            }
        )

    @property
    def config(self) -> TensorProductConfig:
        """Sizes; with the features that the network has, whatever it was asked for."""
        return self._config

    def _cutoffs(self) -> torch.Tensor:
        reach = self.config.message_cutoff
        return torch.from_numpy(pair_cutoffs(self.orbitals, float("inf") if reach is None else reach))

    def geometry(
        self,
        topology: Topology,
        positions: torch.Tensor,
        keep_frames: bool,
        stretch: torch.Tensor | None = None,
    ) -> PairGeometry:
        """Vectors and edges; products are kept for the way back if `keep_frames`, unless `recompute`."""
        vectors = pair_vectors(topology, positions, stretch)
        r = torch.linalg.vector_norm(vectors, dim=1)
        edges = near_pairs(topology, r, self._cutoffs().numpy())
        return PairGeometry(vectors, r, edges, self.config.recompute or not keep_frames)

    def fit(self, samples: Sequence[Prepared]) -> None:
        """Typical number of neighbours, size of the radial functions, means and sizes of the blocks."""
        self._fit_edges(samples)
        for s, head in enumerate(self.site_heads):
            cast(SiteHead, head).fit([blocks.sites[s] for _, _, blocks in samples])
        for g, group in enumerate(samples[0][0].groups):
            rows = [slice(t.groups[g].start, t.groups[g].start + t.groups[g].count) for t, _, _ in samples]
            vectors = torch.cat([geo.vectors[row] for (_, geo, _), row in zip(samples, rows, strict=True)])
            self._head(group).fit(torch.cat([blocks.pairs[g] for _, _, blocks in samples]), vectors)

    def _fit_edges(self, samples: Sequence[Prepared]) -> None:
        cutoffs = self._cutoffs()
        n_edges = sum(len(_own(geometry).edges) for _, geometry, _ in samples)
        n_atoms = sum(len(topology.order) for topology, _, _ in samples)
        self.neighbours.fill_(max(2 * n_edges / n_atoms, 1.0))
        squares = torch.zeros_like(self.edge_scale)
        for _, geometry, _ in samples:
            near = _own(geometry).edges
            for a, b, start, stop in near.groups:
                r = geometry.r[near.index[start:stop]].double()
                squares += (bessel_basis(r, float(cutoffs[a, b]), self.config.n_radial) ** 2).sum(dim=0)
        if n_edges:
            self.edge_scale.copy_(1.0 / torch.sqrt(squares / n_edges).clamp(min=1e-12))

    def mean_blocks(self, topology: Topology, geometry: Geometry) -> Blocks:
        """Prediction of the fitted means alone."""
        sites = [
            cast(SiteHead, head).mean_block().expand(count, -1, -1)
            for head, count in zip(self.site_heads, topology.counts, strict=True)
        ]
        pairs = [
            self._head(g).mean_block(geometry.vectors[g.start : g.start + g.count]) for g in topology.groups
        ]
        return Blocks(sites, pairs)

    def _head(self, group: PairGroup) -> PairHead:
        return cast(PairHead, self.pair_heads[f"{group.a}_{group.b}"])

    def node_features(self, topology: Topology, geometry: PairGeometry) -> torch.Tensor:
        """(n, dim), internal order."""
        counts = torch.tensor(topology.counts, device=self.embed.device)
        x = self.embed.repeat_interleave(counts, dim=0)
        fixed = geometry.edges, geometry.vectors, self._cutoffs(), self.edge_scale
        for layer in self.layers:
            x = layer(x, topology, *fixed, torch.rsqrt(self.neighbours), geometry.again)
        return soft_norm(x)

    def forward(
        self, topology: Topology, geometry: Geometry, rows: Sequence[torch.Tensor] | None = None
    ) -> Blocks:
        """dH of every on-site block and of the first direction of every pair; rows: of these pairs of each
        group only.
        """
        own = _own(geometry)
        x = self.node_features(topology, own)
        slices = topology.species_slices()
        sites = [head(x[atoms]) for head, atoms in zip(self.site_heads, slices, strict=True)]
        pairs = []
        for k, group in enumerate(topology.groups):
            chosen = torch.arange(group.count, device=x.device) if rows is None else rows[k]
            pairs.append(self._pairs(group, x, topology, own, chosen + group.start))
        return Blocks(sites, pairs)

    def _pairs(
        self,
        group: PairGroup,
        x: torch.Tensor,
        topology: Topology,
        geometry: PairGeometry,
        rows: torch.Tensor,
    ) -> torch.Tensor:
        """Blocks (pairs, n_a, n_b) of some pairs of one group, in chunks."""
        head = self._head(group)
        slices = topology.species_slices()
        of_a, of_b = slices[group.a], slices[group.b]
        first, second = head.ends(x[of_a], x[of_b], self.features)
        out = [x.new_zeros(0, head.a.size, head.b.size)]
        for chunk in torch.split(rows, self.config.chunk):
            if len(chunk) == 0:
                continue
            given = head, first, second, topology.i[chunk] - of_a.start, topology.j[chunk] - of_b.start
            inputs = *given, geometry.vectors[chunk], self.edge_scale
            out.append(made_again(_blocks, *inputs) if geometry.again else _blocks(*inputs))
        return torch.cat(out)


def _blocks(
    head: PairHead,
    first: torch.Tensor,
    second: torch.Tensor,
    i: torch.Tensor,
    j: torch.Tensor,
    v: torch.Tensor,
    scale: torch.Tensor,
) -> torch.Tensor:
    """Blocks of pairs i in a -> j in b from what the atoms add as first and as second."""
    sums = [first[i] + second[j]]
    if head.a == head.b:
        sums.append(first[j] + second[i])
    blocks: torch.Tensor = head([0.5**0.5 * s for s in sums], v, scale)
    return blocks


def _own(geometry: Geometry) -> PairGeometry:
    """The geometry of this architecture; refuses that of another."""
    if not isinstance(geometry, PairGeometry):
        raise TypeError(f"geometry: expected one of the network's own, got {type(geometry).__name__}")
    return geometry
