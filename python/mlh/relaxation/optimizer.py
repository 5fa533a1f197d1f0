"""LBFGS with a preconditioner and without line search.

The inverse Hessian starts from gamma P^-1 in place of a multiple of the identity, with P the connectivity
matrix of ASE's `Exp` preconditioner (Packwood et al., J. Chem. Phys. 144, 164109 (2016)) and
gamma = s.y / y.P^-1 y of the last step. Soft, long waves of a glass then converge like stiff bonds: about
half the steps of plain LBFGS. One calculation per step, and none outside the trajectory, which is what makes
a run resumable; no line search, because predicted forces are not the exact gradient of the energy.
"""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
from ase.optimize.optimize import Optimizer
from ase.optimize.precon import Exp
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_STIFFNESS = 10.0  # eV/A^2 per bond for the first step; later ones measure it
_DECAY = 3.0  # of the weight of a neighbour with its distance
_MEMORY = 60


class PreconditionedLBFGS(Optimizer):  # type: ignore[misc]  # ASE has no types
    """ASE optimiser; `maxstep` is the largest displacement of one atom per step, Angstrom."""

    def __init__(self, atoms: ase.Atoms, logfile: Any = None, maxstep: float = 0.2) -> None:
        super().__init__(atoms, restart=None, logfile=logfile, trajectory=None)
        self.maxstep = maxstep
        self._precon = Exp(A=_DECAY, mu=_STIFFNESS)
        self._steps: list[FloatArray] = []
        self._changes: list[FloatArray] = []
        self._last: tuple[FloatArray, FloatArray] | None = None

    def step(self, forces: FloatArray | None = None) -> None:
        """One step along the quasi-Newton direction."""
        f = np.asarray(self.atoms.get_forces() if forces is None else forces, dtype=np.float64).ravel()
        x = self.atoms.get_positions().ravel()
        self._precon.make_precon(self.atoms)
        if self._last is not None:
            self._remember(x - self._last[0], self._last[1] - f)
        direction = self._direction(f)
        longest = float(np.sqrt((direction.reshape(-1, 3) ** 2).sum(axis=1).max()))
        if longest > self.maxstep:
            direction *= self.maxstep / longest
        self._last = (x, f)
        self.atoms.set_positions((x + direction).reshape(-1, 3))

    def _remember(self, s: FloatArray, y: FloatArray) -> None:
        """Keep a pair of positive curvature; another would turn the direction uphill."""
        if s @ y > 1e-8 * np.linalg.norm(s) * np.linalg.norm(y):
            self._steps.append(s)
            self._changes.append(y)
            del self._steps[:-_MEMORY], self._changes[:-_MEMORY]

    def _direction(self, f: FloatArray) -> FloatArray:
        """H f by the two-loop recursion (Nocedal, Math. Comp. 35, 773 (1980)), H0 = gamma P^-1."""
        q = f.copy()
        pairs = list(zip(self._steps, self._changes, strict=True))
        factors = []
        for s, y in reversed(pairs):
            a = (s @ q) / (s @ y)
            factors.append(a)
            q = q - a * y
        z = np.asarray(self._precon.solve(q), dtype=np.float64)
        if pairs:
            s, y = pairs[-1]
            z *= (s @ y) / (y @ np.asarray(self._precon.solve(y)))
        for (s, y), a in zip(pairs, reversed(factors), strict=True):
            z = z + (a - (y @ z) / (s @ y)) * s
        return z
