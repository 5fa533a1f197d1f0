"""Equivariant layers on features of natural parity.

Node features: (n, (lmax+1)^2, channels), every l with the same number of channels. Edge-frame features: a
list over M = 0..: h[0] (edges, k_0), h[M > 0] (edges, 2, k_M) = (cosine, sine) components. Any map that
treats both components of an M alike with real weights commutes with rotations about the edge and with
reflections.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from mlh.network.edge_frames.harmonics import (
    degree_sizes,
    flip_signs,
    sphere_quadrature,
    spherical_harmonics,
)
from mlh.network.layers import SILU_GAIN


class SpeciesLinear(nn.Module):
    """y[n, lm, :] = W[element of n, l] x[n, lm, :] (+ bias for l = 0). Atoms are sorted by element."""

    def __init__(self, n_species: int, lmax: int, n_in: int, n_out: int, bias: bool = True) -> None:
        super().__init__()
        self.lmax = lmax
        self.weight = nn.Parameter(torch.randn(n_species, lmax + 1, n_in, n_out) / n_in**0.5)
        self.bias = nn.Parameter(torch.zeros(n_species, n_out)) if bias else None

    def forward(self, x: torch.Tensor, slices: Sequence[slice]) -> torch.Tensor:
        """x (n, (lmax+1)^2, n_in) -> (n, (lmax+1)^2, n_out)."""
        rows = []
        for s, atoms in enumerate(slices):
            parts = [
                part @ w for part, w in zip(split_degrees(x[atoms], self.lmax), self.weight[s], strict=True)
            ]
            if self.bias is not None:
                parts[0] = parts[0] + self.bias[s]
            rows.append(torch.cat(parts, dim=1))
        return torch.cat(rows, dim=0)


class SphereProducts(nn.Module):
    """Products of two and of three functions f(Omega) = sum_lm x_lm Y_lm(Omega), projected back to l <= lmax.

    Evaluated on points that integrate the degree 4 lmax exactly, so the result is that of Gaunt couplings to
    rounding.
    """

    def __init__(self, lmax: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        points, weights = sphere_quadrature(4 * lmax)
        harmonics = spherical_harmonics(lmax, points) * np.sqrt(4 * np.pi)
        scale = (lmax + 1) ** 0.5
        self.register_buffer("values", torch.from_numpy(harmonics / scale), persistent=False)
        self.register_buffer(
            "project",
            torch.from_numpy((harmonics * weights[:, None] / (4 * np.pi) * scale).T),
            persistent=False,
        )
        self.values: torch.Tensor
        self.project: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (n, (lmax+1)^2, 3 channels) -> (n, (lmax+1)^2, 2 channels): the products f1 f2 and f1 f2 f3
        (times constants that keep unit size)."""
        f1, f2, f3 = torch.split(self.values @ x, self.channels, dim=2)
        two = 0.6 * f1 * f2
        return self.project @ torch.cat([two, 0.5 * two * f3], dim=2)


def split_orders(rotated: Sequence[torch.Tensor], m_max: int) -> list[torch.Tensor]:
    """Frame features by l, each (edges, 2l+1, k) -> by M <= m_max: (edges, k (lmax+1)), (edges, 2, k
    (lmax+1-M)).
    """
    lmax = len(rotated) - 1
    rows = [x.unbind(dim=1) for x in rotated]  # unbind, split: their gradients need no zero-filled copies
    out = [torch.cat([row[l] for l, row in enumerate(rows)], dim=1)]
    for m in range(1, m_max + 1):
        cosine = [rows[l][l + m] for l in range(m, lmax + 1)]
        sine = [rows[l][l - m] for l in range(m, lmax + 1)]
        width = sum(part.shape[1] for part in cosine)
        out.append(torch.cat(cosine + sine, dim=1).reshape(-1, 2, width))
    return out


def split_degrees(x: torch.Tensor, lmax: int) -> list[torch.Tensor]:
    """(n, (lmax+1)^2, k) -> by l, (n, 2l+1, k)."""
    return list(torch.split(x, degree_sizes(lmax), dim=1))


