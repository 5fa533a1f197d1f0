"""Change of the density matrix of localized functions along a change R of the Hamiltonian.

C + x Y + x^2 Y_2 span the occupied space of H + x R, with C^T S Y = C^T S Y_2 = 0 (Sternheimer's equation):

    A Y = -Q R C,   A Y_2 = -Q (R Y - S Y K R_c),   R_c = C^T R C
    A Y = Q (H Y - S Y L),   Q = 1 - S C K C^T

by conjugate gradients, preconditioned as the functions themselves, in the metric K. With s = Y^T S Y,

    D_1 = Y K C^T + C K Y^T
    D_2 = Y_2 K C^T + C K Y_2^T + Y K Y^T - C K s K C^T
    W_1 = Y N_0 C^T + C N_0 Y^T + C N_1 C^T,            N_0 = K H_c K,  N_1 = K R_c K
    W_2 = Y_2 N_0 C^T + C N_0 Y_2^T + Y N_1 C^T + C N_1 Y^T + Y N_0 Y^T + C N_2 C^T
    N_2 = K (Y^T H Y + C^T R Y + Y^T R C) K - K s N_0 - N_0 s K

and -Tr K (R C)^T Y is sum_ia |R_ia|^2/(e_a - e_i). Thresholds are absolute: R is scaled to a largest element
of one before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlh._core import BlockSparse, sparse_combine, sparse_product
from mlh.matrix.block_matrix import Pattern
from mlh.solver.localized_functions import Cuts, Images, LocalizedError, Point, Preconditioner, symmetrised

STEPS = 40
ENOUGH, TOO_MUCH = 25.0, 1e-3
"""What may be left of the second-order energy, as a part of it: this times the square of the threshold, where
the steps end; what is an error."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """The equations at one point; H and S in single precision."""

    H: BlockSparse
    S: BlockSparse
    point: Point
    T: Preconditioner
    cuts: Cuts

    def outside(self, B: BlockSparse, like: BlockSparse) -> BlockSparse:
        """Q B on the blocks of `like` and those of some size."""
        C, SC, cuts = self.point.images.C, self.point.images.SC, self.cuts
        inner = cuts.small(self.point.K, cuts.small(C.transpose(), B))
        out = sparse_combine(1.0, B, -1.0, cuts.multiply(SC, inner, 0.1 * cuts.images), 0.0, 0.0)
        return out.select([(out, cuts.images), (like, 0.0)])

    def times(self, M: BlockSparse, X: BlockSparse) -> BlockSparse:
        """M X for a matrix of atoms."""
        return self.cuts.multiply(M, X, 0.1 * self.cuts.images)

    def solved(self, B: BlockSparse) -> tuple[BlockSparse, float]:
        """Y of A Y = -Q B, and -Tr K B^T Y."""
        point, cuts = self.point, self.cuts
        BK = cuts.multiply(B, point.K, cuts.images)
        r = sparse_combine(-1.0, self.outside(B, point.images.C), 0.0, B, 0.0, 0.0)
        Y = sparse_combine(0.0, r, 0.0, r, 0.0, 0.0)
        energy, left, before = 0.0, np.inf, 0.0
        enough = ENOUGH * cuts.functions**2
        p: BlockSparse | None = None
        for _ in range(STEPS):
            z = point.projected(self.T(r), cuts)
            z = z.select([(z, cuts.functions), (point.images.C, 0.0)])
            rK = cuts.multiply(r, point.K, cuts.images)
            left = rK.dot(z)
            if not left > enough * energy:
                break
            p = z if p is None else sparse_combine(1.0, z, left / before, p, 0.0, 0.0)
            along = Images.of(self.H, self.S, p, cuts, point.images)
            Ap = sparse_combine(1.0, along.HC, -1.0, cuts.multiply(along.SC, point.L, cuts.images), 0.0, 0.0)
            curvature = cuts.multiply(p, point.K, cuts.images).dot(Ap)
            if not curvature > 0.0:
                raise LocalizedError(
                    "H: the response of the localized functions has no minimum; use purification"
                )
            step = left / curvature
            Y = sparse_combine(1.0, Y, step, p, 0.0, 0.0)
            r = self.outside(sparse_combine(1.0, r, -step, Ap, 0.0, 0.0), along.HC)
            before = left
            energy = -BK.dot(Y)
        if left > TOO_MUCH * energy:
            raise LocalizedError(
                f"R: {left / energy:.1e} of the second-order energy are left after {STEPS} steps of the "
                "response of the localized functions; use purification or the dense solver"
            )
        return Y, energy


@dataclass(frozen=True, slots=True, eq=False)
class FirstOrder:
    """Y along R, and what goes with it."""

    Y: BlockSparse
    Rc: BlockSparse
    energy: float
    """sum_ia |R_ia|^2/(e_a - e_i)."""

    @classmethod
    def of(cls, linear: Linear, R: BlockSparse) -> FirstOrder:
        """Along a change of the Hamiltonian, in single precision."""
        C = linear.point.images.C
        RC = linear.times(R, C)
        Y, energy = linear.solved(RC)
        return cls(Y, linear.cuts.small(C.transpose(), RC, symmetric=True), energy)


def first_order(linear: Linear, R: BlockSparse, pattern: Pattern) -> tuple[NDArray[np.float64], ...]:
    """D_1 and W_1 on the pattern, for one electron per state: (nnz,) each."""
    C, K, small = linear.point.images.C, linear.point.K, linear.cuts.small
    first = FirstOrder.of(linear, R)
    N0, N1 = small(linear.point.L, K), small(small(K, first.Rc), K)
    D = _on_pattern(linear, [(2.0, first.Y, K)], C, pattern)
    W = _on_pattern(linear, [(2.0, first.Y, N0), (1.0, C, N1)], C, pattern)
    return D, W


def second_order(linear: Linear, R: BlockSparse, pattern: Pattern) -> tuple[NDArray[np.float64], ...]:
    """D_2 and W_2 on the pattern, for one electron per state: (nnz,) each."""
    point, small = linear.point, linear.cuts.small
    C, K = point.images.C, point.K
    first = FirstOrder.of(linear, R)
    Y = first.Y
    RY, SY, HY = (linear.times(M, Y) for M in (R, linear.S, linear.H))
    inner = linear.cuts.multiply(SY, small(K, first.Rc), 0.1 * linear.cuts.images)
    Y2, _ = linear.solved(sparse_combine(1.0, RY, -1.0, inner, 0.0, 0.0))
    N0, N1 = symmetrised(small(point.L, K)), small(small(K, first.Rc), K)
    transposed = Y.transpose()
    Ks = small(K, small(transposed, SY, symmetric=True))
    CRY = small(C.transpose(), RY)
    M2 = sparse_combine(1.0, small(transposed, HY, symmetric=True), 1.0, CRY, 0.0, 0.0)
    M2 = sparse_combine(1.0, M2, 1.0, CRY.transpose(), 0.0, 0.0)
    KsN = small(Ks, N0)
    N2 = sparse_combine(1.0, small(small(K, M2), K), -2.0, symmetrised(KsN), 0.0, 0.0)
    D = _on_pattern(linear, [(2.0, Y2, K), (-1.0, C, small(Ks, K))], C, pattern)
    W = _on_pattern(linear, [(2.0, Y2, N0), (2.0, Y, N1), (1.0, C, N2)], C, pattern)
    D += _on_pattern(linear, [(1.0, Y, K)], Y, pattern)
    W += _on_pattern(linear, [(1.0, Y, N0)], Y, pattern)
    return D, W


def _on_pattern(
    linear: Linear, terms: list[tuple[float, BlockSparse, BlockSparse]], right: BlockSparse, pattern: Pattern
) -> NDArray[np.float64]:
    """Symmetric part of sum_t a_t X_t M_t right^T."""
    total: BlockSparse | None = None
    for factor, X, M in terms:
        part = linear.cuts.multiply(X, M, 0.1 * linear.cuts.images)
        if total is None:
            total = sparse_combine(factor, part, 0.0, part, 0.0, 0.0)
        else:
            total = sparse_combine(1.0, total, factor, part, 0.0, 0.0)
    assert total is not None
    out = symmetrised(sparse_product(total, right.transpose(), 0.0, 0.0, False, pattern))
    return np.asarray(out.unfold(pattern))
