"""Commands about electrons on hydrogen molecules: files, numbers, refusals; engines and files agree."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read
from matplotlib.image import imread
from typer.testing import CliRunner

import mlh
from mlh.calculators.electronic import electronic_state, state_of_file
from mlh.calculators.engines import DFTEngine, ModelEngine
from mlh.commands.cli import app
from mlh.commands.theory_options import EngineOptions, TheoryOptions, engine_of
from mlh.common.units import EV
from mlh.dft.theory import Theory
from mlh.io import read_matrices, read_volumetric
from mlh.matrix.block_matrix import BlockMatrix

ENGINE = ["--dft", "--cutoff", "60"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    atoms = Atoms("H2", [[1.0, 1.0, 1.0], [1.0, 1.2, 1.72]], cell=[4.0, 4.1, 4.2], pbc=True)
    atoms.write(tmp_path / "h2.xyz")
    return tmp_path


def run(*arguments: str) -> dict:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def is_picture(path: str) -> bool:
    """A PNG with more than one colour."""
    pixels = imread(path)
    return len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 3


def test_bands_writes_numbers_and_a_picture(folder):
    summary = run("bands", "h2.xyz", *ENGINE, "--path", "GX", "--points", "5", "--out", "out/b")
    content = json.loads((folder / "out" / "b.json").read_text())
    assert np.shape(content["energies_ev"]) == (1, 5, 10)
    assert summary["gap_ev"] == content["gap_ev"] > 5.0
    assert content["ticks"][0] == [0.0, "G"] and content["path"] == "GX"
    assert is_picture("out/b.png")
    again = CliRunner().invoke(app, ["bands", "h2.xyz", *ENGINE, "--out", "out/b"])
    assert isinstance(again.exception, FileExistsError)


def test_a_wrong_path_is_refused_before_the_work():
    result = CliRunner().invoke(app, ["bands", "h2.xyz", *ENGINE, "--point", "Q=1,2"])
    assert result.exit_code == 2 and "NAME=0.5,0,0" in result.output


def test_dos_and_its_sums(folder):
    summary = run("dos", "h2.xyz", *ENGINE, "--mesh", "2", "1", "1")
    assert summary["integral"] == pytest.approx(summary["states"], abs=1e-3)
    assert summary["electrons_below_fermi_level"] == pytest.approx(2.0, abs=1e-3)
    assert set(json.loads((folder / "h2-dos.json").read_text())["parts_per_ev"]) == {"H s", "H p"}
    assert is_picture("h2-dos.png")


def test_charges_of_a_molecule_and_of_a_spin(folder):
    summary = run("charges", "h2.xyz", *ENGINE, "--extxyz", "q.extxyz")
    assert sum(summary["charges"]) == pytest.approx(0.0, abs=1e-9)
    assert max(np.abs(summary["charges"])) < 0.05  # zero by symmetry, but for the coarse grid
    assert read("q.extxyz").arrays["mulliken_charge"] == pytest.approx(summary["charges"], abs=1e-7)
    Atoms("H", cell=[4.0, 4.0, 4.0], pbc=True).write("h.xyz")
    spin = run("charges", "h.xyz", *ENGINE, "--spin", "--total-moment", "1", "--xc", "PW92")
    assert spin["moments"] == pytest.approx([1.0]) and spin["n_electrons"] == pytest.approx(1.0)
    density = run(
        "density", "h.xyz", *ENGINE, "--spin", "--total-moment", "1", "--xc", "PW92", "--kind", "spin"
    )
    assert density["electrons"] == pytest.approx(1.0) and density["files"] == ["h-spin.cube"]


def test_density_files_and_the_difference_of_two_runs():
    first = run("density", "h2.xyz", *ENGINE, "--axis", "c", "--out", "first")
    assert first["files"] == ["first.cube", "first-c.png"] and is_picture("first-c.png")
    assert first["electrons"] == pytest.approx(2.0, abs=1e-9)
    assert first["grid_error"] == pytest.approx(0.0, abs=5e-3)
    minus = run("density", "h2.xyz", *ENGINE, "--minus", "first.cube", "--format", "xsf", "--out", "minus")
    assert minus["absolute_integral"] == pytest.approx(0.0, abs=1e-5)
    bond = run("density", "h2.xyz", *ENGINE, "--kind", "difference", "--format", "none", "--out", "bond")
    assert bond["files"] == [] and 0.05 < bond["absolute_integral"] < 2.0


@pytest.fixture
def dimer(folder) -> str:
    """A stretched H2 beside a normal one: its two levels lie in the gap of the other."""
    cell = [4.0, 4.1, 8.4]
    molecule = Atoms("H2", [[1.0, 1.0, 1.0], [1.0, 1.2, 1.72]], cell=cell, pbc=True)
    molecule.write(folder / "host.xyz")
    (molecule + Atoms("H2", [[1.5, 1.0, 5.0], [2.6, 1.9, 5.5]])).write(folder / "dimer.xyz")
    return "dimer.xyz"


def test_levels_of_a_defect(dimer):
    summary = run(
        *("orbitals", dimer, *ENGINE, "--defect", "--around", "2,3", "--host", "host.xyz", "--margin", "1.5")
    )
    defect, rows = summary["defect"], summary["orbitals"]
    assert defect["atoms"] == ["H2", "H3"] and defect["edges_of"] == "the host"
    assert [row["band"] for row in rows] == [defect["occupied_band"], defect["empty_band"]] == [1, 2]
    assert {1, 2} <= set(defect["in_gap_bands"])
    levels = {level["band"]: level for level in defect["levels"]}
    assert levels[1]["overlap_population"] > 0.0 > levels[2]["overlap_population"]
    for row in rows:
        assert [Path(file).suffix for file in row["files"]] == [".cube", ".png"]
        assert is_picture(row["files"][1])
    assert is_picture("dimer-orbitals-levels.png")
    assert json.loads(Path("dimer-orbitals.json").read_text()) == summary


def test_matrix_file_and_dft_give_the_same_state():
    run("scf", "h2.xyz", "--cutoff", "60", "--matrices", "h2.h5")
    atoms = read("h2.xyz")
    direct = electronic_state(atoms, DFTEngine(Theory(cutoff_ry=60.0)))
    stored = state_of_file("h2.h5")
    np.testing.assert_allclose(stored.solution.eigenvalues, direct.solution.eigenvalues, atol=2e-5)
    from_file = run("bands", "h2.h5", "--path", "GX", "--points", "3")
    assert from_file["gap_ev"] > 5.0
    refused = CliRunner().invoke(app, ["dos", "h2.h5", "--dft"])
    assert "expected no --model and no --dft with a matrix file" in str(refused.exception)


def test_a_matrix_file_knows_its_k_points_and_its_theory():
    """Ga +0.239 in the mesh of the file, +1.28 at Gamma alone."""
    bulk("GaAs", "zincblende", 5.65).write("gaas.xyz")
    made = ["--basis", "gth-pbe", "--cutoff", "150", "--kpts", "4", "4", "4", "--smearing", "0.05"]
    report = run("scf", "gaas.xyz", *made, "--matrices", "gaas.h5")
    assert run("charges", "gaas.h5")["charges"][0] == pytest.approx(0.239, abs=2e-3)
    assert run("dos", "gaas.h5")["fermi_level_ev"] == pytest.approx(report["fermi_level_ev"], abs=1e-3)
    stored = state_of_file("gaas.h5")
    assert stored.smearing == "fermi-dirac" and stored.width == pytest.approx(0.05 * EV)
    assert stored.system.cutoff_ry == 150.0 and len(stored.kpts) == 36
    content = read_matrices("gaas.h5", mlh.load_basis("gth-pbe"))
    assert content.theory["kpts"] == {"size": [4, 4, 4], "gamma": True} and content.theory["xc"] == "PBE"
    assert len(content.kpts) == content.occupations.shape[1] == 8
    electrons = np.einsum("skb,k->", content.occupations, content.kpts.weights)
    assert electrons == pytest.approx(stored.system.n_electrons)
    assert np.abs(stored.solution.D.data - content.matrices["D"].data).max() < 1e-4
    gamma = run("charges", "gaas.h5", "--kpts", "1", "1", "1")
    assert gamma["charges"][0] == pytest.approx(1.27, abs=0.02)
    with pytest.raises(ValueError, match="xc"):
        state_of_file("gaas.h5", lambda atoms: {"xc": "PW92"})


def test_a_matrix_file_of_before_asks_for_its_k_points():
    run("scf", "h2.xyz", "--cutoff", "60", "--matrices", "old.h5")
    with h5py.File("old.h5", "r+") as file:
        for name in ("theory", "kpoints", "states"):
            del file[name]
    refused = CliRunner().invoke(app, ["charges", "old.h5", "--cutoff", "60"])
    assert refused.exit_code != 0 and "(kpts;" in str(refused.exception)
    assert len(run("charges", "old.h5", "--cutoff", "60", "--kpts", "1", "1", "1")["charges"]) == 2


@dataclass
class PerfectModel:
    """Predicts dH of a converged calculation."""

    dh: BlockMatrix
    basis: mlh.Basis
    cutoff_ry: float = 60.0
    xc: str = "PBE"

    def predict(self, system: mlh.System) -> BlockMatrix:
        return BlockMatrix(system.pattern, self.dh.data)


def test_a_model_goes_the_same_way_as_dft():
    atoms = read("h2.xyz")
    dft = electronic_state(atoms, DFTEngine(Theory("gth-pbe", cutoff_ry=60.0)))
    dh = dft.H - dft.system.harris_hamiltonian()
    engine = ModelEngine(PerfectModel(dh, mlh.load_basis("gth-pbe")))
    model = electronic_state(atoms, engine)
    np.testing.assert_allclose(model.solution.eigenvalues, dft.solution.eigenvalues, atol=1e-9)
    assert model.residual is not None and model.residual < 1e-3 * EV
    with pytest.raises(ValueError, match="--spin: expected together with --dft"):
        engine_of(EngineOptions(model="m"), TheoryOptions(spin=True), atoms)


def test_orbitals_by_name_and_at_a_k_point(folder):
    summary = run("orbitals", "h2.xyz", *ENGINE, "--states", "homo,lumo")
    rows = summary["orbitals"]
    assert [row["band"] for row in rows] == [0, 1]
    assert [row["occupation"] for row in rows] == [2.0, 0.0]
    assert rows[0]["norm_on_grid"] == pytest.approx(1.0, abs=5e-3)
    _, psi = read_volumetric("h2-orbitals-b0.cube")
    assert (psi.values**2).sum() * psi.volume_element == pytest.approx(rows[0]["norm_on_grid"], rel=1e-5)
    between = run(
        *("orbitals", "h2.xyz", *ENGINE, "--kpts", "3", "1", "1", "--k", "0", "--states", "0"),
        *("--format", "xsf", "--out", "k"),
    )
    assert between["orbitals"][0]["files"] == ["k-k0-b0-re.xsf", "k-k0-b0-im.xsf"]
    squared = run("orbitals", "h2.xyz", *ENGINE, "--states", "0", "--squared", "--out", "s")
    _, density = read_volumetric(squared["orbitals"][0]["files"][0])
    assert density.integral() == pytest.approx(rows[0]["norm_on_grid"], rel=1e-5)


def test_orbitals_refuses_what_it_cannot_do():
    def output(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["orbitals", "h2.xyz", *ENGINE, *arguments])
        assert result.exit_code == 2
        return result.output

    assert "together with --defect" in output("--around", "0,1")
    assert "'up'" in output("--channel", "left")
    assert "'xsf'" in output("--format", "vtk")
    assert "4,6,24" in output("--plane", "0,1")


def test_a_density_matrix_is_enough_for_densities_and_charges():
    """scf, charges and density by purification, without eigenstates; levels are refused before the work."""
    sparse = ["--method", "purification", "--threshold", "1e-6"]
    for command in ("scf", "charges", "density"):
        engine = [] if command == "scf" else ["--dft"]
        again = ["--overwrite"] if command == "density" else []
        dense, purified = (
            run(command, "h2.xyz", *engine, "--cutoff", "60", *way, *again) for way in ([], sparse)
        )
        for name in ("energy_ev", "charges", "integral", "absolute_integral"):
            if name in dense:
                np.testing.assert_allclose(purified[name], dense[name], atol=1e-4)
        if command == "scf":
            assert purified["gap_ev"] <= dense["gap_ev"] + 1e-6 and purified["method"] == "purification"
    for command in ("bands", "dos", "orbitals"):
        result = CliRunner().invoke(app, [command, "h2.xyz", *ENGINE, *sparse])
        assert "need eigenstates" in str(result.exception) and "residual" not in result.stderr
