"""Goedecker-Teter-Hutter pseudopotentials: the parameter table and its formulas.

    V_loc(r) = -(Z/r) erf(r / (sqrt2 r_loc)) + exp(-x^2/2) sum_k C_k x^(2(k-1)),   x = r / r_loc
    V_nl     = sum_l sum_m sum_ij |p_i^l Y_lm> h^l_ij <p_j^l Y_lm|
    p_i^l(r) = sqrt2 r^(l+2(i-1)) exp(-r^2 / 2 r_l^2) / (r_l^(l+(4i-1)/2) sqrt(Gamma(l+(4i-1)/2)))

Hartree atomic units. S. Goedecker, M. Teter, J. Hutter, PRB 54, 1703 (1996); C. Hartwigsen, S. Goedecker,
J. Hutter, PRB 58, 3641 (1998); PBE parameters: M. Krack, Theor. Chem. Acc. 114, 145 (2005).
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from math import gamma, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from mlh.basis.species import RADIAL_STEP, Projector, RadialFunction

Array = NDArray[np.float64]

_PROJECTOR_TOLERANCE = 1e-12  # |beta| beyond the cutoff of a tabulated projector, Bohr^(-3/2)


@dataclass(frozen=True)
class DiagonalProjector:
    """beta(r) = r^l exp(-r^2 / 2 radius^2) sum_k coefficients[k] r^(2k); ``energy`` in Hartree."""

    l: int
    radius: float
    coefficients: tuple[float, ...]
    energy: float

    def reduced(self, r: ArrayLike) -> Array:
        """beta(r) / r^l."""
        square = np.asarray(r, dtype=np.float64) ** 2
        polynomial: Array = np.polynomial.polynomial.polyval(square, np.array(self.coefficients))
        return polynomial * np.exp(-square / (2.0 * self.radius**2))

    def tabulate(self) -> Projector:
        """The projector on the uniform mesh, cut where it stays below 1e-12."""
        r = RADIAL_STEP * np.arange(int(20.0 * self.radius / RADIAL_STEP) + 2)
        g = self.reduced(r)
        large = np.flatnonzero(np.abs(g) * r**self.l > _PROJECTOR_TOLERANCE)
        g = g[: large[-1] + 2]
        g[-1] = 0.0
        return Projector(RadialFunction(self.l, g), self.energy)


@dataclass(frozen=True)
class GthChannel:
    """Nonlocal part of one l: projector radius (Bohr) and the symmetric matrix h (Hartree), row by row."""

    l: int
    radius: float
    h: tuple[tuple[float, ...], ...]

    def diagonal(self) -> tuple[DiagonalProjector, ...]:
        """Projectors of the eigenvectors of h: sum_ij |p_i> h_ij <p_j| = sum_k |beta_k> E_k <beta_k|."""
        energies, vectors = np.linalg.eigh(np.array(self.h))
        norms = [_projector_norm(self.l, self.radius, i + 1) for i in range(len(self.h))]
        return tuple(
            DiagonalProjector(self.l, self.radius, tuple(float(c) for c in vector * norms), float(energy))
            for energy, vector in zip(energies, _fix_signs(vectors).T, strict=True)
        )


def _projector_norm(l: int, radius: float, i: int) -> float:
    order = l + (4 * i - 1) / 2.0
    return sqrt(2.0 / gamma(order)) / float(radius**order)


def _fix_signs(vectors: Array) -> Array:
    """Eigenvectors as columns, each with a positive largest component (LAPACK leaves the sign open)."""
    largest = np.argmax(np.abs(vectors), axis=0)
    signs: Array = np.sign(vectors[largest, np.arange(vectors.shape[1])])
    return vectors * signs


@dataclass(frozen=True)
class GthLocalPotential:
    """V_loc(r) in Hartree, a callable; tends to -valence/r."""

    valence: float
    radius: float
    coefficients: tuple[float, ...]

    def __call__(self, r: ArrayLike) -> Array:
        x = np.asarray(r, dtype=np.float64) / self.radius
        near = x < 1e-4
        safe = np.where(near, 1.0, x)
        # erf(y)/y to O(y^4); the next term is below 1e-16 for x < 1e-4.
        coulomb = np.where(near, sqrt(2.0 / pi) * (1.0 - x**2 / 6.0), erf(safe / sqrt(2.0)) / safe)
        short = np.polynomial.polynomial.polyval(x**2, np.array(self.coefficients or (0.0,)))
        value: Array = -self.valence / self.radius * coulomb + np.exp(-(x**2) / 2.0) * short
        return value


@dataclass(frozen=True)
class GaussianCore:
    """n_core(r) = charge exp(-r^2 / 2 radius^2) / (sqrt(2 pi) radius)^3; ``charge``: its integral."""

    charge: float
    radius: float

    def __call__(self, r: ArrayLike) -> Array:
        x = np.asarray(r, dtype=np.float64) / self.radius
        density: Array = self.charge * np.exp(-0.5 * x**2) / (sqrt(2.0 * pi) * self.radius) ** 3
        return density

    def slope(self, r: ArrayLike) -> Array:
        """dn_core/dr."""
        return -np.asarray(r, dtype=np.float64) / self.radius**2 * self(r)


@dataclass(frozen=True)
class GthPotential:
    """One element of the table. ``electrons[l]``: valence electrons per l of the neutral atom."""

    symbol: str
    name: str
    electrons: tuple[int, ...]
    local: GthLocalPotential
    channels: tuple[GthChannel, ...]
    core: GaussianCore | None = None
    weakness: str = ""
    """What is wrong with it, in words that are told when it is used."""

    @property
    def valence(self) -> int:
        """Number of valence electrons."""
        return sum(self.electrons)

    @property
    def smallest_radius(self) -> float:
        """Smallest Gaussian radius of local part, projectors and core, Bohr: the hardness of the atom."""
        core = [] if self.core is None else [self.core.radius]
        return min([self.local.radius, *(channel.radius for channel in self.channels), *core])

    @property
    def softening(self) -> float:
        """r_loc."""
        return self.local.radius

    def identity(self) -> dict[str, Any]:
        """All parameters; without a core those of the time before cores, so that fingerprints stay."""
        values = asdict(self)
        del values["weakness"]
        if self.core is None:
            del values["core"]
        return values

    def projectors(self) -> tuple[DiagonalProjector, ...]:
        """All projectors in diagonal form, by l."""
        return tuple(projector for channel in self.channels for projector in channel.diagonal())


def _upper_triangle(values: list[float]) -> tuple[tuple[float, ...], ...]:
    """The symmetric matrix of an upper triangle listed row by row."""
    n = int((sqrt(8 * len(values) + 1) - 1) / 2)
    if n * (n + 1) // 2 != len(values):
        raise ValueError(f"h: expected an upper triangle (1, 3, 6, ... numbers), got {len(values)} numbers")
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n)] = values
    matrix = matrix + np.triu(matrix, 1).T
    return tuple(tuple(float(x) for x in row) for row in matrix)


TABLES = {"gth-pbe": ("gth_pbe.toml",), "gth-nlcc-pbe": ("gth_pbe.toml", "gth_nlcc_pbe.toml")}
"""Files of each set of pseudopotentials; what is in a later one takes the place of what is in an earlier."""


@cache
def gth_table(name: str = "gth-pbe") -> dict[str, GthPotential]:
    """An embedded table, by symbol."""
    table: dict[str, GthPotential] = {}
    for source in TABLES[name]:
        with resources.files("mlh.basis.gth").joinpath(source).open("rb") as file:
            table |= {symbol: _from_entry(symbol, entry) for symbol, entry in tomllib.load(file).items()}
    return table


def _from_entry(symbol: str, entry: dict[str, object]) -> GthPotential:
    electrons = tuple(int(n) for n in entry["electrons"])  # type: ignore[attr-defined]
    local: dict[str, object] = entry["local"]  # type: ignore[assignment]
    channels: list[dict[str, object]] = entry["channels"]  # type: ignore[assignment]
    core: dict[str, object] = entry.get("core", {})  # type: ignore[assignment]
    return GthPotential(
        symbol=symbol,
        name=str(entry["name"]),
        electrons=electrons,
        local=GthLocalPotential(
            valence=float(sum(electrons)),
            radius=float(local["r"]),  # type: ignore[arg-type]
            coefficients=tuple(float(c) for c in local["c"]),  # type: ignore[attr-defined]
        ),
        channels=tuple(
            GthChannel(l, float(channel["r"]), _upper_triangle(channel["h"]))  # type: ignore[arg-type]
            for l, channel in enumerate(channels)
            if channel["h"]
        ),
        core=GaussianCore(float(core["charge"]), float(core["r"])) if core else None,  # type: ignore[arg-type]
        weakness=str(entry.get("weakness", "")),
    )


def gth_potential(symbol: str, name: str = "gth-pbe") -> GthPotential:
    """The pseudopotential of an element; KeyError names the elements there are."""
    table = gth_table(name)
    if symbol not in table:
        raise KeyError(f"{name}: expected one of {', '.join(table)}, got {symbol!r}")
    return table[symbol]
