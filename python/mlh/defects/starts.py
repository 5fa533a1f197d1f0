"""Where a defect starts from: moments on the atoms around it, no two alike, room for its charge, and the
orbitals of removed atoms where they are to stay.

Without moments of its own all atoms of the cell would start with one, and moments that are equal by symmetry
keep a spin shared that wants to sit on one atom (the E' centre: V_O in its positive state). The neighbours of
a neutral vacancy are held near to each other by the electrons between them; once these are taken away the
level lies among those of the valence band (V_O(2+) at the neutral geometry: a gap of 1 meV), where integer
occupations find no self-consistency, and from where the relaxation has the longest way.
"""

from __future__ import annotations

from dataclasses import replace

import ase
import numpy as np
from ase.constraints import FixAtoms

from mlh.basis.ghosts import with_ghost
from mlh.calculators.engines import DFTEngine
from mlh.defects.cases import DefectCase
from mlh.relaxation.jobs import EngineLike
from mlh.structures.shell import first_shell
from mlh.structures.vacancy_starts import opened

LARGEST, STEP = 4, 0.25
"""So many of them have moments, from 1 down by this step."""

ROOM, MOST_ROOM = 0.25, 0.5
"""Angstrom per positive charge, and at most, by which the neighbours of a vacancy start further out."""


def with_start_moments(defect: ase.Atoms, engine: EngineLike) -> ase.Atoms:
    """The defect (`defect_position` in its info) with moments on the atoms around it, where the engine makes
    it spin-polarised and its atoms have none; otherwise as it is."""
    if not isinstance(engine, DFTEngine) or defect.get_initial_magnetic_moments().any():
        return defect
    if engine.theory.nspin(defect) == 1:
        return defect
    return moments_around(defect)


def moments_around(defect: ase.Atoms) -> ase.Atoms:
    """The defect with moments on the atoms around its place, and on no others."""
    around = first_shell(defect, defect.info["defect_position"])[0][:LARGEST]
    moments = np.zeros(len(defect))
    moments[around] = 1.0 - STEP * np.arange(len(around))
    started = defect.copy()
    started.set_initial_magnetic_moments(moments)
    return started


def with_room(defect: ase.Atoms, case: DefectCase) -> ase.Atoms:
    """A positive vacancy with its neighbours moved outwards as far as constraints let them; any other case as
    it is."""
    empty = all(member.added is None for member in case.defect.name.members)
    if case.charge <= 0 or not empty:
        return defect
    return opened(defect, room_of(case.charge))


def room_of(charge: float) -> float:
    """By how much the neighbours of a vacancy of this charge start further out, Angstrom."""
    return min(ROOM * max(charge, 0.0), MOST_ROOM)


def with_orbitals_of_removed(
    defect: ase.Atoms, host: ase.Atoms, case: DefectCase, engine: EngineLike
) -> ase.Atoms:
    """For DFT: a ghost at every vacancy of the defect, held where the atom of the host was.

    It is held because its orbitals feel the force of an incomplete basis set (Pulay), which would drive it to
    where they lower the energy most. A model has no orbitals beside those of atoms: the defect as it is.
    """
    if not isinstance(engine, DFTEngine):
        return defect
    for member, place in zip(case.defect.name.members, case.defect.places, strict=True):
        if member.added is None and member.site is not None:
            defect = with_ghost(defect, member.site, host.positions[place])
            defect.arrays["host_index"][-1] = -1
            defect.set_constraint([*defect.constraints, FixAtoms([len(defect) - 1])])
    return defect


def without_states(engine: EngineLike) -> EngineLike:
    """For the host: the spin states that are compared are those of its defects."""
    if not isinstance(engine, DFTEngine) or not engine.theory.spin_states:
        return engine
    return replace(engine, theory=replace(engine.theory, spin_states=()))
