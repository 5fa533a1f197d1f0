"""Moments around a defect at the start, and spin states of defects only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlh.calculators.engines import DFTEngine
from mlh.defects.spins import with_start_moments, without_states
from mlh.dft.theory import Theory
from mlh.structures.crystals import crystal
from mlh.structures.defects import point_defect


def test_moments_lie_on_the_neighbours_and_no_two_are_alike() -> None:
    host = crystal("alpha-quartz") * (2, 1, 1)
    oxygen = host.symbols.search("O")[0]
    vacancy, engine = point_defect(host, site=int(oxygen)), DFTEngine(Theory())
    charged = engine.charged(1)
    moments = with_start_moments(vacancy, charged).get_initial_magnetic_moments()
    near = np.flatnonzero(moments)
    assert sorted(moments[near]) == [0.75, 1.0] and (vacancy.numbers[near] == 14).all()
    # Closed shells, moments that are given and models stay as they are.
    assert not with_start_moments(vacancy, engine).get_initial_magnetic_moments().any()
    given = vacancy.copy()
    given.set_initial_magnetic_moments(np.eye(len(vacancy))[3])
    assert with_start_moments(given, charged) is given
    compared = replace(engine, theory=Theory(spin_states=(0, 2)))
    assert with_start_moments(vacancy, compared).get_initial_magnetic_moments().any()
    assert without_states(compared) == engine and without_states(engine) is engine


def test_an_added_atom_has_the_largest_moment() -> None:
    host = crystal("alpha-quartz") * (2, 1, 1)
    silicon = int(host.symbols.search("Si")[0])
    defect = point_defect(host, site=silicon, element="Al")
    moments = with_start_moments(defect, DFTEngine(Theory())).get_initial_magnetic_moments()
    assert int(moments.argmax()) == defect.symbols.search("Al")[0]
    assert sorted(moments[moments > 0]) == [0.25, 0.5, 0.75, 1.0]
