"""Method "localized" against the dense solver: density matrices, levels, response, error control, words."""

from __future__ import annotations

from functools import cache

import ase
import numpy as np
import pytest
from ase.build import bulk, molecule

import mlh
from mlh import _core
from mlh.common.units import HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.model.model import load_model, predict
from mlh.scf.loop import scf
from mlh.solver import Filling, Localized, LocalizedError, PurificationError, residual_energy, solve
from mlh.solver.localized_functions import Cuts, Images, Point
from mlh.solver.localized_levels import first_preconditioner, lowest_empty, occupied_levels
from mlh.solver.localized_start import start_functions
from mlh.structures import load_structure
from mlh.structures.defects import point_defect
from toy_system import toy_basis

BOX = 7.0


def _molecule(name: str) -> ase.Atoms:
    atoms = molecule(name, cell=[BOX] * 3, pbc=True)
    atoms.center()
    return atoms


@cache
def structure(name: str) -> ase.Atoms:
    """Insulators of many kinds."""
    if name == "vacancy":
        host = load_structure("alpha-quartz:2x2x2")
        return point_defect(host, site=int(np.flatnonzero(host.numbers == 8)[3]))
    if name == "interstitial":
        return point_defect(load_structure("alpha-quartz:2x2x1"), position=(4.9, 3.0, 2.6), element="H")
    if name == "silicon":
        atoms = bulk("Si", "diamond", cubic=True).repeat(2)
    elif name == "nitride":
        atoms = bulk("BN", "zincblende", 3.62, cubic=True).repeat((2, 1, 1))
    else:
        return _molecule(name)
    atoms.rattle(0.03, seed=2)
    return atoms


@cache
def harris(name: str) -> tuple[BlockMatrix, BlockMatrix, float]:
    """H, S and the number of electrons."""
    system = System(structure(name), "gth-pbe", cutoff_ry=100.0)
    return system.harris_hamiltonian(), system.overlap(), system.n_electrons


@pytest.mark.parametrize("name", ["vacancy", "silicon", "nitride", "C2H4", "CO2", "SiH4"])
def test_density_matrices_against_dense(name: str) -> None:
    """Lone pairs, single and multiple bonds, the bond of the silicon neighbours of a vacancy, a small gap."""
    H, S, n = harris(name)
    dense, state = solve(H, S, n), solve(H, S, n, solver="localized")
    n_atoms = len(structure(name))
    assert abs(state.band_energy - dense.band_energy) * HARTREE_EV * 1e3 < 0.005 * n_atoms
    assert abs(state.report.electron_error) < 1e-7 * n_atoms
    assert (state.D - dense.D).rms() < 3e-5 and (state.D - dense.D).max_abs() < 3e-3
    assert (state.W - dense.W).rms() < 2e-5
    assert state.homo == pytest.approx(dense.homo, abs=2e-6)
    assert dense.lumo - 1e-6 < state.lumo < dense.lumo + 1e-3
    assert state.homo < state.fermi_level < state.lumo and not state.metallic


def test_error_falls_with_the_threshold() -> None:
    """In double precision from 1e-5 on."""
    H, S, n = harris("nitride")
    reference = solve(H, S, n).D
    errors = [(solve(H, S, n, solver=Localized(t)).D - reference).rms() for t in (2e-3, 2e-4, 2e-6)]
    assert errors[0] > 3 * errors[1] > 30 * errors[2] > 0.0
    assert errors[2] < 2e-7


def test_two_spins_with_a_fixed_moment() -> None:
    """A hydrogen atom in quartz: its level is full in one spin."""
    H, S, n = harris("interstitial")
    H = BlockMatrix(H.pattern, np.concatenate([H.data - 0.02 * S.data, H.data + 0.01 * S.data]))
    dense = solve(H, S, n, spin_moment=1.0)
    state = solve(H, S, n, spin_moment=1.0, solver="localized")
    assert state.magnetic_moment == 1.0 and state.nspin == 2
    assert (state.D - dense.D).rms() < 3e-5
    assert (state.W - dense.W).rms() < 1e-5
    assert state.homo == pytest.approx(dense.homo, abs=1e-5)
    assert abs(state.band_energy - dense.band_energy) * HARTREE_EV * 1e3 < 0.2
    with pytest.raises(ValueError, match="needs the moment fixed"):
        solve(H, S, n, solver="localized")


