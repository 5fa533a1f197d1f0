"""Off-site blocks <-> irreps, by Clebsch-Gordan: of shells l1, l2 the L = |l1-l2| .. l1+l2, of parity
(-1)^(l1+l2).

The map is orthogonal. Natural parity is what an isolated pair has; the others (1e, 2o, 3e ..) come from the
surroundings. That dH is the matrix of a local potential is not used: which combinations of these irreps
vanish can be said in the frame of the pair only (`mlh.network.edge_frames.parts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray

from mlh.network.orbitals import OrbitalSet

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairParts:
    """irreps: one entry for each kind, l ascending. basis (components, n_a, n_b): orthonormal, in the
    package's orbital order; components of an irrep: (2L+1, parts). part (components,): which part each
    belongs to.
    """

    irreps: o3.Irreps
    basis: Array
    part: NDArray[np.int64]


@cache
def pair_parts(a: OrbitalSet, b: OrbitalSet) -> PairParts:
    """Parts of the blocks between an atom of `a` and one of `b`."""
    found: dict[o3.Irrep, list[Array]] = {}
    for l1, s1 in zip(a.shells, a.starts, strict=True):
        for l2, s2 in zip(b.shells, b.starts, strict=True):
            for big_l in range(abs(l1 - l2), l1 + l2 + 1):
                full = np.zeros((2 * big_l + 1, a.size, b.size))
                coupling = o3.wigner_3j(l1, l2, big_l, dtype=torch.float64).numpy().transpose(2, 0, 1)
                rows, columns = slice(s1, s1 + 2 * l1 + 1), slice(s2, s2 + 2 * l2 + 1)
                full[:, rows, columns] = (2 * big_l + 1) ** 0.5 * coupling
                ordered = full[:, a.order][:, :, b.order]
                found.setdefault(o3.Irrep(big_l, (-1) ** (l1 + l2)), []).append(ordered)
    kinds = sorted(found, key=lambda ir: (ir.l, -ir.p))
    basis, part, first = [], [], 0
    for ir in kinds:
        basis.append(np.stack(found[ir], axis=1).reshape(-1, a.size, b.size))
        part.append(np.tile(np.arange(first, first + len(found[ir])), ir.dim))
        first += len(found[ir])
    irreps = o3.Irreps([(len(found[ir]), ir) for ir in kinds])
    return PairParts(irreps, np.concatenate(basis), np.concatenate(part))
