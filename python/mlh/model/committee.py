"""A committee: several models trained on the same level of theory, e.g. from different seeds.

Its prediction is the mean of dH; where the members disagree, the training data did not decide.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mlh.matrix.kpoints import KPointsSpec

if TYPE_CHECKING:
    from mlh.basis.species import Basis
    from mlh.dft.system import System
    from mlh.matrix.block_matrix import BlockMatrix


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

    def predict(self, system: System) -> BlockMatrix:
        """Mean dH; the members' own predictions stay in `last`."""
        from mlh.matrix.block_matrix import BlockMatrix

        self.last = tuple(member.predict(system) for member in self.members)
        return BlockMatrix(system.pattern, np.mean([dh.data for dh in self.last], axis=0))

    def disagreement(self) -> float:
        """rms over all elements of the standard deviation of the members' last dH, Hartree."""
        data: NDArray[np.float64] = np.stack([dh.data for dh in self.last])
        return float(np.sqrt(np.mean(data.var(axis=0, ddof=1))))


def load_committee(names: Sequence[str | os.PathLike[str]], device: str = "cpu") -> Committee:
    """Committee of model files or shipped names."""
    from mlh.model.model import load_model

    return Committee([load_model(name, device=device) for name in names])
