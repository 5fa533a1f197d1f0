"""Which points the uniform grid of a cell has: the waves of a cutoff must be told apart in every cell.

A mesh of N_d points along vectors c_d cannot tell G from G + K, K = sum_d m_d N_d b_d. It carries the waves
of |G| < sqrt(E) when the shortest K is 2 sqrt(E) long: E = min |K|^2 / 4 is the effective cutoff. With N_d
from the distance of the lattice planes, N_d |b_d| = 2 sqrt(E), that holds along the vectors b_d; between them
K may be far shorter when they are skewed. The vectors of a reduced cell of the same lattice are not: the grid
runs along those (`GridMesh.axes`), while atoms, k points and results stay in the cell that was given.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import mlh._core as _core

_log = logging.getLogger("mlh.dft")

FloatArray = NDArray[np.float64]
Triple = tuple[int, int, int]
Axes = tuple[Triple, Triple, Triple]

CELL_AXES: Axes = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
"""The grid runs along the vectors of the cell itself."""

REDUCED = 0.02
"""Cells whose vectors cannot be shortened by more than this part of their squared length stay as they are, so
that small strains of a cell keep its grid."""

FAR_BELOW = 0.75
"""Part of the cutoff asked for below which an effective cutoff deserves a warning; rounding leaves 0.8."""

_NEIGHBOURS = np.array([m for m in product((-1, 0, 1), repeat=3) if any(m)])


class GridMesh(NamedTuple):
    """`shape` points along the combinations `axes` (rows, integer, determinant 1) of the cell vectors."""

    shape: Triple
    axes: Axes = CELL_AXES

    @property
    def along_cell(self) -> bool:
        """Whether the grid runs along the vectors of the cell."""
        return self.axes == CELL_AXES

    def describe(self) -> list[int] | dict[str, Any]:
        """For JSON."""
        points = list(self.shape)
        return points if self.along_cell else {"points": points, "axes": [list(row) for row in self.axes]}

    def cell(self, cell: FloatArray) -> FloatArray:
        """The vectors (rows, Bohr) along which the grid runs."""
        return cell if self.along_cell else np.asarray(np.array(self.axes, dtype=np.float64) @ cell)

    def effective_cutoff(self, cell: FloatArray) -> float:
        """Largest cutoff (Ry) whose sphere of waves the mesh tells apart: twice its radius is min |K|."""
        reciprocal = 2.0 * np.pi * np.linalg.inv(self.cell(cell)).T
        K = np.array(self.shape)[:, None] * reciprocal
        shortest = np.array(reduced_axes(K, 1e-9)) @ K
        return float(0.25 * (shortest**2).sum(axis=1).min())


def as_mesh(spec: Sequence[int] | GridMesh) -> GridMesh:
    """Three numbers of points along the cell vectors, or a mesh with its own axes."""
    shape, axes = (spec.shape, spec.axes) if isinstance(spec, GridMesh) else (tuple(spec), CELL_AXES)
    if len(shape) != 3 or any(n < 1 for n in shape):
        raise ValueError(f"grid_shape: expected three positive numbers of points, got {spec}")
    return GridMesh((int(shape[0]), int(shape[1]), int(shape[2])), axes)


def check_mesh(mesh: GridMesh, effective_ry: float, cutoff_ry: float) -> None:
    """Warns once where a mesh of another's choice carries far less than the cutoff."""
    if effective_ry < FAR_BELOW * cutoff_ry:
        _warn_of_mesh(mesh, round(effective_ry), cutoff_ry)


@lru_cache(maxsize=256)
def _warn_of_mesh(mesh: GridMesh, effective_ry: int, cutoff_ry: float) -> None:
    """Once for every case."""
    _log.warning(
        "grid of %s points: its effective cutoff in this cell is %d Ry where cutoff_ry is %g; energies and "
        "forces are those of the lower cutoff. A cell with less skewed vectors or more points mends it",
        " x ".join(map(str, mesh.shape)),
        effective_ry,
        cutoff_ry,
    )


def reduced_axes(cell: FloatArray, tolerance: float = REDUCED) -> Axes:
    """Minkowski reduction: combinations of the rows of `cell` that cannot be shortened by one another.

    tolerance: part of a squared length that a step must gain. Order and handedness of the vectors are kept.
    """
    axes = np.eye(3, dtype=np.int64)
    vectors = np.array(cell, dtype=np.float64)
    while True:
        step = _shortening(vectors, tolerance)
        if step is None:
            rows = [(int(a), int(b), int(c)) for a, b, c in axes]
            return rows[0], rows[1], rows[2]
        axes = step @ axes
        vectors = axes @ cell


def _shortening(vectors: FloatArray, tolerance: float) -> NDArray[np.int64] | None:
    """Add multiples of two vectors to the third where that makes it shorter; None: there is no such step."""
    square = (vectors**2).sum(axis=1)
    for d in range(3):
        e, f = (d + 1) % 3, (d + 2) % 3
        steps = [(i, j) for i, j in product((-1, 0, 1), repeat=2) if (i, j) != (0, 0)]
        steps += [(-round(float(vectors[d] @ vectors[e] / square[e])), 0)]
        steps += [(0, -round(float(vectors[d] @ vectors[f] / square[f])))]
        lengths = [((vectors[d] + i * vectors[e] + j * vectors[f]) ** 2).sum() for i, j in steps]
        best = int(np.argmin(lengths))
        if lengths[best] < (1.0 - tolerance) * square[d]:
            step = np.eye(3, dtype=np.int64)
            step[d, e], step[d, f] = steps[best]
            return step
    return None


def plane_mesh(cell: FloatArray, cutoff_ry: float) -> GridMesh:
    """Points along the vectors of the cell by the distance of its lattice planes: the rule of OpenMX."""
    n1, n2, n3 = _core.grid_size(np.ascontiguousarray(cell), cutoff_ry)
    return GridMesh((n1, n2, n3))


def reduced_mesh(cell: FloatArray, cutoff_ry: float) -> GridMesh:
    """Points along the vectors of a reduced cell that carry all waves of the cutoff.

    By the distance of the lattice planes; where K between the axes is shorter still (by 10 % of the cutoff at
    most in a reduced cell), by so much finer.
    """
    axes = reduced_axes(cell)
    along = GridMesh((1, 1, 1), axes).cell(cell)
    reciprocal = np.linalg.inv(along).T
    directions = reciprocal / np.linalg.norm(reciprocal, axis=1)[:, None]
    share = min(1.0, float(((_NEIGHBOURS @ directions) ** 2).sum(axis=1).min()) * (1.0 + 1e-9))
    return GridMesh(plane_mesh(along, cutoff_ry / share).shape, axes)


def field_mesh(cell: FloatArray, cutoff_ry: float) -> GridMesh:
    """Points along the vectors of any cell that carry all waves of the cutoff, for functions to look at.

    By the length of the vectors: |K| >= 2 pi / |a_d / N_d| for some d. In a skewed cell these are many.
    """
    return plane_mesh(np.diag(np.linalg.norm(cell, axis=1)), cutoff_ry)
