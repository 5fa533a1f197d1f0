"""Pulay mixing (direct inversion in the iterative subspace) of the Hamiltonian.

P. Pulay, Chem. Phys. Lett. 73, 393 (1980); in the fixed-point form of Anderson, J. ACM 12, 547 (1965).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class PulayMixer:
    """Next input from the inputs x_j and residuals R_j = g(x_j) - x_j of the last steps.

        min_gamma | R_n - sum_j gamma_j (R_n - R_j) |^2,    x = x_opt + damping * P R_opt,

    with x_opt, R_opt the same combination of inputs and residuals and P a preconditioner. The normal
    equations are scaled to a unit diagonal and regularised, so that nearly dependent steps cannot produce
    large coefficients. A step whose residual is `restart_factor` times the best one drops the history and
    goes on from the best input with half the damping.
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
        self._inputs: list[FloatArray] = []
        self._residuals: list[FloatArray] = []
        self._norms: list[float] = []

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
        norm = float(np.linalg.norm(residual))
        if not np.isfinite(norm):
            raise FloatingPointError("residual: expected finite numbers, got a NaN or an infinity")
        if self._norms and norm > self.restart_factor * min(self._norms):
            best = int(np.argmin(self._norms))
            self._inputs, self._residuals = [self._inputs[best]], [self._residuals[best]]
            self._norms = [self._norms[best]]
            self.damping *= 0.5
        else:
            self._inputs.append(x.ravel().copy())
            self._residuals.append(residual.ravel().copy())
            self._norms.append(norm)
            del self._inputs[: -self.history], self._residuals[: -self.history], self._norms[: -self.history]
        x_opt, r_opt = self._combine()
        step = r_opt.reshape(x.shape)
        if precondition is not None:
            step = precondition(step)
        return np.asarray(x_opt.reshape(x.shape) + self.damping * step, dtype=np.float64)

    def _combine(self) -> tuple[FloatArray, FloatArray]:
        """x_opt and R_opt."""
        x, r = self._inputs[-1], self._residuals[-1]
        x_opt, r_opt = x.copy(), r.copy()
        for gamma, x_j, r_j in zip(self._coefficients(), self._inputs, self._residuals):
            x_opt -= gamma * (x - x_j)
            r_opt -= gamma * (r - r_j)
        return x_opt, r_opt

    def _coefficients(self) -> FloatArray:
        """gamma of the older steps, from the regularised normal equations."""
        if len(self._residuals) < 2:
            return np.zeros(0)
        latest = self._residuals[-1]
        differences = np.array([latest - r for r in self._residuals[:-1]])
        gram = differences @ differences.T
        scale = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
        scaled = gram / np.outer(scale, scale) + self.regularisation * np.eye(len(scale))
        return np.asarray(np.linalg.solve(scaled, differences @ latest / scale) / scale, dtype=np.float64)