def test_threads_change_nothing(threads) -> None:  # type: ignore[no-untyped-def]
    H, S, n = harris("vacancy")
    R = BlockMatrix(H.pattern, 1e-3 * S.data)
    results = []
    for count in (1, 3):
        threads(count)
        state = solve(H, S, n, solver=Localized(1e-3))
        results.append((state.D.data, state.W.data, residual_energy(state, R), state.lumo))
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["nitride", "C2H4"])
def test_response_against_dense(name: str) -> None:
    """First and second order of D and W along a change of H, and its second-order energy."""
    H, S, n = harris(name)
    dense, state = solve(H, S, n), solve(H, S, n, solver="localized")
    values = np.random.default_rng(4).standard_normal((1, H.pattern.nnz))
    R = BlockMatrix(H.pattern, 1e-6 * values).symmetrised()
    exact = residual_energy(dense, R)
    assert residual_energy(state, R) == pytest.approx(exact, rel=1e-3)
    assert residual_energy(state, R.zeros_like()) == 0.0
    for order in ("response", "second_response"):
        expected, found = getattr(dense, order)(R), getattr(state, order)(R)
        for part in ("D", "W"):
            reference, other = getattr(expected, part), getattr(found, part)
            assert (other - reference).rms() < 5e-3 * reference.rms()
    assert not state.response(R.zeros_like()).D.data.any()


def test_forces_of_a_glass() -> None:
    """Energy E[D] and forces with W of H[D], from a predicted Hamiltonian, within the stated errors."""
    model = load_model("sio2-vo")
    system = System(load_structure("asio2_48_a"), model.basis, cutoff_ry=100.0)
    H, S, n = predict(model, system), system.overlap(), system.n_electrons
    found = []
    for solver in ("dense", "localized"):
        state = solve(H, S, n, solver=solver)
        there = system.evaluate(state.D)
        found.append((there.energies.total, system.forces(state.D, state.projected_w(there.H)).total))
    assert abs(found[1][0] - found[0][0]) * HARTREE_EV * 1e3 < 0.01 * 48
    difference = (found[1][1] - found[0][1]) * HARTREE_BOHR_EV_ANGSTROM * 1e3
    assert np.sqrt((difference**2).mean()) < 0.3  # meV/Angstrom


def test_a_wrong_subspace_is_seen() -> None:
    """Functions that hold the lowest empty state in place of the highest occupied one are stationary too."""
    H, S, n = harris("C2H4")
    dense, occupied = solve(H, S, n), round(n / 2)
    levels = dense.eigenvalues[0, 0]
    fold = _core.BlockSparse.fold
    h = fold(H.pattern, H.data[0])
    s = fold(S.pattern, S.data[0], h)
    vectors = dense.coefficients[0][0]
    assert vectors.shape[0] == h.n_orbitals
    wrong = vectors[:, [*range(occupied - 1), occupied]]
    first = np.concatenate([[0], np.cumsum(H.pattern.n_orbitals)])
    blocks = [wrong[first[a] : first[a + 1]].ravel() for a in h.atoms]
    rows = np.arange(len(blocks), dtype=np.int32)
    C = _core.BlockSparse.assemble(h, [occupied], rows, np.zeros_like(rows), np.concatenate(blocks))
    cuts = Cuts.of(1e-7)
    point = Point.of(Images.of(h, s, C, cuts), None, cuts)
    T = first_preconditioner(h, s, s, occupied_levels(point)[0], cuts)
    assert occupied_levels(point)[1] == pytest.approx(levels[occupied], abs=1e-8)
    assert lowest_empty(h, s, point, T) == pytest.approx(levels[occupied - 1], abs=1e-3)


def test_functions_to_start_from() -> None:
    """Two lone pairs and four bonds for every oxygen atom of quartz: four functions of a good condition."""
    system = System(load_structure("alpha-quartz:2x2x1"), "gth-pbe", cutoff_ry=60.0)
    H, S = system.harris_hamiltonian(), system.overlap()
    h = _core.BlockSparse.fold(H.pattern, H.data[0])
    s = _core.BlockSparse.fold(S.pattern, S.data[0], h)
    C = start_functions(h, s, round(system.n_electrons / 2))
    assert C.column_sizes == [16] * 6
    cuts = Cuts.of(2e-4)
    point = Point.of(Images.of(h.to_single(), s.to_single(), C, cuts), None, cuts)
    sc = point.Sc.to_double().blocks()[2]
    assert np.abs(sc).max() == pytest.approx(1.0, abs=0.02)
    assert solve(H, S, system.n_electrons).band_energy < 2.0 * point.energy


def test_what_the_method_cannot_do_is_said() -> None:
    H, S, n = harris("nitride")
    state = solve(H, S, n, solver="localized")
    for name in ("eigenvalues", "occupations", "coefficients"):
        with pytest.raises(AttributeError, match="without eigenstates"):
            getattr(state, name)
    with pytest.raises(ValueError, match="Gamma only"):
        solve(H, S, n, kpts=(2, 1, 1), solver="localized")
    with pytest.raises(ValueError, match="integer occupations"):
        solve(H, S, n, smearing="gaussian", width=0.01, solver="localized")
    with pytest.raises(ValueError, match="even number of electrons"):
        solve(H, S, n + 1, solver="localized")
    with pytest.raises(ValueError, match="threshold: expected"):
        Localized(0.1)
    with pytest.raises(ValueError, match="localized solver needs 1 to"):
        solve(H, S, 0, solver="localized")
    with pytest.raises(ValueError, match="on the pattern of H"):
        Localized().prepare(harris("CO2")[1]).occupied(H, Filling(n))


