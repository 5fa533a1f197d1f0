"""Tensor products of features with the harmonics of an edge, of all paths that end in given irreps.

    z_{l3 p3, m3, u} = w_{path, u} sqrt(2 l3 + 1) sum_{m1 m2} w3j[m1 m2 m3] x_{l1 p1, m1, u} Y_{l2 m2}

for every path (l1 p1, l2 -> l3 p3), p3 = p1 (-1)^l2: e3nn's `TensorProduct` with instructions "uvu" and a
weight for each path and channel u (a test compares them). Two things make it cheaper on a CPU. Couplings and
harmonics are contracted first, for each l1 to one matrix per edge (2 l1 + 1 rows, a column for every path and
m3), which serves all channels, both parities and both directions of the edge: Y_l2(-r) = (-1)^l2 Y_l2(r) is a
sign of the path. And one product of matrices per l1 takes the place of one contraction per path.

Features are flat, (n, dim): irreps in the order of `o3.Irreps`, in each (2l+1, channels), the channel last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from e3nn import o3
from torch import nn


def split_irreps(x: torch.Tensor, irreps: o3.Irreps) -> list[torch.Tensor]:
    """(n, dim) -> of each irrep (n, 2l+1, channels)."""
    parts = torch.split(x, [mul * ir.dim for mul, ir in irreps], dim=1)
    return [part.reshape(len(x), ir.dim, mul) for part, (mul, ir) in zip(parts, irreps, strict=True)]


def join_irreps(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The inverse of `split_irreps`."""
    return torch.cat([part.flatten(1) for part in parts], dim=1)


@dataclass(frozen=True)
class _Piece:
    """Paths of one input term to one output irrep, through the harmonics l2s."""

    term: int
    out: int
    l2s: tuple[int, ...]


def _coupling(l1: int, l2: int, l3: int) -> torch.Tensor:
    """sqrt(2 l3 + 1) w3j, (2 l2 + 1, 2 l3 + 1, 2 l1 + 1), in double precision whatever the default is."""
    w3j: torch.Tensor = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
    return w3j.permute(1, 2, 0) * float(np.sqrt(2 * l3 + 1))


