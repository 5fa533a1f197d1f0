"""Terms that depend on the geometry alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from mlh.dft.terms.contract import Derivative, FloatArray

Evaluation = tuple[float, FloatArray, FloatArray]
"""E in Hartree, dE/dtau (natoms, 3) in Hartree/Bohr, dE/deps (3, 3) in Hartree."""


class PairEnergy:
    """E(tau) with its derivative, from one call of a function of the core when first asked for."""

    def __init__(self, name: str, evaluate: Callable[[], Evaluation]) -> None:
        self.name, self._evaluate = name, evaluate

    @cached_property
    def _result(self) -> Evaluation:
        return self._evaluate()

    @property
    def energy(self) -> float:
        """Hartree."""
        return self._result[0]

    @property
    def derivative(self) -> Derivative:
        """dE/dtau and dE/deps."""
        return Derivative(*self._result[1:])