@pytest.mark.parametrize("extra", [-2, 2, 20])
def test_a_metal_is_refused(extra: int) -> None:
    """Filled up to a level within a band: an error in words, the same kind as of purification."""
    H, S, n = harris("silicon")
    with pytest.raises(LocalizedError, match="purification or the dense solver"):
        solve(H, S, n + extra, solver="localized")
    assert issubclass(LocalizedError, PurificationError)


def test_self_consistency() -> None:
    """Orbitals of other numbers and kinds, and the same self-consistent state."""
    atoms = ase.Atoms("SiO", positions=[[0.0, 0.0, 0.0], [1.5, 0.1, 0.0]], cell=4.2 * np.eye(3), pbc=True)
    system = System(atoms, toy_basis(), 60.0)
    options = {"energy_tol": 1e-9, "residual_tol": 1e-6}
    dense, found = scf(system, **options), scf(system, solver=Localized(1e-7), **options)
    assert found.converged
    assert found.energies.total == pytest.approx(dense.energies.total, abs=1e-8)
    assert found.energy_error == pytest.approx(dense.energy_error, abs=1e-8)
    np.testing.assert_allclose(found.forces().total, dense.forces().total, atol=1e-5)


def test_start_from_the_state_of_before() -> None:
    """Atoms that moved a little: the state of a start from nothing, in fewer steps.

    Functions of other atoms, or of other electrons, are nothing to start from."""
    H, S, n = harris("vacancy")
    moved = structure("vacancy").copy()
    moved.rattle(0.01, seed=5)
    there = System(moved, "gth-pbe", cutoff_ry=100.0)
    before = solve(H, S, n, solver="localized")
    cold = solve(there.harris_hamiltonian(), there.overlap(), n, solver="localized")
    warm = solve(there.harris_hamiltonian(), there.overlap(), n, solver=Localized().after(before))
    dense = solve(there.harris_hamiltonian(), there.overlap(), n)
    assert warm.report.steps < cold.report.steps
    assert abs(warm.band_energy - dense.band_energy) * HARTREE_EV * 1e3 < 0.005 * len(moved)
    assert (warm.D - dense.D).rms() < 3e-5 and warm.lumo == pytest.approx(cold.lumo, abs=1e-3)
    assert warm.report.blocks_per_function < 1.1 * cold.report.blocks_per_function
    again = solve(H, S, n, solver=Localized().after(solve(*harris("nitride"), solver="localized")))
    np.testing.assert_array_equal(again.D.data, before.D.data)
    assert Localized().after(dense) == Localized() and not Localized().after(dense).start


def test_functions_of_the_wrong_space_are_not_kept() -> None:
    """With the lowest empty state in place of the highest occupied one: stationary, but not lowest."""
    H, S, n = harris("CO2")
    states, count = solve(H, S, n).coefficients[0][0], round(n / 2)
    rows = _core.BlockSparse.fold(S.pattern, S.data[0])
    start = np.concatenate([[0], np.cumsum(np.asarray(S.pattern.n_orbitals))])

    def functions(columns: list[int]) -> _core.BlockSparse:
        blocks = [states[start[atom] : start[atom + 1], columns].ravel() for atom in rows.atoms]
        place = np.arange(len(blocks), dtype=np.int32)
        return _core.BlockSparse.assemble(rows, [count], place, 0 * place, np.concatenate(blocks))

    cold = solve(H, S, n, solver="localized")
    wrong = Localized(start=(functions([*range(count - 1), count]),))
    np.testing.assert_array_equal(solve(H, S, n, solver=wrong).D.data, cold.D.data)
    right = solve(H, S, n, solver=Localized(start=(functions([*range(count)]),)))
    assert right.report.steps == 0 and (right.D - cold.D).max_abs() < 1e-4


def test_calculators_go_on_from_the_last_geometry() -> None:
    """Energies and forces of the second geometry as from nothing, within the error of the threshold."""
    atoms = structure("vacancy").copy()
    atoms.calc = calculator = mlh.MLHCalculator("sio2-vo", cutoff_ry=100.0, solver="localized")
    atoms.get_potential_energy()
    atoms.rattle(0.01, seed=6)
    found = atoms.get_potential_energy(), atoms.get_forces()
    steps = calculator.result.solution.report.steps
    atoms.calc = calculator = mlh.MLHCalculator("sio2-vo", cutoff_ry=100.0, solver="localized")
    assert abs(found[0] - atoms.get_potential_energy()) * 1e3 < 0.01 * len(atoms)
    assert np.abs(found[1] - atoms.get_forces()).max() < 3e-3
    assert steps < calculator.result.solution.report.steps
