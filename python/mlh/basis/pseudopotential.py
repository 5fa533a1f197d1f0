"""What the generator of orbitals needs to know of a norm-conserving pseudopotential, whatever its form.

    V = V_loc(r) + sum_k sum_m |beta_k Y_lm> E_k <beta_k Y_lm|,    n_core(r) in exchange and correlation only

`gth.table.GthPotential` has formulas, `files.potential.TabulatedPotential` the numbers of a file. Hartree
atomic units.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlh.basis.species import RADIAL_STEP, Projector, RadialFunction

Array = NDArray[np.float64]

CORE_TOLERANCE = 1e-12
"""Core density beyond the cutoff of its table, electrons/Bohr^3."""


class LocalPotential(Protocol):
    """V_loc at radii of any shape, finite at 0; tends to -valence/r."""

    def __call__(self, r: ArrayLike) -> Array:
        """V_loc(r) in Hartree."""
        ...


class RadialProjector(Protocol):
    """One term |beta> energy <beta| of the nonlocal part, summed over m."""

    @property
    def l(self) -> int:  # noqa: E743
        """Angular momentum."""
        ...

    @property
    def energy(self) -> float:
        """E in Hartree."""
        ...

    def reduced(self, r: ArrayLike) -> Array:
        """beta(r) / r^l."""
        ...

    def tabulate(self) -> Projector:
        """The same on the uniform mesh of a Species."""
        ...


class CoreDensity(Protocol):
    """A partial core (electrons/Bohr^3): added to the density in exchange and correlation, nowhere else."""

    def __call__(self, r: ArrayLike) -> Array:
        """n_core(r)."""
        ...

    def slope(self, r: ArrayLike) -> Array:
        """dn_core/dr."""
        ...


class Pseudopotential(Protocol):
    """One element of a set of norm-conserving pseudopotentials; immutable."""

    @property
    def symbol(self) -> str:
        """Chemical symbol."""
        ...

    @property
    def electrons(self) -> tuple[float, ...]:
        """Valence electrons per l of the neutral atom."""
        ...

    @property
    def valence(self) -> float:
        """Their number."""
        ...

    @property
    def local(self) -> LocalPotential:
        """The local part."""
        ...

    @property
    def core(self) -> CoreDensity | None:
        """The partial core, if there is one."""
        ...

    @property
    def smallest_radius(self) -> float:
        """Gaussian radius (Bohr) of the sharpest feature: how fine the finite elements are."""
        ...

    @property
    def softening(self) -> float:
        """a of -z erf(r / (sqrt2 a)) / r, whose states are the functions beyond the occupied ones."""
        ...

    def projectors(self) -> tuple[RadialProjector, ...]:
        """The nonlocal part in diagonal form, by l."""
        ...

    def identity(self) -> Any:
        """Plain values (dicts, tuples, numbers, texts) that determine it: part of the recipe."""
        ...


def tabulated_core(potential: Pseudopotential) -> RadialFunction | None:
    """The partial core on the uniform mesh, cut where it stays below CORE_TOLERANCE."""
    if potential.core is None:
        return None
    values = potential.core(RADIAL_STEP * np.arange(round(20.0 / RADIAL_STEP) + 1))
    n = int(np.flatnonzero(np.abs(values) > CORE_TOLERANCE)[-1]) + 2
    return RadialFunction(0, np.append(values[: n - 1], 0.0))
