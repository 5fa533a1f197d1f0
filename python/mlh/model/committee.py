"""A committee: several models trained on the same level of theory, e.g. from different seeds.

Its prediction is the mean of dH; where the members disagree, the training data did not decide.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mlh.dft.terms.contract import Derivative, sum_of_derivatives
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPointsSpec
from mlh.model.term import PredictedTerm, differentiable

if TYPE_CHECKING:
    from mlh.basis.species import Basis
    from mlh.dft.system import System


class Member(Protocol):
    """What a committee needs of each model."""

    @property
    def basis(self) -> Basis: ...
    @property
    def cutoff_ry(self) -> float: ...
    @property
    def xc(self) -> str: ...
    def predict(self, system: System) -> BlockMatrix: ...


class Committee:
    """Two or more models of one basis and level of theory; predicts the mean of their dH."""

    def __init__(self, members: Sequence[Member]) -> None:
        if len(members) < 2:
            raise ValueError(f"committee: expected at least 2 models, got {len(members)}")
        first = members[0]
        for k, member in enumerate(members[1:], start=2):
            for name in ("cutoff_ry", "xc", "integration", "smearing_ev", "smearing"):
                if getattr(member, name, None) != getattr(first, name, None):
                    raise ValueError(
                        f"committee: expected equal {name}, got {getattr(first, name, None)} (model 1) and "
                        f"{getattr(member, name, None)} (model {k})"
                    )
            if member.basis.fingerprint != first.basis.fingerprint:
                raise ValueError(f"committee: model {k} has another basis than model 1")
        self.members = tuple(members)
        self.basis, self.cutoff_ry, self.xc = first.basis, first.cutoff_ry, first.xc
        self.integration: str | None = getattr(first, "integration", None)
        self.smearing_ev: float | None = getattr(first, "smearing_ev", None)
        self.smearing: str = getattr(first, "smearing", "fermi-dirac")
        self.last: tuple[BlockMatrix, ...] = ()

    @property
    def kpts(self) -> KPointsSpec:
        """k points of the labels: those of all members, or the densest of their spacings."""
        meshes = [getattr(member, "kpts", (1, 1, 1)) for member in self.members]
        spacings = [m for m in meshes if isinstance(m, Mapping) and "spacing" in m]
        return min(spacings, key=lambda m: float(m["spacing"])) if spacings else meshes[0]

    @property
    def charged(self) -> bool:
        """Whether every member knows charge and moment."""
        return all(getattr(member, "charged", False) for member in self.members)

    def predict(self, system: System, moment: float = 0.0) -> BlockMatrix:
        """Mean dH; the members' own predictions stay in `last`."""
        given = {"moment": moment} if moment else {}
        return self._mean([member.predict(system, **given) for member in self.members])

    @property
    def kappa(self) -> float:
        """Mean of the members' shares of the estimated energy error that are error."""
        return float(np.mean([getattr(member, "kappa", 0.0) for member in self.members]))

    @property
    def differentiable(self) -> bool:
        """Whether every member knows the derivative of its prediction."""
        return all(differentiable(member) for member in self.members)

    def term(self, system: System) -> PredictedTerm:
        """The mean as a term of the Hamiltonian; TypeError when a member has no derivative."""
        terms = [member.term(system) for member in self.members if differentiable(member)]
        if len(terms) < len(self.members):
            raise TypeError("committee: expected members with a derivative (`term`), got some without")

        def gradient(Z: NDArray[np.float64]) -> Derivative:
            total = sum_of_derivatives([term.derivative(Z) for term in terms])
            return Derivative(total.atoms / len(terms), total.strain / len(terms))

        return PredictedTerm(self._mean([term.matrix for term in terms]), gradient)

    def _mean(self, predictions: Sequence[BlockMatrix]) -> BlockMatrix:
        """Of the members, who stay in `last`."""
        self.last = tuple(predictions)
        return BlockMatrix(predictions[0].pattern, np.mean([dh.data for dh in predictions], axis=0))

    def disagreement(self) -> float:
        """rms over all elements of the standard deviation of the members' last dH, Hartree."""
        data: NDArray[np.float64] = np.stack([dh.data for dh in self.last])
        return float(np.sqrt(np.mean(data.var(axis=0, ddof=1))))


def load_committee(names: Sequence[str | os.PathLike[str]], device: str = "cpu") -> Committee:
    """Committee of model files or shipped names."""
    from mlh.model.model import load_model

    return Committee([load_model(name, device=device) for name in names])
