"""Inverse factor of the overlap in block-sparse form, G S G^T = 1 + delta, at a cost linear in the atoms.

G: the factorised sparse approximate inverse on a neighbourhood of every tile of atoms (`cpp/src/sparse/
inverse_factor.cpp`), one Cholesky factorisation each. What it leaves, delta, is small and sparse, and is
corrected where G is used, to second order here and exactly in the last step of the purification:

    F = Z G H G^T Z,    Z = 1 - delta/2 + 3/8 delta^2 = (1 + delta)^(-1/2) + O(delta^3)

so that G itself stays sparse: S^-1 has a longer range than the density matrix. Only where delta is larger
than the threshold allows is G refined, G <- Z G (Niklasson, PRB 70, 193102 (2004)), which fills it up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlh._core import (
    BlockSparse,
    return_free_pages,
    sparse_combine,
    sparse_inverse_factor,
    sparse_product,
)
from mlh.common.activity import doing
from mlh.matrix.block_matrix import BlockMatrix, Pattern

REACH = 3e-4
"""Atoms j in the neighbourhood of i: those with |S_ik| |S_kj| above this for some k (Frobenius norms)."""

FACTOR_TOLERANCE = 0.5
"""G is refined until the rms of delta per orbital is below this times the root of the threshold."""

METRIC = 0.1
"""Threshold of delta as a part of the others: what is wrong in it is wrong in the number of electrons."""

SINGLE_PRECISION = 1e-5
"""Smallest threshold for single precision, whose rounding then is below what truncation leaves out. G and
delta are made in double precision first: large numbers cancel in G S G^T."""

MAX_REFINEMENTS = 8

HALF_WAY = 0.3
"""Threshold of G A as a part of the others: its error is multiplied by G^T, whose norm is about ten."""


class PurificationError(RuntimeError):
    """The method does not apply to this H and S, or its error control failed; says which and why."""


def check_threshold(threshold: float) -> None:
    """ValueError for a threshold that no truncation can have."""
    if not 0.0 < threshold < 1e-2:
        raise ValueError(f"threshold: expected more than 0 and less than 0.01, got {threshold}")


@dataclass(frozen=True, slots=True)
class Truncation:
    """What is left out of block-sparse matrices, all from one threshold.

    A block is dropped when its Frobenius norm is at most `threshold` (times `drop` of a product); a product
    of two blocks is skipped when their norms multiply to at most `product`: many are skipped for one block.
    """

    threshold: float

    @property
    def product(self) -> float:
        """For single products."""
        return 0.01 * self.threshold

    def kept(self, A: BlockSparse) -> BlockSparse:
        """A in single precision where the threshold is far above its rounding."""
        return A.to_single() if self.threshold >= SINGLE_PRECISION else A

    def multiply(
        self,
        A: BlockSparse,
        B: BlockSparse,
        symmetric: bool = False,
        drop: float = 1.0,
        pattern: Pattern | None = None,
    ) -> BlockSparse:
        """A B; `symmetric` when the product is known to be, then on request only its blocks on a Pattern."""
        return sparse_product(A, B, self.product, drop * self.threshold, symmetric, pattern)


@dataclass(frozen=True, slots=True, eq=False)
class InverseFactor:
    """G with G S G^T = 1 + delta, made once per geometry and reused by every step."""

    pattern: Pattern
    S: BlockSparse
    G: BlockSparse
    G_transposed: BlockSparse
    delta: BlockSparse
    Z: BlockSparse
    """(1 + delta)^(-1/2) to second order."""
    truncation: Truncation
    error: float
    """rms of delta per orbital."""

    @classmethod
    def of(cls, S: BlockMatrix, threshold: float) -> InverseFactor:
        """Factorise; an indefinite S, or one that the threshold cannot carry, is an error."""
        check_threshold(threshold)
        cut = Truncation(threshold)
        folded = BlockSparse.fold(S.pattern, S.data[0])
        G = sparse_inverse_factor(folded, sparse_product(folded, folded, REACH, 0.0, True))
        G = sparse_combine(1.0, G, 0.0, G, 0.0, threshold)
        metric = Truncation(METRIC * threshold)
        limit = FACTOR_TOLERANCE * threshold**0.5
        error = np.inf
        for _ in range(MAX_REFINEMENTS):
            transposed = G.transpose()
            with doing("inverse factor of the overlap"):
                delta = _transformed(G, folded, transposed, metric)
            delta = sparse_combine(1.0, delta, 0.0, delta, -1.0, 3.0 * metric.threshold)
            new_error = float(np.sqrt(delta.dot(delta) / delta.n_orbitals))
            if new_error < limit:
                S_kept, G_kept, transposed, delta = map(cut.kept, (folded, G, transposed, delta))
                Z = _inverse_root(delta, cut)
                return cls(S.pattern, S_kept, G_kept, transposed, delta, Z, cut, new_error)
            if new_error > 0.5 * error:
                break
            G, error = cut.multiply(_inverse_root(delta, cut), G), new_error
        raise PurificationError(
            f"S: its inverse factor stays at an error of {new_error:.1e} per orbital, expected below "
            f"{limit:.1e}: the orbitals are too nearly dependent for the threshold "
            f"{threshold:g}; take a smaller one, or the dense solver"
        )

    def transformed(self, A: BlockSparse, drop: float = 1.0) -> BlockSparse:
        """G A G^T of a symmetric A."""
        return _transformed(self.G, A, self.G_transposed, self.truncation, drop)

    def corrected(self, A: BlockSparse, drop: float = 1.0) -> BlockSparse:
        """Z A Z: (1 + delta)^(-1/2) on both sides."""
        return _transformed(self.Z, A, self.Z, self.truncation, drop)


def _transformed(
    G: BlockSparse, A: BlockSparse, G_transposed: BlockSparse, cut: Truncation, drop: float = 1.0
) -> BlockSparse:
    return_free_pages()
    return cut.multiply(cut.multiply(G, A, drop=HALF_WAY * drop), G_transposed, symmetric=True, drop=drop)


def _inverse_root(delta: BlockSparse, cut: Truncation) -> BlockSparse:
    """1 - delta/2 + 3/8 delta^2."""
    square = cut.multiply(delta, delta, symmetric=True)
    return sparse_combine(-0.5, delta, 0.375, square, 1.0, cut.threshold)
