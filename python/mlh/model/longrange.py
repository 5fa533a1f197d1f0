"""Long-range electrostatics: fields of learned, smeared charges and dipoles of all atoms, periodic images
included.

    V(r) = sum_{G != 0} (4 pi / (Omega G^2)) exp(-G^2 sigma^2 / 2) e^{iGr} sum_j (q_j - i G.p_j) e^{-iG r_j}

At every atom the network gets V, its gradient and its traceless second derivatives (l = 0, 1, 2, natural
parity). The neighbour densities end at the message cutoff; the potential of the ions' displacements beyond it
does not, it falls as 1/r^2. G = 0 is left out as in the Hartree potential of the labels. Atomic units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

FIELD_L = 2  # highest derivative of the potential that is passed on
_TRUNCATION = 1e-5  # G vectors whose smearing factor is smaller are left out
_UNITS = (
    5.0,
    20.0,
    60.0,
)  # brings V, gradient and second derivatives of unit charges in a solid to order one


@dataclass(frozen=True, eq=False)
class Waves:
    """cosines, sines (n, nG) of G.tau for one of each G, -G; kernel (nG,); harmonics (nG, 9): solid harmonics
    of G.
    """

    cosines: torch.Tensor
    sines: torch.Tensor
    kernel: torch.Tensor
    harmonics: torch.Tensor

    def to(self, dtype: torch.dtype) -> Waves:
        """The same in another precision."""
        return Waves(
            self.cosines.to(dtype), self.sines.to(dtype), self.kernel.to(dtype), self.harmonics.to(dtype)
        )


def reciprocal_vectors(cell: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """G vectors (nG, 3), one of each pair G, -G, with exp(-G^2 sigma^2 / 2) above the truncation."""
    g_max = np.sqrt(-2 * np.log(_TRUNCATION)) / sigma
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    limit = np.floor(g_max * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
    ranges = [np.arange(-k, k + 1) for k in limit]
    index = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    first = (index[:, 0] > 0) | (
        (index[:, 0] == 0) & ((index[:, 1] > 0) | ((index[:, 1] == 0) & (index[:, 2] > 0)))
    )
    vectors = index[first] @ reciprocal
    kept: NDArray[np.float64] = vectors[np.linalg.norm(vectors, axis=1) < g_max]
    return kept


def make_waves(positions: torch.Tensor, g: torch.Tensor, volume: float, sigma: float) -> Waves:
    """Waves at the positions (n, 3) Bohr; g (nG, 3) from `reciprocal_vectors`."""
    phase = positions @ g.T
    g2 = (g * g).sum(dim=1)
    kernel = 2 * 4 * torch.pi / (volume * g2) * torch.exp(-0.5 * g2 * sigma**2)
    x, y, z = g.unbind(dim=1)
    root = 3.0**0.5
    harmonics = torch.stack(
        [
            torch.ones_like(x),
            y,
            z,
            x,
            root * x * y,
            root * y * z,
            z * z - 0.5 * (x * x + y * y),
            root * x * z,
            0.5 * root * (x * x - y * y),
        ],
        dim=1,
    )
    return Waves(torch.cos(phase), torch.sin(phase), kernel, harmonics)


class LongRange(nn.Module):
    """Node features -> charges and dipoles (linear, per element) -> fields at the atoms."""

    def __init__(self, n_species: int, lmax: int, channels: int, n_fields: int) -> None:
        super().__init__()
        self.charge = nn.Parameter(torch.randn(n_species, channels, n_fields) / channels**0.5)
        self.constant = nn.Parameter(torch.randn(n_species, n_fields))
        self.dipole = nn.Parameter(torch.randn(n_species, channels, n_fields) / channels**0.5)
        self.lmax, self.n_fields = lmax, n_fields

    def forward(self, x: torch.Tensor, slices: list[slice], waves: Waves) -> torch.Tensor:
        """x (n, (lmax+1)^2, channels) -> fields (n, (lmax+1)^2, n_fields), zero for l > 2."""
        charges = torch.cat(
            [x[atoms, 0] @ self.charge[s] + self.constant[s] for s, atoms in enumerate(slices)]
        )
        even, odd = waves.cosines.T @ charges, waves.sines.T @ charges
        if self.lmax >= 1:
            dipoles = torch.cat([x[atoms, 1:4] @ self.dipole[s] for s, atoms in enumerate(slices)])
            for m in range(3):
                along = waves.harmonics[:, 1 + m, None]
                even = even - along * (waves.sines.T @ dipoles[:, m])
                odd = odd + along * (waves.cosines.T @ dipoles[:, m])
        even, odd = even * waves.kernel[:, None], odd * waves.kernel[:, None]
        rows = []
        for l in range(min(FIELD_L, self.lmax) + 1):
            for m in range(l * l, (l + 1) ** 2):
                p, q = even * waves.harmonics[:, m, None], odd * waves.harmonics[:, m, None]
                field = (
                    waves.cosines @ p + waves.sines @ q if l % 2 == 0 else waves.cosines @ q - waves.sines @ p
                )
                rows.append(_UNITS[l] * field)
        rows += [torch.zeros_like(rows[0])] * ((self.lmax + 1) ** 2 - len(rows))
        return torch.stack(rows, dim=1)
