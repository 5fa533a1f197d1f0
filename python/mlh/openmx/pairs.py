"""Neighbour pairs of OpenMX and where their blocks go on mlh's Pattern.

OpenMX stores the pairs (i, j, R) with |tau_j + R - tau_i| <= r_c,i + r_c,j, mlh those with < ; rounding may
decide either way for a pair at exactly that distance, whose matrix elements vanish.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlh.matrix.block_matrix import Pattern, pattern_index

IntArray = NDArray[np.int64]

_MARGIN = 1e-6
"""Bohr; how far a pair's distance may be from the cutoffs' sum for the pair to be in one list only."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs in OpenMX's order: atoms i, j (n,), cell R (n, 3), first element of each block start (n + 1,)."""

    i: IntArray
    j: IntArray
    R: IntArray
    start: IntArray


def check_distances(
    pairs: Pairs,
    cell: NDArray[np.float64],
    positions: NDArray[np.float64],
    cutoff: NDArray[np.float64],
) -> None:
    """Raise ValueError unless the pairs can be all those with |tau_j + R - tau_i| <= r_c,i + r_c,j.

    Comes before the Pattern is built: damaged positions or cells would make one of any size.
    """
    reach = cutoff[pairs.i] + cutoff[pairs.j]
    distance = np.linalg.norm(positions[pairs.j] + pairs.R @ cell - positions[pairs.i], axis=1)
    far = np.flatnonzero(distance > reach + _MARGIN)
    if far.size:
        k = far[0]
        raise ValueError(
            f"expected neighbours within {reach[k]:g} Bohr, got atoms {pairs.i[k] + 1} and {pairs.j[k] + 1} "
            f"in cell {pairs.R[k].tolist()} at {distance[k]:g}"
        )
    radii, atoms = np.unique(cutoff, return_counts=True)
    volume = 4.0 / 3.0 * np.pi * float(atoms @ (radii[:, None] + radii) ** 3 @ atoms)
    spheres = volume / abs(np.linalg.det(cell))
    if len(pairs.i) < 0.1 * spheres - len(cutoff):
        raise ValueError(f"expected about {spheres:.0f} pairs in a cell of this volume, got {len(pairs.i)}")


def pair_positions(
    pairs: Pairs,
    pattern: Pattern,
    cell: NDArray[np.float64],
    positions: NDArray[np.float64],
    cutoff: NDArray[np.float64],
) -> IntArray:
    """For every element of a matrix on the Pattern its place in OpenMX's array, or -1 (zero).

    cell (3, 3) rows and positions (n_atoms, 3) in Bohr; cutoff (n_atoms,): orbital cutoffs. ValueError when
    a pair that is not at the limit of overlap is in one list only.
    """
    p_i, p_j, p_R = (np.asarray(a, dtype=np.int64) for a in (pattern.atom_i, pattern.atom_j, pattern.cell))
    keys, pattern_keys = _keys([(pairs.i, pairs.j, pairs.R), (p_i, p_j, p_R)], len(positions))
    order = np.argsort(keys, kind="stable")
    if np.any(np.diff(keys[order]) == 0):
        raise ValueError("expected distinct pairs, got one twice")
    place = np.clip(np.searchsorted(keys[order], pattern_keys), 0, len(order) - 1)
    source = order[place]
    found = keys[source] == pattern_keys

    def at_limit(i: IntArray, j: IntArray, R: IntArray) -> bool:
        distance = np.linalg.norm(positions[j] + R @ cell - positions[i], axis=1)
        return bool(np.all(np.abs(distance - cutoff[i] - cutoff[j]) < _MARGIN))

    extra = np.setdiff1d(np.arange(len(keys)), source[found])
    for selected, (i, j, R), whose in (
        (extra, (pairs.i, pairs.j, pairs.R), "that do not overlap"),
        (np.flatnonzero(~found), (p_i, p_j, p_R), "missing"),
    ):
        if len(selected) and not at_limit(i[selected], j[selected], R[selected]):
            k = selected[0]
            raise ValueError(
                f"expected the pairs with overlapping orbitals, got {len(selected)} {whose}, "
                f"such as atoms {i[k] + 1} and {j[k] + 1} in cell {R[k].tolist()}"
            )
    index = pattern_index(pattern)
    local = np.arange(pattern.nnz) - np.asarray(pattern.offset, dtype=np.int64)[index.pair]
    return np.where(found[index.pair], pairs.start[source][index.pair] + local, -1)


def _keys(lists: list[tuple[IntArray, IntArray, IntArray]], n_atoms: int) -> list[IntArray]:
    """One integer per pair (i, j, R), comparable between the lists."""
    cells = np.concatenate([R for _, _, R in lists])
    low = cells.min(axis=0)
    extent = cells.max(axis=0) - low + 1
    keys = []
    for i, j, R in lists:
        key = i * n_atoms + j
        for axis in range(3):
            key = key * extent[axis] + (R[:, axis] - low[axis])
        keys.append(key)
    return keys
