"""Change of a purified density matrix along a change of the Hamiltonian, without eigenstates.

The polynomials that made P of F (`purification._expand`) are applied to F + x R, order by order in x: with
X_0 + x X_1 + x^2 X_2, squaring is

    X_0 X_0 + x (X_0 X_1 + X_1 X_0) + x^2 (X_0 X_2 + X_2 X_0 + X_1 X_1)

(Niklasson and Challacombe, PRL 92, 193001 (2004)), among nearly orthonormal orbitals, O = (1 + delta)^(-1/2)
G: R -> O R O^T, and back D_1 = g O^T P_1 O. The energy-weighted matrix is that of P F P:

    W_1 = P_1 F P + P F P_1 + P R P,   W_2 = P_2 F P + P F P_2 + P_1 F P_1 + P_1 R P + P R P_1

The truncation of block-sparse matrices is absolute: R is scaled to a largest element of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlh._core import BlockSparse, sparse_combine
from mlh.matrix.block_matrix import Pattern
from mlh.solver.inverse_factor import InverseFactor, Truncation


@dataclass(frozen=True, slots=True, eq=False)
class Expansion:
    """How P was made of F: the interval (low, high) of its spectrum, and which polynomials were squares."""

    F: BlockSparse
    P: BlockSparse
    low: float
    high: float
    squares: Sequence[bool]


def changes(
    expansion: Expansion, R: BlockSparse, factor: InverseFactor, pattern: Pattern, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """D and W of one spin at this order (1 or 2) along R, for one electron per state: (nnz,) each."""
    cut, F, P = factor.truncation, expansion.F, expansion.P
    R = factor.corrected(factor.transformed(R))
    P1, P2 = _projectors(expansion, R, cut, order)
    if order == 1:
        W = _sum(cut, [(P1, F, P), (P, F, P1), (P, R, P)])
        return _back(P1, factor, pattern), _back(W, factor, pattern)
    assert P2 is not None
    W = _sum(cut, [(P2, F, P), (P, F, P2), (P1, F, P1), (P1, R, P), (P, R, P1)])
    return _back(P2, factor, pattern), _back(W, factor, pattern)


def _projectors(
    expansion: Expansion, R: BlockSparse, cut: Truncation, order: int
) -> tuple[BlockSparse, BlockSparse | None]:
    """P_1 and, at order 2, P_2."""
    width = expansion.high - expansion.low
    X0 = sparse_combine(-1.0 / width, expansion.F, 0.0, expansion.F, expansion.high / width, cut.threshold)
    X1 = sparse_combine(-1.0 / width, R, 0.0, R, 0.0, cut.threshold)
    X2: BlockSparse | None = sparse_combine(0.0, X1, 0.0, X1, 0.0, 0.0) if order == 2 else None
    for is_square in expansion.squares:
        next1 = _both(cut, X0, X1)
        if X2 is not None:
            middle = cut.multiply(X1, X1, symmetric=True)
            next2 = sparse_combine(1.0, _both(cut, X0, X2), 1.0, middle, 0.0, cut.threshold)
            X2 = next2 if is_square else sparse_combine(2.0, X2, -1.0, next2, 0.0, cut.threshold)
        X1 = next1 if is_square else sparse_combine(2.0, X1, -1.0, next1, 0.0, cut.threshold)
        next0 = cut.multiply(X0, X0, symmetric=True)
        X0 = next0 if is_square else sparse_combine(2.0, X0, -1.0, next0, 0.0, cut.threshold)
    P1 = _between(cut, expansion.P, X1)
    if X2 is None:
        return P1, None
    square = cut.multiply(P1, P1, symmetric=True)
    within = sparse_combine(1.0, square, -1.0, _both(cut, expansion.P, square), 0.0, cut.threshold)
    return P1, sparse_combine(1.0, _between(cut, expansion.P, X2), 1.0, within, 0.0, cut.threshold)


def _between(cut: Truncation, P: BlockSparse, X: BlockSparse) -> BlockSparse:
    """P X (1 - P) + (1 - P) X P: polynomials that keep this part of a change double or drop the others."""
    inside = cut.multiply(cut.multiply(P, X), P)
    return sparse_combine(1.0, _both(cut, P, X), -2.0, inside, 0.0, cut.threshold)


def _both(cut: Truncation, A: BlockSparse, B: BlockSparse) -> BlockSparse:
    """A B + B A of symmetric matrices."""
    AB = cut.multiply(A, B)
    return sparse_combine(1.0, AB, 1.0, AB.transpose(), 0.0, cut.threshold)


def _sum(cut: Truncation, products: Sequence[tuple[BlockSparse, BlockSparse, BlockSparse]]) -> BlockSparse:
    total: BlockSparse | None = None
    for A, B, C in products:
        part = cut.multiply(cut.multiply(A, B), C)
        total = part if total is None else sparse_combine(1.0, total, 1.0, part, 0.0, cut.threshold)
    assert total is not None
    return total


def _back(A: BlockSparse, factor: InverseFactor, pattern: Pattern) -> np.ndarray:
    """O^T A O on the pattern, symmetric, (nnz,)."""
    cut = factor.truncation
    symmetric = sparse_combine(0.5, A, 0.5, A.transpose(), 0.0, 0.0)
    inner = cut.multiply(factor.G_transposed, factor.corrected(symmetric))
    out = cut.multiply(inner, factor.G, drop=0.0, pattern=pattern)
    half = sparse_combine(0.5, out, 0.5, out.transpose(), 0.0, 0.0)
    return np.asarray(half.unfold(pattern))
