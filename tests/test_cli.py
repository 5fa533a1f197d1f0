"""The command line: every subcommand explains itself, numbers are machine-readable, errors are words."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from typer.testing import CliRunner

from mlh.commands import catalog
from mlh.commands.cli import app, app_of, named_command

COMMANDS = [
    "scf", "relax", "vacancies", "defect", "dataset", "train", "evaluate", "compare", "demo", "info",
    "bands", "dos", "charges", "density", "orbitals", "report",
]  # fmt: skip


@pytest.fixture
def hydrogen(tmp_path) -> str:
    path = tmp_path / "h2.xyz"
    Atoms("H2", [[1.0, 1.0, 1.0], [1.0, 1.2, 1.72]], cell=[4.0, 4.1, 4.2], pbc=True).write(path)
    return str(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 0
    target = (
        result.output
        if command != "dataset"
        else CliRunner()
        .invoke(app, [command, "build", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        .output
    )
    assert "Example" in target and f"mlh {command}" in target


def test_scf_writes_numbers_and_files(tmp_path, hydrogen):
    files = {name: str(tmp_path / name) for name in ("m.h5", "n.cube", "out.xyz")}
    arguments = [
        "scf", hydrogen, "--cutoff", "60", "--json",
        "--matrices", files["m.h5"], "--density", files["n.cube"], "--extxyz", files["out.xyz"],
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["converged"] and report["formula"] == "H2"
    assert sum(report["contributions_ev"].values()) == pytest.approx(report["energy_ev"])
    assert read(files["out.xyz"]).info["REF_energy"] == pytest.approx(report["energy_ev"])
    with h5py.File(files["m.h5"]) as file:
        electrons = (file["matrices/D"][()] * file["matrices/S"][()]).sum()
    assert electrons == pytest.approx(2.0, abs=1e-10)
    info = CliRunner().invoke(app, ["info", files["m.h5"], "--json"])
    assert json.loads(info.stdout)["formula"] == "H2"
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, FileExistsError), "results must not be overwritten silently"


def test_scf_reports_time_and_memory(hydrogen):
    result = CliRunner().invoke(app, ["scf", hydrogen, "--cutoff", "40", "--json"])
    report = json.loads(result.stdout)
    phases = {k: v for k, v in report["seconds"].items() if k != "all"}
    assert {"overlap", "first Hamiltonian", "eigenstates", "density, energy, H", "forces"} < set(phases)
    assert sum(phases.values()) == pytest.approx(report["seconds"]["all"])
    assert 20.0 < report["peak_memory_mb"] < 1e5
    assert "residual" in result.stderr, "progress goes to standard error"
    human = CliRunner().invoke(app, ["scf", hydrogen, "--cutoff", "40"])
    assert "wall time" in human.stdout and "peak memory" in human.stdout and "converged in" in human.stdout


def test_scf_that_does_not_converge_never_poses_as_converged(tmp_path, hydrogen):
    out = tmp_path / "out.xyz"
    arguments = ["scf", hydrogen, "--cutoff", "40", "--max-steps", "2", "--extxyz", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert set(report) == {"structure", "converged", "error"} and report["converged"] is False
    assert "not converged in 2 steps" in result.stderr and "--max-steps" in result.stderr
    human = CliRunner().invoke(app, arguments)
    assert human.exit_code == 1 and human.stdout == ""
    assert not out.exists()


def test_smearing_types_of_the_command_line(hydrogen):
    def run(kind: str):
        return CliRunner().invoke(
            app, ["scf", hydrogen, "--cutoff", "40", "--smearing", "3", "--smearing-type", kind, "--json"]
        )

    entropy = [json.loads(run(k).stdout)["contributions_ev"]["entropy"] for k in ("fermi-dirac", "gaussian")]
    assert entropy[0] < entropy[1] < 0.0
    assert run("marzari").exit_code == 2 and "fermi-dirac" in run("marzari").output


def test_info_lists_the_build():
    content = json.loads(CliRunner().invoke(app, ["info", "--json"]).stdout)
    assert content["core"]["compiler"]
    assert "Si" in content["basis gth-pbe"].split()


def test_errors_are_words_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mlh.commands.cli", "scf", str(tmp_path / "missing.xyz")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "missing.xyz" in done.stderr and "Traceback" not in done.stderr


def test_evaluate_refuses_an_unknown_part(tmp_path):
    result = CliRunner().invoke(app, ["evaluate", "model.npz", str(tmp_path / "x.h5"), "--part", "half"])
    assert result.exit_code == 2
    assert "--part" in result.output


def test_a_metal_without_smearing_is_not_status_zero(tmp_path: Path) -> None:
    """Self-consistent or not: integer occupations on overlapping bands are no ground state."""
    path = tmp_path / "al.xyz"
    write(path, bulk("Al", cubic=True), format="extxyz")
    level = ["--orbitals", "Al=6.0-s1p1", "--cutoff", "80", "--kpts", "2", "2", "2", "--max-steps", "30"]
    result = CliRunner().invoke(app, ["scf", str(path), *level, "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout[result.stdout.index("{") :])
    assert "--smearing 0.1" in str(report.get("advice") or report.get("error"))


def test_the_list_of_commands_imports_none_of_them() -> None:
    """`mlh --help` and --version without numpy, ASE and PyTorch."""
    program = "import sys; sys.argv = {!r}; from mlh.commands import cli\n"
    program += "try: cli.main()\nexcept SystemExit: pass\n"
    loaded = "print(sorted({'numpy', 'ase', 'torch', 'scipy'} & set(sys.modules)), file=sys.stderr)"
    for words, expected in ((["--help"], "[]"), (["--version"], "[]"), (["info", "--help"], "[]")):
        text = program.format(["mlh", *words]) + loaded
        ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        assert ended.stderr.strip() == expected, words


def test_the_catalog_is_that_of_the_commands() -> None:
    """Names and the first paragraph of the help; a command that is found by its name is the whole one."""
    commands = {str(c.name): inspect.cleandoc(str(c.callback.__doc__)) for c in app.registered_commands}
    groups = {g.name: str(g.typer_instance.info.help) for g in app.registered_groups}
    real = {name: " ".join(text.split("\n\n")[0].split()) for name, text in {**commands, **groups}.items()}
    assert {name: text for name, (_, text) in catalog.COMMANDS.items()} == real
    assert named_command(["--threads", "2", "scf", "relax"]) == "scf"
    assert named_command(["--help"]) is None and named_command(["nosuch", "scf"]) is None
    one = app_of("scf")
    shown = CliRunner().invoke(one, ["scf", "--help"]).output
    assert "--cutoff" in shown and "--cutoff" not in CliRunner().invoke(one, ["relax", "--help"]).output
