"""H[D] along a change Z of the density matrix: K Z, K = dH/dD, and the derivative of Tr[Z H[D]].

K Z = <phi| dv |phi>,   dv: the potential of the local terms along the density of Z
d Tr[Z H[D]] at fixed D, Z = Tr[Z dM] + sum v[n] dn_Z + sum dv dn + (functions on the atoms, along n_Z)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

import mlh._core as _core
from mlh.dft.fields import Fields
from mlh.dft.terms.contract import (
    AtomicCoefficients,
    Derivative,
    Discretisation,
    LocalChange,
    sum_of_derivatives,
)
from mlh.dft.terms.local import atomic_gradient
from mlh.matrix.block_matrix import BlockMatrix

FloatArray = NDArray[np.float64]


def spin_potentials(changes: Sequence[LocalChange], nspin: int) -> list[_core.Potential]:
    """Sum of the potentials of local terms, one per spin."""
    return [
        reduce(add, (c.potential[min(spin, len(c.potential) - 1)] for c in changes)) for spin in range(nspin)
    ]


def derivative_along(
    d: Discretisation,
    Z: FloatArray,
    potential: Sequence[_core.Potential],
    changes: Sequence[LocalChange],
    neutral: _core.Potential | None = None,
) -> Derivative:
    """Of Tr[Z H] at fixed Z (nspin, nnz) through the orbitals in its density, the functions on the atoms and
    the matrices of H; of the density that H belongs to only where it rides on the atoms as n_a, with the
    kernel `neutral`."""
    at_rest = np.zeros((len(d.geometry.structure.positions), 3))
    atomic = reduce(add, (change.atomic() for change in changes), AtomicCoefficients(neutral=neutral))
    return sum_of_derivatives(
        [
            *(
                d.on_grid(Derivative(*d.grid.orbital_gradient(part, v)))
                for part, v in zip(Z, potential, strict=True)
            ),
            d.on_grid(atomic_gradient(d.grid, atomic)),
            *(Derivative(at_rest, change.strain()) for change in changes),
            *(term.derivative(Z.sum(axis=0)) for term in d.matrix_terms),
        ]
    )


@dataclass(frozen=True, eq=False)
class HamiltonianChange:
    """H[D] of one System along Z (nspin of D)."""

    D: BlockMatrix
    Z: BlockMatrix
    _discretisation: Discretisation
    _fields: Fields

    @cached_property
    def _changes(self) -> list[LocalChange]:
        density = [self._discretisation.grid.density(part) for part in self.Z.data]
        return [state.along(density) for state in self._fields.states.values()]

    @cached_property
    def _kernel(self) -> list[_core.Potential]:
        return spin_potentials(self._changes, self.Z.nspin)

    @cached_property
    def matrix(self) -> BlockMatrix:
        """K Z, Hartree."""
        grid = self._discretisation.grid
        return BlockMatrix(self.Z.pattern, np.stack([grid.matrix(v) for v in self._kernel]))

    @cached_property
    def derivative(self) -> Derivative:
        """Of Tr[Z H[D]] at fixed D and Z."""
        d = self._discretisation
        through_D = [
            d.on_grid(Derivative(*d.grid.orbital_gradient(part, v)))
            for part, v in zip(self.D.data, self._kernel, strict=True)
        ]
        along = derivative_along(d, self.Z.data, self._fields.potential, self._changes)
        return sum_of_derivatives([along, *through_D])
