"""Bounds of a spectrum without eigenvectors: its ends by Lanczos, the gap from a purification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LANCZOS_STEPS = 40


def spectral_bounds(apply: Callable[[FloatArray], FloatArray], n: int) -> tuple[float, float]:
    """Interval that holds the spectrum of a symmetric operator of order n.

    Lanczos with full orthogonalisation from a fixed start; the ends are moved out by the norm of the
    residual of their Ritz vectors.
    """
    steps = min(LANCZOS_STEPS, n)
    v = np.random.default_rng(1).standard_normal(n)
    basis = np.zeros((steps, n))
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    v /= np.linalg.norm(v)
    for k in range(steps):
        basis[k] = v
        w = apply(v)
        diagonal[k] = v @ w
        for _ in range(2):
            w = w - basis[: k + 1].T @ (basis[: k + 1] @ w)
        beside[k] = np.linalg.norm(w)
        if beside[k] < 1e-12 * max(1.0, np.abs(diagonal).max()):
            steps = k + 1
            break
        v = w / beside[k]
    T = np.diag(diagonal[:steps]) + np.diag(beside[: steps - 1], 1) + np.diag(beside[: steps - 1], -1)
    values, vectors = np.linalg.eigh(T)
    residual = beside[steps - 1] * np.abs(vectors[-1])
    return float(values[0] - residual[0]), float(values[-1] + residual[-1])


@dataclass(frozen=True, slots=True)
class PurificationStep:
    """One polynomial of the expansion: its argument X had ||X - X^2||_F = idempotency."""

    squared: bool
    """X <- X^2; otherwise X <- 2 X - X^2."""
    idempotency: float


def gap_bounds(steps: Sequence[PurificationStep], low: float, high: float) -> tuple[float, float]:
    """Upper bound of the HOMO and lower bound of the LUMO in the units of low and high.

    x (1 - x) <= ||X - X^2||_F for every eigenvalue x of X: those above 1/2 (occupied) are at least
    (1 + sqrt(1 - 4 v))/2, those below at most (1 - sqrt(1 - 4 v))/2. Carried back through the polynomials to
    x = (high - e)/(high - low), the tightest of all steps are kept (Rubensson and Niklasson, SIAM J. Sci.
    Comput. 36, B147 (2014)). Without any information both are `low` and `high` the wrong way round.
    """
    homo, lumo = high, low
    for i, step in enumerate(steps):
        if step.idempotency >= 0.25:
            continue
        root = np.sqrt(1.0 - 4.0 * step.idempotency)
        occupied = _carried_back(0.5 * (1.0 + root), steps[:i])
        empty = _carried_back(0.5 * (1.0 - root), steps[:i])
        homo = min(homo, high - occupied * (high - low))
        lumo = max(lumo, high - empty * (high - low))
    return homo, lumo


def _carried_back(x: float, steps: Sequence[PurificationStep]) -> float:
    for step in reversed(steps):
        x = float(np.sqrt(x)) if step.squared else 1.0 - float(np.sqrt(max(0.0, 1.0 - x)))
    return x
