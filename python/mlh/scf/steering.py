"""The next input of self-consistency: Pulay mixing, and a more careful start where it gets nowhere.

Holes in the valence band of an insulator are neither a metal nor an insulator: the screening of a metal
(`mlh.scf.screening`) takes their few states at the Fermi level for all that answers and holds back what
should move, and long steps let levels change places. When the residual has not halved in `PATIENCE` steps the
mixing starts again from the best input, without screening and with half the damping.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlh.matrix.block_matrix import BlockMatrix
from mlh.scf.mixing import PulayMixer
from mlh.scf.screening import Screening
from mlh.solver import Solution, State

_log = logging.getLogger("mlh.scf")

FloatArray = NDArray[np.float64]

PATIENCE = 8
"""Steps in which the residual (rms) has to halve."""


@dataclass(frozen=True, slots=True)
class _Best:
    """The input with the smallest residual so far."""

    x: FloatArray
    residual: FloatArray
    rms: float


class Steering:
    """One self-consistency: `next` takes an input with its residual and gives the next input."""

    def __init__(self, mixer: PulayMixer, screening: Screening | None) -> None:
        self._mixer, self._screening = mixer, screening
        self._best: _Best | None = None
        self._mark, self._since = np.inf, 0

    def renew(self) -> None:
        """Forget the steps: the map from input to output has become another one."""
        self._mixer = PulayMixer()
        self._best, self._mark, self._since = None, np.inf, 0

    def next(self, H_in: BlockMatrix, R: BlockMatrix, solution: State) -> BlockMatrix:
        """The next input, on the same pattern."""
        rms = R.rms()
        if self._best is None or rms < self._best.rms:
            self._best = _Best(H_in.data, R.data, rms)
        if rms < 0.5 * self._mark:
            self._mark, self._since = rms, 0
        else:
            self._since += 1
        x, residual = H_in.data, R.data
        if self._since == PATIENCE:
            damping = 0.5 * self._mixer.damping
            _log.debug("no progress in %d steps: from the best input on with damping %g", PATIENCE, damping)
            self._mixer, self._screening, self._since = PulayMixer(damping=damping), None, 0
            x, residual, self._mark = self._best.x, self._best.residual, self._best.rms
        return BlockMatrix(H_in.pattern, self._mixer.next(x, residual, self._precondition(solution, R)))

    def _precondition(self, solution: State, R: BlockMatrix) -> Callable[[FloatArray], FloatArray] | None:
        """The screening at this state on plain arrays, for the mixer."""
        screening = self._screening
        if screening is None:
            return None
        assert isinstance(solution, Solution)
        return lambda data: screening(BlockMatrix(R.pattern, data), solution).data
