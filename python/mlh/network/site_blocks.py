"""On-site blocks: the parts that a local potential has, what is fitted to them, and the way back.

dH is the matrix of a local potential: <R_1 Y_1 | V | R_2 Y_2> has only the L with l1 + l2 + L even (Gaunt),
the natural parity. The parts are orthonormal in the Frobenius sense: the sum of squares of the parts is that
of the (projected) block. Orbital order inside a block is that of docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray
from torch import nn

from mlh.network.orbitals import OrbitalSet

Array = NDArray[np.float64]


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


class SiteBlocks(nn.Module):
    """Blocks of one element from parts of order one: mean + scale * part. A head adds what predicts them."""

    def __init__(self, orbitals: OrbitalSet) -> None:
        super().__init__()
        parts = site_parts(orbitals)
        self.irreps, self.counts, self.size = parts.irreps, parts.counts, orbitals.size
        flat = parts.basis.reshape(len(parts.basis), -1)
        self.register_buffer("mean", torch.zeros(parts.counts[0], dtype=torch.float64))
        self.register_buffer("scale", torch.ones(sum(parts.counts), dtype=torch.float64))
        self.register_buffer("basis", torch.from_numpy(flat), persistent=False)
        self.mean: torch.Tensor
        self.scale: torch.Tensor
        self.basis: torch.Tensor

    def assemble(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """parts[L] (atoms, 2L+1, counts[L]), of order one -> (atoms, n, n) Hartree."""
        columns, first = [], 0
        for big_l, (n, part) in enumerate(zip(self.counts, parts, strict=True)):
            scaled = part * self.scale[first : first + n]
            columns.append((scaled + self.mean if big_l == 0 else scaled).flatten(1))
            first += n
        return (torch.cat(columns, dim=1) @ self.basis).reshape(-1, self.size, self.size)

    def mean_block(self) -> torch.Tensor:
        """The fitted mean alone, (n, n) Hartree."""
        return (self.mean @ self.basis[: self.counts[0]]).reshape(self.size, self.size)

    def fit(self, blocks: Sequence[torch.Tensor], spin: bool = False) -> None:
        """Mean of the L = 0 parts; root mean square of what is left, per part. spin: without a mean."""
        data = torch.cat([b.double() for b in blocks]).flatten(1)
        if len(data) == 0:
            return
        components = data @ self.basis.double().T
        part = 0
        for (n, ir), columns in zip(self.irreps, self.irreps.slices(), strict=True):
            x = components[:, columns].reshape(-1, ir.dim, n)
            if ir.l == 0 and not spin:
                self.mean.copy_(x[:, 0].mean(dim=0))
                x = x - self.mean
            rms = torch.sqrt((x**2).mean(dim=(0, 1))) * (crowding(x) if spin else 1.0)
            self.scale[part : part + n] = _floored(rms)
            part += n


def crowding(x: torch.Tensor) -> torch.Tensor:
    """Size of numbers by their own squares over their rms: 1 where all are alike, more the fewer they are."""
    square = x**2
    return torch.sqrt((square**2).sum() / square.sum().clamp(min=1e-300) / square.mean().clamp(min=1e-300))


def _floored(rms: torch.Tensor) -> torch.Tensor:
    """No part is scaled below a millionth of the largest: an all-zero part must stay finite."""
    return rms.clamp(min=max(float(rms.max()) * 1e-6, 1e-12)) if len(rms) else rms
