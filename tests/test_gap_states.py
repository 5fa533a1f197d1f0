"""States next to the gap from localized functions, beside all states of the dense solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlh.analysis.defect_levels import defect_levels, defect_site, describe_levels
from mlh.analysis.mulliken import atom_shares, participation
from mlh.analysis.orbitals import StateIndex, homo_index, orbitals
from mlh.analysis.state import ElectronicState
from mlh.common.units import HARTREE_EV
from mlh.dft.system import System
from mlh.solver import Localized, LocalizedState, solve
from mlh.structures import load_structure


@pytest.fixture(scope="module")
def states() -> tuple[ElectronicState, ElectronicState]:
    """A vacancy of a glass: all its states, and those next to the gap."""
    atoms = load_structure("asio2_48_a")
    oxygen = int(np.flatnonzero(atoms.numbers == 8)[0])
    position = atoms.positions[oxygen].copy()
    del atoms[oxygen]
    atoms.info |= {"defect_position": position, "defect_removed": "O", "defect_added": "none"}
    system = System(atoms, cutoff_ry=60.0, basis="gth-pbe")
    H = system.harris_hamiltonian()
    every = ElectronicState.from_hamiltonian(system, H, atoms)
    state = solve(H, system.overlap(), system.n_electrons, solver=Localized())
    assert isinstance(state, LocalizedState)
    return every, replace(every, solution=state.near_gap(filled=12, empty=6))


def test_levels_and_shares(states: tuple[ElectronicState, ElectronicState]) -> None:
    every, few = states
    first = few.solution.first_band[0]
    assert homo_index(every) == homo_index(few) + first
    own = slice(first, first + 18)
    error = few.solution.eigenvalues[0, 0] - every.solution.eigenvalues[0, 0, own]
    assert np.abs(error).max() * HARTREE_EV < 1e-3
    homo, lumo = homo_index(few), homo_index(few) + 1
    here, there = atom_shares(few, 0, 0), atom_shares(every, 0, 0)[:, own]
    for band in (homo, lumo):  # the states of the vacancy, which no other level is near
        assert participation(here)[band] == pytest.approx(participation(there)[band], rel=0.01)
        np.testing.assert_allclose(here[:, band], there[:, band], atol=2e-3)


def test_defect_levels_are_those_of_the_dense_solver(
    states: tuple[ElectronicState, ElectronicState],
) -> None:
    every, few = states
    site = defect_site(every.atoms)
    dense, near = (describe_levels(s, defect_levels(s, site)) for s in (every, few))
    for name in ("occupied_band", "empty_band", "in_gap_bands"):
        assert near[name] == dense[name]
    assert near["gap_ev"] == pytest.approx(dense["gap_ev"], abs=2e-3)
    by_band = {level["band"]: level for level in dense["levels"]}
    for band in (near["occupied_band"], near["empty_band"]):
        mine = next(level for level in near["levels"] if level["band"] == band)
        assert mine["energy_ev"] == pytest.approx(by_band[band]["energy_ev"], abs=2e-3)
        assert mine["site_share"] == pytest.approx(by_band[band]["site_share"], abs=5e-3)
        assert mine["overlap_population"] == pytest.approx(by_band[band]["overlap_population"], abs=5e-3)


def test_a_state_on_the_grid(states: tuple[ElectronicState, ElectronicState]) -> None:
    every, few = states
    homo = homo_index(few)
    (mine,) = orbitals(few, [StateIndex(0, 0, homo)])
    (other,) = orbitals(every, [StateIndex(0, 0, homo + few.solution.first_band[0])])
    assert np.abs(mine.real.values - other.real.values).max() < 5e-3 * np.abs(other.real.values).max()
