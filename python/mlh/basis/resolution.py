"""Whether a grid cutoff can carry the orbitals of a basis."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import spherical_jn

from mlh.basis.species import Basis, RadialFunction, Species

LOST_NORM = 0.05
"""Largest part of the norm of an orbital that may lie beyond the waves of the grid. Far from converged: a
calculation at that cutoff is crude, one below it is meaningless."""


@lru_cache(maxsize=256)
def smallest_cutoff(species: Species) -> float:
    """Grid cutoff (Ry) above which no orbital of the species has more than LOST_NORM beyond k = sqrt(E)."""
    return max(_cutoff_of(f) for f in species.orbitals)


def _cutoff_of(f: RadialFunction) -> float:
    """sqrt(E)^2 from the norm in wave space, 2/pi int k^2 F(k)^2 dk, F = int j_l(kr) R r^2 dr."""
    stride = max(1, round(0.04 / f.step))
    r = f.mesh[::stride]
    k = np.linspace(0.05, 30.0, 600)
    R = f.g[::stride] * r**f.l
    F = spherical_jn(f.l, np.outer(k, r)) @ (R * r**2)
    weight = np.cumsum((k * F) ** 2)
    return float(k[np.searchsorted(weight, (1.0 - LOST_NORM) * weight[-1])]) ** 2


def check_cutoff(basis: Basis, cutoff_ry: float) -> None:
    """ValueError where the grid cannot carry the orbitals of a species."""
    for species in basis:
        needed = smallest_cutoff(species)
        if cutoff_ry < needed:
            raise ValueError(
                f"cutoff_ry: expected at least {np.ceil(needed):.0f} Ry for the orbitals of {species.symbol} "
                f"(several times more to be accurate), got {cutoff_ry:g}"
            )
