"""H[D] along a change Z of the density matrix: K Z, K = dH/dD, and Tr[Z H[D]] at fixed D and Z.

K Z = <phi| dv |phi>,   dv: the potential of the local terms along the density of Z
d Tr[Z H[D]] = Tr[Z dM] + sum v[n] dn_Z + sum dv dn + (functions on the atoms, along n_Z)
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
from mlh.dft.gradient import Rest, Trace
from mlh.dft.terms.contract import AtomicCoefficients, Discretisation, LocalChange
from mlh.matrix.block_matrix import BlockMatrix

FloatArray = NDArray[np.float64]


def spin_potentials(changes: Sequence[LocalChange], nspin: int) -> list[_core.Potential]:
    """Sum of the potentials of local terms, one per spin."""
    return [reduce(add, (_of_spin(c.potential, spin) for c in changes)) for spin in range(nspin)]


def _of_spin(potential: Sequence[_core.Potential], spin: int) -> _core.Potential:
    return potential[min(spin, len(potential) - 1)]


def rest_along(name: str, changes: Sequence[LocalChange], neutral: _core.Potential | None = None) -> Rest:
    """What rides on the atoms and strains along a change of the density; `neutral`: over n_a."""
    atomic = reduce(add, (change.atomic() for change in changes), AtomicCoefficients(neutral=neutral))
    return atomic, {name: np.sum([change.strain() for change in changes], axis=0)}


@dataclass(frozen=True, eq=False)
class HamiltonianChange:
    """H[D] of one System along Z (nspin of D).

    single: products of Z with orbitals in single precision, of a Z that is small beside D and meets nothing
    that is large.
    """

    D: BlockMatrix
    Z: BlockMatrix
    _discretisation: Discretisation
    _fields: Fields
    single: bool = False

    @cached_property
    def _changes(self) -> list[LocalChange]:
        grid = self._discretisation.grid
        density = [grid.density(part, self.single) for part in self.Z.data]
        return [state.along(density) for state in self._fields.states.values()]

    @cached_property
    def _kernel(self) -> list[_core.Potential]:
        return spin_potentials(self._changes, self.Z.nspin)

    @cached_property
    def matrix(self) -> BlockMatrix:
        """K Z, Hartree."""
        grid = self._discretisation.grid
        return BlockMatrix(self.Z.pattern, np.stack([grid.matrix(v, self.single) for v in self._kernel]))

    @property
    def trace(self) -> Trace:
        """Tr[Z H[D]], for its derivative at fixed D and Z."""
        of_Z, of_D = list(zip(self.Z.data, self._fields.potential)), list(zip(self.D.data, self._kernel))
        pairs, single = (of_D, of_Z) if self.single else ([*of_Z, *of_D], [])
        seed = self.Z.data.sum(axis=0)
        return Trace(pairs, seed, lambda _: rest_along("correction", self._changes), single=single)
