"""The states next to the gap of a large cell, from localized occupied functions: no dense eigensolver.

    filled:  H_c x = e S_c x, c = C x     block Lanczos with K H_c from the highest level downwards
    empty:   H c = e S c,  C^T S c = 0    conjugate gradients on a block of vectors (LOBPCG) outside C

with the preconditioner T of the functions. What is left of the energy of an empty state is about r^T T r, of
its residual r = (H - e S) c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlh._core import BlockSparse
from mlh.solver.localized_functions import LocalizedError, Point
from mlh.solver.localized_levels import VECTORS, Split, TileInverse, lanczos, ritz
from mlh.solver.localized_response import Linear

FloatArray = NDArray[np.float64]

FILLED, EMPTY = 24, 16
"""States of each side that are looked for."""

FILLED_LEFT = 2e-4
"""Largest residual of a filled state, Hartree: the error of its level is of second order in it."""

EMPTY_LEFT = 1e-5
"""What may be left of the level of an empty state, Hartree."""

EMPTY_STEPS = 150


@dataclass(frozen=True, slots=True, eq=False)
class GapStates:
    """Levels (m,), Hartree, ascending, and coefficients (n, m) in the order of the orbitals of the cell; the
    first `filled` are filled."""

    levels: FloatArray
    coefficients: FloatArray
    filled: int


def gap_states(linear: Linear, filled: int = FILLED, empty: int = EMPTY) -> GapStates:
    """The highest filled and the lowest empty states; as many of them as there are."""
    point, n = linear.point, linear.H.n_orbitals
    empty = min(empty, n - point.Sc.n_orbitals)
    below, x = _highest_filled(point, min(filled, point.Sc.n_orbitals))
    above, c = _lowest_empty(linear, empty)
    found = np.hstack([_times(point.images.C, x), c])
    norm = np.sqrt(np.einsum("ai,ai->i", found, _times(linear.S, found)))
    out = np.empty_like(found)
    out[_places(linear.S)] = found / norm
    return GapStates(np.concatenate([below, above]), out, len(below))


def _highest_filled(point: Point, count: int) -> tuple[FloatArray, FloatArray]:
    """Levels and their vectors among the functions."""
    for steps in (30, 60, 120):
        levels, basis, a = lanczos(point, steps)
        e, x = levels[-count:], basis @ a[:, -count:]
        r = _times(point.Hc, x) - _times(point.Sc, x) * e
        left = np.sqrt(np.maximum(np.einsum("fi,fi->i", r, _times(point.K, r)), 0.0))
        if len(e) == count and left.max() < FILLED_LEFT:
            return e, x
    raise LocalizedError(
        f"H: the filled states next to the gap are not found to better than {left.max():.1e} Ha; take the "
        "dense solver for levels"
    )


def _lowest_empty(linear: Linear, count: int) -> tuple[FloatArray, FloatArray]:
    """Levels and coefficients on the rows of the matrices."""
    point, H, S = linear.point, linear.H, linear.S
    T = linear.T.other if isinstance(linear.T, Split) else linear.T
    if not isinstance(T, TileInverse):
        raise TypeError(f"T: expected a preconditioner of the localized solver, got {type(T).__name__}")
    outside = _projection(point)
    n = H.n_orbitals
    block = min(count + VECTORS, n - point.Sc.n_orbitals)
    X = outside(_chunked(T.apply, np.random.default_rng(3).standard_normal((n, block))))
    P = np.zeros((n, 0))
    HX, SX, HP, SP = _times(H, X), _times(S, X), P, P
    e, a = ritz(X, HX, SX)
    X, HX, SX = X @ a, HX @ a, SX @ a
    for _ in range(EMPTY_STEPS):
        R = HX - SX * e[None, : X.shape[1]]
        W = _chunked(T.apply, R)
        left = np.einsum("ai,ai->i", R, W)[:count]
        if X.shape[1] >= count and left.max() < EMPTY_LEFT:
            return e[:count], X[:, :count]
        W = _normalised(outside(_normalised(outside(W))))
        HW, SW = _times(H, W), _times(S, W)
        V, HV, SV = (np.hstack(parts) for parts in ((X, W, P), (HX, HW, HP), (SX, SW, SP)))
        e, a = ritz(V, HV, SV)
        a = a[:, :block]
        b = a.copy()
        b[: X.shape[1]] = 0.0
        X, HX, SX, P, HP, SP = V @ a, HV @ a, SV @ a, V @ b, HV @ b, SV @ b
        size = np.maximum(np.linalg.norm(P, axis=0), 1e-30)
        P, HP, SP = P / size, HP / size, SP / size
    raise LocalizedError(
        f"H: the empty states next to the gap are not found to better than {left.max():.1e} Ha in "
        f"{EMPTY_STEPS} steps; take the dense solver for levels"
    )


def _projection(point: Point) -> Callable[[FloatArray], FloatArray]:
    C, SC_transposed = point.images.C, point.images.SC.transpose()

    def outside(X: FloatArray) -> FloatArray:
        return X - _times(C, _times(point.K, _times(SC_transposed, X)))

    return outside


def _normalised(X: FloatArray) -> FloatArray:
    return np.asarray(X / np.maximum(np.linalg.norm(X, axis=0), 1e-30))


def _times(M: BlockSparse, X: FloatArray) -> FloatArray:
    """M X of any number of vectors."""
    return _chunked(M.apply_vectors, X)


def _chunked(apply: Callable[[FloatArray], FloatArray], X: FloatArray) -> FloatArray:
    """Of 8 vectors at a time, the last of them filled up with zeros."""
    parts = []
    for first in range(0, X.shape[1], VECTORS):
        part = X[:, first : first + VECTORS]
        whole = np.zeros((len(X), VECTORS))
        whole[:, : part.shape[1]] = part
        parts.append(apply(whole)[:, : part.shape[1]])
    return np.hstack(parts)


def _places(M: BlockSparse) -> NDArray[np.int64]:
    """Orbital of the cell of every row of M."""
    atoms, sizes = np.asarray(M.atoms), np.asarray(M.row_sizes)
    of_atom = np.empty(len(atoms), dtype=np.int64)
    of_atom[atoms] = sizes
    start = np.concatenate([[0], np.cumsum(of_atom)])
    return np.concatenate([start[a] + np.arange(s) for a, s in zip(atoms, sizes, strict=True)])
