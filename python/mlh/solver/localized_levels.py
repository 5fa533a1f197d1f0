"""Preconditioners of localized functions, and the levels at the gap that belong to them.

    A1 = H - (e_0 - m) S,                  positive for every state; e_0: lowest level
    A2 = H - e_m S + s [S C K C^T S],      empty states at their distance from e_m, which is below the gap
    T_i = G_i^T G_i,  G_i A_i G_i^T ~ 1    factorised sparse approximate inverse by tiles of atoms

T1 is right for the deepest functions, T2 for those near the gap. The brackets: on the pattern of H only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from mlh._core import BlockSparse, sparse_combine, sparse_inverse_factor, sparse_product
from mlh.matrix.block_matrix import Pattern
from mlh.solver.localized_functions import Cuts, LocalizedError, Point, Preconditioner
from mlh.solver.localized_start import diagonal_blocks

FloatArray = NDArray[np.float64]

REACH = 0.1
"""Atoms whose overlap block has a norm above this are in the neighbourhood of a tile."""

MARGIN = 0.4
"""m, Hartree: what A1 has at the lowest level."""

BELOW_GAP = 0.13
"""Hartree from the highest occupied level down to e_m."""

DEEP = 0.3
"""Hartree below e_m from which functions have T1."""

LANCZOS = 60
LUMO_VECTORS, LUMO_STEPS, LUMO_TOLERANCE = 3, 40, 2e-4


@dataclass(frozen=True, slots=True, eq=False)
class TileInverse:
    """T = G^T G with G A G^T ~ 1 for a positive A; blocks of T R up to a tenth of `drop` are dropped."""

    G: BlockSparse
    G_transposed: BlockSparse
    drop: float

    @classmethod
    def of(cls, A: BlockSparse, reach: BlockSparse, cuts: Cuts) -> TileInverse:
        """Factorise; ValueError when A is not positive."""
        G = cuts.kept(sparse_inverse_factor(A, reach))
        return cls(G, G.transpose(), cuts.functions)

    def __call__(self, R: BlockSparse) -> BlockSparse:
        """T R."""
        GR = sparse_product(self.G, R, 0.01 * self.drop, 0.1 * self.drop, False)
        return sparse_product(self.G_transposed, GR, 0.01 * self.drop, 0.1 * self.drop, False)

    def apply(self, x: FloatArray) -> FloatArray:
        """T x of a vector."""
        return self.G_transposed.apply(self.G.apply(x))


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """T1 for some functions, T2 for the others."""

    deep: TileInverse
    other: TileInverse
    is_deep: BlockSparse
    is_other: BlockSparse

    def __call__(self, R: BlockSparse) -> BlockSparse:
        """T R."""
        parts = [
            T(sparse_product(R, columns, 0.0, 1e-12, False))
            for T, columns in ((self.deep, self.is_deep), (self.other, self.is_other))
        ]
        return sparse_combine(1.0, parts[0], 1.0, parts[1], 0.0, 0.0)


def first_preconditioner(
    H: BlockSparse, S: BlockSparse, reach: BlockSparse, lowest: float, cuts: Cuts
) -> TileInverse:
    """T1, from the lowest level."""
    for margin in (MARGIN, 2.0 * MARGIN):
        try:
            return TileInverse.of(sparse_combine(1.0, H, margin - lowest, S, 0.0, 0.0), reach, cuts)
        except ValueError:
            continue
    raise LocalizedError(
        "H, S: H - e S is not positive for e far below the lowest level: the overlap matrix is singular, or "
        "H is no Hamiltonian of its orbitals"
    )


def second_preconditioner(
    H: BlockSparse,
    S: BlockSparse,
    pattern: Pattern,
    reach: BlockSparse,
    point: Point,
    deep: TileInverse,
    cuts: Cuts,
) -> tuple[Preconditioner, TileInverse]:
    """T1 and T2 on the functions where they are right, and T2; H and S in double precision."""
    lowest, homo = occupied_levels(point)
    SCK = sparse_product(point.images.SC, point.K, 1e-6, 1e-4, False)
    occupied = sparse_product(SCK, point.images.SC.transpose(), 1e-7, 0.0, True, pattern)
    occupied = occupied.to_double()
    for below in (BELOW_GAP, 2.0 * BELOW_GAP, 4.0 * BELOW_GAP):
        middle = homo - below
        weight = max(1.5, middle - lowest + MARGIN)
        A = sparse_combine(1.0, H, -middle, S, 0.0, 0.0)
        try:
            T2 = TileInverse.of(sparse_combine(1.0, A, weight, occupied, 0.0, 0.0), reach, cuts)
        except ValueError:
            continue
        is_deep = [
            np.diag(h) < (middle - DEEP) * np.diag(s)
            for h, s in zip(diagonal_blocks(point.Hc), diagonal_blocks(point.Sc), strict=True)
        ]
        if not any(mask.any() for mask in is_deep):
            return T2, T2
        T1 = TileInverse(deep.G, deep.G_transposed, cuts.functions)
        return Split(T1, T2, *(cuts.kept(_columns(m)) for m in (is_deep, [~m for m in is_deep]))), T2
    raise LocalizedError(
        "H: there are empty levels below the occupied ones after the first steps of the localized functions; "
        "use purification or the dense solver"
    )


def _columns(masks: list[NDArray[np.bool_]]) -> BlockSparse:
    """The diagonal matrix that keeps some of the columns."""
    sizes = [mask.size for mask in masks]
    place = np.arange(len(masks), dtype=np.int32)
    values = np.concatenate([np.diag(mask.astype(np.float64)).ravel() for mask in masks])
    return BlockSparse.assemble(sizes, sizes, place, place, values)


def occupied_levels(point: Point, steps: int = LANCZOS) -> tuple[float, float]:
    """Lowest and highest eigenvalue of H_c x = e S_c x: Lanczos with K H_c in the metric of S_c."""
    n = point.Sc.n_orbitals
    steps = min(steps, n)
    basis, images = np.zeros((steps, n)), np.zeros((steps, n))
    T = np.zeros((steps, steps))
    v = np.random.default_rng(1).standard_normal(n)
    for k in range(steps):
        Sv = point.Sc.apply(v)
        norm = float(np.sqrt(v @ Sv))
        if norm < 1e-10:
            basis, T = basis[:k], T[:k, :k]
            break
        basis[k], images[k] = v / norm, Sv / norm
        Hv = point.Hc.apply(basis[k])
        T[k, : k + 1] = T[: k + 1, k] = basis[: k + 1] @ Hv
        v = point.K.apply(Hv)
        for _ in range(2):
            v = v - basis[: k + 1].T @ (images[: k + 1] @ v)
    levels = np.linalg.eigvalsh(T)
    return float(levels[0]), float(levels[-1])


def lowest_empty(H: BlockSparse, S: BlockSparse, point: Point, T: TileInverse) -> float:
    """Lowest level of H among the states outside C, from above: conjugate gradients on a block of vectors.

    Where C is not the lowest space this is below the highest occupied level.
    """
    C, SC_transposed = point.images.C, point.images.SC.transpose()
    n = H.n_orbitals

    def outside(x: FloatArray) -> FloatArray:
        return x - C.apply(point.K.apply(SC_transposed.apply(x)))

    def each(apply: Callable[[FloatArray], FloatArray], X: FloatArray) -> FloatArray:
        return np.stack([apply(x) for x in np.ascontiguousarray(X.T)], axis=1)

    m = min(LUMO_VECTORS, n - C.n_columns)
    X = each(lambda x: outside(T.apply(x)), np.random.default_rng(2).standard_normal((n, m)))
    P = np.zeros((n, 0))
    before, level = np.inf, np.inf
    HX, SX = each(H.apply, X), each(S.apply, X)
    levels, a = _ritz(X, HX, SX)
    X, HX, SX = X @ a[:, :m], HX @ a[:, :m], SX @ a[:, :m]
    HP, SP = P, P
    for _ in range(LUMO_STEPS):
        R = HX - SX * levels[None, :m]
        W = each(lambda r: outside(T.apply(r)), R)
        W /= np.maximum(np.linalg.norm(W, axis=0), 1e-30)
        HW, SW = each(H.apply, W), each(S.apply, W)
        V, HV, SV = (np.hstack(parts) for parts in ((X, W, P), (HX, HW, HP), (SX, SW, SP)))
        levels, a = _ritz(V, HV, SV)
        a = a[:, :m]
        b = a.copy()
        b[:m] = 0.0
        X, HX, SX, P, HP, SP = V @ a, HV @ a, SV @ a, V @ b, HV @ b, SV @ b
        size = np.maximum(np.linalg.norm(P, axis=0), 1e-30)
        P, HP, SP = P / size, HP / size, SP / size
        level = float(levels[0])
        if before - level < LUMO_TOLERANCE:
            break
        before = level
    return level


def _ritz(V: FloatArray, HV: FloatArray, SV: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Levels and coefficients in the span of V, without its dependent directions."""
    s, u = scipy.linalg.eigh(V.T @ SV)
    keep = s > 1e-10 * s[-1]
    u = u[:, keep] / np.sqrt(s[keep])
    h = u.T @ (V.T @ HV) @ u
    e, a = scipy.linalg.eigh(0.5 * (h + h.T))
    return e, u @ a
