"""What a grid of a cutoff carries of a species: its orbitals, and the integrals of its hard functions.

A uniform grid integrates everything but the waves |K| >= 2 sqrt(E) that it takes for a constant. On the grid
lies W f with f = n V_na or e_xc(n + n_core) of an atom (n: its own density) and W = 1 - w what its sphere
leaves. The transform F(K) = 4 pi int W f sin(Kr)/(Kr) r^2 dr there is what the energy changes by when the
atom moves between the points, sum_K F(K) e^{iK.tau}: with six K as in a cubic grid 6 |F|, and 6 |K F| in
forces. docs/basis.md has measured changes beside these estimates: upper bounds of the right size. The density
itself stays on the grid everywhere (Hartree energy): what it loses is `lost_charge`.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, spherical_jn

from mlh.basis.species import Basis, RadialFunction, Species, SphereParameters
from mlh.common.units import HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV

_log = logging.getLogger("mlh.dft")

FloatArray = NDArray[np.float64]

LOST_NORM = 0.05
"""Largest part of the norm of an orbital that may lie beyond the waves of the grid. Far from converged: a
calculation at that cutoff is crude, one below it is meaningless."""

CARRIED = 0.025
"""Change of the forces (eV/A) below which a grid is fine enough; so is gth-pbe at 200 Ry."""

CARRIED_CHARGE = 0.01
"""Electrons of an atom that may come and go; Mg (0.025 at 200 Ry) wants 300 Ry."""

COARSE = 0.15
"""Change of the forces (eV/A) from which on a run says that its cutoff is too low."""

COARSE_CHARGE = 0.1
"""Electrons of an atom that come and go from which on a run says so."""

HOPELESS = 0.3
"""Change of the forces (eV/A) that a species without a sphere must not have at STANDARD_CUTOFF: a sphere is
the remedy, not more cutoff."""

STANDARD_CUTOFF = 200.0

SPHERES = (
    SphereParameters(0.8, 0.2, 1.6),
    SphereParameters(1.05, 0.25, 2.0),
    SphereParameters(1.2, 0.3, 2.35),
    SphereParameters(1.4, 0.35, 2.75),
    SphereParameters(1.6, 0.4, 3.1),
)
"""What the scan of gth-pbe went through (bench/python/scan_spheres.py). The smallest that will do is best: a
larger one holds more of its neighbours, which its directions do not resolve."""

_CUTOFFS = (50.0, 75.0, 100.0, 125.0, 150.0, 200.0, 250.0, 300.0, 400.0, 500.0, 600.0, 800.0, 1000.0)
_ROUNDING = np.linspace(0.92, 1.08, 5)
"""Numbers of points are rounded: |K| is 2 sqrt(E) times this."""


class ShiftError(NamedTuple):
    """Largest change of energy (eV) and forces (eV/A) when an atom moves between the points of the grid."""

    energy: float
    force: float


def shift_error(species: Species, cutoff_ry: float) -> ShiftError:
    """Estimate of the module's head for a species with the sphere that it has."""
    return _shift_error(species, cutoff_ry, species.sphere)


@lru_cache(maxsize=512)
def _shift_error(species: Species, cutoff_ry: float, sphere: SphereParameters | None) -> ShiftError:
    r, n = _density(species)
    core = 0.0 if species.core_density is None else species.core_density(r)
    W = np.ones_like(r)
    if sphere is not None:
        inside = r < sphere.radius
        W[inside] -= 0.5 * erfc((r[inside] - sphere.center) / sphere.sigma)
    k = 2.0 * np.sqrt(cutoff_ry) * _ROUNDING
    exchange = -0.75 * (3.0 / np.pi) ** (1.0 / 3.0) * np.maximum(n + core, 0.0) ** (4.0 / 3.0)
    parts = [_transform(W * f, r, k) for f in (n * species.neutral_potential(r), exchange)]
    F, K = float(np.abs(parts).max()), 2.0 * float(np.sqrt(cutoff_ry))
    return ShiftError(6.0 * F * HARTREE_EV, 6.0 * K * F * HARTREE_BOHR_EV_ANGSTROM)


@lru_cache(maxsize=512)
def lost_charge(species: Species, cutoff_ry: float) -> float:
    """Electrons of the neutral atom that come and go as it moves between the points: 6 |n(K)|."""
    r, n = _density(species)
    return float(6.0 * np.abs(_transform(n, r, 2.0 * np.sqrt(cutoff_ry) * _ROUNDING)).max())


def _density(species: Species) -> tuple[FloatArray, FloatArray]:
    """Radii (Bohr) and the density of the neutral atom there."""
    reach = max(species.density.cutoff, species.neutral_potential.cutoff)
    r = np.linspace(0.0, reach, max(2, round(reach / 0.002)))
    return r, species.density(r)


