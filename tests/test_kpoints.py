"""k meshes: which points three numbers mean, spacings, and what files of before and of now hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.build import bulk
from typer.testing import CliRunner

import mlh
from mlh.calculators.engines import choose_engine
from mlh.commands.cli import app
from mlh.commands.theory_options import MeshOptions
from mlh.common.units import HARTREE_BOHR_EV_ANGSTROM
from mlh.dft.theory import Theory
from mlh.labelling.build import build_dataset
from mlh.labelling.config import DatasetConfig
from mlh.matrix.kpoints import (
    KPoints,
    as_kpoints,
    kpoints_record,
    monkhorst_pack,
    recorded_kpoints,
    with_cell,
)


def points_of(mesh: KPoints) -> set[tuple[float, ...]]:
    """k and -k, wrapped."""
    return {tuple(np.round(s * k, 9) % 1) for k in mesh.points for s in (1, -1)}


def test_three_numbers_are_a_mesh_with_gamma():
    for size in [(2, 2, 2), (4, 3, 1), (1, 1, 6)]:
        axes = [np.arange(n) / n for n in size]
        expected = {tuple(np.round(k, 9) % 1) for k in np.stack(np.meshgrid(*axes), -1).reshape(-1, 3)}
        assert points_of(as_kpoints(size)) == expected
    even = as_kpoints({"size": (2, 2, 2), "gamma": False})
    assert points_of(even) == points_of(monkhorst_pack((2, 2, 2))) != points_of(as_kpoints((2, 2, 2)))
    assert points_of(as_kpoints((3, 5, 1))) == points_of(monkhorst_pack((3, 5, 1)))


@pytest.mark.parametrize(("gamma", "largest"), [(True, 2e-3), (False, 1.0)])
def test_an_even_mesh_keeps_zincblende_in_place(gamma, largest):
    """Td leaves no force; the Monkhorst-Pack mesh, on request, has one (0.013 eV/Angstrom)."""
    system = mlh.System(
        *(bulk("AlP", "zincblende", 5.47), "gth-pbe"),
        cutoff_ry=100.0,
        kpts={"size": (2, 2, 2), "gamma": gamma},
    )
    forces = mlh.scf(system, max_steps=5).forces().total * HARTREE_BOHR_EV_ANGSTROM
    assert np.abs(forces).max() < largest
    assert gamma or np.abs(forces).max() > 0.01


def test_spacing_is_that_of_vasp():
    """KSPACING: ceil(|b| / spacing) with 2 pi in b, for every cell; 1 where there is no period."""
    cell = bulk("Cu", "fcc", 3.61).cell
    length = 2 * np.pi * np.sqrt(3) / 3.61
    assert with_cell({"spacing": 0.2}, cell) == (int(np.ceil(length / 0.2)),) * 3
    assert with_cell({"spacing": length / 5}, cell) == (5, 5, 5)
    assert with_cell({"spacing": 0.3, "gamma": False}, cell)["gamma"] is False
    assert with_cell({"spacing": 0.2}, np.diag([3.0, 6.0, 40.0]), (True, True, False)) == (11, 6, 1)
    assert with_cell((2, 2, 2), cell) == (2, 2, 2) and with_cell(None, cell) is None
    system = mlh.System(bulk("Si"), cutoff_ry=60.0, kpts={"spacing": 0.5})
    assert system.kpts == (5, 5, 5)
    for wrong in (0.0, -1.0, True, "0.2"):
        with pytest.raises(ValueError, match="spacing"):
            with_cell({"spacing": wrong}, cell)
    with pytest.raises(ValueError, match="needs a cell"):
        as_kpoints({"spacing": 0.2})


def test_a_cell_relaxation_holds_the_mesh_of_its_start():
    atoms = bulk("Si")
    calculator = mlh.DFTCalculator(cutoff_ry=60.0, kpts={"spacing": 0.5})
    calculator.hold_grid(atoms)
    assert calculator.kpts == (5, 5, 5)


@pytest.mark.parametrize(
    "spec", [None, (2, 2, 2), (3, 1, 1), {"size": (4, 2, 1), "gamma": False}, monkhorst_pack((2, 1, 1))]
)
def test_records_bring_the_mesh_back(spec):
    record = json.loads(json.dumps(kpoints_record(spec)))
    assert points_of(as_kpoints(recorded_kpoints(record))) == points_of(as_kpoints(spec))
    assert kpoints_record(recorded_kpoints(record)) == record


def test_lists_of_files_of_before_are_monkhorst_pack():
    assert points_of(as_kpoints(recorded_kpoints([2, 2, 2]))) == points_of(monkhorst_pack((2, 2, 2)))
    assert kpoints_record((2, 2, 2)) == {"size": [2, 2, 2], "gamma": True}
    assert kpoints_record({"size": (2, 2, 2), "gamma": False}) == [2, 2, 2]
    assert recorded_kpoints({"spacing": 0.2}) == {"spacing": 0.2}
    # What a run of before resumes from: the identity of its engine.
    assert choose_engine(None, True).describe()["kpts"] == [1, 1, 1]
    assert choose_engine(None, True, theory=Theory(kpts=(2, 2, 2))).describe()["kpts"] != [2, 2, 2]


def test_options_of_the_commands():
    assert MeshOptions().mesh() is None
    assert MeshOptions((2, 2, 2)).mesh() == (2, 2, 2)
    assert MeshOptions((2, 2, 2), None, True).mesh() == {"size": (2, 2, 2), "gamma": False}
    assert MeshOptions(None, 0.2).mesh() == {"spacing": 0.2}
    with pytest.raises(ValueError, match="one of them"):
        MeshOptions((2, 2, 2), 0.2).mesh()
    run = CliRunner().invoke(
        app, ["relax", "alpha-quartz", "--dft", "--kpts", "2", "2", "2", "--kspacing", "1"]
    )
    assert run.exit_code != 0


def config(kpts: object) -> DatasetConfig:
    source = {"name": "si", "crystal": "alpha-quartz", "host": [{"copies": 1}]}
    return DatasetConfig.model_validate({"name": "x", "engine": {"kpts": kpts}, "sources": [source]})


def test_meshes_of_data_sets(tmp_path: Path):
    assert config([2, 2, 2]).engine.settings().kpts == (2, 2, 2)
    assert config({"size": [2, 2, 2], "gamma": False}).engine.settings().kpts["gamma"] is False
    assert config({"spacing": 0.3}).engine.settings().as_dict()["kpts"] == {"spacing": 0.3}
    with pytest.raises(ValueError, match="size and spacing"):
        config({"size": [2, 2, 2], "spacing": 0.2})
    # A folder of before, whose lists mean Monkhorst-Pack, is not gone on with under another mesh.
    folder = tmp_path / "x.h5.jobs"
    folder.mkdir()
    before = config([2, 2, 2]).model_dump(mode="json")
    (folder / "config.yaml").write_text(yaml.safe_dump(before), encoding="utf-8")
    with pytest.raises(ValueError, match="Monkhorst-Pack"):
        build_dataset(config([2, 2, 2]), tmp_path / "x.h5", processes=1)
