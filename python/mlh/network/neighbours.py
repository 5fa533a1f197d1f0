"""Pairs within a cutoff, and radial functions of their distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.network.orbitals import OrbitalSet
from mlh.network.topology import Topology


@dataclass(frozen=True, eq=False)
class Near:
    """Pairs within a cutoff: index (E,) into the pairs; groups: (a, b, start, stop) into index, elements of i
    and j.
    """

    index: torch.Tensor
    groups: tuple[tuple[int, int, int, int], ...]

    def to(self, target: torch.dtype | torch.device) -> Near:
        """The same on another device; integers have no other precision."""
        return self if isinstance(target, torch.dtype) else Near(self.index.to(target), self.groups)

    def __len__(self) -> int:
        return len(self.index)


def pair_cutoffs(orbitals: Sequence[OrbitalSet], cutoff: float) -> NDArray[np.float64]:
    """Cutoff (Bohr) of each ordered pair of elements: `cutoff`, or less where the Pattern ends earlier."""
    reach = np.array([o.cutoff for o in orbitals])
    cutoffs: NDArray[np.float64] = np.minimum(cutoff, reach[:, None] + reach[None, :])
    return cutoffs


def near_pairs(topology: Topology, r: torch.Tensor, cutoffs: NDArray[np.float64]) -> Near:
    """Pairs within the cutoffs and their slices per pair of elements (pairs are sorted by these)."""
    n = len(cutoffs)
    distances = r.detach().cpu().numpy()
    index, groups, first = [], [], 0
    for group in sorted(topology.groups, key=lambda g: g.a * n + g.b):
        inside = np.flatnonzero(
            distances[group.start : group.start + group.count] < cutoffs[group.a, group.b]
        )
        if len(inside):
            index.append(group.start + inside)
            groups.append((group.a, group.b, first, first + len(inside)))
            first += len(inside)
    chosen = np.concatenate(index) if index else np.zeros(0, dtype=np.int64)
    return Near(torch.from_numpy(chosen).to(r.device), tuple(groups))


def bessel_basis(r: torch.Tensor, cutoff: float, n: int) -> torch.Tensor:
    """sqrt(2/c) sin(k pi r / c) / r times (1 - x)^3 (1 + 3x + 6x^2), x = r/c: smooth (C2) at r = c."""
    x = r / cutoff
    envelope = (1 - x) ** 3 * (1 + 3 * x + 6 * x * x)
    k = torch.arange(1, n + 1, dtype=r.dtype, device=r.device) * torch.pi
    basis: torch.Tensor = (2.0 / cutoff) ** 0.5 * torch.sin(x[:, None] * k) / r[:, None] * envelope[:, None]
    return basis


def radial_functions(r: torch.Tensor, near: Near, cutoffs: NDArray[np.float64], n: int) -> torch.Tensor:
    """Radial functions (E, n) of the pairs `near`."""
    parts = [bessel_basis(r[start:stop], float(cutoffs[a, b]), n) for a, b, start, stop in near.groups]
    return torch.cat(parts) if parts else r.new_zeros(0, n)
