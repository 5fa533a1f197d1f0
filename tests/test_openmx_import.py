"""OpenMX runs become data sets, structures become OpenMX inputs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner

import mlh
import openmx_files as files
from mlh.accuracy.metrics import system_of_sample
from mlh.commands.cli import app
from mlh.common.units import BOHR_ANGSTROM, OPENMX_BOHR_ANGSTROM
from mlh.dataset.store import Dataset
from mlh.labelling.openmx_import import find_runs, import_runs
from mlh.openmx import OpenMXFormatError
from mlh.openmx.family import default_species
from mlh.openmx.inputfile import read_definitions
from mlh.openmx.outfile import read_out
from mlh.openmx.writeinput import openmx_input

INPUT = ("scf.XcType GGA-PBE", "scf.energycutoff 60.0", "scf.Kgrid 1 1 2", "scf.criterion 1e-9")
FORCES = np.array([[0.01, -0.02, 0.03], [-0.01, 0.02, -0.03]])
DATA = Path(os.environ.get("MLH_OPENMX_DATA", "/nonexistent"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database without partial cores, also the default one."""
    folder = files.write_database(tmp_path / "DFT_DATA19", core=False)
    monkeypatch.setenv("MLH_OPENMX_DATA", str(folder))
    return folder


def write_run(
    folder: Path, target: Path, shift: float = 0.0, residual: float = 1e-11, lines: tuple[str, ...] = INPUT
) -> mlh.System:
    """A run of two hydrogen atoms with H = 0.7 S."""
    basis = files.load_basis(folder)
    positions = np.array([[0.0, 0.1, 0.2], [1.3 + shift, 0.4, 2.0]])
    cell = np.diag([6.0, 7.0, 7.5]) * BOHR_ANGSTROM
    atoms = Atoms("H2", positions * BOHR_ANGSTROM, cell=cell, pbc=True)
    system = mlh.System(atoms, basis, cutoff_ry=60.0, kpts=(1, 1, 2))
    target.mkdir(parents=True)
    matrix = system.overlap()
    files.write_scfout(target / "h2.scfout", system, 0.7 * matrix, 0.3 * matrix, extra_lines=lines)
    files.write_out(target / "h2.out", positions * OPENMX_BOHR_ANGSTROM, FORCES, residual)
    return system


def test_a_run_comes_back_from_the_data_set(folder: Path, tmp_path: Path) -> None:
    system = write_run(folder, tmp_path / "host-a" / "0")
    write_run(folder, tmp_path / "host-b" / "0", shift=0.1)
    report = import_runs(find_runs([tmp_path / "host-a", tmp_path / "host-b"]), tmp_path / "d.h5")
    assert (report.samples, report.set_aside) == (2, {})
    with Dataset(tmp_path / "d.h5") as data:
        assert data.verify() == []
        assert data.basis.fingerprint == system.basis.fingerprint == report.basis_fingerprint
        assert (data.settings["cutoff_ry"], data.settings["xc"]) == (60.0, "PBE")
        sample, other = data[0], data[1]
        # Hartree: 1.5 - 0.7 - 2.25 + 0.5, two-centre electrostatics in one contribution.
        assert sample.total_energy == pytest.approx(-0.95, abs=1e-12)
        assert sample.energies["core_repulsion"] == pytest.approx(-0.2, abs=1e-12)
        np.testing.assert_allclose(sample.forces, FORCES, atol=1e-12)
        assert sample.info["kpts"] == [1, 1, 2]
        assert (sample.group, other.group) == ("host-a", "host-b")
        again = system_of_sample(sample, data.basis, data.settings)
        H = again.harris_hamiltonian().data[0] + sample.dh
        np.testing.assert_allclose(H, 0.7 * system.overlap().data[0], atol=1e-7)  # stored in float32


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"residual": 1e-4}, "not converged: NormRD 0.0001"),
        ({"lines": ("scf.XcType LDA",)}, "expected GGA-PBE, got LDA"),
        ({"lines": (*INPUT[:1], "scf.energycutoff 80.0", *INPUT[2:])}, "as in the first run"),
        ({"lines": (*INPUT[:2], "scf.Kgrid 1 x 1", INPUT[3])}, "scf.Kgrid"),
    ],
)
def test_unusable_runs_are_set_aside(
    change: dict[str, object], reason: str, folder: Path, tmp_path: Path
) -> None:
    write_run(folder, tmp_path / "runs" / "0")
    write_run(folder, tmp_path / "runs" / "1", **change)  # type: ignore[arg-type]
    report = import_runs(find_runs([tmp_path / "runs"]), tmp_path / "d.h5")
    assert report.samples == 1
    assert [reason in text for text in report.set_aside.values()] == [True]


def test_output_of_another_geometry_or_cut_short(folder: Path, tmp_path: Path) -> None:
    write_run(folder, tmp_path / "runs" / "0")
    write_run(folder, tmp_path / "runs" / "1", shift=0.1)
    write_run(folder, tmp_path / "runs" / "2")
    one, zero = (tmp_path / "runs" / k / "h2.out" for k in ("1", "0"))
    one.write_text(zero.read_text())
    scfout = tmp_path / "runs" / "2" / "h2.scfout"
    scfout.write_bytes(scfout.read_bytes()[:-300])
    report = import_runs(find_runs([tmp_path / "runs"]), tmp_path / "d.h5")
    assert report.samples == 1
    reasons = " ".join(report.set_aside.values())
    assert "expected the geometry" in reasons and "up to the end of the file" in reasons


