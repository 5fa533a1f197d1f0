"""Equations of state of Birch and Murnaghan: the fit, and how far two of them are apart.

    E(V) = E0 + 9 V0 B0 / 16 { B1 (x - 1)^3 + (x - 1)^2 (6 - 4 x) },   x = (V0 / V)^(2/3)

F. Birch, Phys. Rev. 71, 809 (1947). The measures are those of E. Bosoni et al., Nat. Rev. Phys. 6, 45 (2024):

    epsilon = sqrt( <(dE1 - dE2)^2> / sqrt(<dE1^2> <dE2^2>) ),    dE = E - <E>,  <> over 94 to 106 % of V0
    nu = 100 sqrt( sum_Y (w_Y (Y1 - Y2) / ((Y1 + Y2) / 2))^2 ),   w = 1, 1/20, 1/400 for V0, B0, B1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

RANGE = (0.94, 1.06)
"""Of the volumes, in V0."""


@dataclass(frozen=True)
class EquationOfState:
    """volume: V0, Angstrom^3; modulus: B0, eV/Angstrom^3; derivative: B1; energy: E0, eV."""

    volume: float
    modulus: float
    derivative: float
    energy: float = 0.0

    def __call__(self, volumes: ArrayLike) -> FloatArray:
        """E at volumes, eV."""
        x = (self.volume / np.asarray(volumes, dtype=np.float64)) ** (2.0 / 3.0) - 1.0
        bracket = self.derivative * x**3 + x**2 * (2.0 - 4.0 * x)
        return np.asarray(self.energy + 9.0 * self.volume * self.modulus / 16.0 * bracket)


def fit(volumes: ArrayLike, energies: ArrayLike) -> EquationOfState:
    """Least squares, exact in E0, V0, B0, B1: E is a polynomial of third degree in V^(-2/3).

    ValueError where fewer than five points are given or where there is no minimum among them.
    """
    v, e = np.asarray(volumes, dtype=np.float64), np.asarray(energies, dtype=np.float64)
    if v.shape != e.shape or v.ndim != 1 or len(v) < 5:
        raise ValueError(f"volumes, energies: expected five or more of each, got {v.shape} and {e.shape}")
    scale = float(v.mean())
    polynomial = np.polynomial.Polynomial.fit((v / scale) ** (-2.0 / 3.0), e, 3).convert()
    first, second, third = (polynomial.deriv(n) for n in (1, 2, 3))
    roots = first.roots()
    low, high = sorted(((v.min() / scale) ** (-2.0 / 3.0), (v.max() / scale) ** (-2.0 / 3.0)))
    minima = [
        float(root.real)
        for root in roots
        if abs(root.imag) < 1e-9 and low <= root.real <= high and second(root.real) > 0.0
    ]
    if not minima:
        raise ValueError("energies: expected a minimum between the smallest and the largest volume, got none")
    x = minima[0]
    volume = scale * x ** (-1.5)
    # E'(V) = P' x', x = (V/scale)^(-2/3); at the minimum P' = 0.
    slope = -2.0 / 3.0 * x / volume
    modulus = volume * float(second(x)) * slope**2
    # E''' = P''' x'^3 + 3 P'' x' x'', x'' = 10/9 x / V^2; B1 = -1 - V E''' / E''.
    curvature = 10.0 / 9.0 * x / volume**2
    e2 = float(second(x)) * slope**2
    e3 = float(third(x)) * slope**3 + 3.0 * float(second(x)) * slope * curvature
    return EquationOfState(volume, modulus, -1.0 - volume * e3 / e2, float(polynomial(x)))


def epsilon(one: EquationOfState, other: EquationOfState) -> float:
    """Difference of two curves in the size of their own variation; below 0.06 excellent, below 0.2 good."""
    centre = 0.5 * (one.volume + other.volume)
    v = np.linspace(RANGE[0] * centre, RANGE[1] * centre, 2001)
    a, b = one(v), other(v)
    a, b = a - _mean(a), b - _mean(b)
    return float(np.sqrt(_mean((a - b) ** 2) / np.sqrt(_mean(a**2) * _mean(b**2))))


def _mean(values: FloatArray) -> float:
    """Trapezoid rule."""
    return float((values.sum() - 0.5 * (values[0] + values[-1])) / (len(values) - 1))


def nu(one: EquationOfState, other: EquationOfState) -> float:
    """Weighted relative differences of V0, B0 and B1, in percent."""
    pairs = (
        (one.volume, other.volume, 1.0),
        (one.modulus, other.modulus, 1.0 / 20.0),
        (one.derivative, other.derivative, 1.0 / 400.0),
    )
    return 100.0 * float(np.sqrt(sum((w * (a - b) / (0.5 * (a + b))) ** 2 for a, b, w in pairs)))
