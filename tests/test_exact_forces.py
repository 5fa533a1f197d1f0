"""The gradient of the energy of a predicted Hamiltonian: of the network, and of the whole calculator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms

import mlh
from mlh.calculators import MLHCalculator
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.model.committee import Committee
from mlh.model.domain import OutOfDomainWarning
from mlh.model.term import PredictedTerm
from mlh.network import gradient
from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.gradient import network_gradient
from mlh.network.graph import GraphInput, build_graph
from mlh.solver import Localized, Purification
from mlh.structures import load_structure
from model_helpers import ORBITALS, SMALL, network, predict, structure
from term_derivatives import central_difference
from toy_system import toy_atoms, toy_basis


def symmetric_data(graph: GraphInput, seed: int) -> np.ndarray:
    """Random Z with Z_ij(R) = Z_ji(-R)^T in the layout of the graph."""
    Z = np.random.default_rng(seed).normal(size=graph.nnz)
    size = {z: o.size for z, o in ORBITALS.items()}
    out = np.empty_like(Z)
    for p in range(graph.n_pairs):
        n, m = (size[int(graph.numbers[k[p]])] for k in (graph.atom_i, graph.atom_j))
        block = Z[graph.offset[p] : graph.offset[p + 1]].reshape(n, m)
        back = graph.offset[graph.reverse[p]]
        other = Z[back : back + n * m].reshape(m, n).T
        out[graph.offset[p] : graph.offset[p + 1]] = 0.5 * (block + other).ravel()
    return out


def on_the_axes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A cubic crystal: many pairs lie exactly on the z axis, up and down, and on the others."""
    a = 6.4
    positions = 0.5 * a * np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 1, 1]], dtype=float)
    return np.array([14, 8, 8, 8, 14]), positions, a * np.eye(3)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("make", [lambda: structure(7, n=3), on_the_axes], ids=["random", "on the axes"])
