"""Layout of the orbitals of an element in the blocks of a matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# position in m = -l..l of each orbital in the package's order; no signs are needed
ORBITAL_ORDER: tuple[tuple[int, ...], ...] = ((0,), (2, 0, 1), (2, 4, 0, 3, 1), (3, 4, 2, 5, 1, 6, 0))


@dataclass(frozen=True)
class OrbitalSet:
    """Orbitals of one element: l of each shell in ascending order, largest cutoff radius in Bohr."""

    number: int
    shells: tuple[int, ...]
    cutoff: float

    def __post_init__(self) -> None:
        if list(self.shells) != sorted(self.shells) or not self.shells:
            raise ValueError(f"shells: expected a non-empty ascending tuple of l, got {self.shells}")
        if self.shells[-1] >= len(ORBITAL_ORDER):
            raise ValueError(f"shells: expected l <= {len(ORBITAL_ORDER) - 1}, got l = {self.shells[-1]}")

    @property
    def size(self) -> int:
        """Number of orbitals."""
        return sum(2 * l + 1 for l in self.shells)

    @property
    def starts(self) -> tuple[int, ...]:
        """First orbital of each shell."""
        return tuple(int(s) for s in np.cumsum([0, *(2 * l + 1 for l in self.shells[:-1])]))

    @property
    def order(self) -> Array:
        """Index into the m = -l..l order of each orbital of the package's order, all shells."""
        parts = [
            np.asarray(ORBITAL_ORDER[l]) + start for l, start in zip(self.shells, self.starts, strict=True)
        ]
        return np.concatenate(parts)
