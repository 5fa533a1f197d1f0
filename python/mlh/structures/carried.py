"""What of a structure still means something after an atom was removed, replaced or added: constraints, tags,
moments and notes, with indices that follow their atoms."""

from __future__ import annotations

import copy
import logging
from typing import Any

import ase
import numpy as np

_log = logging.getLogger("mlh.structures")

LOST_INFO = {
    *("source", "occupancy", "spacegroup", "unit_cell"),
    *("energy", "free_energy", "stress", "virial", "dipole", "magmom"),
    *("step", "fmax", "optimizer", "seconds", "residual", "energy_error", "energy_uncorrected"),
    "energy_corrected",
    *("REF_energy", "REF_stress"),
}
"""Notes about the structure as a whole that are not true of another one."""

LOST_ARRAYS = {
    *("forces", "REF_forces", "momenta", "magmoms", "charges", "spacegroup_kinds", "host_index"),
}
"""Numbers per atom that a calculation gave for this structure, or that count on its symmetry."""

SITE_ARRAYS = ("initial_magmoms", "initial_charges", "masses")
"""Numbers of an element: another one on the same site does not inherit them."""


def carried(atoms: ase.Atoms) -> ase.Atoms:
    """Copy without calculator, labels of a calculation, and notes that hold for this structure only."""
    result = atoms.copy()
    result.calc = None
    for name in set(result.arrays) & LOST_ARRAYS:
        del result.arrays[name]
    for name in set(result.info) & LOST_INFO:
        del result.info[name]
    return result


def without_atom(atoms: ase.Atoms, site: int) -> ase.Atoms:
    """Copy with one atom less; constraints follow their atoms.

    A constraint between the removed atom and others is dropped with a warning, like one that is not told by
    atoms (as FixSymmetry).
    """
    keep = np.delete(np.arange(len(atoms)), site)
    kept = []
    for constraint in copy.deepcopy(atoms.constraints):
        concerned = set(np.ravel(constraint.get_indices()).tolist()) if _by_atoms(constraint) else None
        try:
            constraint.index_shuffle(atoms, keep)
        except (IndexError, NotImplementedError, AttributeError, RuntimeError):
            if concerned != {site}:
                _say_dropped(constraint, f"it does not hold without atom {site}")
            continue
        kept.append(constraint)
    bare = atoms.copy()
    bare.set_constraint()
    del bare[site]
    bare.set_constraint(kept)
    return bare


def replaced(atoms: ase.Atoms, site: int, element: str) -> ase.Atoms:
    """Copy with another element on a site: no moment, charge or mass of the old one."""
    result = atoms.copy()
    result.symbols[site] = element
    for name in SITE_ARRAYS:
        if name == "masses" and result.has(name):
            masses = result.get_masses()
            masses[site] = ase.Atom(element).mass
            result.set_masses(masses)
        elif name in result.arrays:
            result.arrays[name][site] = 0.0
    return result


def writable(atoms: ase.Atoms) -> ase.Atoms:
    """The same with its constraints as extended xyz holds them: Cartesian components that are fixed.

    FixScaled along the axes is that; other constraints are not in the file, with a warning.
    """
    from ase.constraints import FixAtoms, FixCartesian, FixScaled

    if all(isinstance(c, FixAtoms | FixCartesian) for c in atoms.constraints):
        return atoms
    along_axes = np.count_nonzero(atoms.cell.array - np.diag(np.diag(atoms.cell.array))) == 0
    listed: list[Any] = []
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms | FixCartesian):
            listed.append(constraint)
        elif isinstance(constraint, FixScaled) and along_axes:
            listed.append(FixCartesian(constraint.index, mask=constraint.mask))
        else:
            _say_dropped(constraint, "extended xyz has no place for it")
    result = atoms.copy()
    result.calc = atoms.calc
    result.set_constraint(listed)
    return result


def _by_atoms(constraint: Any) -> bool:
    try:
        constraint.get_indices()
    except (AttributeError, NotImplementedError):
        return False
    return True


def _say_dropped(constraint: Any, reason: str) -> None:
    _log.warning("constraint %s is left out: %s", type(constraint).__name__, reason)
