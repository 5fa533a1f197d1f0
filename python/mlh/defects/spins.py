"""Moments at the start of a defect: on the atoms around it, and no two alike.

Without them all atoms of the cell would start with a moment, and moments that are equal by symmetry keep a
spin shared that wants to sit on one atom (the E' centre: V_O in its positive state).
"""

from __future__ import annotations

from dataclasses import replace

import ase
import numpy as np
from ase.geometry import find_mic

from mlh.calculators.engines import DFTEngine
from mlh.relaxation.jobs import EngineLike

SHELL = 1.3
"""Atoms nearer to the place than this many times its nearest one are its neighbours."""

LARGEST, STEP = 4, 0.25
"""So many of them have moments, from 1 down by this step."""

_PLACE = 0.3  # Angstrom; an added atom is on the place itself


def with_start_moments(defect: ase.Atoms, engine: EngineLike) -> ase.Atoms:
    """The defect (`defect_position` in its info) with moments on the atoms around it, where the engine makes
    it spin-polarised and its atoms have none; otherwise as it is."""
    if not isinstance(engine, DFTEngine) or defect.get_initial_magnetic_moments().any():
        return defect
    if engine.theory.nspin(defect) == 1:
        return defect
    place = np.asarray(defect.info["defect_position"], dtype=np.float64)
    _, distances = find_mic(defect.positions - place, defect.cell, defect.pbc)
    nearest = distances[distances > _PLACE].min()
    around = [atom for atom in np.argsort(distances, kind="stable") if distances[atom] <= SHELL * nearest]
    moments = np.zeros(len(defect))
    moments[around[:LARGEST]] = 1.0 - STEP * np.arange(len(around[:LARGEST]))
    started = defect.copy()
    started.set_initial_magnetic_moments(moments)
    return started


def without_states(engine: EngineLike) -> EngineLike:
    """For the host: the spin states that are compared are those of its defects."""
    if not isinstance(engine, DFTEngine) or not engine.theory.spin_states:
        return engine
    return replace(engine, theory=replace(engine.theory, spin_states=()))
