"""An OpenMX input file in the place of a structure: a whole calculation."""

from __future__ import annotations

import logging
from dataclasses import replace

from ase import Atoms

from mlh.commands.theory_options import TheoryOptions
from mlh.dft.theory import Theory

_log = logging.getLogger("mlh.openmx")


def atoms_and_theory(structure: str, index: int | None, options: TheoryOptions) -> tuple[Atoms, Theory]:
    """The structure and the level of theory of the options; of an OpenMX input file its own level, in which
    options that are given take the place of what it says. With --basis such a file is a structure only.
    """
    from mlh.structures import load_structure
    from mlh.structures.openmx_dat import is_openmx_input

    if options.basis is not None or not is_openmx_input(structure):
        atoms = load_structure(structure, index)
        return atoms, options.theory(atoms)
    from mlh.openmx.calculation import read_calculation
    from mlh.openmx.family import named_species

    if index is not None:
        raise ValueError(f"index: expected none with an OpenMX input file, got {index}")
    named = named_species([*(options.openmx_species or []), *(options.orbitals or [])])
    found = read_calculation(structure, options.openmx_data, named, options.openmx_quirks)
    for note in found.notes:
        _log.warning("%s: %s", structure, note)
    return found.atoms, replace(found.theory, **options.changes())
