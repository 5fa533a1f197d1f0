"""Mobility edges of a glass, estimated: where states beside the gap stop being localised.

The tails of the bands of a glass are localised; transport happens beyond them. A state is called extended
here when its inverse participation ratio is at most 1.5 times the median of the states within 3 eV of the
edge. In a crystal the mobility edges are the band edges. Of one cell this is an estimate: the ratio of an
extended state falls with the size of the cell, that of a localised one does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlh.analysis.bands import band_edges
from mlh.analysis.mulliken import atom_shares, participation
from mlh.analysis.state import ElectronicState
from mlh.common.units import HARTREE_EV

WINDOW, RATIO = 3.0, 1.5  # eV; times the median


def mobility_edges(state: ElectronicState) -> tuple[float | None, float | None]:
    """(valence, conduction) energies in the zero of the state, eV; None in a metal or without a state that
    counts as extended."""
    solution = state.solution
    edges = band_edges(solution.eigenvalues, state.kpts.points, solution)
    if edges.valence is None or edges.conduction is None:
        return None, None
    valence = _levels(state, edges.valence.spin, edges.valence.k_index)
    conduction = _levels(state, edges.conduction.spin, edges.conduction.k_index)
    return (
        first_extended(*valence, edges.valence.energy, -1.0),
        first_extended(*conduction, edges.conduction.energy, +1.0),
    )


def first_extended(
    energies: NDArray[np.float64], ratios: NDArray[np.float64], edge: float, direction: float
) -> float | None:
    """The energy of the extended state nearest to the edge. energies (eV), ratios: of all states; direction:
    -1 for a valence edge, below which states count, +1 for a conduction edge."""
    depth = (energies - edge) * direction
    inside = (depth > -1e-6) & (depth <= WINDOW)
    if not inside.any():
        return None
    extended = inside & (ratios <= RATIO * float(np.median(ratios[inside])))
    if not extended.any():
        return None
    return float(energies[extended][np.argmin(depth[extended])])


def _levels(state: ElectronicState, spin: int, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    energies = np.asarray(state.solution.eigenvalues[spin, k] * HARTREE_EV)
    return energies, participation(atom_shares(state, spin, k))
