"""Smooth functions of r from the tables of a file, as the generator of orbitals takes them.

A function f = r^l g with g even is interpolated through g: by splines of degree five in r, continued evenly
beyond r = 0. A table gives r f with an absolute error, which division by r^(l+1) makes large near the origin:
there g is the even polynomial that fits r f best up to FITTED (a quarter of the reach, if that is less), to a
third of it. Meshes denser than DENSEST are thinned.
V_loc becomes -Z/r exactly within the last TAPER before its table ends (6 Bohr at most, where it is Coulomb by
then): files end it with a remainder of 1e-6 Hartree, which would be a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline, make_interp_spline

from mlh.basis.files.configuration import neutral_valence
from mlh.basis.files.content import Channel, FileContent, SourceText, Table
from mlh.basis.species import MAX_ANGULAR_MOMENTUM, RADIAL_STEP, Projector, RadialFunction

Array = NDArray[np.float64]

FITTED, DENSEST, TAPER = 0.3, 0.004, 1.0
_DEGREE = 7  # of the polynomial of r^2
_NEGLIGIBLE = 1e-11  # |beta|, n_core beyond the end of their tables
_COULOMB = 1e-3  # |r V_loc + Z| / Z allowed where the table ends
_USUAL_END = 6.0


def _even_spline(r: Array, f: Array, power: int) -> BSpline:
    """g = f / r^power as a spline on [0, r[-1]], even at the origin."""
    fitted = min(FITTED, 0.25 * float(r[-1]))
    near, fit = fitted / 3.0, r <= fitted
    if power == 0 and r[0] == 0.0:
        inner, values = np.empty(0), f
    else:
        columns = np.polynomial.legendre.legvander(2.0 * (r[fit] / fitted) ** 2 - 1.0, _DEGREE)
        weights = r[fit] ** power
        c = np.linalg.lstsq(columns * weights[:, None], f[fit], rcond=None)[0]
        inner = np.linspace(0.0, near, 11)[:-1] if power > 0 else np.array([0.0])
        outer = r >= near if power > 0 else r > 0.0
        r, f = r[outer], f[outer]
        values = np.polynomial.legendre.legval(2.0 * (inner / fitted) ** 2 - 1.0, c)
        values = np.append(values, f / r**power)
    knots = np.append(inner, r)
    kept = _thinned(knots)
    x, y = knots[kept], values[kept]
    mirrored = min(12, x.size - 1)
    x, y = np.append(-x[mirrored:0:-1], x), np.append(y[mirrored:0:-1], y)
    return make_interp_spline(x, y, k=5)


def _thinned(x: Array) -> list[int]:
    """Indices of points at least DENSEST apart, the first and the last among them."""
    kept = [0]
    for k in range(1, x.size - 1):
        if x[k] - x[kept[-1]] >= DENSEST and x[-1] - x[k] >= DENSEST:
            kept.append(k)
    return [*kept, x.size - 1]


class SmoothTable:
    """g(r) of a table up to its end, zero beyond."""

    def __init__(self, r: Array, f: Array, power: int) -> None:
        large = np.flatnonzero(np.abs(f) > _NEGLIGIBLE)
        n = r.size if large.size == 0 else min(int(large[-1]) + 2, r.size)
        if n < 10:
            raise ValueError(f"expected a function on at least 10 radii, got {n}")
        self.end = float(r[n - 1])
        self._spline = _even_spline(r[:n], f[:n], power)
        self._slope = self._spline.derivative()

    def __call__(self, r: ArrayLike) -> Array:
        """g."""
        return self._inside(self._spline, r)

    def slope(self, r: ArrayLike) -> Array:
        """dg/dr."""
        return self._inside(self._slope, r)

    def _inside(self, spline: BSpline, r: ArrayLike) -> Array:
        radius = np.asarray(r, dtype=np.float64)
        inside = radius < self.end
        value: Array = np.where(inside, spline(np.where(inside, radius, 0.0)), 0.0)
        return value


class TabulatedLocal:
    """V_loc: the table, then -valence/r; between them the remainder of r V + Z is taken out smoothly."""

    def __init__(self, table: Table, valence: float) -> None:
        self.valence = valence
        rest = table.r * table.values + valence
        end = min(float(table.r[-1]), 12.0)
        if end > _USUAL_END and np.abs(rest[table.r > _USUAL_END - TAPER]).max() < _COULOMB * valence:
            end = _USUAL_END
        self.end = end
        if abs(rest[np.searchsorted(table.r, end - TAPER)]) > _COULOMB * valence:
            raise ValueError(
                f"V_loc: expected -{valence:g}/r from {end - TAPER:.2f} Bohr on, got another tail"
            )
        n = min(int(np.searchsorted(table.r, end)) + 8, table.r.size)
        self._spline = _even_spline(table.r[:n], table.values[:n], 0)

    def __call__(self, r: ArrayLike) -> Array:
        """V_loc(r) in Hartree."""
        radius = np.asarray(r, dtype=np.float64)
        inside = radius < self.end
        within = np.where(inside, radius, 1.0)
        x = np.clip((within - (self.end - TAPER)) / TAPER, 0.0, 1.0)
        kept = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
        coulomb = -self.valence / np.where(x > 0.0, within, 1.0)
        table = self._spline(within)
        value = np.where(x > 0.0, coulomb + kept * (table - coulomb), table)
        result: Array = np.where(inside, value, -self.valence / np.where(inside, 1.0, radius))
        return result


@dataclass(frozen=True, eq=False)
class TabulatedProjector:
    """beta / r^l as a table; ``energy`` in Hartree."""

    l: int
    energy: float
    table: SmoothTable

    def reduced(self, r: ArrayLike) -> Array:
        """beta(r) / r^l."""
        return self.table(r)

    def tabulate(self) -> Projector:
        """The projector on the uniform mesh, to the end of its table."""
        r = RADIAL_STEP * np.arange(int(np.ceil(self.table.end / RADIAL_STEP - 1e-9)) + 1)
        g = np.append(self.reduced(r[:-1]), 0.0)
        return Projector(RadialFunction(self.l, g), self.energy)


@dataclass(frozen=True, eq=False)
class TabulatedPotential:
    """The pseudopotential of a file; xc: the functional that it was made with; sha256: of the file."""

    symbol: str
    electrons: tuple[float, ...]
    valence: float
    local: TabulatedLocal
    terms: tuple[TabulatedProjector, ...]
    core: SmoothTable | None
    xc: str
    sha256: str
    softening: float
    smallest_radius: float = 0.1
    """Partial cores of 3d metals need elements as fine as this (levels of Fe: 2e-4 Hartree off with 0.2)."""

    def projectors(self) -> tuple[TabulatedProjector, ...]:
        """The nonlocal part in diagonal form, by l."""
        return self.terms

    def identity(self) -> dict[str, object]:
        """The file by its content."""
        return {"symbol": self.symbol, "sha256": self.sha256, "reader": READER_VERSION}


READER_VERSION = 1
"""Part of every recipe; to be raised when the same file gives other functions."""


def from_content(content: FileContent, source: SourceText) -> TabulatedPotential:
    """The pseudopotential of what a file says; DamagedFileError where its tables make no sense."""
    if content.symbol not in atomic_numbers or not content.valence > 0.0:
        raise source.damaged(f"element {content.symbol!r} with {content.valence:g} valence electrons")
    highest = max((channel.l for _, channel in content.channels), default=0)
    if highest > MAX_ANGULAR_MOMENTUM:
        raise source.wrong(f"with l <= {MAX_ANGULAR_MOMENTUM}, got projectors of l = {highest}")
    try:
        electrons = content.configuration or neutral_valence(atomic_numbers[content.symbol], content.valence)
        local = TabulatedLocal(content.local, content.valence)
        return TabulatedPotential(
            symbol=content.symbol,
            electrons=electrons,
            valence=content.valence,
            local=local,
            terms=tuple(
                term
                for r, channel in sorted(content.channels, key=lambda item: item[1].l)
                for term in _diagonal(r, channel)
            ),
            core=_core(content.core),
            xc=content.xc,
            sha256=source.sha256,
            softening=_softening(local),
        )
    except ValueError as error:
        raise source.damaged(str(error)) from error


def _softening(local: TabulatedLocal) -> float:
    """Where -Z erf(r / (sqrt2 a)) / r is as deep as V_loc, from 0.2 to 0.6 Bohr."""
    depth = -float(local(0.0))
    radius = local.valence * sqrt(2.0 / pi) / depth if depth > 0.0 else 1.0
    return min(max(round(radius, 3), 0.2), 0.6)


def _diagonal(r: Array, channel: Channel) -> list[TabulatedProjector]:
    """Projectors of the eigenvectors of the matrix; as they are where it is diagonal.

    Rows are scaled to largest value 1 first: an eigenvector then mixes functions of one size.
    """
    size = np.abs(channel.betas).max(axis=1)
    if np.any(size == 0.0):
        raise ValueError(f"projectors of l = {channel.l}: expected functions that are not zero")
    matrix, betas = channel.matrix, channel.betas
    if np.any(matrix != np.diag(np.diag(matrix))):
        energies, vectors = np.linalg.eigh(matrix * np.outer(size, size))
        betas, size = vectors.T @ (betas / size[:, None]), np.ones_like(size)
    else:
        energies = np.diag(matrix)
    return [
        TabulatedProjector(channel.l, float(energy), SmoothTable(r, beta, channel.l + 1))
        for energy, beta in zip(energies, betas, strict=True)
        if energy != 0.0
    ]


def _core(table: Table | None) -> SmoothTable | None:
    """The partial core; None where there is nothing in it."""
    if table is None or float(np.abs(table.values).max()) < _NEGLIGIBLE:
        return None
    return SmoothTable(table.r, table.values, 0)
