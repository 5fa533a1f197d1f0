"""Pulay mixing (direct inversion in the iterative subspace) of the Hamiltonian.

P. Pulay, Chem. Phys. Lett. 73, 393 (1980); in the fixed-point form of Anderson, J. ACM 12, 547 (1965).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class PulayMixer:
    """Next input from the inputs x_j and residuals R_j = g(x_j) - x_j of the last steps.

        min_gamma | R_n - sum_j gamma_j (R_{j+1} - R_j) |^2,    x = x_opt + damping * P R_opt,

    with x_opt, R_opt the same combination of inputs and residuals and P a preconditioner. The normal
    equations are scaled to a unit diagonal and regularised, so that nearly dependent steps cannot produce
    large coefficients. A step whose residual is `restart_factor` times the best one drops the history and
    goes on from the best input with half the damping.

    Cost of a step: four passes over the history. Memory: 2 history arrays of the size of x.
    """

    def __init__(
        self,
        history: int = 8,
        damping: float = 0.6,
        regularisation: float = 1e-10,
        restart_factor: float = 20.0,
    ) -> None:
        if history < 1:
            raise ValueError(f"history: expected at least 1, got {history}")
        if not 0.0 < damping <= 1.0:
            raise ValueError(f"damping: expected a value in (0, 1], got {damping}")
        self.history = history
        self.damping = damping
        self.regularisation = regularisation
        self.restart_factor = restart_factor
        self._last: _Step | None = None
        self._best: _Step | None = None
        self._differences: _Differences | None = None

    def next(
        self,
        x: FloatArray,
        residual: FloatArray,
        precondition: Callable[[FloatArray], FloatArray] | None = None,
    ) -> FloatArray:
        """Record input x with its residual (equal shapes) and return the next input.

        precondition: P, linear, from a residual to a residual of the same shape; None: the identity.
        """
        if x.shape != residual.shape:
            raise ValueError(f"residual: expected shape {x.shape}, got {residual.shape}")
        step = _Step(x.ravel().copy(), residual.ravel().copy(), float(np.linalg.norm(residual)))
        if not np.isfinite(step.norm):
            raise FloatingPointError("residual: expected finite numbers, got a NaN or an infinity")
        if self._best is not None and step.norm > self.restart_factor * self._best.norm:
            step, self._differences = self._best, None
            self.damping *= 0.5
        elif self._last is not None and self.history > 1:
            if self._differences is None:
                self._differences = _Differences(self.history - 1, x.size)
            self._differences.add(step.x - self._last.x, step.residual - self._last.residual)
        if self._best is None or step.norm <= self._best.norm:
            self._best = step
        self._last = step
        x_opt, r_opt = step.x, step.residual
        if self._differences is not None:
            x_opt, r_opt = self._differences.combine(x_opt, r_opt, self.regularisation)
        change = r_opt.reshape(x.shape)
        if precondition is not None:
            change = precondition(change)
        return np.asarray(x_opt.reshape(x.shape) + self.damping * change, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Step:
    """An input, its residual and the norm of that."""

    x: FloatArray
    residual: FloatArray
    norm: float


class _Differences:
    """The last differences between successive steps, in the rows of a ring, with their Gram matrix."""

    def __init__(self, rows: int, size: int) -> None:
        self._dx, self._dr = np.zeros((rows, size)), np.zeros((rows, size))
        self._gram = np.zeros((rows, rows))
        self._count = 0

    def add(self, dx: FloatArray, dr: FloatArray) -> None:
        """Over the oldest ones when the ring is full."""
        row = self._count % len(self._dr)
        self._dx[row], self._dr[row] = dx, dr
        self._gram[row] = self._gram[:, row] = self._dr @ dr
        self._count += 1

    def combine(self, x: FloatArray, r: FloatArray, regularisation: float) -> tuple[FloatArray, FloatArray]:
        """x - gamma dx and r - gamma dr, the latter as small as possible."""
        used = min(self._count, len(self._dr))
        gram = self._gram[:used, :used]
        scale = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
        scaled = gram / np.outer(scale, scale) + regularisation * np.eye(used)
        gamma = np.linalg.solve(scaled, self._dr[:used] @ r / scale) / scale
        return x - gamma @ self._dx[:used], r - gamma @ self._dr[:used]
