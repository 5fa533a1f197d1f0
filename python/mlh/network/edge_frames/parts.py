"""Blocks of a matrix between atomic orbitals <-> parts that transform simply.

dH is the matrix of a local potential V. That fixes which parts of a block can be non-zero:

* on-site, <R_1 Y_1 | V | R_2 Y_2>: only the L with l1 + l2 + L even (Gaunt), the natural parity;
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
from e3nn import o3
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


@dataclass(frozen=True)
class SiteParts:
    """Parts of an on-site block: `irreps`, as "7x0e+3x1o+4x2e", one entry for each L = 0, 1, ..

    basis (n_components, n, n): orthonormal symmetric matrices in the package's orbital order, sorted by L,
    then M of L (outer), then part (inner), so that components [irreps.slices()[L]] reshape to (2L+1, parts).
    """

    irreps: o3.Irreps
    basis: Array

    @property
    def counts(self) -> tuple[int, ...]:
        """Parts of each L."""
        return tuple(mul for mul, _ in self.irreps)


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


def natural(l: int) -> o3.Irrep:
    """The irrep of Y_l."""
    return o3.Irrep(l, (-1) ** l)


def gaunt_coupling(l1: int, l2: int, l: int) -> Array:
    """(2l+1, 2l1+1, 2l2+1): integral of Y_l Y_l1 Y_l2 up to a positive factor, l1 + l2 + l even.

    That integral and the Wigner 3j symbol are proportional; with all m = 0 the integral is positive.
    """
    coupling = o3.wigner_3j(l1, l2, l, dtype=torch.float64).numpy().transpose(2, 0, 1)
    out: Array = coupling * np.sign(coupling[l, l1, l2])
    return out


@cache
def site_parts(a: OrbitalSet) -> SiteParts:
    """Parts of the on-site block of an atom of `a`."""
    orbitals = o3.Irreps([(1, natural(l)) for l in a.shells])
    places = list(zip(orbitals.slices(), [ir for _, ir in orbitals], strict=True))
    found: dict[o3.Irrep, list[Array]] = {natural(l): [] for l in range(2 * orbitals.lmax + 1)}
    order = a.order
    for p, (rows, first) in enumerate(places):
        for columns, second in places[p:]:
            for ir in (ir for ir in first * second if ir in found):
                full = np.zeros((ir.dim, a.size, a.size))
                full[:, rows, columns] = gaunt_coupling(first.l, second.l, ir.l)
                full = 0.5 * (full + full.transpose(0, 2, 1))
                full /= np.linalg.norm(full[0])
                found[ir].append(full[:, order][:, :, order])
    basis = [np.stack(parts, axis=1).reshape(-1, a.size, a.size) for parts in found.values() if parts]
    return SiteParts(o3.Irreps([(len(parts), ir) for ir, parts in found.items()]), np.concatenate(basis))


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
