"""From a GraphInput to the tensors the network works on.

Atoms are sorted by element. One of each two mutually reversed pairs is kept, i in a -> j in b with a <= b in
the model's list of elements, grouped by (a, b). Message edges are those of them within the message cutoff,
in the same order; a message travels along each in both directions. The neighbours that make up the densities
have a cutoff of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.network.config import NetworkConfig
from mlh.network.graph import GraphInput
from mlh.network.harmonics import edge_frames
from mlh.network.irreps import OrbitalSet
from mlh.network.longrange import Waves, make_waves, reciprocal_vectors

Index = NDArray[np.int64]


@dataclass(frozen=True)
class PairGroup:
    """Pairs start .. start + count of elements a, b (indices into the model's list)."""

    a: int
    b: int
    start: int
    count: int


@dataclass(frozen=True, eq=False)
class Near:
    """Pairs within a cutoff: index (E,) into the pairs; groups: (a, b, start, stop) into index, elements of i
    and j.
    """

    index: torch.Tensor
    groups: tuple[tuple[int, int, int, int], ...]

    def to(self, device: torch.device) -> Near:
        """The same on another device."""
        return Near(self.index.to(device), self.groups)

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False)
class Topology:
    """Integer side of a graph; everything in the internal order of atoms and pairs.

    order (n,): original index of each internal atom. counts: atoms of each element. i, j (P,): atoms of each
    pair; shift (P, 3) Bohr: lattice vector R; pair (P,): its index in the Pattern. neighbours: pairs that
    make up the densities; edges: pairs that carry messages.
    g_vectors (nG, 3), volume: of the cell, for the long-range part (none when sigma was None).
    """

    order: torch.Tensor
    counts: tuple[int, ...]
    groups: tuple[PairGroup, ...]
    i: torch.Tensor
    j: torch.Tensor
    shift: torch.Tensor
    pair: torch.Tensor
    site_pair: torch.Tensor
    neighbours: Near
    edges: Near
    nnz: int
    offset: torch.Tensor
    reverse: torch.Tensor
    g_vectors: torch.Tensor
    volume: float

    def to(self, device: torch.device) -> Topology:
        """The same on another device."""
        return replace(
            self,
            order=self.order.to(device),
            i=self.i.to(device),
            j=self.j.to(device),
            shift=self.shift.to(device),
            pair=self.pair.to(device),
            site_pair=self.site_pair.to(device),
            neighbours=self.neighbours.to(device),
            edges=self.edges.to(device),
            offset=self.offset.to(device),
            reverse=self.reverse.to(device),
            g_vectors=self.g_vectors.to(device),
        )

    def species_slices(self) -> list[slice]:
        """Internal atoms of each element."""
        stops = np.cumsum(self.counts)
        return [slice(int(s - c), int(s)) for s, c in zip(stops, self.counts, strict=True)]


@dataclass(frozen=True, eq=False)
class Geometry:
    """Real-valued side: what depends on the positions alone.

    vectors (P, 3), r (P,). frames: D^l of every pair or None (then made per chunk). densities (n,
    (lmax+1)^2, elements * n_radial): sum over neighbours of one element of radial function times Y_lm (times
    sqrt(4 pi)). edge_radial (E, n_radial), edge_frames: D^l of the message edges or None. waves: for the
    long-range part.
    """

    vectors: torch.Tensor
    r: torch.Tensor
    frames: list[torch.Tensor] | None
    densities: torch.Tensor
    edge_radial: torch.Tensor
    edge_frames: list[torch.Tensor] | None
    waves: Waves | None

    def to(self, target: torch.dtype | torch.device) -> Geometry:
        """The same in another precision or on another device."""

        def many(tensors: list[torch.Tensor] | None) -> list[torch.Tensor] | None:
            return None if tensors is None else [t.to(target) for t in tensors]

        return Geometry(
            self.vectors.to(target),
            self.r.to(target),
            many(self.frames),
            self.densities.to(target),
            self.edge_radial.to(target),
            many(self.edge_frames),
            None if self.waves is None else self.waves.to(target),
        )


