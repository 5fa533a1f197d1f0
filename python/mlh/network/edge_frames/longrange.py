"""Long-range electrostatics: fields of learned, smeared charges and dipoles of all atoms, periodic images
included.

    V(r) = sum_{G != 0} (4 pi / (Omega G^2)) exp(-G^2 sigma^2 / 2) e^{iGr} sum_j (q_j - i G.p_j) e^{-iG r_j}

At every atom the network gets V, its gradient and its traceless second derivatives (l = 0, 1, 2, natural
parity). The neighbour densities end at the message cutoff; the potential of the ions' displacements beyond it
does not, it falls as 1/r^2. G = 0 is left out as in the Hartree potential of the labels. Atomic units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mlh.network.memory import made_again
from mlh.network.sphere import harmonics, rows

FIELD_L = 2  # highest derivative of the potential that is passed on
_WAVES_AT_ONCE = 1024
_TRUNCATION = 1e-5  # G vectors whose smearing factor is smaller are left out
_UNITS = (
    5.0,
    20.0,
    60.0,
)  # brings V, gradient and second derivatives of unit charges in a solid to order one


@dataclass(frozen=True, eq=False)
class Waves:
    """positions (n, 3), g (nG, 3): one of each G, -G; kernel (nG,); harmonics (nG, 9): solid harmonics of G.

    stored: cosines and sines (n, nG) of G.tau, or None: then they are made for _WAVES_AT_ONCE vectors at a
    time, so that memory stays linear in the number of atoms.
    """

    positions: torch.Tensor
    g: torch.Tensor
    kernel: torch.Tensor
    harmonics: torch.Tensor
    stored: tuple[torch.Tensor, torch.Tensor] | None

    def chunks(self) -> Iterator[slice]:
        """Which G at a time: all of those that are stored, in turn of the others."""
        step = len(self.g) if self.stored is not None else _WAVES_AT_ONCE
        for first in range(0, len(self.g), max(step, 1)):
            yield slice(first, first + step)

    def of(self, which: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (n, G) of some G."""
        if self.stored is not None:
            return self.stored[0][:, which], self.stored[1][:, which]
        phase = self.positions @ self.g[which].T
        return torch.cos(phase), torch.sin(phase)

    def to(self, target: torch.dtype | torch.device) -> Waves:
        """The same in another precision or on another device."""
        stored = None if self.stored is None else (self.stored[0].to(target), self.stored[1].to(target))
        p, g, kernel, harmonics = (
            x.to(target) for x in (self.positions, self.g, self.kernel, self.harmonics)
        )
        return Waves(p, g, kernel, harmonics, stored)


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


def make_waves(
    positions: torch.Tensor, g: torch.Tensor, volume: torch.Tensor, sigma: float, store: bool = True
) -> Waves:
    """Waves at the positions (n, 3) Bohr; g (nG, 3) from `reciprocal_vectors`."""
    g2 = (g * g).sum(dim=1)
    kernel = 2 * 4 * torch.pi / (volume * g2) * torch.exp(-0.5 * g2 * sigma**2)
    solid = harmonics(FIELD_L, g, normalize=False, normalization="norm")
    phase = positions @ g.T if store else None
    stored = None if phase is None else (torch.cos(phase), torch.sin(phase))
    return Waves(positions, g, kernel, solid, stored)


class LongRange(nn.Module):
    """Node features -> charges and dipoles (linear, per element) -> fields at the atoms; after them those of
    `given` charges, which add up to the charge of the cell."""

    def __init__(self, n_species: int, lmax: int, channels: int, n_fields: int, given: int = 0) -> None:
        super().__init__()
        self.charge = nn.Parameter(torch.randn(n_species, channels, n_fields) / channels**0.5)
        self.constant = nn.Parameter(torch.randn(n_species, n_fields))
        self.dipole = nn.Parameter(torch.randn(n_species, channels, n_fields) / channels**0.5)
        self.lmax, self.n_fields = lmax, n_fields + given

    def forward(
        self, x: torch.Tensor, slices: list[slice], waves: Waves, given: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x (n, (lmax+1)^2, channels), given charges (n, given) -> fields (n, (lmax+1)^2, n_fields + given),
        zero for l > 2."""
        sources = self._sources(x, slices, given)
        degrees = rows(min(FIELD_L, self.lmax))
        fields = x.new_zeros(len(x), degrees.dim * self.n_fields)
        for which in waves.chunks():
            if waves.stored is not None:
                fields = fields + self._fields(sources, waves, which)
            else:
                fields = fields + made_again(self._fields, sources, waves, which)
        shaped = fields.reshape(len(x), degrees.dim, self.n_fields)
        return nn.functional.pad(shaped, (0, 0, 0, rows(self.lmax).dim - degrees.dim))

    def _fields(self, sources: torch.Tensor, waves: Waves, which: slice) -> torch.Tensor:
        """Share of some G in the fields, (n, rows n_fields)."""
        cosines, sines = waves.of(which)
        even, odd = self._structure_factors(sources, cosines, sines, waves.harmonics[which])
        kernel = waves.kernel[which, None]
        degrees = rows(min(FIELD_L, self.lmax))
        p, q = [], []
        for (_, ir), unit, block in zip(degrees, _UNITS, degrees.slices(), strict=False):
            factor = unit * kernel
            for harmonic in waves.harmonics[which, block].unbind(dim=1):
                weight = factor * harmonic[:, None]
                p.append((even if ir.p == 1 else odd) * weight)
                q.append((odd if ir.p == 1 else -even) * weight)
        return cosines @ torch.cat(p, dim=1) + sines @ torch.cat(q, dim=1)

    def _sources(self, x: torch.Tensor, slices: list[slice], given: torch.Tensor | None) -> torch.Tensor:
        """Charges, then the three components of the dipoles: (n, 4 n_fields)."""
        charges = torch.cat(
            [x[atoms, 0] @ self.charge[s] + self.constant[s] for s, atoms in enumerate(slices)]
        )
        if given is not None:
            charges = torch.cat([charges, given], dim=1)
        if self.lmax == 0:
            return torch.cat([charges, charges.new_zeros(len(x), 3 * self.n_fields)], dim=1)
        dipoles = torch.cat([x[atoms, 1:4] @ self.dipole[s] for s, atoms in enumerate(slices)])
        if given is not None:
            dipoles = nn.functional.pad(dipoles, (0, given.shape[1]))
        return torch.cat([charges, dipoles.flatten(1)], dim=1)

    def _structure_factors(
        self, sources: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, harmonics: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """sum_j (q_j - i G.p_j) e^{-i G tau_j}: real part and minus the imaginary part, (nG, n_fields)."""
        even, *dipole_cosines = torch.split(cosines.T @ sources, self.n_fields, dim=1)
        odd, *dipole_sines = torch.split(sines.T @ sources, self.n_fields, dim=1)
        for m in range(3):
            along = harmonics[:, 1 + m, None]
            even = even - along * dipole_sines[m]
            odd = odd + along * dipole_cosines[m]
        return even, odd
