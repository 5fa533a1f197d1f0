"""The first shell of atoms around a place."""

from __future__ import annotations

import ase
import numpy as np
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray

SHELL = 1.3
"""Atoms nearer to the place than this many times its nearest one are its neighbours."""

_PLACE = 0.3  # Angstrom; an added atom is on the place itself


def first_shell(
    atoms: ase.Atoms, place: ArrayLike, without: str = ""
) -> tuple[list[int], NDArray[np.float64]]:
    """Its atoms, the nearest first, and their vectors from the place (Angstrom); an atom on the place itself
    is one of them, ghosts are none. without: an element that is not meant, where there are others."""
    vectors, distances = find_mic(atoms.positions - np.asarray(place, dtype=float), atoms.cell, atoms.pbc)
    real = atoms.numbers > 0
    others = real & (np.asarray(atoms.get_chemical_symbols()) != without)
    distances[~(others if others.any() else real)] = np.inf
    nearest = distances[distances > _PLACE].min()
    found = [int(k) for k in np.argsort(distances, kind="stable") if distances[k] <= SHELL * nearest]
    return found, vectors[found]