def pair_cutoffs(orbitals: Sequence[OrbitalSet], cutoff: float) -> NDArray[np.float64]:
    """Cutoff (Bohr) of each ordered pair of elements: `cutoff`, or less where the Pattern ends earlier."""
    reach = np.array([o.cutoff for o in orbitals])
    cutoffs: NDArray[np.float64] = np.minimum(cutoff, reach[:, None] + reach[None, :])
    return cutoffs


def build_topology(
    graph: GraphInput, orbitals: Sequence[OrbitalSet], reach: tuple[float, float], sigma: float | None
) -> Topology:
    """Sort atoms and pairs of `graph` for a model of the elements `orbitals`; reach: cutoffs (Bohr) of
    densities and messages; sigma: smearing of the long-range part.
    """
    known = [o.number for o in orbitals]
    unknown = sorted(set(graph.numbers.tolist()) - set(known))
    if unknown:
        raise ValueError(f"numbers: the model knows the elements Z = {known}, got Z = {unknown} too")
    species = np.array([known.index(int(z)) for z in graph.numbers])
    _check_sizes(graph, orbitals, species)
    order = np.argsort(species, kind="stable")
    internal = np.empty_like(order)
    internal[order] = np.arange(len(order))
    self_pair = np.arange(graph.n_pairs) == graph.reverse
    site = np.empty(len(order), dtype=np.int64)
    site[internal[graph.atom_i[self_pair]]] = np.flatnonzero(self_pair)
    groups: list[PairGroup] = []
    pairs: list[Index] = []
    start = 0
    a_of, b_of = species[graph.atom_i], species[graph.atom_j]
    for a in range(len(known)):
        for b in range(a, len(known)):
            chosen = ~self_pair & (a_of == a) & (b_of == b)
            if a == b:
                chosen &= np.arange(graph.n_pairs) < graph.reverse
            half = np.flatnonzero(chosen)
            groups.append(PairGroup(a, b, start, len(half)))
            pairs.append(half)
            start += len(half)
    pair = np.concatenate(pairs) if pairs else np.zeros(0, dtype=np.int64)
    neighbours, edges = (_near(graph, pair, species, pair_cutoffs(orbitals, cutoff)) for cutoff in reach)
    shift = graph.pair_cell[pair] @ graph.cell
    g_vectors = np.zeros((0, 3)) if sigma is None else reciprocal_vectors(graph.cell, sigma)
    return Topology(
        torch.from_numpy(order),
        tuple(int(np.sum(species == s)) for s in range(len(known))),
        tuple(groups),
        torch.from_numpy(internal[graph.atom_i[pair]]),
        torch.from_numpy(internal[graph.atom_j[pair]]),
        torch.from_numpy(shift),
        torch.from_numpy(pair),
        torch.from_numpy(site),
        neighbours,
        edges,
        graph.nnz,
        torch.from_numpy(graph.offset),
        torch.from_numpy(graph.reverse),
        torch.from_numpy(g_vectors),
        float(abs(np.linalg.det(graph.cell))),
    )


def _check_sizes(graph: GraphInput, orbitals: Sequence[OrbitalSet], species: Index) -> None:
    """The Pattern's blocks must have the model's sizes."""
    size = np.array([o.size for o in orbitals])[species]
    expected = size[graph.atom_i] * size[graph.atom_j]
    got = np.diff(graph.offset)
    if not np.array_equal(expected, got):
        p = int(np.flatnonzero(expected != got)[0])
        raise ValueError(
            f"offset: expected blocks of the model's orbitals ({size.min()}..{size.max()} per atom); pair {p}"
            f" has {got[p]} elements instead of {expected[p]}"
        )


