"""Inverse factor of the overlap in block-sparse form: G S G^T = 1, at a cost linear in the atoms.

Start: the factorised sparse approximate inverse on a neighbourhood of every atom (`cpp/src/sparse/
inverse_factor.cpp`), one small Cholesky factorisation each. Refinement (Niklasson, PRB 70, 193102 (2004)),
which corrects any G and so also what truncation did to it:

    delta = 1 - G S G^T,    G <- (1 + delta/2 + 3/8 delta^2) G        (the new delta is of order delta^3)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlh._core import (
    BlockSparse,
    sparse_combine,
    sparse_inverse_factor,
    sparse_product,
)
from mlh.pattern import BlockMatrix, Pattern

REACH = 3e-3
"""Atoms j in the neighbourhood of i: those with |S_ik| |S_kj| above this for some k (Frobenius norms)."""

FACTOR_TOLERANCE = 20.0
"""G is refined until the rms of 1 - G S G^T per orbital is below this times the threshold."""

MAX_REFINEMENTS = 8


class PurificationError(RuntimeError):
    """The method does not apply to this H and S, or its error control failed; says which and why."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """What is left out of block-sparse matrices, all from one threshold.

    A block of a matrix of order one (P, D, 1 - G S G^T) is dropped when its Frobenius norm is at most
    `block`; of the factor G, whose norm is about ten, at most `factor`. A product of two blocks is skipped
    when their norms multiply to at most `product`.
    """

    threshold: float

    @property
    def block(self) -> float:
        """For matrices of order one."""
        return self.threshold

    @property
    def factor(self) -> float:
        """For G."""
        return 3.0 * self.threshold

    @property
    def product(self) -> float:
        """For single products."""
        return 0.1 * self.threshold

    def multiply(self, A: BlockSparse, B: BlockSparse, symmetric: bool = False) -> BlockSparse:
        """A B; `symmetric` when the product is known to be."""
        return sparse_product(A, B, self.product, self.block, symmetric)


@dataclass(frozen=True, slots=True, eq=False)
class InverseFactor:
    """G with G S G^T = 1, made once per geometry and reused by every step."""

    pattern: Pattern
    S: BlockSparse
    G: BlockSparse
    G_transposed: BlockSparse
    truncation: Truncation
    error: float
    """rms of 1 - G S G^T per orbital."""

    @classmethod
    def of(cls, S: BlockMatrix, threshold: float) -> InverseFactor:
        """Factorise; an indefinite S, or one that the threshold cannot carry, is an error."""
        if not 0.0 < threshold < 1e-2:
            raise ValueError(f"threshold: expected more than 0 and less than 0.01, got {threshold}")
        cut = Truncation(threshold)
        folded = BlockSparse.fold(S.pattern, S.data[0])
        reach = sparse_product(folded, folded, REACH, 0.0, True)
        G = sparse_inverse_factor(folded, reach)
        error = np.inf
        for _ in range(MAX_REFINEMENTS):
            delta, new_error = _defect(G, folded, cut)
            if new_error < FACTOR_TOLERANCE * threshold:
                return cls(S.pattern, folded, G, G.transpose(), cut, new_error)
            if new_error > 0.5 * error:
                break
            G, error = _refined(G, delta, cut), new_error
        raise PurificationError(
            f"S: its inverse factor stays at an error of {new_error:.1e} per orbital, expected below "
            f"{FACTOR_TOLERANCE * threshold:.1e}: the orbitals are too nearly dependent for the threshold "
            f"{threshold:g}; take a smaller one, or method='dense'"
        )


def _defect(G: BlockSparse, S: BlockSparse, cut: Truncation) -> tuple[BlockSparse, float]:
    """1 - G S G^T, and its rms per orbital."""
    product = cut.multiply(cut.multiply(G, S), G.transpose(), symmetric=True)
    delta = sparse_combine(-1.0, product, 0.0, product, 1.0, 0.0)
    return delta, float(np.sqrt(delta.dot(delta) / delta.n_orbitals))


def _refined(G: BlockSparse, delta: BlockSparse, cut: Truncation) -> BlockSparse:
    """(1 + delta/2 + 3/8 delta^2) G."""
    square = cut.multiply(delta, delta, symmetric=True)
    step = sparse_combine(0.5, delta, 0.375, square, 0.0, 0.0)
    return sparse_combine(1.0, G, 1.0, cut.multiply(step, G), 0.0, cut.factor)
