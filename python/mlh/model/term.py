"""A predicted dH as a term of the Hamiltonian: the matrix, and its derivative with the geometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mlh.dft.terms.contract import Derivative
from mlh.matrix.block_matrix import BlockMatrix

if TYPE_CHECKING:
    from mlh.dft.system import System

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PredictedTerm:
    """dH of one structure: a `MatrixTerm` of `mlh.dft.terms.contract`."""

    name: ClassVar[str] = "prediction"
    matrix: BlockMatrix
    """dH, one spin component, Hartree."""
    gradient: Callable[[FloatArray], Derivative]

    def derivative(self, D: FloatArray) -> Derivative:
        """Of Tr[Z dH] at fixed symmetric Z (nnz,); the argument has the name that all terms give it."""
        return self.gradient(D)


@runtime_checkable
class DifferentiableModel(Protocol):
    """A model whose prediction knows its derivative: what exact forces need."""

    @property
    def differentiable(self) -> bool:
        """Whether it really does: a committee only when all its members do."""

    def term(self, system: System) -> PredictedTerm:
        """dH of a system as a term of the Hamiltonian."""


def differentiable(model: object) -> TypeGuard[DifferentiableModel]:
    """True for a model that gives its prediction as a term."""
    return isinstance(model, DifferentiableModel) and model.differentiable