class EdgeProduct(nn.Module):
    """All paths from `irreps_in` and harmonics up to `edge_lmax` to the irreps of `irreps_out`."""

    def __init__(self, irreps_in: o3.Irreps, edge_lmax: int, irreps_out: o3.Irreps) -> None:
        super().__init__()
        self.irreps_in = irreps_in
        self.targets = [ir for _, ir in irreps_out]
        self.kernel_of: list[int] = []
        self.pieces: list[_Piece] = []
        known: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}
        signs: list[torch.Tensor] = []
        for term, (mul, ir) in enumerate(irreps_in):
            paths: list[tuple[int, int]] = []
            for out, target in enumerate(self.targets):
                l2s = tuple(
                    l2
                    for l2 in range(abs(ir.l - target.l), min(ir.l + target.l, edge_lmax) + 1)
                    if ir.p * (-1) ** l2 == target.p
                )
                if not l2s:
                    continue
                self.pieces.append(_Piece(term, out, l2s))
                paths += [(l2, target.l) for l2 in l2s]
                signs += [torch.full((mul,), (-1.0) ** l2, dtype=torch.float64) for l2 in l2s]
            key = ir.l, tuple(paths)
            if key not in known:
                known[key] = len(known)
                self._add_kernel(known[key], ir.l, paths, edge_lmax)
            self.kernel_of.append(known[key])
        self.n_kernels = len(known)
        self._weights_of_pieces = [irreps_in[p.term].mul * len(p.l2s) for p in self.pieces]
        self.n_weights = sum(self._weights_of_pieces)
        self._columns_of_pieces = [
            [self.targets[p.out].dim * len(p.l2s) for p in self.pieces if p.term == term]
            for term in range(len(irreps_in))
        ]
        flip = torch.cat(signs) if signs else torch.zeros(0, dtype=torch.float64)
        self.register_buffer("flip", flip, persistent=False)
        self.flip: torch.Tensor

    def _add_kernel(self, k: int, l1: int, paths: Sequence[tuple[int, int]], edge_lmax: int) -> None:
        """Buffer ((edge_lmax+1)^2, columns (2 l1 + 1)): harmonics -> matrix of the edge."""
        dim = (edge_lmax + 1) ** 2
        columns = [torch.zeros(dim, 0, 2 * l1 + 1, dtype=torch.float64)]
        for l2, l3 in paths:
            full = torch.zeros(dim, 2 * l3 + 1, 2 * l1 + 1, dtype=torch.float64)
            full[l2**2 : (l2 + 1) ** 2] = _coupling(l1, l2, l3)
            columns.append(full)
        self.register_buffer(f"kernel_{k}", torch.cat(columns, dim=1).flatten(1), persistent=False)

    @property
    def widths(self) -> list[int]:
        """Channels that arrive at each output irrep."""
        out = [0] * len(self.targets)
        for piece in self.pieces:
            out[piece.out] += len(piece.l2s) * self.irreps_in[piece.term].mul
        return out

    @property
    def dim(self) -> int:
        """Numbers per edge of a flat result."""
        return sum(width * ir.dim for width, ir in zip(self.widths, self.targets, strict=True))

    def kernels(self, harmonics: torch.Tensor) -> list[torch.Tensor]:
        """Y of the edges (E, (edge_lmax+1)^2) -> the matrices of each edge, (E, columns, 2 l1 + 1)."""
        rows = {kernel: self.irreps_in[t].ir.dim for t, kernel in enumerate(self.kernel_of)}
        return [
            (harmonics @ self.get_buffer(f"kernel_{k}")).reshape(len(harmonics), -1, rows[k])
            for k in range(self.n_kernels)
        ]

    def forward(
        self, kernels: Sequence[torch.Tensor], xs: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
    ) -> list[list[torch.Tensor]]:
        """Products of one or two directions: xs[d] (E, dim of irreps_in), weights[d] (E, n_weights), the
        second for edges that run the other way -> of each direction, for each output irrep, (E, 2 l3 + 1,
        width).
        """
        weights = [weights[0], *(w * self.flip for w in weights[1:])]
        gains = [torch.split(w, self._weights_of_pieces, dim=1) for w in weights]
        split = [split_irreps(x, self.irreps_in) for x in xs]
        columns: list[list[torch.Tensor]] = [[] for _ in xs]  # of each piece
        for term, k in enumerate(self.kernel_of):
            product = kernels[k] @ torch.cat([parts[term] for parts in split], dim=2)
            # split: its gradient needs no zero-filled copies
            for found, z in zip(columns, product.chunk(len(xs), dim=2), strict=True):
                found += torch.split(z, self._columns_of_pieces[term], dim=1)
        return [self._by_target(*both) for both in zip(columns, gains, strict=True)]

    def _by_target(
        self, columns: Sequence[torch.Tensor], gains: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Every piece times its weights, those to one irrep side by side."""
        found: list[list[torch.Tensor]] = [[] for _ in self.targets]
        for piece, z, gain in zip(self.pieces, columns, gains, strict=True):
            mul, n, size = self.irreps_in[piece.term].mul, len(piece.l2s), self.targets[piece.out].dim
            weighted = z.reshape(-1, n, size, mul) * gain.reshape(-1, n, 1, mul)
            found[piece.out].append(weighted.transpose(1, 2).flatten(2))
        return [_joined(parts, gains[0], ir.dim) for parts, ir in zip(found, self.targets, strict=True)]


def _joined(parts: list[torch.Tensor], like: torch.Tensor, size: int) -> torch.Tensor:
    """Channels of all paths side by side; none where no path arrives."""
    return torch.cat(parts, dim=2) if parts else like.new_zeros(len(like), size, 0)
