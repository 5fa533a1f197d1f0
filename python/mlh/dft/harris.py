"""The Harris Hamiltonian H0 = H[n_a], n_a the superposed neutral atoms, as a term that is a matrix.

    d Tr[Z H0]/dtau at fixed Z = Tr[Z dM] + sum v[n_a] dn_Z + sum (K[n_a] n_Z) dn_a + (functions on the atoms)

M: the matrices that do not depend on D; n_Z: the density of Z; v and K = dv/dn: potential and kernel of the
discretised local terms. The first sum goes through the orbitals in n_Z, the second through the atomic
densities, both on all points of grid and spheres, so that the derivative is that of the discretised matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import mlh._core as _core
from mlh.dft.gradient import Rest, Trace, derivatives
from mlh.dft.kernel import rest_along, spin_potentials
from mlh.dft.terms.contract import Derivative, Discretisation, LocalState, sum_of_derivatives
from mlh.matrix.block_matrix import BlockMatrix, Pattern, kept_unless_large

FloatArray = NDArray[np.float64]


class HarrisHamiltonian:
    """H0 of one geometry: a `MatrixTerm`."""

    name = "harris"

    def __init__(self, discretisation: Discretisation) -> None:
        self._discretisation = discretisation

    @property
    def pattern(self) -> Pattern:
        """Of the matrix."""
        return self._discretisation.pattern

    @kept_unless_large
    def _states(self) -> list[LocalState]:
        """The local terms at n_a."""
        d = self._discretisation
        return [term.at([d.grid.neutral()]) for term in d.local_terms]

    @kept_unless_large
    def _potential(self) -> _core.Potential:
        return spin_potentials(self._states, 1)[0]

    @kept_unless_large
    def matrix(self) -> BlockMatrix:
        """H0, one spin component, Hartree."""
        d = self._discretisation
        total = np.asarray(d.grid.matrix(self._potential))[None]
        total += d.fixed_matrix
        return BlockMatrix(d.pattern, total)

    def trace(self, Z: FloatArray, single: bool = False) -> Trace:
        """Tr[Z H0], for its derivative at fixed Z (nnz,); single: of a Z that is small beside D."""

        def rest(density: Sequence[_core.Density]) -> Rest:
            changes = [state.along(density) for state in self._states]
            return rest_along("harris", changes, neutral=spin_potentials(changes, 1)[0])

        pair = [(Z, self._potential)]
        pairs, small = ([], pair) if single else (pair, [])
        return Trace(pairs, Z, rest, with_density=True, single=small)

    def derivative(self, D: FloatArray) -> Derivative:
        """Of Tr[Z H0] at fixed Z (nnz,); the argument has the name that all terms give it."""
        parts = derivatives(self._discretisation, [self.trace(D)])
        return sum_of_derivatives(part for _, part in parts)