def join_orders(h: Sequence[torch.Tensor], lmax: int, channels: int) -> list[torch.Tensor]:
    """The inverse of `split_orders`; orders above the given ones are zero."""
    m_max = len(h) - 1
    zero = torch.zeros_like(h[0][:, :channels])
    columns: list[dict[int, torch.Tensor]] = [{} for _ in range(lmax + 1)]
    for l, part in enumerate(torch.split(h[0], channels, dim=1)):
        columns[l][0] = part
    for m in range(1, m_max + 1):
        for sign, component in zip((1, -1), h[m].unbind(dim=1), strict=True):
            for l, part in enumerate(torch.split(component, channels, dim=1), start=m):
                columns[l][sign * m] = part
    return [torch.stack([columns[l].get(m, zero) for m in range(-l, l + 1)], dim=1) for l in range(lmax + 1)]


class OrderLinear(nn.Module):
    """One linear map per M, with an invariant input of n_extra numbers joined to M = 0."""

    def __init__(self, n_in: Sequence[int], n_out: Sequence[int], n_extra: int = 0) -> None:
        super().__init__()
        self.first = nn.Linear(n_in[0] + n_extra, n_out[0])
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.randn(i, o) / i**0.5) for i, o in zip(n_in[1:], n_out[1:], strict=True)]
        )

    def forward(self, h: Sequence[torch.Tensor], extra: torch.Tensor | None = None) -> list[torch.Tensor]:
        """h[M] (edges, [2,] n_in[M]) -> (edges, [2,] n_out[M])."""
        invariant = h[0] if extra is None else torch.cat([h[0], extra], dim=1)
        return [self.first(invariant), *(x @ w for x, w in zip(h[1:], self.weights, strict=True))]


class GatedOrderLayer(nn.Module):
    """OrderLinear, then SiLU on M = 0 and, on M > 0, a factor sigmoid(invariant) per channel."""

    def __init__(self, n_in: Sequence[int], n_out: Sequence[int], n_extra: int = 0) -> None:
        super().__init__()
        self.n_out = tuple(n_out)
        self.linear = OrderLinear(n_in, [sum(n_out), *n_out[1:]], n_extra)

    def forward(self, h: Sequence[torch.Tensor], extra: torch.Tensor | None = None) -> list[torch.Tensor]:
        """h[M] -> list with n_out[M] channels."""
        out = self.linear(h, extra)
        invariant, *gates = out[0].split(self.n_out, dim=1)
        result = [nn.functional.silu(invariant) * SILU_GAIN]
        result += [x * (2 * torch.sigmoid(g))[:, None] for x, g in zip(out[1:], gates, strict=True)]
        return result


def invariants(h: Sequence[torch.Tensor]) -> torch.Tensor:
    """Squared lengths of all M > 0 features: (edges, sum of k_M)."""
    # Of a pair of elements that have s functions only there are none.
    return torch.cat([h[0][:, :0], *((x * x).sum(dim=1) for x in h[1:])], dim=1)


def rotate_to_edges(
    x: torch.Tensor, atoms: torch.Tensor, frames: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Features of the given atoms in the edges' frames, by l: (edges, 2l+1, channels)."""
    gathered = x.index_select(0, atoms)
    return [d.mT @ part for d, part in zip(frames, split_degrees(gathered, len(frames) - 1), strict=True)]


class Reversible(nn.Module):
    """A module that sees edges from both ends."""

    def __init__(self, lmax: int) -> None:
        super().__init__()
        for l, signs in enumerate(flip_signs(lmax)):
            self.register_buffer(f"flip_{l}", signs, persistent=False)
        self._n_flips = lmax + 1

    @property
    def flips(self) -> list[torch.Tensor]:
        """Signs of the half turn that reverses an edge, by l."""
        return [self.get_buffer(f"flip_{l}") for l in range(self._n_flips)]


def both_directions(
    x_i: Sequence[torch.Tensor], x_j: Sequence[torch.Tensor], flips: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Rotated features of the ends of the edges -> by l, (2 edges, 2l+1, 2 channels): (x_i, x_j) of all
    edges, then (x_j, x_i) of all in the reversed frames.
    """
    out = []
    for p, q, flip in zip(x_i, x_j, flips, strict=True):
        backward = torch.cat([q, p], dim=2) * flip[:, None]
        out.append(torch.cat([torch.cat([p, q], dim=2), backward]))
    return out
