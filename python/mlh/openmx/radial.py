"""The two interpolations of OpenMX on a logarithmic mesh (specification: /docs/openmx.md).

Both are differentiable once; their second derivatives jump at the nodes of the file's mesh.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicHermiteSpline

from mlh.openmx.text import Array


def parabola_slopes(r: Array, f: Array) -> Array:
    """Slope at each inner node of the parabola through it and its two neighbours; f (..., n) -> (..., n).

    s_m = [(f_{m+1} - f_m) h_m/h_{m+1} + (f_m - f_{m-1}) h_{m+1}/h_m] / (h_m + h_{m+1}), h_m = r_m - r_{m-1};
    the two end nodes are set to zero and are not used.
    """
    h, df = np.diff(r), np.diff(f, axis=-1)
    left, right = h[:-1], h[1:]
    slopes = np.zeros_like(f)
    slopes[..., 1:-1] = (df[..., 1:] * left / right + df[..., :-1] * right / left) / (left + right)
    return slopes


def hermite(r: Array, f: Array) -> Callable[[ArrayLike], Array]:
    """Orbitals, projectors, potentials: cubic Hermite pieces with `parabola_slopes` at the nodes.

    The first and last pieces have no slopes of their own: their neighbours' cubics are continued.
    """
    inner = slice(1, -1)
    spline = CubicHermiteSpline(r[inner], f[inner], parabola_slopes(r, f)[inner], extrapolate=True)

    def evaluate(radii: ArrayLike) -> Array:
        return np.asarray(spline(np.asarray(radii, dtype=np.float64)), dtype=np.float64)

    return evaluate


def catmull_rom_log(r: Array, f: Array) -> Callable[[ArrayLike], Array]:
    """`catmull_rom` as a function of ln r, inside the mesh only."""
    x = np.log(r)
    step = (x[-1] - x[0]) / (len(x) - 1)
    padded = np.concatenate(([2.0 * f[0] - f[1]], f, [2.0 * f[-1] - f[-2]]))
    nodes = x[0] + step * np.arange(len(x))
    spline = CubicHermiteSpline(nodes, f, (padded[2:] - padded[:-2]) / (2.0 * step))

    def evaluate(log_radii: ArrayLike) -> Array:
        return np.asarray(spline(np.clip(log_radii, nodes[0], nodes[-1])), dtype=np.float64)

    return evaluate


def catmull_rom(r: Array, f: Array) -> Callable[[ArrayLike], Array]:
    """Densities and Hartree potentials: Catmull-Rom cubics in ln r, end nodes by linear extrapolation.

    Beyond the last node the last value is held; below the first node the parabola a r^2 + b with value and
    slope of the fifth node takes over.
    """
    inner = catmull_rom_log(r, f)
    slope = (f[5] - f[3]) / (np.log(r[5] / r[3]) * r[4])

    def evaluate(radii: ArrayLike) -> Array:
        radius = np.asarray(radii, dtype=np.float64)
        value = inner(np.log(np.clip(radius, r[0], r[-1])))
        parabola = f[4] + slope / (2.0 * r[4]) * (radius**2 - r[4] ** 2)
        return np.where(radius < r[0], parabola, value)

    return evaluate
