"""Files and folders that the code of before wrote (tests/data/before/README.md): current code reads them,
with the numbers they hold, and goes on from them without calculating anything twice."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.calculators.calculator import Calculator
from ase.io import read
from rich.console import Console

from mlh.calculators import DFTCalculator
from mlh.calculators.electronic import state_of_file
from mlh.calculators.engines import DFTEngine, ModelEngine
from mlh.common.units import HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.dataset.store import Dataset
from mlh.dft.system import System
from mlh.dft.theory import Theory
from mlh.io import read_atoms, read_matrices
from mlh.labelling.build import build_dataset
from mlh.labelling.config import load_config as load_dataset_config
from mlh.labelling.labels import load_labels
from mlh.matrix.kpoints import KPointsSpec
from mlh.relaxation.files import read_steps, run_relaxation
from mlh.relaxation.loop import RelaxSettings
from mlh.training.config import load_config as load_training_config
from mlh.training.run import train

BEFORE = Path(__file__).parent / "data" / "before"
H2 = BEFORE / "h2.xyz"

SAME, SAME_EV = 1e-9, 1e-7
"""Hartree and eV: what the physics has changed since (the least gradient of docs/theory.md: 2e-10 and 1.4e-9
here), and the rounding of another machine."""


class NoCalculator(Calculator):  # type: ignore[misc]
    """Fails when anything is to be calculated."""

    implemented_properties = ("energy", "free_energy", "forces")

    def calculate(self, *_: object, **__: object) -> None:
        raise AssertionError("a recorded step was calculated again")


def copied(name: str, target: Path) -> Path:
    """A folder of before that a test may change."""
    shutil.copytree(BEFORE / name, target)
    return target


def test_matrix_file() -> None:
    stored = json.loads((BEFORE / "scf.json").read_text())
    theory = Theory("gth-pbe", cutoff_ry=60.0)
    content = read_matrices(BEFORE / "scf.h5", theory.loaded_basis())
    with h5py.File(BEFORE / "scf.h5") as file:
        for name in ("S", "H0", "H", "D"):
            np.testing.assert_array_equal(content.matrices[name].data, file[f"matrices/{name}"][()])
    system = System.of(read(H2), theory)
    np.testing.assert_allclose(content.matrices["S"].data, system.overlap().data, rtol=0, atol=SAME)
    np.testing.assert_allclose(
        content.matrices["H0"].data, system.harris_hamiltonian().data, rtol=0, atol=SAME
    )
    evaluation = system.evaluate(content.matrices["D"])
    np.testing.assert_allclose(content.matrices["H"].data, evaluation.H.data, rtol=0, atol=SAME)
    assert evaluation.energies.total * HARTREE_EV == pytest.approx(stored["energy_ev"], abs=SAME_EV)
    for name, value in stored["contributions_ev"].items():
        assert evaluation.energies.as_dict()[name] * HARTREE_EV == pytest.approx(value, abs=SAME_EV)


def test_state_of_a_matrix_file_needs_its_k_points() -> None:
    with pytest.raises(ValueError, match="k points"):
        state_of_file(BEFORE / "scf.h5")
    stored = json.loads((BEFORE / "scf.json").read_text())
    state = state_of_file(BEFORE / "scf.h5", lambda _: {"kpts": (1, 1, 1), "cutoff_ry": 60.0})
    assert state.solution.gap * HARTREE_EV == pytest.approx(stored["gap_ev"], abs=1e-3)
    np.testing.assert_allclose(read_atoms(BEFORE / "scf.h5").positions, read(H2).positions, atol=1e-12)


def test_data_set() -> None:
    with Dataset(BEFORE / "set.h5") as dataset, h5py.File(BEFORE / "set.h5") as file:
        assert dataset.verify() == [] and len(dataset) == 5
        basis = Theory("gth-pbe").loaded_basis().subset(["H"])
        assert dataset.basis.fingerprint == basis.fingerprint
        for index, sample in enumerate(dataset):
            group = file[f"samples/{index:07d}"]
            np.testing.assert_array_equal(sample.forces, group["forces"][()])
            assert np.isin(group["dh"][()], sample.dh).all()
            assert dict(sample.energies) == json.loads(group.attrs["record"])["energies"]
        first = dataset[0]
    calculator = DFTEngine(Theory("gth-pbe", cutoff_ry=60.0)).calculator()
    atoms = read(H2)
    forces = calculator.get_forces(atoms) / HARTREE_BOHR_EV_ANGSTROM
    np.testing.assert_allclose(first.forces, forces, rtol=0, atol=1e-5)
    assert sum(first.energies.values()) * HARTREE_EV == pytest.approx(
        calculator.get_potential_energy(atoms), abs=1e-6
    )
    dh = (calculator.result.H - calculator.system.harris_hamiltonian()).data
    np.testing.assert_allclose(first.dh, dh.ravel(), rtol=0, atol=1e-5)


def test_build_goes_on(tmp_path: Path) -> None:
    """One finished relaxation, one killed after its second geometry, two calculations to do."""
    folder = copied("set.h5.jobs", tmp_path / "set.h5.jobs")
    finished = next((folder / "finished").iterdir())
    before = finished.read_bytes()
    partial = sorted((folder / "partial").glob("*/*.npz"))
    half_done = [load_labels(path)[0][0] for path in partial]
    assert len(half_done) == 2
    config = load_dataset_config(BEFORE / "set.yaml")
    # It named no basis, and had the default of then.
    config = config.model_copy(update={"engine": config.engine.model_copy(update={"basis": "gth-pbe"})})
    starts: list[int] = []
    report = build_dataset(
        config, tmp_path / "set.h5", processes=1, on_progress=lambda p: starts.append(p.finished)
    )
    assert report.failed == {} and (report.n_jobs, report.n_samples) == (4, 5)
    assert starts[0] == 1 and finished.read_bytes() == before
    assert len(list((folder / "finished").iterdir())) == 4
    labels, _ = load_labels(folder / "finished" / f"{partial[0].parent.name}.npz")
    np.testing.assert_array_equal(labels[0].atoms.positions, half_done[0].atoms.positions)
    assert labels[0].seconds == half_done[0].seconds  # the clock of the run of before
    with Dataset(tmp_path / "set.h5") as now, Dataset(BEFORE / "set.h5") as then:
        for new, old in zip(now, then, strict=True):
            assert sum(new.energies.values()) == pytest.approx(sum(old.energies.values()), abs=1e-7)
            np.testing.assert_allclose(new.dh, old.dh, rtol=0, atol=1e-5)


def test_killed_relaxation_goes_on(tmp_path: Path) -> None:
    folder = copied("relax-killed", tmp_path / "relax")
    steps = read_steps(folder / "trajectory.extxyz")
    assert json.loads((folder / "relax.json").read_text())["status"] == "running" and len(steps) == 2
    engine = DFTEngine(Theory("gth-pbe", cutoff_ry=60.0))
    again: list[int] = []
    result = run_relaxation(
        read(H2),
        engine.calculator(),
        folder,
        RelaxSettings(max_steps=3),
        engine=engine.describe(),
        resume=True,
        on_step=lambda step, _: again.append(step.step),
    )
    assert again == [2, 3] and result.steps[3].energy < steps[1].energy
    assert [s.energy for s in result.steps[:2]] == [s.energy for s in steps]
    assert len(read_steps(folder / "trajectory.extxyz")) == len(result.steps)


def resumed(folder: Path, engine: DFTEngine | ModelEngine) -> float:
    """Energy of a relaxation of one step that needs no calculation any more."""
    settings = RelaxSettings(max_steps=1)
    result = run_relaxation(read(H2), NoCalculator(), folder, settings, engine=engine.describe(), resume=True)
    return result.energy


def mesh(kpts: KPointsSpec) -> DFTEngine:
    return DFTEngine(Theory("gth-pbe", cutoff_ry=60.0, kpts=kpts))


def test_three_even_numbers_of_before_are_a_monkhorst_pack_mesh(tmp_path: Path) -> None:
    folder = copied("relax-kpts", tmp_path / "relax")
    steps = read_steps(folder / "trajectory.extxyz")
    with pytest.raises(ValueError, match="cannot resume another"):
        resumed(folder, mesh((2, 2, 2)))
    engine = mesh({"size": (2, 2, 2), "gamma": False})
    assert resumed(folder, engine) == steps[1].energy
    # The whole mesh was solved then; now one point of every star, and D is symmetric where the grid is not.
    for symmetry, difference in ((False, 1e-7), (True, 2e-5)):
        calculator = DFTCalculator(theory=replace(engine.theory, symmetry=symmetry))
        energy = calculator.get_potential_energy(read(H2))
        assert energy == pytest.approx(steps[0].energy, abs=difference)


def test_model(tmp_path: Path) -> None:
    """Its predictions are those of before; a relaxation knew it by its path."""
    model = str(shutil.copy(BEFORE / "training" / "model.npz", tmp_path / "model.npz"))
    folder = copied("relax-model", tmp_path / "relax")
    first, last = read_steps(folder / "trajectory.extxyz")
    atoms, engine = read(H2), ModelEngine(model, forces="plain")
    atoms.calc = engine.calculator()
    assert atoms.get_potential_energy() == pytest.approx(first.energy, abs=SAME_EV)
    np.testing.assert_allclose(atoms.get_forces(), first.forces, rtol=0, atol=1e-7)
    with pytest.raises(ValueError, match=r"model\.npz"):
        resumed(folder, engine)  # another path
    with pytest.raises(ValueError, match="exact"):
        resumed(folder, ModelEngine(model))  # its forces were plain ones
    summary = json.loads((folder / "relax.json").read_text())
    summary["engine"]["model"] = model
    (folder / "relax.json").write_text(json.dumps(summary))
    assert resumed(folder, engine) == last.energy


def test_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(BEFORE / "set.h5", "set.h5")
    folder = copied("training", tmp_path / "run")
    packed = folder / "checkpoint.npz.gz"
    (folder / "checkpoint.npz").write_bytes(gzip.decompress(packed.read_bytes()))
    with np.load(folder / "checkpoint.npz") as archive:
        step = json.loads(archive["state"].tobytes().decode())["step"]
    config = load_training_config(BEFORE / "train.yaml", [f"steps={step + 4}"])
    result = train(config, Console(quiet=True))
    assert step >= 20 and result.finished and result.steps == step + 4
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert log[0] == json.loads((BEFORE / "training" / "log.jsonl").read_text().splitlines()[0])
