"""States of two geometries: overlaps, and W_if by overlaps, by perturbation theory and of two levels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from mlh.analysis.coupling import cross_overlap, derivative_couplings, state_overlaps
from mlh.analysis.state import ElectronicState
from mlh.calculators.engines import DFTEngine, ModelEngine
from mlh.common.units import HARTREE_EV
from mlh.defects import coupling
from mlh.defects.ccd import check_pair
from mlh.defects.coupling import coupling_engine, couplings, localised_level, parse_level, run_coupling
from mlh.dft.system import System
from mlh.dft.theory import Theory
from mlh.matrix.block_matrix import BlockMatrix
from mlh.scf.loop import scf
from mlh.solver import Purification

STEP = 0.004


def atoms(x: float, shift: float = 0.0) -> Atoms:
    """x: the oxygen moves by it, across the boundary of the cell."""
    places = np.array([[0.3, 0.2, 0.1], [1.6 + x, 0.9, -0.05 + 0.5 * x]]) + shift
    cell = [[4.2, 0.3, 0.0], [0.2, 4.4, 0.5], [-0.4, 0.1, 4.6]]
    return Atoms("SiO", positions=places, cell=cell, pbc=True)


def state(x: float, kpts: tuple[int, int, int] = (1, 1, 1)) -> ElectronicState:
    system = System(atoms(x), cutoff_ry=100.0, kpts=kpts)
    return ElectronicState.from_result(scf(system, energy_tol=1e-9, residual_tol=1e-8))


@pytest.fixture(scope="module")
def states() -> tuple[ElectronicState, ElectronicState, ElectronicState]:
    return state(0.0), state(-STEP), state(STEP)


def test_a_geometry_with_itself_has_its_own_overlap(
    states: tuple[ElectronicState, ElectronicState, ElectronicState],
) -> None:
    here = states[0]
    np.testing.assert_allclose(
        cross_overlap(here.system, here.system), here.overlap_at(0), rtol=0.0, atol=1e-12
    )
    overlaps, found = state_overlaps(here, here, 0, 0, 3)
    assert found == 3
    np.testing.assert_allclose(overlaps, np.eye(len(overlaps))[3], atol=1e-9)
    k = (0.25, 0.0, -0.1)
    expected = here.system.overlap().to_dense(k)
    np.testing.assert_allclose(cross_overlap(here.system, here.system, k), expected, rtol=0.0, atol=1e-12)
    with pytest.raises(ValueError, match="expected the atoms, cell and basis of the first"):
        cross_overlap(here.system, System(Atoms("SiO", atoms(0.0).positions, cell=[5.0] * 3, pbc=True)))


def test_orbitals_of_two_places_overlap_as_those_of_two_atoms() -> None:
    """One atom at two places against the block of a pair of atoms there."""
    cell = np.diag([9.0] * 3)
    places = np.array([[0.1, 0.0, 0.2], [0.9, -0.4, 0.5]])
    first, second = (System(Atoms("Si", [p], cell=cell, pbc=True), cutoff_ry=60.0) for p in places)
    pair = System(Atoms("Si2", places, cell=cell, pbc=True), cutoff_ry=60.0)
    n = first.n_orbitals
    np.testing.assert_allclose(
        cross_overlap(first, second), pair.overlap().to_dense()[:n, n:], rtol=0.0, atol=1e-12
    )


def test_couplings_by_overlaps_are_those_of_perturbation_theory(
    states: tuple[ElectronicState, ElectronicState, ElectronicState],
) -> None:
    here, below, above = states
    band = 4
    found = couplings(here, below, above, STEP, (0, band))
    assert found.alike > 0.99 and found.note is None
    values = np.array([(s.w_if, s.w_if_perturbation) for s in found.states])
    assert values[:, 1].max() > 0.3
    np.testing.assert_allclose(values[:, 0], values[:, 1], atol=1e-3 * values.max())
    # The sign of an eigenvector is nobody's choice.
    c = [[np.array(k) for k in spin] for spin in above.solution.coefficients]
    c[0][0] = c[0][0] * np.where(np.arange(c[0][0].shape[1]) % 2, -1.0, 1.0)
    turned = ElectronicState(above.atoms, above.system, above.H, _with(above.solution, tuple(map(tuple, c))))
    again = couplings(here, below, turned, STEP, (0, band))
    assert [s.w_if for s in again.states] == pytest.approx([s.w_if for s in found.states], abs=1e-12)


def _with(solution: object, coefficients: object) -> object:
    return replace(solution, coefficients=coefficients)  # type: ignore[type-var]


def test_a_rigid_shift_couples_as_the_gradient_of_the_orbitals() -> None:
    """H and S stay as they are; <psi_i | -d/dx psi_f> is antisymmetric in i and f."""
    system = System(atoms(0.0), cutoff_ry=60.0)
    H = system.harris_hamiltonian()
    start = ElectronicState.from_hamiltonian(system, H)
    moved = [System(atoms(0.0, s), cutoff_ry=60.0) for s in (-STEP, STEP)]
    ends = [ElectronicState.from_hamiltonian(m, BlockMatrix(m.pattern, H.data)) for m in moved]
    energies = start.solution.eigenvalues[0, 0]

    def derivative(band: int, other: int) -> float:
        w = derivative_couplings(start, *ends, 2.0 * STEP, 0, 0, band)
        return float(w[other] / (energies[band] - energies[other]))

    for i, f in ((2, 5), (1, 4)):
        assert derivative(f, i) == pytest.approx(-derivative(i, f), abs=1e-9)
        assert abs(derivative(f, i)) > 1e-3


def test_two_levels_turn_by_the_angle_that_their_coupling_gives() -> None:
    """H = [[0, gQ], [gQ, d]] of functions that do not move: W_if = g."""
    gap, g = 0.2, 0.03
    first = System(Atoms("Si", [[0, 0, 0]], cell=[8.0] * 3, pbc=True), cutoff_ry=60.0)
    n = first.n_orbitals
    assert n >= 2

    def at(q: float) -> ElectronicState:
        S = first.overlap().to_dense()
        values, vectors = np.linalg.eigh(S)
        root = (vectors * np.sqrt(values)) @ vectors.T
        h = np.diag([0.0, gap, *np.linspace(2.0, 3.0, n - 2)])
        h[0, 1] = h[1, 0] = g * q
        found = ElectronicState.from_hamiltonian(first, first.harris_hamiltonian())
        energies, c = np.linalg.eigh(h)
        solution = _with(found.solution, ((np.linalg.solve(root, c),),))
        solution = replace(solution, eigenvalues=energies[None, None])  # type: ignore[type-var]
        return replace(found, solution=solution)

    found = couplings(at(0.0), at(-STEP), at(STEP), STEP, (0, 1))
    assert found.states[0].w_if == pytest.approx(g * HARTREE_EV, rel=1e-5)


def test_a_run_keeps_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, pair = DFTEngine(Theory(cutoff_ry=100.0)), (atoms(0.0), atoms(0.2))
    found = run_coupling(*pair, "final", 1, engine, tmp_path)
    assert (found.charge, found.at) == (1, "final") and found.step == pytest.approx(0.05 * check_pair(*pair))
    w, expected = (
        np.array([getattr(s, name) for s in found.states]) for name in ("w_if", "w_if_perturbation")
    )
    np.testing.assert_allclose(w, expected, atol=0.02 * w.max())
    assert found.band not in [s.band for s in found.states] and w.max() > 0.05
    monkeypatch.setattr(coupling, "state_at", None)
    assert run_coupling(*pair, "final", 1, engine, tmp_path) == found
    with pytest.raises(TypeError):
        run_coupling(*pair, "initial", 1, engine, tmp_path)
    with pytest.raises(TypeError):
        run_coupling(*pair, "final", 1, engine, tmp_path, (1, 3))


def test_the_most_localised_level_is_taken(
    states: tuple[ElectronicState, ElectronicState, ElectronicState],
) -> None:
    spin, band = localised_level(states[0])
    ratios = {s.band: s.ratio for s in couplings(*states, STEP, (spin, band)).states}
    assert spin == 0 and couplings(*states, STEP, (spin, band)).ratio >= max(ratios.values())
    assert parse_level("down:7") == (1, 7) and parse_level("7") == (0, 7) and parse_level(None) is None
    for wrong in ("left:7", "-3", "x"):
        with pytest.raises(ValueError, match="defect-level: expected a band"):
            parse_level(wrong)
    for engine in (ModelEngine("sio2-vo"), DFTEngine(Theory(), Purification())):
        with pytest.raises(ValueError, match="expected DFT with the dense solver"):
            coupling_engine(engine)
