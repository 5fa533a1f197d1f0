"""Localized functions that span the occupied space of an insulator, by preconditioned conjugate gradients.

    C (orbitals x N_occ),   S_c = C^T S C,  H_c = C^T H C,  K = S_c^-1,  L = K H_c
    E = Tr K H_c,   R = dE/dC K^-1 /2 = H C - S C L,   Z = T R less its occupied part C K (S C)^T T R
    P = -Z + beta P,   C <- C + alpha P

The functions need not be orthonormal and their choice within the space is free, so that they stay as short as
the density matrix allows: blocks of Z up to a threshold are dropped where C has none. beta: Polak and
Ribiere; alpha: the minimum of the energy to second order along a P outside the occupied space,

    alpha = -Tr K R^T P / [Tr K P^T H P - Tr L K P^T S P]

What is left of the energy is about Tr K R^T Z. H C, S C and R of a function have their blocks on the same
atoms: cut apart, what is dropped of one and kept of the other would be a force, which T amplifies.

Matrices are block-sparse: rows are atoms, columns groups of at most 16 functions near each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mlh._core import BlockSparse, sparse_combine, sparse_product
from mlh.solver.inverse_factor import PurificationError
from mlh.solver.spectrum import spectral_bounds

IMAGES = 0.05
"""Thresholds of H C, S C and of matrices among the functions as a part of that of C."""

CURVATURE = 1e-3
"""Threshold of P^T H P and P^T S P as a part of |P|^2 of one function: alpha need not be exact."""

FLOOR = 0.3
"""A group of functions is done when truncation keeps less than this part of what is left of its energy."""

SINGLE_PRECISION = 1e-6
"""Smallest threshold of H C and S C for single precision."""

MAX_CONDITION = 100.0
"""Of S_c: functions that are more nearly dependent lose digits."""


class LocalizedError(PurificationError):
    """The method does not apply to this H and S, or its error control failed; says which and why."""


class Preconditioner(Protocol):
    """An approximate inverse of the second derivative of the energy with respect to C."""

    def __call__(self, R: BlockSparse) -> BlockSparse:
        """T R."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """What is left out: blocks up to these Frobenius norms are dropped."""

    functions: float
    """Of new blocks of C."""
    images: float
    """Of H C and S C, both."""
    metric: float
    """Of S_c, H_c, K and L."""

    @classmethod
    def of(cls, threshold: float) -> Cuts:
        """All from the one of C."""
        return cls(threshold, IMAGES * threshold, IMAGES * threshold)

    def kept(self, A: BlockSparse) -> BlockSparse:
        """A in single precision where thresholds are far above its rounding, else in double."""
        return A.to_single() if self.images >= SINGLE_PRECISION else A.to_double()

    def multiply(self, A: BlockSparse, B: BlockSparse, drop: float, symmetric: bool = False) -> BlockSparse:
        """A B; products of two blocks are skipped at a tenth of the size of blocks that are dropped."""
        return sparse_product(A, B, 0.1 * drop, drop, symmetric)

    def small(self, A: BlockSparse, B: BlockSparse, symmetric: bool = False) -> BlockSparse:
        """A product among the functions."""
        return self.multiply(A, B, self.metric, symmetric)


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """C with H C and S C on common blocks."""

    C: BlockSparse
    HC: BlockSparse
    SC: BlockSparse

    @classmethod
    def of(
        cls, H: BlockSparse, S: BlockSparse, C: BlockSparse, cuts: Cuts, like: Images | None = None
    ) -> Images:
        """Products with H and S, cut together; where `like` has blocks they stay."""
        wide = 0.1 * cuts.images
        return cls(C, cuts.multiply(H, C, wide), cuts.multiply(S, C, wide)).cut(cuts, like)

    def cut(self, cuts: Cuts, like: Images | None = None) -> Images:
        """Blocks of H C and S C where neither is above the limit, and C has none, are dropped."""
        marks = [(self.HC, cuts.images), (self.SC, cuts.images), (self.C, 0.0)]
        if like is not None:
            marks.append((like.HC, 0.0))
        return Images(self.C, self.HC.select(marks), self.SC.select(marks))

    def moved(self, step: float, along: Images, cuts: Cuts) -> Images:
        """C + step P and what goes with it."""
        parts = (
            sparse_combine(1.0, mine, step, other, 0.0, 0.0)
            for mine, other in zip((self.C, self.HC, self.SC), (along.C, along.HC, along.SC), strict=True)
        )
        return Images(*parts).cut(cuts)


def symmetrised(A: BlockSparse) -> BlockSparse:
    """(A + A^T)/2."""
    return sparse_combine(0.5, A, 0.5, A.transpose(), 0.0, 0.0)


def inverse(S: BlockSparse, start: BlockSparse | None, cuts: Cuts) -> BlockSparse:
    """S^-1 of a well-conditioned S by Newton and Schulz, K <- 2 K - K S K; start: near the inverse."""
    K = start
    if K is None:
        low, high = spectral_bounds(S.apply, S.n_orbitals)
        if not low > 0.0 or high > MAX_CONDITION * low:
            raise LocalizedError(
                f"H: the localized functions are too nearly dependent (eigenvalues of their overlap from "
                f"{low:.1e} to {high:.1e}, expected a ratio below {MAX_CONDITION:g}); use purification or "
                "the dense solver"
            )
        K = sparse_combine(0.0, S, 0.0, S, 2.0 / (low + high), 0.0)
    before = np.inf
    for _ in range(40):
        KS = cuts.small(K, S)
        off = sparse_combine(1.0, KS, 0.0, KS, -1.0, 0.0)
        error = float(np.sqrt(off.dot(off) / off.n_orbitals))
        K = symmetrised(sparse_combine(2.0, K, -1.0, cuts.small(KS, K), 0.0, cuts.metric))
        if error < 0.03 * cuts.metric**0.5 or not error < 0.999 * before:
            break
        before = error
    if not error < 0.1:
        raise LocalizedError(
            f"H: the inverse overlap of the localized functions stays at an error of {error:.1e}; use "
            "purification or the dense solver"
        )
    return K


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """The functions with their metric, energy and residual."""

    images: Images
    Hc: BlockSparse
    Sc: BlockSparse
    K: BlockSparse
    L: BlockSparse
    R: BlockSparse
    energy: float
    """Tr K H_c: the sum of the occupied levels, Hartree."""

    @classmethod
    def of(cls, images: Images, K: BlockSparse | None, cuts: Cuts) -> Point:
        """From C, H C, S C and a K near the inverse."""
        transposed = images.C.transpose()
        Hc = cuts.small(transposed, images.HC, symmetric=True)
        Sc = cuts.small(transposed, images.SC, symmetric=True)
        K = inverse(Sc, K, cuts)
        L = cuts.small(K, Hc)
        inner = sparse_product(images.SC, L, 0.01 * cuts.images, 0.0, False, wanted=images.HC)
        R = sparse_combine(1.0, images.HC, -1.0, inner, 0.0, 0.0)
        return cls(images, Hc, Sc, K, L, R, K.dot(Hc))

    def projected(self, Z: BlockSparse, cuts: Cuts) -> BlockSparse:
        """Z - C K (S C)^T Z."""
        inner = cuts.small(self.K, cuts.small(self.images.SC.transpose(), Z))
        part = cuts.multiply(self.images.C, inner, 0.1 * cuts.functions)
        return sparse_combine(1.0, Z, -1.0, part, 0.0, 0.1 * cuts.functions)

    def curvature(self, along: Images, cuts: Cuts) -> float:
        """The denominator of alpha."""
        transposed = along.C.transpose()
        drop = CURVATURE * along.C.dot(along.C) / along.C.n_columns
        PHP = cuts.multiply(transposed, along.HC, drop, symmetric=True)
        PSP = cuts.multiply(transposed, along.SC, drop, symmetric=True)
        KHK = sparse_product(self.L, self.K, 0.01 * cuts.metric, 0.0, False, wanted=PSP)
        return self.K.dot(PHP) - KHK.dot(PSP)


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """Where to go."""

    Z: BlockSparse
    """Blocks that are kept."""
    left: float
    """Tr K R^T Z of all blocks: about what is left of the sum of the occupied levels, Hartree."""
    kept: float
    """The same of the blocks that are kept."""
    worst: float
    """The same of the group of functions where it is largest, of those where truncation takes less of it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a minimisation."""

    estimate: float
    """What was left before it, Hartree."""
    kept: float
    """The same of the blocks of Z that were kept."""
    alpha: float
    residual: float
    """|R|, Hartree."""


class Minimisation:
    """Conjugate gradients from C; keeps the direction from step to step.

    What a step no longer needs is let go of before the next large product is made: half of the memory.
    """

    def __init__(self, H: BlockSparse, S: BlockSparse, C: BlockSparse, cuts: Cuts) -> None:
        self.H, self.S, self.cuts = H, S, cuts
        self.point = Point.of(Images.of(H, S, C, cuts), None, cuts)
        self.steps: list[Step] = []
        self._direction: BlockSparse | None = None
        self._Z: BlockSparse | None = None
        self._RK: BlockSparse | None = None

    def restart(self, cuts: Cuts) -> None:
        """Other thresholds or another preconditioner from now on: the direction is forgotten."""
        self.cuts, self._direction, self._Z, self._RK = cuts, None, None, None

    def descent(self, T: Preconditioner) -> Descent:
        """What a step would take off."""
        point = self.point
        RK = self.cuts.multiply(point.R, point.K, self.cuts.images)
        Z = point.projected(T(point.R), self.cuts)
        left = RK.column_dots(Z)
        Z = Z.select([(Z, self.cuts.functions), (point.images.C, 0.0)])
        kept = RK.column_dots(Z)
        worst = float(kept[kept > FLOOR * left].max(initial=0.0))
        self._RK = RK
        return Descent(Z, float(left.sum()), float(kept.sum()), worst)

    def step(self, descent: Descent) -> bool:
        """One step, of the last `descent`; False, and nothing done, when truncation leaves no way down."""
        cuts, kept = self.cuts, descent.kept
        if not kept > 0.0:
            return False
        P, slope = self._next_direction(descent)
        self._direction, self._Z, self._RK = P, descent.Z, None
        residual = float(np.sqrt(self.point.R.dot(self.point.R)))
        along = Images.of(self.H, self.S, P, cuts, self.point.images)
        curvature = self.point.curvature(along, cuts)
        if not curvature > 0.0:
            raise LocalizedError(
                f"H: no way down from the localized functions (slope {slope:.1e}, curvature {curvature:.1e} "
                "Ha); use purification or the dense solver"
            )
        alpha = -slope / curvature
        self.steps.append(Step(descent.left, kept, alpha, residual))
        images, K = self.point.images.moved(alpha, along, cuts), self.point.K
        del along, self.point
        self.point = Point.of(images, K, cuts)
        return True

    def _next_direction(self, descent: Descent) -> tuple[BlockSparse, float]:
        """P, by Polak and Ribiere where there was a step before, and the slope along it."""
        Z, kept, RK = descent.Z, descent.kept, self._RK
        if self._Z is not None and self._direction is not None and RK is not None:
            beta = max(0.0, (kept - RK.dot(self._Z)) / self.steps[-1].kept)
            further = -kept + beta * RK.dot(self._direction)
            if further < 0.0:
                return sparse_combine(-1.0, Z, beta, self._direction, 0.0, 0.0), further
        return sparse_combine(-1.0, Z, 0.0, Z, 0.0, 0.0), -kept
