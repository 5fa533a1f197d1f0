"""Where a defect starts from: moments and room around it; spin states of defects only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
from ase.constraints import FixAtoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from mlh.calculators.engines import DFTEngine, ModelEngine
from mlh.defects.cases import DefectCase, vacancy_cases
from mlh.defects.electrons import Electrons, keep_electrons, read_electrons
from mlh.defects.references import given_reference
from mlh.defects.run import DefectSettings, run_defects
from mlh.defects.starts import (
    with_orbitals_of_removed,
    with_room,
    with_start_moments,
    without_states,
)
from mlh.dft.theory import Theory
from mlh.relaxation.loop import RelaxSettings
from mlh.structures import DefectName, choose_places, placed_defect, vacancy_at
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


def test_the_neighbours_of_a_positive_vacancy_start_further_out() -> None:
    host = crystal("alpha-quartz") * (2, 1, 1)
    oxygen = int(host.symbols.search("O")[0])
    vacancy, place = point_defect(host, site=oxygen), vacancy_at(host, oxygen)
    assert with_room(vacancy, DefectCase(place)) is vacancy
    assert with_room(vacancy, DefectCase(place, -1)) is vacancy

    def away(atoms: ase.Atoms) -> NDArray[np.float64]:
        vectors = atoms.positions - np.asarray(vacancy.info["defect_position"])
        return np.asarray(find_mic(vectors, host.cell, host.pbc)[1])

    for charge, step in ((1, 0.25), (2, 0.5), (3, 0.5)):
        moved = with_room(vacancy, DefectCase(place, charge))
        change = away(moved) - away(vacancy)
        around = np.flatnonzero(np.abs(change) > 1e-9)
        assert len(around) == 2 and (moved.numbers[around] == 14).all()
        np.testing.assert_allclose(change[around], step, atol=1e-12)
    held = vacancy.copy()
    held.set_constraint(FixAtoms([int(around[0])]))
    change = away(with_room(held, DefectCase(place, 1))) - away(vacancy)
    assert np.flatnonzero(np.abs(change) > 1e-9).tolist() == [int(around[1])]


def test_orbitals_of_the_removed_atom_stay_at_its_place(tmp_path: Path) -> None:
    """A vacancy by DFT with a ghost: lower in energy, held, and not counted as an atom."""
    host = crystal("alpha-quartz")
    cases = vacancy_cases(host, [int(host.symbols.search("O")[0])])
    engine = DFTEngine(Theory(basis="gth-pbe minimal", cutoff_ry=100.0))
    reference = {"O": given_reference("O", -430.0)}
    found = {}
    for ghost in (False, True):
        settings = DefectSettings(
            RelaxSettings(max_steps=2), relax_host=False, keep=keep_electrons, ghost=ghost
        )
        run = run_defects(host, cases, engine, reference, tmp_path / str(ghost), settings)
        (found[ghost],) = run.defects
    plain, kept = found[False], found[True]
    assert kept.result.energy < plain.result.energy - 0.1
    assert kept.result.atoms.numbers[-1] == 0 and len(kept.relaxed) == len(plain.relaxed) == len(host) - 1
    np.testing.assert_allclose(kept.result.atoms.positions[-1], kept.position, atol=1e-8)
    assert kept.removed == plain.removed == {"O": 1}
    assert not np.allclose(kept.relaxed.positions, kept.start.positions, atol=1e-3)
    electrons = read_electrons(cases[0].folder(tmp_path / "True"))
    assert isinstance(electrons, Electrons) and electrons.site_potentials is not None
    assert len(electrons.site_potentials) == len(kept.relaxed)


def test_orbitals_of_an_interstitial_or_for_a_model_are_not_kept() -> None:
    host = crystal("alpha-quartz")
    (case,) = vacancy_cases(host, [int(host.symbols.search("O")[0])])
    vacancy = point_defect(host, site=case.defect.site)
    assert with_orbitals_of_removed(vacancy, host, case, ModelEngine("sio2-vo")) is vacancy
    added = DefectCase(choose_places(host, DefectName.parse("H_i"), 1, 0)[0])
    atoms = placed_defect(host, added.defect)
    assert with_orbitals_of_removed(atoms, host, added, DFTEngine(Theory())) is atoms
