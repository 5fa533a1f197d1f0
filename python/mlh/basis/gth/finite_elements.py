"""Radial finite elements of high order for functions f(r) = r^l g(r) on [0, r_c].

g is a continuous piecewise polynomial: of r^2 in the first element (g is even at the origin) and of r
in the others. Working with g itself means that no small number is ever divided by r^l. Overlap and
kinetic energy of f follow from an integration by parts of the radial Laplacian:

    <f_i|f_j> = int r^(2l+2) g_i g_j dr        <f_i|T|f_j> = 1/2 int r^(2l+2) g_i' g_j' dr
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RadialElements:
    """Elements between ``edges`` (Bohr, from 0 to r_c), with polynomials of one degree.

    Functions are numbered by element; the hat functions are shared by neighbours. The last one is the
    hat at r_c: matrices of functions that vanish there leave it out (``n_inner``).
    """

    edges: tuple[float, ...]
    degree: int

    @property
    def cutoff(self) -> float:
        """r_c in Bohr."""
        return self.edges[-1]

    @property
    def n_functions(self) -> int:
        """Number of basis functions, the hat at r_c included."""
        return self.degree * (len(self.edges) - 1) + 1

    @property
    def n_inner(self) -> int:
        """Number of basis functions that vanish at r_c: all but the last."""
        return self.n_functions - 1

    @cached_property
    def quadrature(self) -> tuple[Array, Array]:
        """Gauss-Legendre points and weights for int dr, shapes (nq,)."""
        # The first element needs twice the order: its functions are polynomials of r^2.
        nodes, weights = np.polynomial.legendre.leggauss(2 * self.degree + 6)
        left, width = np.array(self.edges[:-1]), np.diff(self.edges)
        points = left[:, None] + 0.5 * width[:, None] * (nodes + 1.0)
        return points.ravel(), (0.5 * width[:, None] * weights).ravel()

    def evaluate(self, r: Array) -> tuple[Array, Array]:
        """Values and derivatives of all functions at points r in [0, r_c], shapes (nr, n_functions)."""
        edges, p = np.array(self.edges), self.degree
        element = np.clip(np.searchsorted(edges, r, side="right") - 1, 0, len(edges) - 2)
        values, slopes = np.zeros((r.size, self.n_functions)), np.zeros((r.size, self.n_functions))
        for e in range(len(edges) - 1):
            rows = np.flatnonzero(element == e)
            a, b = edges[e], edges[e + 1]
            if e == 0:
                s, ds = 2.0 * (r[rows] / b) ** 2 - 1.0, 4.0 * r[rows] / b**2
            else:
                s, ds = 2.0 * (r[rows] - a) / (b - a) - 1.0, np.full(rows.size, 2.0 / (b - a))
            local, derivative = _shape_functions(s, p)
            columns = np.arange(e * p, (e + 1) * p + 1)
            values[np.ix_(rows, columns)] = local
            slopes[np.ix_(rows, columns)] = derivative * ds[:, None]
        return values, slopes


def _shape_functions(s: Array, degree: int) -> tuple[Array, Array]:
    """Left hat, integrated Legendre polynomials (zero at s = -1 and 1), right hat; values and derivatives.

    N_k = (P_k - P_(k-2)) / sqrt(2 (2k - 1)),  N_k' = sqrt((2k - 1) / 2) P_(k-1),  k = 2 .. degree.
    """
    legendre = np.polynomial.legendre.legvander(s, degree)
    k = np.arange(2, degree + 1)
    values, slopes = np.empty((s.size, degree + 1)), np.empty((s.size, degree + 1))
    values[:, 0], values[:, -1] = 0.5 * (1.0 - s), 0.5 * (1.0 + s)
    slopes[:, 0], slopes[:, -1] = -0.5, 0.5
    values[:, 1:-1] = (legendre[:, k] - legendre[:, k - 2]) / np.sqrt(2.0 * (2.0 * k - 1.0))
    slopes[:, 1:-1] = legendre[:, k - 1] * np.sqrt((2.0 * k - 1.0) / 2.0)
    return values, slopes


def make_elements(
    cutoff: float, wall_width: float, smallest_radius: float, degree: int = 14
) -> RadialElements:
    """Elements fine enough for a pseudo-atom with the given smallest Gaussian radius and a wall.

    Widths start at 2.2 radii, grow by 1.3 per element up to 0.8 Bohr, and the wall region
    [cutoff - wall_width, cutoff] has five elements, since its potential is steep at both ends.
    """
    inner = cutoff - wall_width
    if not inner > 1.0:
        least = wall_width + 1.0
        raise ValueError(f"cutoff: expected more than wall width + 1 = {least:g} Bohr, got {cutoff:g}")
    widths = [2.2 * smallest_radius]
    while sum(widths) < inner:
        widths.append(min(1.3 * widths[-1], 0.8))
    edges = np.concatenate(([0.0], np.cumsum(widths)))
    edges *= inner / edges[-1]
    wall = inner + wall_width * np.array([0.16, 0.34, 0.54, 0.76, 1.0])
    wall[-1] = cutoff
    return RadialElements(tuple(float(x) for x in np.concatenate((edges, wall))), degree)
