"""Positional input of the network: frames and radial functions of pairs, densities of neighbours, waves.

Message edges are the pairs within the message cutoff, in the order of the Topology; a message travels along
each in both directions. The neighbours that make up the densities have a cutoff of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.edge_frames.harmonics import edge_frames
from mlh.network.edge_frames.longrange import Waves, make_waves, reciprocal_vectors
from mlh.network.memory import made_again
from mlh.network.neighbours import Near, bessel_basis, near_pairs, pair_cutoffs, radial_functions
from mlh.network.orbitals import OrbitalSet
from mlh.network.sphere import harmonics, rows
from mlh.network.topology import Geometry, Topology, pair_vectors


@dataclass(frozen=True, eq=False)
class EdgeGeometry(Geometry):
    """Pairs, and what depends on the positions alone.

    neighbours: pairs that make up the densities; edges: pairs that carry messages. frames: D^l of every pair
    or None (then made per chunk). densities (n, (lmax+1)^2, elements * n_radial): sum over neighbours of one
    element of radial function times Y_lm (times sqrt(4 pi)). edge_radial (E, n_radial), edge_frames: D^l of
    the message edges or None. waves: for the long-range part, None without one.
    """

    neighbours: Near
    edges: Near
    frames: list[torch.Tensor] | None
    densities: torch.Tensor
    edge_radial: torch.Tensor
    edge_frames: list[torch.Tensor] | None
    waves: Waves | None


def own(geometry: Geometry) -> EdgeGeometry:
    """The geometry of this architecture; refuses that of another."""
    if not isinstance(geometry, EdgeGeometry):
        raise TypeError(f"geometry: expected one of the network's own, got {type(geometry).__name__}")
    return geometry


def build_geometry(
    topology: Topology,
    positions: torch.Tensor,
    orbitals: Sequence[OrbitalSet],
    config: EdgeFramesConfig,
    lmax: int,
    keep_frames: bool,
    stretch: torch.Tensor | None = None,
) -> EdgeGeometry:
    """Vectors, frames and neighbour densities; differentiable in `positions` (n, 3) Bohr, original atom
    order, and in `stretch` (3, 3), of atoms and cell.

    keep_frames: store the rotations of all pairs (fast, 165 numbers per pair at lmax 4) and the waves instead
    of making them in chunks when needed.
    """
    vectors = pair_vectors(topology, positions, stretch)
    r = torch.linalg.vector_norm(vectors, dim=1)
    cutoffs = pair_cutoffs(orbitals, config.reach[1])
    neighbours, edges = (
        near_pairs(topology, r, pair_cutoffs(orbitals, config.reach[0])),
        near_pairs(topology, r, cutoffs),
    )
    frames = edge_frames(vectors, lmax) if keep_frames else None
    waves = None
    if config.sigma is not None:
        waves = _waves(topology, positions, config.sigma, keep_frames, stretch)
    return EdgeGeometry(
        vectors,
        r,
        neighbours,
        edges,
        frames,
        neighbour_densities(topology, neighbours, vectors, orbitals, config, lmax),
        radial_functions(r[edges.index], edges, cutoffs, config.n_radial),
        None if frames is None else [d[edges.index] for d in frames],
        waves,
    )


def _waves(
    topology: Topology,
    positions: torch.Tensor,
    sigma: float,
    store: bool,
    stretch: torch.Tensor | None,
) -> Waves:
    """Of the cell; under a stretch the waves of the cell at hand move with it."""
    tau = positions[topology.order]
    g = torch.from_numpy(reciprocal_vectors(topology.cell, sigma)).to(tau)
    volume = torch.as_tensor(abs(np.linalg.det(topology.cell))).to(tau)
    if stretch is not None:
        tau, g, volume = tau @ stretch, g @ torch.linalg.inv(stretch), volume * torch.linalg.det(stretch)
    return make_waves(tau, g, volume, sigma, store)


def neighbour_densities(
    topology: Topology,
    neighbours: Near,
    vectors: torch.Tensor,
    orbitals: Sequence[OrbitalSet],
    config: EdgeFramesConfig,
    lmax: int,
) -> torch.Tensor:
    """(n, (lmax+1)^2, elements * n_radial), in chunks of pairs."""
    n_atoms, n_species, n_radial = len(topology.order), len(orbitals), config.n_radial
    cutoffs = pair_cutoffs(orbitals, config.reach[0])
    parity = torch.cat([vectors.new_full((ir.dim,), float(ir.p)) for _, ir in rows(lmax)])
    sums = [vectors.new_zeros(n_atoms, rows(lmax).dim, n_radial) for _ in range(n_species)]
    for a, b, start, stop in neighbours.groups:
        for first in range(start, stop, config.chunk):
            pairs = neighbours.index[first : min(first + config.chunk, stop)]
            terms = made_again(_terms, vectors[pairs], float(cutoffs[a, b]), n_radial, lmax)
            sums[b] = sums[b].index_add(0, topology.i[pairs], terms)
            sums[a] = sums[a].index_add(0, topology.j[pairs], terms * parity[:, None])
    return torch.cat(sums, dim=2)


def _terms(v: torch.Tensor, cutoff: float, n_radial: int, lmax: int) -> torch.Tensor:
    """Radial functions times harmonics of the vectors v (pairs, 3): (pairs, (lmax+1)^2, n_radial)."""
    radial = bessel_basis(torch.linalg.vector_norm(v, dim=1), cutoff, n_radial)
    return harmonics(lmax, v)[:, :, None] * radial[:, None, :]
