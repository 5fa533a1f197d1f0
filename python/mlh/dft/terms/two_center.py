"""Terms made of two-centre integrals: kinetic energy and nonlocal potential."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import mlh._core as _core
from mlh.dft.terms.contract import Derivative, Geometry
from mlh.matrix.block_matrix import BlockMatrix, Pattern, kept_unless_large

FloatArray = NDArray[np.float64]


class Kinetic:
    """Tr D T, T = <phi_i | -1/2 nabla^2 | phi_j>."""

    name = "kinetic"

    def __init__(self, geometry: Geometry, tables: _core.TwoCenterTables) -> None:
        self._geometry, self._tables = geometry, tables

    @property
    def pattern(self) -> Pattern:
        """Of the matrix."""
        return self._geometry.pattern

    @kept_unless_large
    def matrix(self) -> BlockMatrix:
        """T, Hartree."""
        g = self._geometry
        return BlockMatrix(g.pattern, self._tables.kinetic(g.structure, g.pattern))

    def derivative(self, D: FloatArray) -> Derivative:
        """At fixed D."""
        g = self._geometry
        return Derivative(*self._tables.kinetic_gradient(g.structure, g.pattern, D))


class Nonlocal:
    """Tr D Vnl, Vnl = q sum_K <phi_i|beta_K> E_K <beta_K|phi_j>."""

    name = "nonlocal"

    def __init__(self, geometry: Geometry, tables: _core.TwoCenterTables, damping_slope: float = 1.0) -> None:
        """damping_slope: factor of dq/dr in the derivative, 1 but for OpenMX's quirk."""
        self._geometry, self._tables, self._slope = geometry, tables, damping_slope

    @property
    def pattern(self) -> Pattern:
        """Of the matrix."""
        return self._geometry.pattern

    @kept_unless_large
    def matrix(self) -> BlockMatrix:
        """Vnl, Hartree."""
        g = self._geometry
        return BlockMatrix(g.pattern, self._tables.nonlocal_potential(g.structure, g.pattern))

    def derivative(self, D: FloatArray) -> Derivative:
        """At fixed D."""
        g = self._geometry
        return Derivative(*self._tables.nonlocal_gradient(g.structure, g.pattern, D, self._slope))
