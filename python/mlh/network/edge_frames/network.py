"""The network: structure -> blocks of dH = H - H_Harris, exactly O(3)-equivariant, Hermitian, cut off
smoothly.

    densities of neighbours (fixed, whitened) -> node features -> [messages along edges, products on the
    sphere] x layers
      -> on-site block:  mean + scale * linear(gated node features), per element
      -> off-site block: in the edge frame, mean(r) + scale(r) * head(node features of i and j, r), per pair
      of elements

mean and scale are fitted to the training data (`fit.py`); the network learns the remainder, of
order one. Both directions of a pair of equal elements are computed and averaged (H_ij = H_ji^T); for
different elements one is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import nn

from mlh.network.blocks import Blocks
from mlh.network.contract import HamiltonianNetwork, Prepared
from mlh.network.edge_frames.charge import CellState, SiteState
from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.edge_frames.features import EdgeGeometry, build_geometry, own
from mlh.network.edge_frames.fit import fit_normalisation, mean_blocks
from mlh.network.edge_frames.harmonics import edge_frames
from mlh.network.edge_frames.heads import PairHead, SiteHead
from mlh.network.edge_frames.layers import rotate_to_edges, split_degrees
from mlh.network.edge_frames.messages import MessageLayer, NodeUpdate
from mlh.network.edge_frames.parts import orbital_frames, to_lab
from mlh.network.layers import soft_norm
from mlh.network.memory import made_again
from mlh.network.orbitals import OrbitalSet
from mlh.network.topology import Geometry, PairGroup, Topology


class EdgeFramesNetwork(HamiltonianNetwork):
    """All of it. `orbitals`: the elements the model knows; weights per element and pair of elements."""

    def __init__(self, orbitals: Sequence[OrbitalSet], config: EdgeFramesConfig) -> None:
        super().__init__()
        self.orbitals = tuple(sorted(orbitals, key=lambda o: o.number))
        self._config = config.raised_to(max(2 * o.shells[-1] for o in self.orbitals))
        self.features = o3.Irreps(self._config.features)
        self.lmax = self.features.lmax
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
        self.pair_heads = self._new_pair_heads(config)
        # Last, so that the weights of a neutral network do not depend on what it does not have.
        self.cell_state: CellState | None = None
        if config.charge_channels:
            sizes = n, self.lmax, config.channels, config.charge_channels, config.n_radial
            self.cell_state = CellState(*sizes)
            self.spin_sites = nn.ModuleList([SiteHead(o, self.lmax, config.channels) for o in self.orbitals])
            self.spin_pairs = self._new_pair_heads(config)

    def _new_pair_heads(self, config: EdgeFramesConfig) -> nn.ModuleDict:
        n = len(self.orbitals)
        return nn.ModuleDict(
            {
                f"{a}_{b}": PairHead(self.orbitals[a], self.orbitals[b], self.lmax, config)
                for a in range(n)
                for b in range(a, n)
            }
        )

    @property
    def charged(self) -> bool:
        """Whether it has weights that carry charge and moment."""
        return self.cell_state is not None

    @property
    def config(self) -> EdgeFramesConfig:
        """Sizes; with the features that the network has, whatever it was asked for."""
        return self._config

    def geometry(
        self,
        topology: Topology,
        positions: torch.Tensor,
        keep_frames: bool,
        stretch: torch.Tensor | None = None,
    ) -> EdgeGeometry:
        """The positional part of the input for this network."""
        fixed = self.orbitals, self.config, self.lmax
        return build_geometry(topology, positions, *fixed, keep_frames, stretch)

    def fit(self, samples: Sequence[Prepared]) -> None:
        """Set every fitted buffer from the training samples (stored with their frames)."""
        fit_normalisation(self, samples)

    def mean_blocks(self, topology: Topology, geometry: Geometry) -> Blocks:
        """Prediction of the fitted means alone (geometry with stored frames)."""
        return mean_blocks(self, topology, own(geometry))

    def whitened(self, topology: Topology, densities: torch.Tensor) -> torch.Tensor:
        """Neighbour densities with the training mean (l = 0) removed, unit covariance per element and l."""
        rows = []
        for s, atoms in enumerate(topology.species_slices()):
            x = densities[atoms]
            scalars, *others = split_degrees(x, self.lmax)
            parts = [(scalars - self.density_mean[s]) @ self.whitening[s, 0]]
            parts += [part @ w for part, w in zip(others, self.whitening[s, 1:], strict=True)]
            rows.append(torch.cat(parts, dim=1))
        return torch.cat(rows, dim=0)

    def node_features(
        self, topology: Topology, geometry: EdgeGeometry
    ) -> tuple[torch.Tensor, SiteState | None]:
        """(n, (lmax+1)^2, channels), internal order; and the charges of the atoms of a charged model."""
        slices = topology.species_slices()
        x: torch.Tensor = self.embed(None, self.whitened(topology, geometry.densities), slices)
        radial = geometry.edge_radial * self.edge_scale
        state, charges = None, None
        if self.cell_state is not None:
            state = self.cell_state.sites(x, topology)
            charges = state.charges[:, :1]
            if topology.charge or topology.moment:
                x = self.cell_state(x, state, topology)
        for layer in self.layers:
            given = x, topology, geometry, radial, torch.rsqrt(self.neighbours), self.config.chunk
            x = layer(*given, charges)
        return soft_norm(x), state

    def forward(
        self, topology: Topology, geometry: Geometry, rows: Sequence[torch.Tensor] | None = None
    ) -> Blocks:
        """dH of every on-site block and of the first direction of every pair; rows: of these pairs of each
        group only.
        """
        geometry = own(geometry)
        x, state = self.node_features(topology, geometry)
        mean = self._blocks_of(self.site_heads, self.pair_heads, x, topology, geometry, rows)
        if self.cell_state is None or state is None or not topology.moment:
            return mean
        radial = geometry.edge_radial * self.edge_scale
        moments = self.cell_state.nearby(state, topology, geometry, radial)
        spin = self._blocks_of(self.spin_sites, self.spin_pairs, x, topology, geometry, rows)
        return Blocks(mean.sites, mean.pairs, _times_moments(spin, moments, topology, rows))

    def _blocks_of(
        self,
        site_heads: nn.ModuleList,
        pair_heads: nn.ModuleDict,
        x: torch.Tensor,
        topology: Topology,
        geometry: EdgeGeometry,
        rows: Sequence[torch.Tensor] | None,
    ) -> Blocks:
        slices = topology.species_slices()
        sites = [head(x[atoms]) for head, atoms in zip(site_heads, slices, strict=True)]
        pairs = []
        for k, group in enumerate(topology.groups):
            chosen = None if rows is None else rows[k]
            head = pair_heads[f"{group.a}_{group.b}"]
            pairs.append(self._pairs(head, group, x, topology, geometry, chosen))
        return Blocks(sites, pairs)

    def _pairs(
        self,
        head: nn.Module,
        group: PairGroup,
        x: torch.Tensor,
        topology: Topology,
        geometry: EdgeGeometry,
        chosen: torch.Tensor | None,
    ) -> torch.Tensor:
        """Blocks (count, n_a, n_b) of one group, in chunks when the frames are not stored."""
        a, b = self.orbitals[group.a], self.orbitals[group.b]
        count = group.count if chosen is None else len(chosen)
        step = count if geometry.frames is not None else self.config.chunk
        out = []
        for first in range(0, count, max(step, 1)):
            last = min(first + step, count)
            rows: slice | torch.Tensor = slice(group.start + first, group.start + last)
            if chosen is not None:
                rows = chosen[first:last] + group.start
            given = head, x, topology, geometry, rows
            out.append(
                self._blocks(*given) if geometry.frames is not None else made_again(self._blocks, *given)
            )
        return torch.cat(out) if out else x.new_zeros(0, a.size, b.size)

    def _blocks(
        self,
        head: nn.Module,
        x: torch.Tensor,
        topology: Topology,
        geometry: EdgeGeometry,
        rows: slice | torch.Tensor,
    ) -> torch.Tensor:
        """Blocks (pairs, n_a, n_b) in the lab of some pairs, from the `PairHead` of their elements."""
        assert isinstance(head, PairHead)
        kept = geometry.frames
        frames = edge_frames(geometry.vectors[rows], self.lmax) if kept is None else [d[rows] for d in kept]
        x_i, x_j = (rotate_to_edges(x, atoms[rows], frames) for atoms in (topology.i, topology.j))
        block = head(x_i, x_j, geometry.r[rows])
        return to_lab(block, orbital_frames(head.a, frames), orbital_frames(head.b, frames))


def _times_moments(
    blocks: Blocks, moments: torch.Tensor, topology: Topology, rows: Sequence[torch.Tensor] | None
) -> Blocks:
    """Blocks times the moments around their atoms, of a pair the mean of both."""
    sites = [
        block * moments[atoms][:, None, None]
        for atoms, block in zip(topology.species_slices(), blocks.sites, strict=True)
    ]
    pairs = []
    for k, (group, block) in enumerate(zip(topology.groups, blocks.pairs, strict=True)):
        chosen: slice | torch.Tensor = slice(group.start, group.start + group.count)
        if rows is not None:
            chosen = rows[k] + group.start
        mean = 0.5 * (moments[topology.i[chosen]] + moments[topology.j[chosen]])
        pairs.append(block * mean[:, None, None])
    return Blocks(sites, pairs)