def _transform(f: FloatArray, r: FloatArray, k: FloatArray) -> FloatArray:
    """4 pi int f sin(kr)/(kr) r^2 dr."""
    step = r[1] - r[0]  # the integrand is zero at both ends: the trapezoid rule
    return np.asarray(4.0 * np.pi * step * (np.sinc(k[:, None] * r / np.pi) @ (f * r**2)))


@lru_cache(maxsize=256)
def carrying_cutoff(species: Species) -> float | None:
    """Smallest round cutoff (Ry) that carries the integrals of a species; None: none up to 1000 Ry."""
    found = None
    for cutoff in reversed(_CUTOFFS):
        if shift_error(species, cutoff).force > CARRIED or lost_charge(species, cutoff) > CARRIED_CHARGE:
            return found
        found = cutoff
    return found


def fitting_sphere(species: Species, cutoff_ry: float = STANDARD_CUTOFF) -> SphereParameters | None:
    """The smallest sphere with which the cutoff carries a species; None where it does without one.

    ValueError where none of SPHERES will do.
    """
    for sphere in (None, *SPHERES):
        if _shift_error(species, cutoff_ry, sphere).force <= CARRIED:
            return sphere
    raise ValueError(f"species {species.symbol!r}: no sphere makes {cutoff_ry:g} Ry enough")


@lru_cache(maxsize=256)
def smallest_cutoff(species: Species) -> float:
    """Grid cutoff (Ry) above which no orbital of the species has more than LOST_NORM beyond k = sqrt(E)."""
    return max(_cutoff_of(f) for f in species.orbitals)


def _cutoff_of(f: RadialFunction) -> float:
    """sqrt(E)^2 from the norm in wave space, 2/pi int k^2 F(k)^2 dk, F = int j_l(kr) R r^2 dr."""
    stride = max(1, round(0.04 / f.step))
    r = f.mesh[::stride]
    k = np.linspace(0.05, 30.0, 600)
    R = f.g[::stride] * r**f.l
    F = spherical_jn(f.l, np.outer(k, r)) @ (R * r**2)
    weight = np.cumsum((k * F) ** 2)
    return float(k[np.searchsorted(weight, (1.0 - LOST_NORM) * weight[-1])]) ** 2


def check_cutoff(basis: Basis, cutoff_ry: float) -> None:
    """ValueError where the grid cannot carry the orbitals of a species."""
    for species in basis:
        needed = smallest_cutoff(species)
        if cutoff_ry < needed:
            raise ValueError(
                f"cutoff_ry: expected at least {np.ceil(needed):.0f} Ry for the orbitals of {species.symbol} "
                f"(several times more to be accurate), got {cutoff_ry:g}"
            )


def check_integrals(basis: Basis, cutoff_ry: float, remedy: str | None = None) -> None:
    """ValueError where grid and spheres cannot integrate a species; a warning where the cutoff is too low.

    remedy: another integration method that belongs to the basis.
    """
    for species in basis:
        cutoff = max(cutoff_ry, STANDARD_CUTOFF)
        if species.sphere is None and shift_error(species, cutoff).force > HOPELESS:
            raise ValueError(_refusal(species, cutoff, remedy))
        if shift_error(species, cutoff_ry).force > COARSE or lost_charge(species, cutoff_ry) > COARSE_CHARGE:
            _warn_of_cutoff(species, cutoff_ry)


def _refusal(species: Species, cutoff_ry: float, remedy: str | None) -> str:
    try:
        sphere = fitting_sphere(species)
    except ValueError:
        sphere = None
    ways = [] if remedy is None else [f"integration={remedy!r}"]
    ways += [] if sphere is None else [f"dataclasses.replace(species, sphere={sphere!r})"]
    change = shift_error(species, cutoff_ry).force
    return (
        f"species {species.symbol!r}: too hard for the uniform grid and without a sphere: at {cutoff_ry:g} "
        f"Ry forces would change by {change:.1f} eV/A with the place of the atoms on the grid. Expected a "
        "sphere or another integration" + (f": {' or '.join(ways)}" if ways else "")
    )


@lru_cache(maxsize=256)
def _warn_of_cutoff(species: Species, cutoff_ry: float) -> None:
    """Once for each species and cutoff."""
    enough = carrying_cutoff(species)
    _log.warning(
        "%g Ry are few for %s: with its place on the grid forces change by up to %.1f eV/A and %.2g "
        "electrons come and go%s",
        cutoff_ry,
        species.symbol,
        shift_error(species, cutoff_ry).force,
        lost_charge(species, cutoff_ry),
        "" if enough is None else f"; {enough:g} Ry are enough",
    )
