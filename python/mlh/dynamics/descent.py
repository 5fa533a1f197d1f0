"""L-BFGS without line search whose memory is plain arrays: a path of images goes on with it after a kill.

Forces of a band have no energy (springs, tangents): a step is taken by curvature alone (Sheppard, Terrell,
Henkelman, J. Chem. Phys. 128, 134106 (2008)), no atom further than `LONGEST`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MEMORY = 20
LONGEST = 0.2
"""Angstrom of one atom in one step."""
STIFFNESS = 80.0
"""eV/Angstrom^2 of the first step: the stiffest bonds must not be overshot twice, with X-H some 120."""


@dataclass(frozen=True, eq=False)
class Descent:
    """Positions and forces (n, 3) of the last step, and pairs of their changes (m, n, 3)."""

    x: Array | None = None
    f: Array | None = None
    s: Array = field(default_factory=lambda: np.empty((0, 0, 3)))
    y: Array = field(default_factory=lambda: np.empty((0, 0, 3)))

    def step(self, x: Array, f: Array) -> tuple[Array, Descent]:
        """The displacement from x with forces f, and the memory with it."""
        s, y = self.s, self.y
        if self.x is not None and self.f is not None:
            ds, dy = x - self.x, self.f - f
            # Along a band that climbs the curvature may be negative: nothing to learn from.
            if np.vdot(ds, dy) > 0.01 * np.linalg.norm(ds) * np.linalg.norm(dy):
                s = np.concatenate([s.reshape(-1, *x.shape), ds[None]])[-MEMORY:]
                y = np.concatenate([y.reshape(-1, *x.shape), dy[None]])[-MEMORY:]
        step = _two_loops(f, s, y)
        longest = float(np.linalg.norm(step, axis=1).max())
        if longest > LONGEST:
            step = step * (LONGEST / longest)
        return step, Descent(x.copy(), f.copy(), s, y)


def _two_loops(f: Array, s: Array, y: Array) -> Array:
    """H f with the approximate inverse Hessian H of the pairs."""
    q, factors = f.copy(), []
    for ds, dy in zip(s[::-1], y[::-1], strict=True):
        factor = np.vdot(ds, q) / np.vdot(ds, dy)
        factors.append(factor)
        q -= factor * dy
    scale = np.vdot(s[-1], y[-1]) / np.vdot(y[-1], y[-1]) if len(s) else 1.0 / STIFFNESS
    q *= scale
    for ds, dy, factor in zip(s, y, reversed(factors), strict=True):
        q += (factor - np.vdot(dy, q) / np.vdot(ds, dy)) * ds
    return q