def test_nothing_usable_leaves_no_file(folder: Path, tmp_path: Path) -> None:
    write_run(folder, tmp_path / "runs" / "0", residual=1.0)
    with pytest.raises(ValueError, match=r"expected at least one usable run of 1, got none .*not converged"):
        import_runs(find_runs([tmp_path / "runs"]), tmp_path / "d.h5")
    assert not (tmp_path / "d.h5").exists()
    with pytest.raises(FileNotFoundError, match=r"expected a \.scfout file or a folder with some"):
        find_runs([folder])


def test_import_command(folder: Path, tmp_path: Path) -> None:
    write_run(folder, tmp_path / "runs" / "0")
    arguments = ["dataset", "import-openmx", str(tmp_path / "runs"), "-o", str(tmp_path / "d.h5"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["samples"] == 1
    assert isinstance(CliRunner().invoke(app, arguments).exception, FileExistsError)


def test_input_names_species_and_geometry(folder: Path) -> None:
    atoms = bulk("H", "sc", a=3.0)
    with pytest.raises(ValueError, match="expected one potential for H"):
        default_species({"H"}, folder)
    text = openmx_input(atoms, {"H": files.DEFINITION}, "test", folder, kpts=(2, 2, 2))
    lines = text.splitlines()
    definitions = read_definitions(lines, "input")
    assert definitions.symbols == ("H",) and definitions.species == {"H": files.DEFINITION}
    row = lines[lines.index("<Atoms.UnitVectors") + 1]
    assert float(row.split()[0]) == pytest.approx(3.0 / BOHR_ANGSTROM, abs=1e-12)
    assert " 1 H 0.00000000000000 0.00000000000000 0.00000000000000 0.50 0.50" in lines
    assert "HS.fileout on" in lines and "scf.Kgrid 2 2 2" in lines


def test_input_command(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "h.xyz", bulk("H", "sc", a=3.0), format="extxyz")
    target = tmp_path / "h.dat"
    arguments = ["openmx-input", str(tmp_path / "h.xyz"), "-o", str(target)]
    missing = CliRunner().invoke(app, arguments)
    assert "expected one potential for H" in str(missing.exception)
    result = CliRunner().invoke(app, [*arguments, "--species", "H=H4.0-s2p1,H_TEST"])
    assert result.exit_code == 0, result.output
    assert " H H4.0-s2p1 H_TEST" in target.read_text().splitlines()


def test_unfinished_output_is_refused(tmp_path: Path) -> None:
    files.write_out(tmp_path / "x.out", np.zeros((2, 3)), FORCES)
    text = (tmp_path / "x.out").read_text()
    for cut in (0, 40, 100, text.index("Utot"), text.index("<coord"), len(text) - 25):
        (tmp_path / "x.out").write_text(text[:cut])
        with pytest.raises(OpenMXFormatError, match=r"x\.out.*expected"):
            read_out(tmp_path / "x.out")


@pytest.mark.skipif(
    not (DATA / "reference.json").is_file(),
    reason="MLH_OPENMX_DATA does not name a folder with OpenMX reference data",
)
@pytest.mark.parametrize("run", ("h2o", "si2", "qtz9"))
def test_energies_and_forces_of_openmx(run: str) -> None:
    expected = json.loads((DATA / "reference.json").read_text())["systems"][run]
    out = read_out(DATA / "runs" / run / f"{run}.out")
    assert out.total == pytest.approx(expected["energies"]["Utot"], abs=1e-10)
    np.testing.assert_allclose(out.forces, expected["forces"], atol=1e-12)
    np.testing.assert_allclose(
        out.positions, np.array(expected["positions_bohr"]) * OPENMX_BOHR_ANGSTROM, atol=1e-5
    )


@pytest.mark.skipif(
    not (DATA / "reference.json").is_file(),
    reason="MLH_OPENMX_DATA does not name a folder with OpenMX reference data",
)
def test_real_runs_with_partial_cores(tmp_path: Path) -> None:
    """H0 of OpenMX's integration plus dH is OpenMX's H; other integrations and spins are set aside."""
    runs = find_runs([DATA / "runs" / name for name in ("h2o", "h2o_vnag", "h2o_sp")])
    report = import_runs(runs, tmp_path / "d.h5", DATA)
    reasons = {Path(file).stem: reason for file, reason in report.set_aside.items()}
    assert report.samples == 1 and set(reasons) == {"h2o_vnag", "h2o_sp"}
    assert "openmx-grid-vna" in reasons["h2o_vnag"] and "spin-polarised" in reasons["h2o_sp"]
    with Dataset(tmp_path / "d.h5") as data:
        assert data.settings["integration"] == "openmx"
        sample = data[0]
        system = system_of_sample(sample, data.basis, data.settings)
    out = mlh.read_scfout(runs[0].scfout, system.basis)
    H = system.harris_hamiltonian().data[0] + sample.dh
    np.testing.assert_allclose(H, out.H.symmetrised().data[0], atol=1e-6)  # dH is stored in float32
    # Far fewer electrons move from n_a to n than there are: the response is small.
    assert np.abs(sample.dh).max() < 0.3 * np.abs(out.H.data).max()
