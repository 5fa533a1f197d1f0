"""Levels of a defect: a stretched H2 whose two levels lie in the gap of N2 plays the part of a dimer."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import find_mic

from electronic_helpers import dimer_and_molecule, harris_state, shifted
from mlh.analysis.alignment import align, matching_atoms, onsite_energies
from mlh.analysis.defect_levels import defect_levels, defect_site
from mlh.analysis.state import ElectronicState
from mlh.basis.ghosts import with_ghost
from mlh.common.units import HARTREE_EV
from mlh.structures import crystal, point_defect


@pytest.fixture(scope="module")
def pair() -> tuple[ElectronicState, ElectronicState]:
    defect, host = dimer_and_molecule()
    return harris_state(defect), harris_state(host)


def test_the_dimer_is_found(pair):
    state, _ = pair
    result = defect_levels(state, defect_site(state.atoms, around=[2, 3]))
    homo = 5  # ten electrons of N2 and two of H2
    assert (result.occupied.index.band, result.empty.index.band) == (homo, homo + 1)
    assert result.occupied.occupation == 2.0 and result.empty.occupation == 0.0
    for level in (result.occupied, result.empty):
        assert level.in_gap
        assert level.ipr == pytest.approx(0.5, abs=0.05)  # on two atoms
        assert level.site_share == pytest.approx(1.0, abs=0.05)
        assert {atom for atom, _ in level.main_atoms[:2]} == {2, 3}
    assert result.occupied.overlap_population > 0.1
    assert result.empty.overlap_population < -0.1
    assert [level.index.band for level in result.in_gap] == [homo, homo + 1]
    assert 0.0 < result.occupied.energy < result.empty.energy < result.gap


def test_edges_of_the_host_agree_with_those_of_the_delocalised_states(pair):
    state, host = pair
    site = defect_site(state.atoms, around=[2, 3])
    own, carried = defect_levels(state, site), defect_levels(state, site, host)
    assert own.alignment is None and carried.alignment is not None
    assert carried.valence_edge == pytest.approx(own.valence_edge, abs=0.05)
    assert carried.conduction_edge == pytest.approx(own.conduction_edge, abs=0.3)
    assert carried.occupied.index == own.occupied.index


def test_alignment_finds_a_shift_of_the_zero(pair):
    state, host = pair
    before = align(state, host, state.atoms.positions[2])
    moved = align(shifted(state, 0.2), host, state.atoms.positions[2])
    assert moved.shift - before.shift == pytest.approx(0.2 * HARTREE_EV, abs=1e-9)
    assert (before.n_atoms, before.spread) == (2, pytest.approx(0.0, abs=0.05))
    result = defect_levels(shifted(state, 0.2), defect_site(state.atoms, around=[2, 3]), host)
    unmoved = defect_levels(state, defect_site(state.atoms, around=[2, 3]), host)
    assert result.occupied.energy == pytest.approx(unmoved.occupied.energy, abs=1e-9)


def test_onsite_energies_are_diagonal_elements(pair):
    state, _ = pair
    H = state.H.block(state.system.pattern.find(2, 2, [0, 0, 0]))
    assert onsite_energies(state)[2] == H[0, 0]


def test_alignment_refuses_another_cell(pair):
    state, host = pair
    other = host.atoms.copy()
    other.set_cell(other.cell.array * 1.01)
    with pytest.raises(ValueError, match="host: expected the cell"):
        align(state, harris_state(other), [0.0, 0.0, 0.0])


def test_atoms_are_matched_by_index_or_by_place():
    host = crystal("alpha-quartz", (2, 1, 1))
    defect = point_defect(host, site=7)
    by_index = matching_atoms(defect, host)
    assert len(by_index) == len(host) - 1 and (7, 8) in by_index
    bare = Atoms(defect.get_chemical_symbols(), defect.positions + 0.05, cell=defect.cell, pbc=True)
    assert matching_atoms(bare, host) == by_index
    with pytest.raises(ValueError, match="the structure that the defect was made from"):
        matching_atoms(defect, crystal("alpha-quartz"))


def test_site_of_a_vacancy_is_its_two_silicon_atoms():
    host = crystal("alpha-quartz", (2, 2, 2))
    oxygen = int(np.flatnonzero(host.numbers == 8)[5])
    vacancy = point_defect(host, site=oxygen)
    site = defect_site(vacancy)
    assert [vacancy.symbols[a] for a in site.atoms] == ["Si", "Si"]
    assert site.center == pytest.approx(tuple(host.positions[oxygen]))
    assert defect_site(vacancy, around=site.atoms).atoms == site.atoms
    bare = Atoms(vacancy.get_chemical_symbols(), vacancy.positions, cell=vacancy.cell, pbc=True)
    with pytest.raises(ValueError, match="defect_position among its info"):
        defect_site(bare)
    assert defect_site(bare, center=host.positions[oxygen]).atoms == site.atoms
    # Without its electrons the two move apart, beyond any bond; a ghost between them is no atom.
    apart = vacancy.copy()
    for atom in site.atoms:
        vector = apart.positions[atom] - host.positions[oxygen]
        apart.positions[atom] += find_mic(vector, host.cell)[0] * 0.55
    assert defect_site(apart).atoms == defect_site(with_ghost(apart, "O", site.center)).atoms == site.atoms
    with pytest.raises(ValueError, match="within bonding distance"):
        defect_site(apart, center=site.center)
    # An added atom belongs to its site.
    substitute = point_defect(host, site=oxygen, element="N")
    assert oxygen in defect_site(substitute).atoms and substitute.symbols[oxygen] == "N"


def test_sites_in_words(pair):
    state, _ = pair
    with pytest.raises(ValueError, match="around: expected atoms of 0 to 3"):
        defect_site(state.atoms, around=[4])
    with pytest.raises(ValueError, match="within bonding distance"):
        defect_site(state.atoms, center=[0.0, 0.0, 9.0])
    everything = defect_site(state.atoms, around=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="site: expected states away from the site"):
        defect_levels(state, everything)