def _near(graph: GraphInput, pair: Index, species: Index, cutoffs: NDArray[np.float64]) -> Near:
    """Pairs within the cutoffs and their slices per pair of elements (pairs are sorted by these)."""
    r = np.linalg.norm(graph.vectors[pair], axis=1)
    a, b = species[graph.atom_i[pair]], species[graph.atom_j[pair]]
    inside = np.flatnonzero(r < cutoffs[a, b])
    n = len(cutoffs)
    code = a[inside] * n + b[inside]
    bounds = np.searchsorted(code, np.arange(n * n + 1))
    groups = tuple(
        (c // n, c % n, int(bounds[c]), int(bounds[c + 1])) for c in range(n * n) if bounds[c + 1] > bounds[c]
    )
    return Near(torch.from_numpy(inside), groups)


def bessel_basis(r: torch.Tensor, cutoff: float, n: int) -> torch.Tensor:
    """sqrt(2/c) sin(k pi r / c) / r times (1 - x)^3 (1 + 3x + 6x^2), x = r/c: smooth (C2) at r = c."""
    x = r / cutoff
    envelope = (1 - x) ** 3 * (1 + 3 * x + 6 * x * x)
    k = torch.arange(1, n + 1, dtype=r.dtype, device=r.device) * torch.pi
    basis: torch.Tensor = (2.0 / cutoff) ** 0.5 * torch.sin(x[:, None] * k) / r[:, None] * envelope[:, None]
    return basis


def build_geometry(
    topology: Topology,
    positions: torch.Tensor,
    orbitals: Sequence[OrbitalSet],
    config: NetworkConfig,
    lmax: int,
    keep_frames: bool,
) -> Geometry:
    """Vectors, frames and neighbour densities; differentiable in `positions` (n, 3) Bohr, original atom
    order.

    keep_frames: store the rotations of all pairs (fast, 165 numbers per pair at lmax 4) and the waves instead
    of making them in chunks when needed.
    """
    tau = positions[topology.order]
    vectors = tau[topology.j] + topology.shift.to(tau) - tau[topology.i]
    r = torch.linalg.vector_norm(vectors, dim=1)
    frames = edge_frames(vectors, lmax) if keep_frames else None
    waves = None
    if config.sigma is not None:
        waves = make_waves(tau, topology.g_vectors.to(tau), topology.volume, config.sigma, keep_frames)
    reach, edges = config.reach, topology.edges
    return Geometry(
        vectors,
        r,
        frames,
        neighbour_densities(topology, vectors, orbitals, config, lmax),
        _radial(r[edges.index], edges, pair_cutoffs(orbitals, reach[1]), config.n_radial),
        None if frames is None else [d[edges.index] for d in frames],
        waves,
    )


def _radial(r: torch.Tensor, near: Near, cutoffs: NDArray[np.float64], n: int) -> torch.Tensor:
    """Radial functions (E, n) of the pairs `near`."""
    parts = [bessel_basis(r[start:stop], float(cutoffs[a, b]), n) for a, b, start, stop in near.groups]
    return torch.cat(parts) if parts else r.new_zeros(0, n)


def neighbour_densities(
    topology: Topology,
    vectors: torch.Tensor,
    orbitals: Sequence[OrbitalSet],
    config: NetworkConfig,
    lmax: int,
) -> torch.Tensor:
    """(n, (lmax+1)^2, elements * n_radial), in chunks of pairs."""
    n_atoms, n_species, n_radial = len(topology.order), len(orbitals), config.n_radial
    cutoffs = pair_cutoffs(orbitals, config.reach[0])
    parity = torch.cat([vectors.new_full((2 * l + 1,), (-1.0) ** l) for l in range(lmax + 1)])
    sums = [vectors.new_zeros(n_atoms, (lmax + 1) ** 2, n_radial) for _ in range(n_species)]
    for a, b, start, stop in topology.neighbours.groups:
        for first in range(start, stop, config.chunk):
            pairs = topology.neighbours.index[first : min(first + config.chunk, stop)]
            v = vectors[pairs]
            radial = bessel_basis(torch.linalg.vector_norm(v, dim=1), float(cutoffs[a, b]), n_radial)
            columns = [(2 * l + 1) ** 0.5 * d[:, :, l] for l, d in enumerate(edge_frames(v, lmax))]
            terms = torch.cat(columns, dim=1)[:, :, None] * radial[:, None, :]
            sums[b] = sums[b].index_add(0, topology.i[pairs], terms)
            sums[a] = sums[a].index_add(0, topology.j[pairs], terms * parity[:, None])
    return torch.cat(sums, dim=2)
