"""Electron density, spin density and differences on the uniform grid (electrons/Bohr^3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlh.analysis.state import HasDensity
from mlh.common.choices import check_choice
from mlh.dft.grid_function import GridFunction

FloatArray = NDArray[np.float64]
DensityKind = Literal["total", "spin", "difference"]

_CELL_TOLERANCE = 1e-3
"""Bohr; a cube file keeps six decimals of the step of the grid."""


@dataclass(frozen=True, slots=True, eq=False)
class DensityField:
    """A function on the grid with what its sum over the grid should be.

    electrons: the exact integral from the orbitals, Tr D S (minus that of the neutral atoms for a
    difference). `function.integral()` differs from it by the error of the grid.
    """

    function: GridFunction
    electrons: float

    @property
    def integral(self) -> float:
        """Sum over the points times the volume element."""
        return self.function.integral()

    @property
    def absolute_integral(self) -> float:
        """Integral of |f|: how much charge a difference moves (counted twice)."""
        return float(np.abs(self.function.values).sum() * self.function.volume_element)


def electron_density(state: HasDensity) -> DensityField:
    """n(r) of both spins."""
    return DensityField(_function(state, sum(_spin_densities(state))), sum(_electrons(state)))


def spin_density(state: HasDensity) -> DensityField:
    """n_up(r) - n_down(r)."""
    if state.solution.nspin != 2:
        raise ValueError("state: expected two spin components for a spin density, got one (use spin)")
    up, down = _spin_densities(state)
    n_up, n_down = _electrons(state)
    return DensityField(_function(state, up - down), n_up - n_down)


def density_difference(state: HasDensity) -> DensityField:
    """n(r) - n_a(r): against the superposed neutral atoms, what bonding moves."""
    total = electron_density(state)
    neutral = state.system.neutral_density()
    return DensityField(total.function - neutral, total.electrons - state.system.n_electrons)


def density_field(state: HasDensity, kind: DensityKind) -> DensityField:
    """The density of that name."""
    makers = {"total": electron_density, "spin": spin_density, "difference": density_difference}
    check_choice("kind", kind, DensityKind)
    return makers[kind](state)


def subtract(field: DensityField, other: GridFunction) -> DensityField:
    """field - other on the same grid, `other` for instance from a file of another calculation."""
    require_same_grid(field.function.values.shape, field.function.cell, other)
    difference = GridFunction(field.function.values - other.values, field.function.cell)
    return DensityField(difference, field.electrons - other.integral())


def require_same_grid(here: tuple[int, ...], cell: FloatArray, other: GridFunction) -> None:
    """ValueError unless the other function is on a grid of this shape in this cell (Bohr)."""
    if other.values.shape != here or not np.allclose(other.cell, cell, atol=_CELL_TOLERANCE):
        raise ValueError(
            f"other: expected the same cell and the grid {here}, got {other.values.shape} in a cell with "
            f"vectors of {np.linalg.norm(other.cell, axis=1).round(4).tolist()} Bohr instead of "
            f"{np.linalg.norm(cell, axis=1).round(4).tolist()}"
        )


def _spin_densities(state: HasDensity) -> list[FloatArray]:
    grid = state.system.grid
    return [np.reshape(grid.density(D).uniform, grid.shape) for D in state.solution.D.data]


def _electrons(state: HasDensity) -> list[float]:
    """Tr D S per spin."""
    D, S = state.solution.D, state.system.overlap()
    return [D.spin(s).dot(S) for s in range(D.nspin)]


def _function(state: HasDensity, values: FloatArray | int) -> GridFunction:
    return GridFunction(np.asarray(values, dtype=np.float64), state.system.cell)
