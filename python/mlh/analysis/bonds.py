"""Bonds of a structure from covalent radii, and what follows from them: coordination, angles, rings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import ase
import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

import mlh._core as _core

BOND_FACTOR = 1.2  # Si-O bonds below 2.12 A, Si-Si below 2.66 A; Cordero et al., Dalton Trans. 2832 (2008)
MAX_RING = 12
_SMALLEST_COSINE = float(
    np.cos(np.radians(75.0))
)  # between the 70.5 degrees of bcc and the 90 of shared edges


@dataclass(frozen=True)
class Bonds:
    """Every bond in both directions, sorted by the first atom: indices (n,), lattice translations (n, 3),
    vectors (n, 3) in Angstrom from first to second."""

    symbols: NDArray[np.str_]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    shift: NDArray[np.int64]
    vectors: NDArray[np.float64]

    @property
    def lengths(self) -> NDArray[np.float64]:
        """Bond lengths (n,), Angstrom."""
        return np.asarray(np.linalg.norm(self.vectors, axis=1))

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of bonds of every atom (natoms,)."""
        return np.bincount(self.first, minlength=len(self.symbols))


def find_bonds(atoms: ase.Atoms, factor: float = BOND_FACTOR) -> Bonds:
    """Pairs of atoms closer than `factor` times the sum of their covalent radii (ASE's table), without the
    contacts of second neighbors.

    A contact is one of second neighbors where a third atom is bonded to both of its ends, sees them under
    more than 75 degrees, and is, in units of the radii, closer to both than they are to each other: Si-Si
    across a strained Si-O-Si (2.64 A at 113 degrees), Ti-Ti in rutile. The triangles of bonds of rings of
    three atoms (60 degrees) and of metals (60, 70.5 in bcc) stay.
    """
    radii = covalent_radii[atoms.numbers]
    i, j, shift, vectors = neighbor_list("ijSD", atoms, factor * radii)
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], j, i))
    i, j, shift, vectors = i[order], j[order], shift[order].astype(np.int64), vectors[order]
    stretch = np.linalg.norm(vectors, axis=1) / (radii[i] + radii[j])
    bonded = ~_across_a_third_atom(i, j, shift, vectors, stretch)
    symbols = np.asarray(atoms.get_chemical_symbols())
    return Bonds(symbols, i[bonded], j[bonded], shift[bonded], vectors[bonded])


def _across_a_third_atom(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    shift: NDArray[np.int64],
    vectors: NDArray[np.float64],
    stretch: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which contacts (sorted by `first`) are those of second neighbors (`find_bonds`)."""
    index = {
        (a, b, *s): k
        for k, (a, b, s) in enumerate(zip(first.tolist(), second.tolist(), shift.tolist(), strict=True))
    }
    unit = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    across = np.zeros(len(first), dtype=np.bool_)
    edges = np.searchsorted(first, np.arange(first.max(initial=-1) + 2))
    for begin, stop in pairwise(edges.tolist()):
        wide = unit[begin:stop] @ unit[begin:stop].T < _SMALLEST_COSINE
        for p, q in begin + np.argwhere(wide):
            ends = index.get((int(second[p]), int(second[q]), *(shift[q] - shift[p]).tolist()))
            if ends is not None and stretch[ends] > max(stretch[p], stretch[q]):
                across[ends] = True
    return across


def coordination(bonds: Bonds) -> dict[str, dict[int, int]]:
    """For every element: number of bonds -> number of atoms."""
    return {
        str(element): dict(sorted(Counter(bonds.counts[bonds.symbols == element].tolist()).items()))
        for element in np.unique(bonds.symbols)
    }


def bond_lengths(bonds: Bonds) -> dict[str, NDArray[np.float64]]:
    """Lengths (Angstrom) of all bonds, once each, by pair of elements ("O-Si")."""
    out: dict[str, list[float]] = {}
    for i, j, shift, length in zip(bonds.first, bonds.second, bonds.shift, bonds.lengths, strict=True):
        if (i, *(0, 0, 0)) < (j, *shift):
            out.setdefault("-".join(sorted((bonds.symbols[i], bonds.symbols[j]))), []).append(float(length))
    return {pair: np.array(values) for pair, values in sorted(out.items())}


@dataclass(frozen=True)
class Angles:
    """All angles end-center-end of one kind: degrees (n,), and the distances of the ends (n,), Angstrom."""

    degrees: NDArray[np.float64]
    ends: NDArray[np.float64]


def bond_angles(bonds: Bonds) -> dict[str, Angles]:
    """Angles by kind ("O-Si-O"; the ends in alphabetical order)."""
    degrees: dict[str, list[float]] = {}
    ends: dict[str, list[float]] = {}
    edges = np.concatenate([[0], np.cumsum(bonds.counts)])
    for center, (begin, stop) in enumerate(pairwise(edges.tolist())):
        vectors = bonds.vectors[begin:stop]
        lengths = bonds.lengths[begin:stop]
        names = bonds.symbols[bonds.second[begin:stop]]
        for p, q in zip(*np.triu_indices(stop - begin, 1), strict=True):
            low, high = sorted((names[p], names[q]))
            kind = f"{low}-{bonds.symbols[center]}-{high}"
            cosine = vectors[p] @ vectors[q] / (lengths[p] * lengths[q])
            degrees.setdefault(kind, []).append(float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))))
            ends.setdefault(kind, []).append(float(np.linalg.norm(vectors[p] - vectors[q])))
    return {kind: Angles(np.array(degrees[kind]), np.array(ends[kind])) for kind in sorted(degrees)}


def ring_counts(bonds: Bonds, max_size: int = MAX_RING) -> dict[int, int]:
    """Shortest-path rings per cell by their number of nodes, 3 to `max_size` (Franzblau, Phys. Rev. B 44,
    4925 (1991)); 2 counts pairs of nodes with two links: edge sharing.

    Nodes are the atoms with three bonds or more; an atom with two bonds is a link between its neighbors
    when both are nodes (the O of silica), so that the 6-ring of cristobalite has six Si. Rings that
    close only through a periodic image are none.
    """
    nodes = np.flatnonzero(bonds.counts >= 3)
    number = {int(atom): index for index, atom in enumerate(nodes)}
    edges = np.concatenate([[0], np.cumsum(bonds.counts)])
    rows: list[tuple[int, ...]] = []
    start = [0]
    for atom in nodes:
        for bond in range(edges[atom], edges[atom + 1]):
            far, shift = int(bonds.second[bond]), bonds.shift[bond]
            if far not in number and bonds.counts[far] == 2:
                far, shift = _through(bonds, edges[far], int(atom), shift)
            if far in number:
                rows.append((number[far], *shift.tolist()))
        start.append(len(rows))
    if not rows:
        return {}
    counts = _core.count_rings(
        np.array(start, dtype=np.int32), np.array(rows, dtype=np.int32).reshape(-1, 4), max_size
    )
    return {size: int(counts[size]) for size in range(2, max_size + 1)}


def _through(bonds: Bonds, begin: int, atom: int, shift: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """The other end of a bridge whose two bonds are rows begin and begin + 1, reached from `atom`."""
    back = int(bonds.second[begin]) == atom and bool((bonds.shift[begin] == -shift).all())
    other = begin + 1 if back else begin
    return int(bonds.second[other]), shift + bonds.shift[other]
