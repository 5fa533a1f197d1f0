"""First Hamiltonian of a new geometry from those of the geometries before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlh.matrix.block_matrix import BlockMatrix, Pattern, transfer

FloatArray = NDArray[np.float64]

MAX_DISPLACEMENT = 2.0
"""Bohr. Nothing carries over once an atom went further since the last geometry, or was wrapped."""


@dataclass(frozen=True, slots=True, eq=False)
class _Snapshot:
    positions: FloatArray
    dh: BlockMatrix


class HamiltonianExtrapolation:
    """dH = H - H0 of the geometry at hand as a combination of the last ones.

        min_c | x - sum_j c_j x_j |^2,  sum_j c_j = 1,    dH = sum_j c_j dH_j

    with x all positions (Arias, Payne, Joannopoulos, PRB 45, 1538 (1992), there for wavefunctions). Along a
    smooth trajectory the error is of second order in the step; with one geometry it is its dH. The normal
    equations are regularised, so that nearly dependent displacements cannot produce large coefficients.
    """

    def __init__(self, history: int = 4, regularisation: float = 1e-3) -> None:
        if history < 1:
            raise ValueError(f"history: expected at least 1 geometry, got {history}")
        self.history = history
        self.regularisation = regularisation
        self._snapshots: list[_Snapshot] = []

    def clear(self) -> None:
        """Forget every geometry."""
        self._snapshots.clear()

    def add(self, positions: FloatArray, dh: BlockMatrix) -> None:
        """Record the self-consistent dH at positions (natoms, 3), Bohr. Other atoms start a new history."""
        if self._snapshots and not self._continues(positions, dh.pattern, dh.nspin):
            self.clear()
        self._snapshots.append(_Snapshot(np.array(positions), dh))
        del self._snapshots[: -self.history]

    def predict(self, positions: FloatArray, pattern: Pattern, nspin: int) -> BlockMatrix | None:
        """dH at positions (natoms, 3), Bohr; None without a usable history."""
        if not self._snapshots or not self._continues(positions, pattern, nspin):
            return None
        parts = [
            c * transfer(s.dh, pattern).data for c, s in zip(self._coefficients(positions), self._snapshots)
        ]
        return BlockMatrix(pattern, np.sum(parts, axis=0))

    def _continues(self, positions: FloatArray, pattern: Pattern, nspin: int) -> bool:
        last = self._snapshots[-1]
        if last.dh.nspin != nspin or not np.array_equal(last.dh.pattern.n_orbitals, pattern.n_orbitals):
            return False
        return float(np.linalg.norm(positions - last.positions, axis=1).max()) < MAX_DISPLACEMENT

    def _coefficients(self, positions: FloatArray) -> FloatArray:
        """c_j; the last geometry takes what the differences from it leave."""
        last = self._snapshots[-1].positions
        steps = np.array([(s.positions - last).ravel() for s in self._snapshots[:-1]])
        if len(steps) == 0:
            return np.ones(1)
        gram = steps @ steps.T
        gram[np.diag_indices_from(gram)] += self.regularisation * max(gram.diagonal().max(), 1e-300)
        gamma = np.linalg.solve(gram, steps @ (positions - last).ravel())
        return np.append(gamma, 1.0 - gamma.sum())
