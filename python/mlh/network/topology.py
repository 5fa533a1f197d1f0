"""From a GraphInput to tensors: atoms sorted by element, one of each two mutually reversed pairs.

A pair i in a -> j in b is kept for a <= b in the model's list of elements; pairs are grouped by (a, b).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.network.graph import GraphInput
from mlh.network.orbitals import OrbitalSet

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
    pair; shift (P, 3) Bohr: lattice vector R; pair (P,): its index in the Pattern. site_pair (n,): index of
    the self pair of each atom. cell (3, 3): rows, Bohr. charge, moment: of the cell.
    """

    order: torch.Tensor
    counts: tuple[int, ...]
    groups: tuple[PairGroup, ...]
    i: torch.Tensor
    j: torch.Tensor
    shift: torch.Tensor
    pair: torch.Tensor
    site_pair: torch.Tensor
    nnz: int
    offset: torch.Tensor
    reverse: torch.Tensor
    cell: NDArray[np.float64]
    charge: float = 0.0
    moment: float = 0.0

    def to(self, device: torch.device) -> Topology:
        """The same on another device."""
        return replace(self, **{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})

    def species_slices(self) -> list[slice]:
        """Internal atoms of each element."""
        stops = np.cumsum(self.counts)
        return [slice(int(s - c), int(s)) for s, c in zip(stops, self.counts, strict=True)]


@dataclass(frozen=True, eq=False)
class Geometry:
    """What an architecture makes of the positions; each adds what it needs.

    vectors (P, 3), r (P,): of the pairs of a Topology, Bohr.
    """

    vectors: torch.Tensor
    r: torch.Tensor

    def to(self, target: torch.dtype | torch.device) -> Self:
        """The same in another precision or on another device."""
        return replace(self, **{f.name: _moved(getattr(self, f.name), target) for f in fields(self)})

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(t.numel() * t.element_size() for t in _tensors(self))


def _moved(value: Any, target: torch.dtype | torch.device) -> Any:
    """Tensors, and what has a method `to`, on another device or in another precision; the rest as it is.

    Only real numbers have a precision.
    """
    if isinstance(value, torch.Tensor) and isinstance(target, torch.dtype) and not value.is_floating_point():
        return value
    if isinstance(value, list):
        return [_moved(v, target) for v in value]
    return value.to(target) if hasattr(value, "to") else value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in lists, tuples and dataclasses of tensors."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "__dataclass_fields__"):
        yield from _tensors([getattr(value, name) for name in value.__dataclass_fields__])


def build_topology(graph: GraphInput, orbitals: Sequence[OrbitalSet]) -> Topology:
    """Sort atoms and pairs of `graph` for a model of the elements `orbitals`."""
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
    shift = graph.pair_cell[pair] @ graph.cell
    return Topology(
        torch.from_numpy(order),
        tuple(int(np.sum(species == s)) for s in range(len(known))),
        tuple(groups),
        torch.from_numpy(internal[graph.atom_i[pair]]),
        torch.from_numpy(internal[graph.atom_j[pair]]),
        torch.from_numpy(shift),
        torch.from_numpy(pair),
        torch.from_numpy(site),
        graph.nnz,
        torch.from_numpy(graph.offset),
        torch.from_numpy(graph.reverse),
        graph.cell,
        graph.charge,
        graph.moment,
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


def pair_vectors(
    topology: Topology, positions: torch.Tensor, stretch: torch.Tensor | None = None
) -> torch.Tensor:
    """tau_j + R - tau_i (P, 3) of the pairs, differentiable in `positions` (n, 3), original atom order; with
    all of space stretched by the symmetric `stretch` (3, 3).
    """
    tau = positions[topology.order]
    vectors = tau[topology.j] + topology.shift.to(tau) - tau[topology.i]
    return vectors if stretch is None else vectors @ stretch
