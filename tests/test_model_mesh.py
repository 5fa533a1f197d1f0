"""A model is used with the k points, and the occupations, of its labels."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mlh
from mlh.basis.families import load_basis
from mlh.calculators.engines import ModelEngine
from mlh.common.units import ANGSTROM, EV
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.model.card import ModelError
from mlh.model.committee import Committee
from mlh.model.mesh import mesh_of_card, mesh_of_labels
from mlh.model.model import Model


def cell(atoms: Atoms) -> np.ndarray:
    return np.asarray(atoms.cell.array * ANGSTROM)


def test_meshes_of_labels_are_carried_by_their_density():
    """The cells of the labels keep their meshes, others get the same density of points."""
    small, large = bulk("AlP", "zincblende", 5.47), bulk("AlP", "zincblende", 5.47, cubic=True)
    even = {"size": [4, 4, 4], "gamma": True}
    mesh = mesh_of_labels([(cell(small), even), (cell(small) * 0.99, even), (cell(large), [3, 3, 3])])
    assert mesh["gamma"] and set(mesh) == {"spacing", "gamma"}
    for atoms, size in (
        (small, (4, 4, 4)),
        (bulk("AlP", "zincblende", 5.47 * 0.985), (4, 4, 4)),  # a little room, so that a cell may relax
        (bulk("AlP", "zincblende", 5.0), (5, 5, 5)),
        (small.repeat(2), (2, 2, 2)),
        (small.repeat((4, 2, 1)), (1, 2, 4)),
    ):
        assert System(atoms, cutoff_ry=80.0, kpts=mesh).kpts == size
    # Lists with even numbers are Monkhorst-Pack meshes, in labels of before.
    assert mesh_of_labels([(cell(small), [4, 4, 4])])["gamma"] is False
    assert mesh_of_labels([(cell(small), None)]) == {}


def test_cards_of_before():
    """Gamma alone fits every cell, a spacing too; other meshes do not say in which cell."""
    assert mesh_of_card({"kpts": [1, 1, 1]}, {}) == (1, 1, 1)
    assert mesh_of_card({"kpts": {"spacing": 0.3}}, {}) == {"spacing": 0.3}
    assert mesh_of_card({"kpts": [4, 4, 4]}, {}) is None
    assert mesh_of_card({"source": "OpenMX 3.9"}, {}) is None
    assert mesh_of_card({"kpts": [4, 4, 4]}, {"spacing": 0.5, "gamma": True})["spacing"] == 0.5

    @dataclass
    class Card:
        settings: dict[str, Any] = field(default_factory=lambda: {"kpts": [4, 4, 4]})
        k_mesh: dict[str, Any] = field(default_factory=dict)

    with pytest.raises(ModelError, match=r"k points \[4, 4, 4\].*\(kpts\)"):
        _ = Model(None, Card()).kpts  # type: ignore[arg-type]
    assert mlh.load_model("sio2-vo").kpts == (1, 1, 1)


@dataclass
class ExactModel:
    """Predicts dH of a converged calculation of 4x4x4 points and a smearing."""

    dh: np.ndarray
    kpts: Any = field(default_factory=lambda: {"spacing": 0.52})
    smearing_ev: float | None = 0.2
    smearing: str = "gaussian"
    cutoff_ry: float = 80.0
    xc: str = "PBE"
    basis: mlh.Basis = field(default_factory=lambda: load_basis("gth-pbe", elements=["Al", "P"]))

    def predict(self, system: System) -> BlockMatrix:
        return BlockMatrix(system.pattern, self.dh)


def test_a_model_is_used_with_k_points_and_smearing_of_its_labels():
    """14 eV off at Gamma; equal to DFT with the mesh of the labels."""
    atoms = bulk("AlP", "zincblende", 5.5)
    atoms.calc = mlh.DFTCalculator(
        "gth-pbe", cutoff_ry=80.0, kpts=(4, 4, 4), smearing_ev=0.2, smearing="gaussian"
    )
    energy = atoms.get_potential_energy()
    result = atoms.calc.result
    model = ExactModel((result.H - result.system.harris_hamiltonian()).data)
    calculator = mlh.MLHCalculator(model)
    assert calculator.get_potential_energy(atoms) == pytest.approx(energy, abs=1e-5)
    assert calculator.system.k_mesh == (4, 4, 4)
    assert (calculator.smearing, calculator.smearing_ev) == ("gaussian", 0.2)
    gamma = mlh.MLHCalculator(model, kpts=(1, 1, 1), smearing_ev=0.0)
    assert gamma.get_potential_energy(atoms) > energy + 5.0
    assert gamma.theory.occupations == "none"
    held = mlh.MLHCalculator(model)
    held.hold_grid(atoms)
    assert held.kpts == (4, 4, 4)
    both = Committee([model, ExactModel(model.dh, kpts={"spacing": 0.4})])
    assert both.kpts == {"spacing": 0.4} and both.smearing_ev == 0.2
    with pytest.raises(ValueError, match="smearing_ev"):
        Committee([model, ExactModel(model.dh, smearing_ev=None)])
    engine = ModelEngine(model)
    assert engine.describe()["kpts"] == {"spacing": 0.52}
    assert engine.calculator().theory.width == pytest.approx(0.2 * EV)


def test_training_writes_the_mesh_of_its_labels(tmp_path: Path):
    """From the k points of the samples that it trained on."""
    from mlh.dataset.store import Dataset, DatasetWriter
    from model_helpers import basis_record, network, sample

    writer = DatasetWriter(
        tmp_path / "d.h5", basis_record(), {"xc": "PBE", "cutoff_ry": 80.0, "kpts": [1, 1, 1]}
    )
    writer.append(sample(0, network(0)))
    with Dataset(tmp_path / "d.h5") as data:
        found, record = data.mesh(0)
        assert json.dumps(record) == "[1, 1, 1]"
        np.testing.assert_array_equal(found, data[0].graph.cell)
        mesh = mesh_of_labels([data.mesh(0)])
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(found), axis=0) * ANGSTROM
    assert mesh["spacing"] == pytest.approx(1.02 * lengths.max(), abs=1e-5)
