"""What a density matrix puts on the integration points, and the memory of the last one by its value."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import mlh._core as _core
from mlh.dft.terms.contract import LocalState
from mlh.matrix.block_matrix import BlockMatrix


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """Densities, states of the local terms and their potentials at one density matrix."""

    density: list[_core.Density]  # per spin
    states: dict[str, LocalState]  # by the name of the local term
    potential: list[_core.Potential]  # per spin: the sum of all local terms


class LastFields:
    """The fields of the density matrix seen last, so that forces after an evaluation reuse them.

    Found by the numbers of D, of which a fingerprint is kept: who holds the writeable array behind a
    BlockMatrix and changes it asks for another density matrix. It reads D once, nothing beside the grid.
    """

    def __init__(self) -> None:
        self._last: tuple[str, Fields] | None = None

    def find(self, D: BlockMatrix) -> Fields | None:
        """The fields of D (on the pattern of the system), None where another one was seen last."""
        if self._last is None or self._last[0] != _fingerprint(D):
            return None
        return self._last[1]

    def keep(self, D: BlockMatrix, fields: Fields) -> None:
        """Remember the fields of D in place of the ones before."""
        self._last = (_fingerprint(D), fields)


def _fingerprint(D: BlockMatrix) -> str:
    return f"{D.data.shape} {sha256(D.data.data).hexdigest()}"
