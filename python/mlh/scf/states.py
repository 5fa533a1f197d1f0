"""Several spin states of one geometry: each self-consistent from a start of its own, the lowest kept.

A total moment that is held is a state of its own; which one is lowest only a comparison tells. Moment 0 is
started twice where atoms have initial moments: closed shells, and antiparallel moments (a broken-symmetry
singlet).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlh.common.units import HARTREE_EV
from mlh.scf.result import SCFResult, SpinState

_log = logging.getLogger("mlh.scf")

FloatArray = NDArray[np.float64]

Run = Callable[[float, FloatArray | None], SCFResult]
"""Self-consistency with a held moment from initial moments of the atoms (None: the default ones)."""


@dataclass(frozen=True, slots=True, eq=False)
class SpinStart:
    """One start: the moment held (N_up - N_down) and initial moments of the atoms, None: the default ones."""

    moment: float
    initial: FloatArray | None
    name: str


def spin_starts(moments: Sequence[float], given: FloatArray | None, n_atoms: int) -> list[SpinStart]:
    """The starts for these moments; `given`: initial moments of the atoms (natoms,), or None."""
    starts = []
    for moment in moments:
        if moment == 0.0:
            starts.append(SpinStart(0.0, np.zeros(n_atoms), "0"))
            if given is not None and np.count_nonzero(given) > 1:
                starts.append(SpinStart(0.0, _antiparallel(given), "0 (antiparallel)"))
        else:
            parallel = None if given is None else np.abs(given) * np.sign(moment)
            starts.append(SpinStart(moment, parallel, f"{moment:g}"))
    return starts


def _antiparallel(given: FloatArray) -> FloatArray:
    """Their own signs where they have two, alternating ones in the order of the atoms otherwise."""
    if given.min() < 0.0 < given.max():
        return given
    signs = np.zeros(len(given))
    places = np.flatnonzero(given)
    signs[places] = (-1.0) ** np.arange(len(places))
    return signs * given


def lowest_state(starts: Sequence[SpinStart], run: Run) -> SCFResult:
    """The converged state of lowest free energy; the one with the smallest residual where none converges.

    `states` of the result are all that were tried, `note` says it in words. A start that cannot be made (no
    such moment) is an error.
    """
    results = [run(start.moment, start.initial) for start in starts]
    converged = [result for result in results if result.converged]
    if converged:
        kept = min(converged, key=lambda result: result.energies.total)
    else:
        kept = min(results, key=lambda result: result.residual)
    states = tuple(
        SpinState(start.name, start.moment, result.energies.total, result.converged, result is kept)
        for start, result in zip(starts, results, strict=True)
    )
    note = "spin states: " + ", ".join(_words(state, kept.energies.total) for state in states)
    _log.info("%s", note)
    return replace(kept, note=note, states=states)


def _words(state: SpinState, lowest: float) -> str:
    if not state.converged:
        return f"moment {state.name} not converged"
    if state.kept:
        return f"moment {state.name} kept"
    return f"moment {state.name} {(state.energy - lowest) * HARTREE_EV:+.4f} eV"
