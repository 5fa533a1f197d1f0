"""The network on systems of the compiled core: the same pairs, predictions as matrices, basis checks."""

from __future__ import annotations

import json
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mlh.accuracy.metrics import overlap_of_sample
from mlh.accuracy.physics import evaluate_sample, summarise
from mlh.basis.families import load_basis
from mlh.commands.cli import app
from mlh.dataset.sample import BasisRecord, Sample
from mlh.dataset.store import Dataset, DatasetWriter
from mlh.dft.system import System
from mlh.model.card import ModelCard, ModelError, save_model
from mlh.model.domain import OutOfDomainWarning, closest_pairs
from mlh.model.model import load_model, predict
from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.edge_frames.network import EdgeFramesNetwork
from mlh.network.graph import build_graph, graph_from_system, orbital_sets
from mlh.scf.loop import scf
from mlh.training.config import SplitConfig, TrainingConfig, save_config

CONFIG = EdgeFramesConfig(
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
    network = EdgeFramesNetwork(list(sets.values()), CONFIG).double()
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
    from mlh.common.units import BOHR_ANGSTROM

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


def test_physics_of_a_label_is_exact_for_the_exact_matrix(tmp_path: Path) -> None:
    """Converged H in, converged energy, forces, levels and density out; an error of H shows in all."""
    atoms = ase.Atoms(
        "Si2",
        scaled_positions=[[0, 0, 0], [0.26, 0.24, 0.25]],
        cell=[[0, 2.7, 2.7], [2.7, 0, 2.7], [2.7, 2.7, 0]],
        pbc=True,
    )
    basis = load_basis("gth-pbe", elements=["Si"], orbitals={"Si": "6.0-s1p1"})
    settings = {"cutoff_ry": 60.0, "xc": "PBE"}
    system = System(atoms, basis, 60.0)
    result = scf(system, energy_tol=1e-10, residual_tol=1e-8)
    assert result.converged
    dh = (result.H - system.harris_hamiltonian()).data
    sample = Sample.from_system(system, dh[0], result.energies.as_dict(), result.forces().total, origin="si")
    record = BasisRecord.of(basis, {"Si": "6.0-s1p1"})
    exact = evaluate_sample(sample, sample.dh, record, settings)
    assert abs(exact.energy_error) < 1e-6 and abs(exact.gap_error) < 1e-5 and exact.occupied_mae < 1e-5
    assert np.abs(exact.forces - exact.reference_forces).max() < 1e-5 and exact.density_mae < 1e-8
    harris = evaluate_sample(sample, np.zeros_like(sample.dh), record, settings)
    refined = evaluate_sample(sample, np.zeros_like(sample.dh), record, settings, refine=1)
    purified = evaluate_sample(sample, np.zeros_like(sample.dh), record, settings, solver="purification")
    assert purified.energy_error == pytest.approx(harris.energy_error, abs=1e-5)
    assert purified.forces == pytest.approx(harris.forces, abs=1e-4)
    without = summarise([purified]).as_dict()
    assert (
        without["gap_mae_mev"] is None and without["occupied_eigenvalue_mae_mev"] is None
    )  # it has no levels
    metrics = [summarise([case]) for case in (harris, refined, exact)]
    for name in (
        "energy_mae_mev_per_atom",
        "force_mae_mev_a",
        "occupied_eigenvalue_mae_mev",
        "density_mae_e_a3",
    ):
        values = [getattr(m, name) for m in metrics]
        assert values[0] > values[1] > values[2], name
    # to second order the model knows its own error of the energy
    assert 1.0 < harris.energy_estimate / harris.energy_error < 2.0


def test_evaluate_command_writes_numbers_and_a_picture(
    system: System, model_path: Path, tmp_path: Path
) -> None:
    writer = DatasetWriter(
        tmp_path / "one.h5", BasisRecord.of(system.basis), {"xc": "PBE", "cutoff_ry": 60.0}
    )
    dh = np.zeros(system.pattern.nnz)
    writer.append(Sample.from_system(system, dh, {"kinetic": 1.0}, np.zeros((3, 3)), origin="x"))
    arguments = ["evaluate", str(model_path), str(tmp_path / "one.h5"), "--physics", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--plot", str(tmp_path / "scatter.png")])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["physics"]["n_samples"] == 1 and content["mae_mev"] > 0
    assert (tmp_path / "scatter.png").stat().st_size > 5000
    refused = CliRunner().invoke(
        app, ["evaluate", str(model_path), str(tmp_path / "one.h5"), "--refine", "1"]
    )
    assert refused.exit_code != 0 and "--physics" in refused.output


def test_evaluate_command_on_each_part_of_the_split(system: System, model_path: Path, tmp_path: Path) -> None:
    writer = DatasetWriter(
        tmp_path / "three.h5", BasisRecord.of(system.basis), {"xc": "PBE", "cutoff_ry": 60.0}
    )
    for k in range(3):
        dh = np.full(system.pattern.nnz, 1e-3 * k)
        writer.append(Sample.from_system(system, dh, {"x": 1.0}, np.zeros((3, 3)), origin=f"{k}"))
    config = TrainingConfig(
        dataset=tmp_path / "three.h5",
        output=tmp_path,
        split=SplitConfig(by="random", validation=0.3, test=0.3),
    )
    save_config(config, tmp_path / "c.yaml")
    arguments = ["evaluate", str(model_path), str(tmp_path / "three.h5"), "--part", "each", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--config", str(tmp_path / "c.yaml")])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert list(content) == ["train", "validation", "test"]
    zero = [part["zero_mae_mev"] for part in content.values()]
    assert sorted(zero) == pytest.approx([0.0, 27.2114, 54.4228], abs=1e-3)
    assert all(part["n_samples"] == 1 and list(part["by_size"]) == ["3"] for part in content.values())
