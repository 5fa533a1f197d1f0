"""From a GraphInput to the tensors the network works on.

Atoms are sorted by element. One of each two mutually reversed pairs is kept, i in a -> j in b with a <= b in
the model's list of elements, grouped by (a, b). Message edges are those of them within the message cutoff,
in the same order; a message travels along each in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.model.graph import GraphInput
from mlh.model.harmonics import edge_frames
from mlh.model.irreps import OrbitalSet
from mlh.model.longrange import Waves, make_waves, reciprocal_vectors

Index = NDArray[np.int64]


@dataclass(frozen=True)
class PairGroup:
    """Pairs start .. start + count of elements a, b (indices into the model's list)."""

    a: int
    b: int
    start: int
    count: int


@dataclass(frozen=True, eq=False)
class Topology:
    """Integer side of a graph; everything in the internal order of atoms and pairs.

    order (n,): original index of each internal atom. counts: atoms of each element. i, j (P,): atoms of each
    pair; shift (P, 3) Bohr: lattice vector R; pair (P,): its index in the Pattern. edges (E,): pairs that
    carry messages; edge_groups: (a, b, start, stop) into edges, elements of i and j.
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
    edges: torch.Tensor
    edge_groups: tuple[tuple[int, int, int, int], ...]
    nnz: int
    offset: torch.Tensor
    reverse: torch.Tensor
    g_vectors: torch.Tensor
    volume: float

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


def message_cutoffs(orbitals: Sequence[OrbitalSet], cutoff: float) -> NDArray[np.float64]:
    """Message cutoff (Bohr) of each ordered pair of elements: `cutoff`, or less where the Pattern ends
    earlier.
    """
    reach = np.array([o.cutoff for o in orbitals])
    cutoffs: NDArray[np.float64] = np.minimum(cutoff, reach[:, None] + reach[None, :])
    return cutoffs


def build_topology(
    graph: GraphInput, orbitals: Sequence[OrbitalSet], message_cutoff: float, sigma: float | None
) -> Topology:
    """Sort atoms and pairs of `graph` for a model of the elements `orbitals`; sigma: smearing of the long-
    range part.
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
    edges, edge_groups = _message_edges(graph, pair, species, message_cutoffs(orbitals, message_cutoff))
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
        torch.from_numpy(edges),
        edge_groups,
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


def _message_edges(
    graph: GraphInput, pair: Index, species: Index, cutoffs: NDArray[np.float64]
) -> tuple[Index, tuple[tuple[int, int, int, int], ...]]:
    """Pairs within the message cutoff and their slices per pair of elements (pairs are sorted by these)."""
    r = np.linalg.norm(graph.vectors[pair], axis=1)
    a, b = species[graph.atom_i[pair]], species[graph.atom_j[pair]]
    inside = np.flatnonzero(r < cutoffs[a, b])
    n = len(cutoffs)
    code = a[inside] * n + b[inside]
    bounds = np.searchsorted(code, np.arange(n * n + 1))
    groups = tuple(
        (c // n, c % n, int(bounds[c]), int(bounds[c + 1])) for c in range(n * n) if bounds[c + 1] > bounds[c]
    )
    return inside, groups


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
    lmax: int,
    n_radial: int,
    message_cutoff: float,
    sigma: float | None,
    keep_frames: bool,
) -> Geometry:
    """Vectors, frames and neighbour densities; differentiable in `positions` (n, 3) Bohr, original atom
    order.

    keep_frames: store the rotations of all pairs (fast, 165 numbers per pair at lmax 4) instead of making
    them in chunks when needed.
    """
    tau = positions[topology.order]
    vectors = tau[topology.j] + topology.shift.to(tau.dtype) - tau[topology.i]
    r = torch.linalg.vector_norm(vectors, dim=1)
    edge_vectors, edge_r = vectors[topology.edges], r[topology.edges]
    cutoffs = message_cutoffs(orbitals, message_cutoff)
    radial = torch.cat(
        [
            bessel_basis(edge_r[start:stop], float(cutoffs[a, b]), n_radial)
            for a, b, start, stop in topology.edge_groups
        ]
        or [edge_r.new_zeros(0, n_radial)]
    )
    frames = edge_frames(edge_vectors, lmax)
    harmonics = torch.cat([(2 * l + 1) ** 0.5 * d[:, :, l] for l, d in enumerate(frames)], dim=1)
    n_atoms, n_species = tau.shape[0], len(orbitals)
    densities = tau.new_zeros(n_atoms, (lmax + 1) ** 2, n_species, n_radial)
    parity = torch.cat([torch.full((2 * l + 1,), (-1.0) ** l, dtype=tau.dtype) for l in range(lmax + 1)])
    i, j = topology.i[topology.edges], topology.j[topology.edges]
    zero = tau.new_zeros(n_atoms, (lmax + 1) ** 2, n_radial)
    for a, b, start, stop in topology.edge_groups:
        terms = harmonics[start:stop, :, None] * radial[start:stop, None, :]
        densities[:, :, b] = densities[:, :, b] + zero.index_add(0, i[start:stop], terms)
        backward = terms * parity[:, None]
        densities[:, :, a] = densities[:, :, a] + zero.index_add(0, j[start:stop], backward)
    waves = (
        None if sigma is None else make_waves(tau, topology.g_vectors.to(tau.dtype), topology.volume, sigma)
    )
    return Geometry(
        vectors,
        r,
        edge_frames(vectors, lmax) if keep_frames else None,
        densities.reshape(n_atoms, (lmax + 1) ** 2, n_species * n_radial),
        radial,
        frames if keep_frames else None,
        waves,
    )
