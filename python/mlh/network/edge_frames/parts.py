"""Blocks of a matrix between atomic orbitals <-> parts that transform simply.

dH is the matrix of a local potential V. That fixes which parts of a block can be non-zero:

* on-site, see `mlh.network.site_blocks`;
* off-site, in the frame with z along i -> j, phi_i phi_j = F(rho, z) t_m1(phi) t_m2(phi): each (l1 |m1|, l2
|m2|) sees
  only the part M = |m1| + |m2| and M = ||m1| - |m2|| of V(rho, z, phi) = sum_M V_M t_M(phi). For M = 0 only
  the part that is even under reflection occurs. (cos M phi, sin M phi) is one two-component part, whatever
  l1, l2.

Both sets are orthonormal in the Frobenius sense: the sum of squares of the parts is that of the (projected)
block. Orbital order inside a block is that of docs/architecture.md (m: p x,y,z; d 3z2-r2, x2-y2, xy, xz, yz;
...).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.network.orbitals import ORBITAL_ORDER, OrbitalSet

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairParts:
    """Parts of an off-site block in its edge frame.

    counts[M] parts of order M; basis (n_components, n_a, n_b): orthonormal matrices in m = -l..l order,
    sorted as M = 0: the parts; then for each M > 0 all cosine components, then all sine components. part
    (n_components): which part (0..sum counts - 1) a component belongs to.
    """

    counts: tuple[int, ...]
    basis: Array
    part: NDArray[np.int64]


def _circle(m_max: int, m: int, phi: Array) -> Array:
    """t_m(phi): sin |m| phi for m < 0, cos m phi otherwise."""
    return np.sin(-m * phi) if m < 0 else np.cos(m * phi)


def _pair_matrices(l1: int, l2: int) -> list[tuple[int, Array, Array | None]]:
    """(M, cosine matrix, sine matrix or None), each (2l1+1, 2l2+1) and of norm one, of one pair of shells."""
    m_max = l1 + l2
    phi = 2 * np.pi * np.arange(4 * m_max + 3) / (4 * m_max + 3)
    first = np.stack([_circle(m_max, m, phi) for m in range(-l1, l1 + 1)])
    second = np.stack([_circle(m_max, m, phi) for m in range(-l2, l2 + 1)])
    out: list[tuple[int, Array, Array | None]] = []
    for mu1 in range(l1 + 1):
        for mu2 in range(l2 + 1):
            mask1 = np.abs(np.arange(-l1, l1 + 1)) == mu1
            mask2 = np.abs(np.arange(-l2, l2 + 1)) == mu2
            for order in sorted({mu1 + mu2, abs(mu1 - mu2)}):
                both = []
                for sign in (1, -1):
                    weight = _circle(m_max, sign * order, phi)
                    matrix = np.einsum("ap,bp,p->ab", first, second, weight) * np.outer(mask1, mask2)
                    both.append(matrix / max(np.linalg.norm(matrix), 1e-30))
                out.append((order, both[0], both[1] if order > 0 else None))
    return out


@cache
def pair_parts(a: OrbitalSet, b: OrbitalSet) -> PairParts:
    """Parts of the blocks between an atom of `a` and one of `b`."""
    m_max = a.shells[-1] + b.shells[-1]
    found: list[list[tuple[Array, Array | None]]] = [[] for _ in range(m_max + 1)]
    for l1, s1 in zip(a.shells, a.starts, strict=True):
        for l2, s2 in zip(b.shells, b.starts, strict=True):
            for order, cosine, sine in _pair_matrices(l1, l2):
                placed = []
                for matrix in (cosine, sine):
                    full = np.zeros((a.size, b.size))
                    if matrix is not None:
                        full[s1 : s1 + 2 * l1 + 1, s2 : s2 + 2 * l2 + 1] = matrix
                    placed.append(full)
                found[order].append((placed[0], placed[1] if sine is not None else None))
    counts = tuple(len(parts) for parts in found)
    basis: list[Array] = [cosine for cosine, _ in found[0]]
    part = list(range(counts[0]))
    for order in range(1, m_max + 1):
        first = sum(counts[:order])
        for component in (0, 1):
            basis += [pair[component] for pair in found[order] if pair[component] is not None]  # type: ignore[misc]
            part += list(range(first, first + counts[order]))
    return PairParts(counts, np.stack(basis), np.asarray(part, dtype=np.int64))


def orbital_frames(orbitals: OrbitalSet, frames: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rotation of all orbitals of an atom: (pairs, n, n); rows the package's order in the lab, columns m =
    -l..l in the edge frame, so that lab block = left @ frame block @ right^T."""
    n_pairs = frames[0].shape[0]
    out = frames[0].new_zeros(n_pairs, orbitals.size, orbitals.size)
    for l, start in zip(orbitals.shells, orbitals.starts, strict=True):
        rows = frames[l][:, list(ORBITAL_ORDER[l]), :]
        out[:, start : start + 2 * l + 1, start : start + 2 * l + 1] = rows
    return out


def to_edge_frame(blocks: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Lab blocks (pairs, n_a, n_b) in their edge frames; left, right from `orbital_frames`."""
    return left.mT @ blocks @ right


def to_lab(blocks: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Edge-frame blocks (pairs, n_a, n_b) in the lab."""
    return left @ blocks @ right.mT