def test_gradient_of_the_network(make: Callable, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tr Z dH, differentiated by positions and strain, with everything kept and in chunks made again."""
    monkeypatch.setattr(gradient, "KEPT_PAIRS", 10**6 if kept else 0)
    numbers, positions, cell = make()
    net = network(7, EdgeFramesConfig(**{**SMALL.model_dump(exclude={"architecture"}), "chunk": 64}))
    graph = build_graph(numbers, positions, cell, ORBITALS)
    Z = symmetric_data(graph, 1)
    atoms, strain = network_gradient(net, graph, Z)

    def trace(tau: np.ndarray, box: np.ndarray) -> float:
        # The pairs of the structure at rest: none may enter or leave.
        fixed = GraphInput(
            numbers, tau, box, graph.atom_i, graph.atom_j, graph.pair_cell, graph.offset, graph.reverse
        )
        return float(predict(net, fixed) @ Z)

    assert np.abs(atoms).max() > 0.01
    for atom, axis in ((1, 2), (0, 0)):
        step = np.zeros_like(positions)
        step[atom, axis] = 1.0
        numeric = central_difference(lambda t, step=step: trace(positions + t * step, cell), 1e-4)
        assert atoms[atom, axis] == pytest.approx(numeric, rel=1e-7, abs=1e-7)
    for a, b in ((0, 0), (1, 2)):
        eps = np.zeros((3, 3))
        eps[a, b] += 0.5
        eps[b, a] += 0.5
        numeric = central_difference(
            lambda t, eps=eps: trace(positions @ (np.eye(3) + t * eps), cell @ (np.eye(3) + t * eps)), 1e-4
        )
        assert strain[a, b] == pytest.approx(numeric, rel=1e-7, abs=1e-7)
    np.testing.assert_allclose(atoms.sum(axis=0), 0.0, atol=1e-10)
    np.testing.assert_allclose(strain, strain.T, atol=1e-12)


@pytest.fixture
def quartz() -> Atoms:
    """Rattled quartz; cells smaller than the range of the orbitals."""
    atoms = load_structure("alpha-quartz")
    atoms.rattle(0.04, seed=4)
    return atoms


OPTIONS: dict[str, dict[str, Any]] = {
    "gamma": {},
    "uncorrected": {"kappa": 0.0},
    "k points": {"kpts": (1, 1, 2)},
    "purification": {"solver": Purification(1e-8)},
    "localized": {"solver": Localized(1e-8)},
    "smearing": {"smearing_ev": 0.4, "kpts": (2, 1, 1)},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.filterwarnings("ignore::mlh.model.domain.OutOfDomainWarning")
def test_forces_are_the_gradient_of_the_models_energy(quartz: Atoms, name: str) -> None:
    """Against differences of the free energy; the grid is coarse, the derivative exact at any."""
    calc = MLHCalculator("sio2-vo", cutoff_ry=60.0, **OPTIONS[name])
    quartz.calc = calc
    calc.hold_grid(quartz)
    forces, stress = quartz.get_forces(), quartz.get_stress(voigt=False)
    assert calc.results["forces_exact"]
    corrected = name in ("gamma", "k points", "purification", "localized")
    assert (calc.results["kappa"] > 0.4) == corrected
    lowered = calc.results["energy_uncorrected"] - calc.results["energy"]
    assert lowered == pytest.approx(calc.results["kappa"] * calc.results["energy_error"], abs=1e-9)
    quartz.calc = MLHCalculator("sio2-vo", cutoff_ry=60.0, forces="plain", **OPTIONS[name])
    plain = quartz.get_forces()
    assert not quartz.calc.results["forces_exact"]
    worst = 0.0
    for atom, axis in ((0, 0), (7, 1)):

        def energy(t: float, atom: int = atom, axis: int = axis) -> np.float64:
            moved = quartz.copy()
            moved.positions[atom, axis] += t
            moved.calc = calc
            return np.float64(moved.get_potential_energy(force_consistent=True))

        numeric = -central_difference(energy, 2e-4)
        assert forces[atom, axis] == pytest.approx(numeric, abs=3e-6)
        worst = max(worst, abs(plain[atom, axis] - numeric))
    assert worst > 1e-3

    def strained(t: float) -> np.float64:
        moved, eps = quartz.copy(), np.eye(3)
        eps[0, 2] += 0.5 * t
        eps[2, 0] += 0.5 * t
        moved.set_cell(quartz.cell.array @ eps, scale_atoms=True)
        moved.calc = calc
        return np.float64(moved.get_potential_energy(force_consistent=True))

    numeric = central_difference(strained, 1e-4) / quartz.get_volume()
    assert stress[0, 2] == pytest.approx(numeric, abs=1e-6)


@pytest.mark.filterwarnings("ignore::mlh.model.domain.OutOfDomainWarning")
def test_hessian_is_symmetric(quartz: Atoms) -> None:
    """Differences of exact forces; those of plain forces are not symmetric."""
    pairs, h = ((0, 0), (5, 1)), 1e-3

    def asymmetry(forces: str) -> float:
        calc = MLHCalculator("sio2-vo", cutoff_ry=60.0, forces=forces)
        second = np.empty((2, 2))
        for column, (atom, axis) in enumerate(pairs):
            sides = []
            for sign in (1, -1):
                moved = quartz.copy()
                moved.positions[atom, axis] += sign * h
                moved.calc = calc
                sides.append(moved.get_forces())
            slope = (sides[0] - sides[1]) / (2 * h)
            second[:, column] = [slope[i, x] for i, x in pairs]
        return abs(float(second[0, 1] - second[1, 0]))

    assert asymmetry("exact") < 1e-3
    assert asymmetry("plain") > 3e-3


@pytest.mark.filterwarnings("ignore::mlh.model.domain.OutOfDomainWarning")
def test_a_committee_has_the_mean_derivative(quartz: Atoms) -> None:
    model = mlh.load_model("sio2-vo")
    system = mlh.System(quartz, model.basis, cutoff_ry=60.0)
    Z = BlockMatrix.from_dense_gamma(system.pattern, np.eye(system.n_orbitals))
    one = model.term(system)
    both = Committee([model, model]).term(system)
    np.testing.assert_allclose(both.matrix.data, one.matrix.data, atol=1e-15)
    np.testing.assert_allclose(both.derivative(Z.data[0]).atoms, one.derivative(Z.data[0]).atoms, atol=1e-12)


@pytest.mark.filterwarnings("ignore::mlh.model.domain.OutOfDomainWarning")
def test_refined_forces_say_that_they_are_plain(quartz: Atoms) -> None:
    quartz.calc = MLHCalculator("sio2-vo", cutoff_ry=60.0, refine=1)
    quartz.get_forces()
    assert quartz.calc.results["forces_exact"] is False
    with pytest.raises(ValueError, match="forces: expected 'exact' or 'plain', got 'Plain'"):
        MLHCalculator("sio2-vo", forces="Plain")  # type: ignore[arg-type]


class FlatModel:
    """All levels of its H are the same: no gap, whatever the structure."""

    basis, cutoff_ry, xc, kappa, differentiable = toy_basis(), 60.0, "PBE", 0.55, True

    def predict(self, system: System) -> BlockMatrix:
        return 0.3 * system.overlap() - system.harris_hamiltonian()

    def term(self, system: System) -> PredictedTerm:
        return PredictedTerm(self.predict(system), lambda Z: pytest.fail("there is no response to derive"))


def test_without_a_gap_forces_are_plain_and_say_so() -> None:
    """Sums over 1/(e_a - e_i) would give forces and a correction of any size."""
    atoms = toy_atoms()
    atoms.calc = MLHCalculator(FlatModel())
    with pytest.warns(OutOfDomainWarning, match="full and empty predicted levels are -?0.000 eV apart"):
        forces = atoms.get_forces()
    results = atoms.calc.results
    assert results["forces_exact"] is False and results["kappa"] == 0.0
    assert results["energy"] == results["energy_uncorrected"]
    plain = MLHCalculator(FlatModel(), forces="plain")
    np.testing.assert_allclose(forces, plain.get_property("forces", toy_atoms()), atol=1e-10)


def test_kappa_that_would_do_nothing_is_refused() -> None:
    for options in ({"refine": 1}, {"forces": "plain"}):
        with pytest.raises(ValueError, match="kappa: expected none with refine > 0 or plain forces"):
            MLHCalculator(FlatModel(), kappa=0.5, **options)
    with pytest.raises(ValueError, match="kappa: expected a finite number"):
        MLHCalculator(FlatModel(), kappa=float("nan"))
