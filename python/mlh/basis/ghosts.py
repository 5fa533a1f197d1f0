"""Ghost atoms: the orbitals of an element at a place without charge, electrons or projectors.

In ASE they are atoms X (number 0) with the element in the array "ghost" ("-" for all others, because files
have no place for an empty text). Among species they are "X-O".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlh.basis.species import GHOST, RadialFunction, Species

FloatArray = NDArray[np.float64]

NONE = "-"
"""In the array "ghost": an atom that is none."""


def species_names(atoms: Atoms) -> tuple[str, ...]:
    """Name of the species of every atom: its element, "X-O" of a ghost with the orbitals of oxygen.

    ValueError for an atom X that does not say of which element it is.
    """
    names = list(atoms.get_chemical_symbols())
    places = [place for place, name in enumerate(names) if name == "X"]
    if not places:
        return tuple(names)
    labels = atoms.arrays.get("ghost")
    for place in places:
        label = "" if labels is None else str(labels[place])
        if label in ("", NONE):
            raise ValueError(
                f"atoms: expected the element of ghost atom {place} (X) in the array 'ghost', got none"
            )
        names[place] = GHOST + label
    return tuple(names)


def atoms_of_species(names: Sequence[str], positions: FloatArray, cell: FloatArray) -> Atoms:
    """Periodic atoms (Angstrom) of these species, the inverse of `species_names`."""
    ghosts = [name.removeprefix(GHOST) if name.startswith(GHOST) else NONE for name in names]
    symbols = [name if ghost == NONE else "X" for name, ghost in zip(names, ghosts, strict=True)]
    atoms = Atoms(symbols, positions, cell=cell, pbc=True)
    if "X" in symbols:
        atoms.set_array("ghost", np.array(ghosts))
    return atoms


def with_ghost(atoms: Atoms, element: str, position: FloatArray) -> Atoms:
    """A copy with a ghost of `element` at `position` (Angstrom) as its last atom."""
    labels = list(atoms.arrays.get("ghost", [NONE] * len(atoms)))
    larger = atoms.copy()
    if "ghost" in larger.arrays:
        del larger.arrays["ghost"]
    larger.append("X")
    larger.positions[-1] = position
    larger.set_array("ghost", np.array([*labels, element]))
    return larger


def without_ghosts(atoms: Atoms) -> Atoms:
    """The atoms that are there: as they are where there is no ghost, else a copy without those."""
    real = atoms.numbers != 0
    if real.all():
        return atoms
    kept = atoms[real]
    kept.arrays.pop("ghost", None)
    return kept


def ghost_species(species: Species) -> Species:
    """The orbitals alone."""
    nothing = np.zeros(16)
    return Species(
        symbol=GHOST + species.symbol,
        valence=0.0,
        orbitals=species.orbitals,
        projectors=(),
        neutral_potential=RadialFunction(0, nothing),
        density=RadialFunction(0, nothing),
        recipe=f"ghost of {species.digest}",
    )
