"""Preconditioners of localized functions, and the levels at the gap that belong to them.

    A1 = H - (e_0 - m) S,                  positive for every state; e_0: lowest level
    A2 = H - e_m S + s [S C K C^T S],      empty states at their distance from e_m, which is below the gap
    T_i = G_i^T G_i,  G_i A_i G_i^T ~ 1    factorised sparse approximate inverse by tiles of atoms

T1 is right for the deepest functions, T2 for those near the gap. The brackets: on the pattern of H only.
"""

from __future__ import annotations

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

VECTORS = 8
"""At a time, in searches for levels."""

DEPENDENT = 1e-4
"""Part of a vector outside those before, below which it is rounding."""

LANCZOS = 8
LUMO_STEPS, LUMO_TOLERANCE = 40, 2e-4


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

    def apply(self, X: FloatArray) -> FloatArray:
        """T X of 8 vectors, (n, 8)."""
        return self.G_transposed.apply_vectors(self.G.apply_vectors(X))


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
    """Lowest and highest eigenvalue of H_c x = e S_c x."""
    levels, _, _ = lanczos(point, steps)
    return float(levels[0]), float(levels[-1])


def lanczos(point: Point, steps: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Ritz values of H_c x = e S_c x, ascending, a basis and the coefficients of the Ritz vectors in it:
    Lanczos with K H_c on blocks of vectors, in the metric of S_c."""
    n = point.Sc.n_orbitals
    basis, images = np.zeros((n, 0)), np.zeros((n, 0))
    T = np.zeros((0, 0))
    V = np.random.default_rng(1).standard_normal((n, VECTORS))
    for _ in range(steps):
        scale = float(np.linalg.norm(V, axis=0).max())
        for _ in range(2):
            V = V - basis @ (images.T @ V)
            V, count = _orthonormal(V, point.Sc, scale)
            scale = 1.0
        if count == 0:
            break
        HV, SV = point.Hc.apply_vectors(V), point.Sc.apply_vectors(V)
        basis, images = np.hstack([basis, V[:, :count]]), np.hstack([images, SV[:, :count]])
        new = basis.T @ HV[:, :count]
        old = new[: T.shape[0]]
        T = np.block([[T, old], [old.T, new[T.shape[0] :]]])
        V = point.K.apply_vectors(HV)
    levels, a = np.linalg.eigh(0.5 * (T + T.T))
    return levels, basis, a


def _orthonormal(V: FloatArray, S: BlockSparse, scale: float) -> tuple[FloatArray, int]:
    """The span of V, but for what is far smaller than `scale`, orthonormal in the metric S; how many columns
    that takes, the others are zero."""
    s, u = scipy.linalg.eigh(V.T @ S.apply_vectors(np.ascontiguousarray(V)))
    found = s > (DEPENDENT * scale) ** 2
    out = np.zeros_like(V)
    count = int(found.sum())
    out[:, :count] = V @ (u[:, found] / np.sqrt(s[found]))
    return out, count


def lowest_empty(H: BlockSparse, S: BlockSparse, point: Point, T: TileInverse) -> float:
    """Lowest level of H among the states outside C, from above: conjugate gradients on a block of vectors.

    Where C is not the lowest space this is below the highest occupied level.
    """
    C, SC_transposed = point.images.C, point.images.SC.transpose()
    n = H.n_orbitals

    def outside(X: FloatArray) -> FloatArray:
        return X - C.apply_vectors(point.K.apply_vectors(SC_transposed.apply_vectors(X)))

    def improved(R: FloatArray) -> FloatArray:
        X = T.apply(np.ascontiguousarray(R))
        for _ in range(2):  # where R is small, what is left of the first is rounding
            X = outside(X)
            X = np.ascontiguousarray(X / np.maximum(np.linalg.norm(X, axis=0), 1e-30))
        return X

    X = improved(np.random.default_rng(2).standard_normal((n, VECTORS)))
    P = np.zeros((n, 0))
    HX, SX, HP, SP = H.apply_vectors(X), S.apply_vectors(X), P, P
    levels, a = ritz(X, HX, SX)
    X, HX, SX, m = X @ a, HX @ a, SX @ a, a.shape[1]
    before = np.inf
    for _ in range(LUMO_STEPS):
        R = np.zeros((n, VECTORS))
        R[:, :m] = HX - SX * levels[None, :m]
        W = improved(R)
        HW, SW = H.apply_vectors(W), S.apply_vectors(W)
        V, HV, SV = (np.hstack(parts) for parts in ((X, W, P), (HX, HW, HP), (SX, SW, SP)))
        levels, a = ritz(V, HV, SV)
        a = a[:, :VECTORS]
        b = a.copy()
        b[:m] = 0.0
        m = a.shape[1]
        X, HX, SX, P, HP, SP = V @ a, HV @ a, SV @ a, V @ b, HV @ b, SV @ b
        size = np.maximum(np.linalg.norm(P, axis=0), 1e-30)
        P, HP, SP = P / size, HP / size, SP / size
        if before - levels[0] < LUMO_TOLERANCE:
            break
        before = float(levels[0])
    return float(levels[0])


def ritz(V: FloatArray, HV: FloatArray, SV: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Levels and coefficients in the span of V, without its dependent directions."""
    s, u = scipy.linalg.eigh(V.T @ SV)
    keep = s > 1e-10 * s[-1]
    u = u[:, keep] / np.sqrt(s[keep])
    h = u.T @ (V.T @ HV) @ u
    e, a = scipy.linalg.eigh(0.5 * (h + h.T))
    return e, u @ a
