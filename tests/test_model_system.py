"""The network on systems of the compiled core: the same pairs, predictions as matrices, basis checks."""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np
import pytest
import torch

from mlh.model.dataset import BasisRecord, Dataset, DatasetWriter, Sample
from mlh.model.evaluate import overlap_of_sample
from mlh.model.graph import build_graph, graph_from_system, orbital_sets
from mlh.model.modelfile import ModelCard, ModelError, save_model
from mlh.model.network import HamiltonianNetwork, NetworkConfig
from mlh.model.predict import OutOfDomainWarning, closest_pairs, load_model, predict
from mlh.pseudo.library import load_basis
from mlh.system import System

CONFIG = NetworkConfig(
    channels=3, n_radial=3, layers=1, message_cutoff=6.0, pair_widths=(8, 4, 2, 2, 2), n_knots=6
)


@pytest.fixture(scope="module")
def system() -> System:
    """A strained three-atom crystal of Si and O; no self-consistent calculation is needed."""
    atoms = ase.Atoms(
        "SiO2",
        positions=[[0.1, 0, 0], [1.7, 0.2, 0.1], [0.0, 1.2, 2.1]],
        cell=[[4.0, 0.3, 0], [0, 4.3, 0.2], [0.1, 0, 4.1]],
        pbc=True,
    )
    return System(atoms, load_basis("gth-pbe", elements=["Si", "O"]), cutoff_ry=60.0)


@pytest.fixture(scope="module")
def model_path(system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    sets = orbital_sets(system.basis)
    network = HamiltonianNetwork(list(sets.values()), CONFIG).double()
    closest = closest_pairs(graph_from_system(system))
    settings = {"xc": "PBE", "cutoff_ry": 60.0}
    card = ModelCard(CONFIG, BasisRecord.of(system.basis), settings, "none", {}, closest, tuple(sorted(sets)))
    path = tmp_path_factory.mktemp("model") / "model.npz"
    save_model(path, network, card)
    return path


def test_pairs_are_those_of_the_core(system: System) -> None:
    ours = graph_from_system(system)
    built = build_graph(ours.numbers, ours.positions, ours.cell, orbital_sets(system.basis))
    for name in ("atom_i", "atom_j", "pair_cell", "offset", "reverse"):
        assert np.array_equal(getattr(ours, name), getattr(built, name)), name


def test_prediction_is_a_hermitian_matrix_on_the_pattern(system: System, model_path: Path) -> None:
    model = load_model(model_path)
    assert model.basis.fingerprint == system.basis.fingerprint
    dh = model.predict(system)
    assert dh.pattern is system.pattern and dh.data.shape == (1, system.pattern.nnz)
    assert np.abs(dh.data).max() > 1e-3
    assert np.array_equal(dh.transpose().data, dh.data)
    total = predict(model, system)
    assert np.array_equal(total.data, (system.harris_hamiltonian() + dh).data)
    moved = System(_shrunk(system), system.basis, cutoff_ry=60.0)
    with pytest.warns(OutOfDomainWarning, match="the closest in the training set was"):
        model.predict(moved)


def _shrunk(system: System) -> ase.Atoms:
    from mlh.units import BOHR_ANGSTROM

    atoms = ase.Atoms(
        system.symbols, system.positions * BOHR_ANGSTROM, cell=system.cell * BOHR_ANGSTROM, pbc=True
    )
    atoms.set_cell(atoms.cell * 0.85, scale_atoms=True)
    return atoms


def test_another_functional_or_other_orbitals_are_refused(system: System, model_path: Path) -> None:
    model = load_model(model_path)
    with pytest.raises(ModelError, match="functional of the labels"):
        model.predict(System(_shrunk(system), system.basis, cutoff_ry=60.0, xc="PW92"))
    smaller = load_basis("gth-pbe", orbitals={"Si": "7.0-s2p2"}, elements=["Si", "O"])
    with pytest.raises(ModelError, match="other radial functions"):
        model.predict(System(_shrunk(system), smaller, cutoff_ry=60.0))


def test_sample_of_a_system_round_trip(system: System, tmp_path: Path) -> None:
    s = system.overlap().data  # any Hermitian matrix will do
    writer = DatasetWriter(tmp_path / "d.h5", system.basis, {"xc": "PBE", "cutoff_ry": 60.0}, "float64")
    writer.append(Sample.from_system(system, s, {"xc": 1.0}, np.zeros((3, 3)), origin="test"))
    with Dataset(tmp_path / "d.h5") as data:
        sample = data[0]
        assert np.abs(sample.dh - s[0]).max() < 1e-14
        assert np.abs(overlap_of_sample(sample, data.basis) - s[0]).max() < 1e-12
