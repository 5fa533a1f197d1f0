"""The loss on occupied-virtual couplings: what it sees and what it does not."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch

from mlh.basis.families import load_basis
from mlh.dataset.sample import BasisRecord, Sample, unique_elements
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import kpoints_record
from mlh.network.blocks import blocks_from_data
from mlh.network.contract import prepare
from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.edge_frames.network import EdgeFramesNetwork
from mlh.network.graph import orbital_sets
from mlh.solver import residual_energy, solve
from mlh.training.config import LossConfig
from mlh.training.loss import structure_loss
from mlh.training.wavefunction import ReferenceStates, reference_states

CONFIG = EdgeFramesConfig(
    channels=2, n_radial=3, layers=0, message_cutoff=6.0, pair_widths=(4, 2, 2, 2, 2), n_knots=6
)
CHOICE = {"Si": "6.0-s1p1"}


@pytest.fixture(scope="module", params=[(1, 1, 1), (2, 1, 1)], ids=["gamma", "two-k-points"])
def case(request: pytest.FixtureRequest) -> tuple[System, Sample, ReferenceStates]:
    """Silicon with any Hermitian dH; its eigenstates are those of that matrix."""
    atoms = ase.Atoms(
        "Si2",
        scaled_positions=[[0, 0, 0], [0.31, 0.2, 0.27]],
        cell=[[0, 2.7, 2.9], [2.6, 0, 2.7], [2.7, 2.8, 0.2]],
        pbc=True,
    )
    basis = load_basis("gth-pbe", elements=["Si"], orbitals=CHOICE)
    system = System(atoms, basis, 60.0, kpts=request.param)
    dh = -0.01 * system.overlap().data[0] + 0.02 * system.kinetic().data[0]
    sample = Sample.from_system(
        system, dh, {"x": 0.0}, np.zeros((2, 3)), origin="si", info={"kpts": kpoints_record(request.param)}
    )
    torch.manual_seed(0)
    net = EdgeFramesNetwork(list(orbital_sets(basis).values()), CONFIG).double()
    topology, _ = prepare(net, sample.graph, torch.float64, True)
    settings = {"cutoff_ry": 60.0, "xc": "PBE"}
    states = reference_states(
        sample,
        BasisRecord.of(basis, CHOICE),
        settings,
        topology,
        net.orbitals,
        torch.float64,
        torch.device("cpu"),
    )
    return system, sample, states


def any_error(sample: Sample) -> np.ndarray:
    """A random Hermitian matrix on the Pattern, Hartree."""
    own, transposed = unique_elements(sample.graph)
    out = np.zeros(sample.graph.nnz)
    out[own] = np.random.default_rng(3).normal(0.0, 1e-3, len(own))
    site = own == transposed
    out[transposed[~site]] = out[own[~site]]
    diagonal_blocks = np.flatnonzero(np.arange(sample.graph.n_pairs) == sample.graph.reverse)
    for p in diagonal_blocks:
        rows = slice(sample.graph.offset[p], sample.graph.offset[p + 1])
        block = out[rows].reshape(int(np.sqrt(rows.stop - rows.start)), -1)
        out[rows] = (0.5 * (block + block.T)).ravel()
    return out


def coupling(sample: Sample, states: ReferenceStates, error: np.ndarray) -> float:
    """The loss of dh + error against dh, Hartree."""
    data = [torch.from_numpy(x) for x in (sample.dh + error, sample.dh)]
    blocks = [blocks_from_data(states.topology, x, states.orbitals) for x in data]
    return float(states.coupling(*blocks))


def test_shifts_that_change_no_state_cost_nothing(case: tuple[System, Sample, ReferenceStates]) -> None:
    system, sample, states = case
    s = system.overlap().data[0]
    h = system.harris_hamiltonian().data[0] + sample.dh
    error = any_error(sample)
    scale = coupling(sample, states, error)
    assert scale > 1e-4
    assert coupling(sample, states, 0.1 * s) < 1e-9  # H + c S
    assert coupling(sample, states, 0.1 * h) < 1e-9  # diagonal in its own states
    assert coupling(sample, states, 2 * error) == pytest.approx(2 * scale, rel=1e-6)


def test_coupling_is_the_second_order_energy(case: tuple[System, Sample, ReferenceStates]) -> None:
    """norm * coupling^2 * 2 / gap is the energy that `residual_energy` estimates from the same couplings."""
    system, sample, states = case
    reference = system.harris_hamiltonian() + BlockMatrix(system.pattern, sample.dh[None])
    solution = solve(reference, system.overlap(), system.n_electrons, kpts=system.kpts)
    error = any_error(sample)
    expected = abs(residual_energy(solution, BlockMatrix(system.pattern, error[None])))
    norm = sum(p.weight * float(p.importance.sum()) for p in states.points)
    ours = 2 * norm * coupling(sample, states, error) ** 2 / solution.gap
    assert ours == pytest.approx(expected, rel=1e-6)


def test_loss_adds_the_coupling_and_needs_every_pair(case: tuple[System, Sample, ReferenceStates]) -> None:
    _, sample, states = case
    error = torch.from_numpy(any_error(sample))
    dh = torch.from_numpy(sample.dh)
    wrong = blocks_from_data(states.topology, dh + error, states.orbitals)
    right = blocks_from_data(states.topology, dh, states.orbitals)
    plain, raw = structure_loss(wrong, right, LossConfig())
    both, same = structure_loss(wrong, right, LossConfig(wavefunction=2.0), states=states)
    extra = 2.0 * coupling(sample, states, error.numpy()) * 27211.386245988
    assert raw == same and float(both - plain) == pytest.approx(extra, rel=1e-9)
    with pytest.raises(ValueError, match="needs every pair"):
        LossConfig(wavefunction=1.0, far_fraction=0.5)
    with pytest.raises(ValueError, match="expected reference states"):
        structure_loss(wrong, right, LossConfig(wavefunction=1.0))
