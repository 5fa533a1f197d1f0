"""What is fitted to the training data in closed form before the network learns anything.

* mean and covariance of the neighbour densities -> whitening of the network's input;
* mean of the invariant parts of the on-site blocks, and the size of the remainder per part;
* two-centre mean of the invariant (M = 0) parts of the off-site blocks as a function of distance,
      mean(r) = envelope(r) sum_k w_k(r) c_k,
  and the size of the remainder, scale(r) = envelope(r) exp(sum_k w_k(r) log s_k), per pair of elements and
  part.

With its output at zero the network predicts these means; scale makes what it has to predict of order one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch

from mlh.network.blocks import Blocks
from mlh.network.contract import Prepared
from mlh.network.edge_frames.features import EdgeGeometry, own
from mlh.network.edge_frames.heads import PairHead, SiteHead
from mlh.network.edge_frames.layers import split_degrees
from mlh.network.edge_frames.parts import orbital_frames, to_edge_frame, to_lab
from mlh.network.knots import fit_distances, log_sizes
from mlh.network.site_blocks import crowding
from mlh.network.topology import Topology

if TYPE_CHECKING:
    from mlh.network.edge_frames.network import EdgeFramesNetwork

RIDGE = 1e-6  # relative to the largest eigenvalue; directions of the densities below it are not amplified


def fit_normalisation(network: EdgeFramesNetwork, samples: Sequence[Prepared]) -> None:
    """Set every fitted buffer of `network` from the training samples (stored with their frames)."""
    _fit_densities(network, samples)
    for s, head in enumerate(network.site_heads):
        cast(SiteHead, head).fit([blocks.sites[s] for _, _, blocks in samples])
    for g, group in enumerate(samples[0][0].groups):
        head = cast(PairHead, network.pair_heads[f"{group.a}_{group.b}"])
        _fit_pairs(
            head, [_frame_components(head, g, t, own(geometry), blocks) for t, geometry, blocks in samples]
        )
    _fit_spins(network, samples)


def _fit_spins(network: EdgeFramesNetwork, samples: Sequence[Prepared]) -> None:
    """Sizes of half of up minus down, which has no mean: it is zero far from where the moment is. Few atoms
    have it, so that each counts by its own size."""
    polarised = [(t, g, b.spin) for t, g, b in samples if b.spin is not None]
    if not network.charged or not polarised:
        return
    for s, module in enumerate(network.spin_sites):
        cast(SiteHead, module).fit([blocks.sites[s] for _, _, blocks in polarised], spin=True)
    for g, group in enumerate(samples[0][0].groups):
        head = cast(PairHead, network.spin_pairs[f"{group.a}_{group.b}"])
        parts = [_frame_components(head, g, t, own(geometry), blocks) for t, geometry, blocks in polarised]
        components, r = (torch.cat(rows) for rows in zip(*parts, strict=True))
        if len(r) and float(components.abs().max()) > 0.0:
            weights, envelope = head.knots.double()(r)
            sizes = log_sizes(components, weights, envelope, head.part, sum(head.counts))
            head.log_scale.copy_(sizes + torch.log(crowding(components)))


def _fit_densities(network: EdgeFramesNetwork, samples: Sequence[Prepared]) -> None:
    """Whitening per element and l, typical number of neighbours, size of the radial functions."""
    for s in range(len(network.orbitals)):
        x = torch.cat([own(g).densities[t.species_slices()[s]].double() for t, g, _ in samples])
        if len(x) == 0:
            continue
        network.density_mean[s] = x[:, 0].mean(dim=0)
        for l, rows in enumerate(split_degrees(x, network.lmax)):
            part = rows - (network.density_mean[s] if l == 0 else 0.0)
            flat = part.reshape(-1, part.shape[2])
            values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
            floor = RIDGE * values[-1].clamp(min=1e-30)
            network.whitening[s, l] = vectors / torch.sqrt(values.clamp(min=0.0) + floor)
    n_edges = sum(len(own(g).edges) for _, g, _ in samples)
    n_atoms = sum(len(t.order) for t, _, _ in samples)
    network.neighbours.fill_(max(n_edges / n_atoms, 1.0))
    if n_edges:
        radial = torch.cat([own(g).edge_radial.double() for _, g, _ in samples])
        network.edge_scale.copy_(1.0 / torch.sqrt((radial**2).mean(dim=0)).clamp(min=1e-12))


def _fit_pairs(head: PairHead, samples: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Weighted least squares for mean(r), then knot-wise size of the remainder."""
    components = torch.cat([c for c, _ in samples])
    r = torch.cat([d for _, d in samples])
    if len(r) == 0:
        return
    n0 = head.counts[0]
    knots = head.knots.double()
    head.mean.copy_(fit_distances(knots, components[:, :n0], r, head.part[:n0]))
    weights, envelope = knots(r)
    residual = components.clone()
    residual[:, :n0] -= (weights @ head.mean) * envelope[:, None]
    head.log_scale.copy_(log_sizes(residual, weights, envelope, head.part, sum(head.counts)))


def _frame_components(
    head: PairHead, g: int, topology: Topology, geometry: EdgeGeometry, blocks: Blocks
) -> tuple[torch.Tensor, torch.Tensor]:
    """Parts of the blocks of one group in their edge frames (pairs, components), and the distances."""
    group = topology.groups[g]
    rows = slice(group.start, group.start + group.count)
    if geometry.frames is None:
        raise ValueError("geometry: expected stored frames, got none (prepare with keep_frames=True)")
    frames = [d[rows].double() for d in geometry.frames]
    local = to_edge_frame(
        blocks.pairs[g].double(), orbital_frames(head.a, frames), orbital_frames(head.b, frames)
    )
    return local.flatten(1) @ head.basis.double().T, geometry.r[rows].double()


def mean_blocks(network: EdgeFramesNetwork, topology: Topology, geometry: EdgeGeometry) -> Blocks:
    """Prediction of the fitted means alone (geometry with stored frames)."""
    sites, pairs = [], []
    for head, count in zip(network.site_heads, topology.counts, strict=True):
        sites.append(cast(SiteHead, head).mean_block().expand(count, -1, -1))
    if geometry.frames is None:
        raise ValueError("geometry: expected stored frames, got none (prepare with keep_frames=True)")
    for group in topology.groups:
        pair = cast(PairHead, network.pair_heads[f"{group.a}_{group.b}"])
        rows = slice(group.start, group.start + group.count)
        weights, envelope = pair.knots(geometry.r[rows])
        local = ((weights @ pair.mean) * envelope[:, None]) @ pair.basis[: pair.counts[0]]
        frames = [d[rows] for d in geometry.frames]
        pairs.append(
            to_lab(
                local.reshape(-1, pair.a.size, pair.b.size),
                orbital_frames(pair.a, frames),
                orbital_frames(pair.b, frames),
            )
        )
    return Blocks(sites, pairs)
