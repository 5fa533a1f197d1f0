"""Terms that are integrals over the density on grid and spheres: V_na, Hartree, exchange-correlation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import mlh._core as _core
from mlh.dft.grid_function import hartree_potential, hartree_strain
from mlh.dft.terms.contract import AtomicCoefficients, Derivative

FloatArray = NDArray[np.float64]


def uniform_density(grid: _core.Grid, density: Sequence[_core.Density]) -> FloatArray:
    """n of both spins on the uniform grid, (n1, n2, n3)."""
    return np.reshape(sum(np.asarray(n.uniform) for n in density), grid.shape)


def atomic_gradient(grid: _core.Grid, c: AtomicCoefficients) -> Derivative:
    """Through the functions that ride on the atoms."""
    zero, none = np.zeros(grid.shape), np.zeros(grid.n_sphere_points)
    return Derivative(
        *grid.spherical_gradient(
            potential=zero if c.potential is None else c.potential,
            density=zero if c.density is None else c.density,
            weight=zero if c.weight is None else c.weight,
            sphere_potential=none if c.sphere_potential is None else c.sphere_potential,
            core=c.core,
            neutral=c.neutral,
        )
    )


class NeutralAtoms:
    """int n V_na over grid and spheres."""

    name = "neutral_atom"

    def __init__(self, grid: _core.Grid) -> None:
        self._grid = grid

    def at(self, density: Sequence[_core.Density]) -> NeutralAtomState:
        """Linear in the density: the potential is always the same."""
        energy = sum(self._grid.neutral_energy(n) for n in density)
        return NeutralAtomState(energy, self._grid, density)


@dataclass(frozen=True, slots=True, eq=False)
class NeutralAtomState:
    """`NeutralAtoms` at one density."""

    energy: float
    _grid: _core.Grid
    _density: Sequence[_core.Density]

    @property
    def potential(self) -> Sequence[_core.Potential]:
        """V_na with the weights of the points."""
        return (self._grid.neutral_atoms(),)

    def atomic(self) -> AtomicCoefficients:
        """Through V_na and through the weights of the spheres."""
        grid, dv = self._grid, self._grid.volume_element
        n = uniform_density(grid, self._density)
        n_sphere = np.asarray(sum(np.asarray(c.sphere) for c in self._density))
        return AtomicCoefficients(
            potential=dv * grid.weight * n,
            weight=-dv * n * grid.neutral_potential,
            sphere_potential=grid.sphere_weight * n_sphere,
        )

    def strain(self) -> FloatArray:
        """Of the volume element; the weights of the spheres are constants."""
        grid = self._grid
        n = uniform_density(grid, self._density)
        energy = grid.volume_element * float(np.vdot(grid.weight * n, grid.neutral_potential))
        return np.eye(3) * energy

    def along(self, change: Sequence[_core.Density]) -> NeutralAtomState:
        """Linear in the density: the same of the change, with a potential that stays as it is."""
        energy = sum(self._grid.neutral_energy(n) for n in change)
        return NeutralAtomChange(energy, self._grid, change)


@dataclass(frozen=True, slots=True, eq=False)
class NeutralAtomChange(NeutralAtomState):
    """`NeutralAtoms` along a change of the density."""

    @property
    def potential(self) -> Sequence[_core.Potential]:
        """None."""
        return (self._grid.uniform_potential(np.zeros(self._grid.shape)),)


class Hartree:
    """1/2 int dn V_H[dn], dn = n - n_a, on the uniform grid: dn is smooth."""

    name = "hartree"

    def __init__(self, grid: _core.Grid) -> None:
        self._grid = grid

    def at(self, density: Sequence[_core.Density]) -> HartreeState:
        """Solves the Poisson equation of dn."""
        grid = self._grid
        dn = uniform_density(grid, density) - grid.neutral_density
        v = hartree_potential(dn, grid.cell)
        energy = 0.5 * grid.volume_element * float(np.vdot(dn, v))
        return HartreeState(energy, v, grid, density)


@dataclass(frozen=True, slots=True, eq=False)
class HartreeParts:
    """What a density dn and a change of it have in common; `_v`: the Hartree potential of either.

    What is a sum or a multiple of these is made when it is asked for: fields of large cells are gigabytes.
    """

    energy: float
    _v: FloatArray
    _grid: _core.Grid
    _density: Sequence[_core.Density]

    @property
    def potential(self) -> Sequence[_core.Potential]:
        """`_v` with the weights of the points."""
        return (self._grid.uniform_potential(self._v),)

    @property
    def _deformation(self) -> FloatArray:
        """dn."""
        return uniform_density(self._grid, self._density) - self._grid.neutral_density

    def atomic(self) -> AtomicCoefficients:
        """Through n_a."""
        return AtomicCoefficients(density=-self._grid.volume_element * self._v)


@dataclass(frozen=True, slots=True, eq=False)
class HartreeState(HartreeParts):
    """`Hartree` at one density."""

    def strain(self) -> FloatArray:
        """Of the volume and of the Poisson equation."""
        return hartree_strain(self._deformation, self._grid.cell)

    def along(self, change: Sequence[_core.Density]) -> HartreeChange:
        """Solves the Poisson equation of the change."""
        grid = self._grid
        n = uniform_density(grid, change)
        v = hartree_potential(n, grid.cell)
        energy = grid.volume_element * float(np.vdot(n, self._v))
        return HartreeChange(energy, v, grid, self._density, change)


@dataclass(frozen=True, slots=True, eq=False)
class HartreeChange(HartreeParts):
    """`Hartree` along a change of the density."""

    _change: Sequence[_core.Density]

    def strain(self) -> FloatArray:
        """The strain is quadratic in the density: by polarisation."""
        cell = self._grid.cell
        dn, change = self._deformation, uniform_density(self._grid, self._change)
        plus = hartree_strain(dn + change, cell)
        return 0.5 * (plus - hartree_strain(dn - change, cell))


class ExchangeCorrelation:
    """E_xc[n + n_core] over grid and spheres; its potential is the exact derivative of that sum."""

    name = "xc"

    def __init__(self, grid: _core.Grid, functional: str, stencil_order: int = 8) -> None:
        self._grid, self._functional, self._order = grid, functional, stencil_order

    def at(self, density: Sequence[_core.Density]) -> ExchangeCorrelationState:
        """Energy and potential of a density."""
        return ExchangeCorrelationState(
            self._grid.exchange_correlation(self._functional, list(density), self._order),
            self._grid,
            lambda change: self._grid.exchange_correlation_change(
                self._functional, list(density), list(change), self._order
            ),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ExchangeCorrelationParts:
    """What `ExchangeCorrelation` gives: of a density, or along a change of it."""

    _result: _core.ExchangeCorrelation
    _grid: _core.Grid

    @property
    def energy(self) -> float:
        """Hartree."""
        return self._result.energy

    @property
    def potential(self) -> Sequence[_core.Potential]:
        """One per spin."""
        return self._result.potential

    def atomic(self) -> AtomicCoefficients:
        """Through the weights of the spheres and the partial core densities."""
        e = np.reshape(self._result.energy_density, self._grid.shape)
        core = self._result.core_potential() if self._grid.has_core else None
        return AtomicCoefficients(weight=-self._grid.volume_element * e, core=core)

    def strain(self) -> FloatArray:
        """Of the volume element and of the stencil of the gradient."""
        e = np.reshape(self._result.energy_density, self._grid.shape)
        energy = self._grid.volume_element * float(np.vdot(self._grid.weight, e))
        return self._result.strain + np.eye(3) * energy


@dataclass(frozen=True, slots=True, eq=False)
class ExchangeCorrelationState(ExchangeCorrelationParts):
    """`ExchangeCorrelation` at one density."""

    _change: Callable[[Sequence[_core.Density]], _core.ExchangeCorrelation]

    def along(self, change: Sequence[_core.Density]) -> ExchangeCorrelationParts:
        """The kernel, applied to a change of the density."""
        return ExchangeCorrelationParts(self._change(change), self._grid)
