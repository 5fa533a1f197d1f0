"""Model against DFT, end to end on molecules: comparison at one geometry, and the demonstration.

Removing one oxygen of an SiO2 molecule leaves SiO, so the formation energy is the reaction energy
E(SiO) + E(O2)/2 - E(SiO2).
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest
from rich.console import Console

from mlh.accuracy.points import compare_at
from mlh.basis.families import load_basis
from mlh.basis.species import Basis
from mlh.calculators import DFTCalculator, MLHCalculator
from mlh.commands.demo_run import DemoSettings, run_demo
from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.relaxation.loop import RelaxStep
from mlh.report.demo import demo_table
from mlh.report.steps import StepPrinter
from mlh.structures import write_structure

CUTOFF = 160.0


class HarrisModel:
    """dH = 0: the non-self-consistent Hamiltonian, the baseline of every network."""

    xc = "PBE"
    cutoff_ry = CUTOFF

    def __init__(self, basis: Basis) -> None:
        self.basis = basis

    def __str__(self) -> str:
        return "harris"

    def predict(self, system: System) -> BlockMatrix:
        return BlockMatrix.zeros(system.pattern)


class PerfectModel(HarrisModel):
    """`quality` times dH of a converged calculation."""

    def __init__(self, basis: Basis, quality: float = 1.0) -> None:
        super().__init__(basis)
        self.quality = quality

    def predict(self, system: System) -> BlockMatrix:
        cell, positions = system.cell * BOHR_ANGSTROM, system.positions * BOHR_ANGSTROM
        atoms = ase.Atoms(system.symbols, positions, cell=cell, pbc=True)
        calculator = DFTCalculator(self.basis, CUTOFF)
        calculator.get_property("energy", atoms)
        result = calculator.result
        assert result is not None
        dh = result.H - calculator.system.harris_hamiltonian()
        return self.quality * BlockMatrix(system.pattern, dh.data)


def hydrogen() -> ase.Atoms:
    return ase.Atoms("H2", [[2.0, 2.1, 2.2], [2.5, 2.6, 2.6]], cell=np.eye(3) * 4.6, pbc=True)


@pytest.fixture(scope="module")
def basis() -> Basis:
    return load_basis("gth-pbe", elements=["H", "Si", "O"])


def test_a_perfect_model_has_no_error_and_harris_has_all_of_it(basis: Basis) -> None:
    dft = DFTCalculator(basis, CUTOFF)
    perfect = compare_at(hydrogen(), MLHCalculator(PerfectModel(basis)), dft, "H2")
    assert perfect.hamiltonian.mae_mev < 0.01
    assert abs(perfect.energy_error) < 1e-5
    assert perfect.force_mae < 1e-3
    harris = compare_at(hydrogen(), MLHCalculator(HarrisModel(basis)), dft, "H2")
    assert harris.hamiltonian.mae_mev == pytest.approx(harris.hamiltonian.zero_mae_mev)
    assert harris.hamiltonian.aligned_mae_mev <= harris.hamiltonian.mae_mev
    assert harris.energy_error > 1e-4  # E[D] is variational: above the ground state
    assert harris.residual > 100 * perfect.residual
    assert json.loads(json.dumps(harris.describe()))["n_atoms"] == 2


@pytest.mark.slow
def test_the_goal_stands_with_the_steps_only() -> None:
    console = Console(file=io.StringIO(), width=120)
    printer = StepPrinter(console, "single points", 0.02)
    assert console.file.getvalue() == "single points\n"  # type: ignore[attr-defined]
    atoms = ase.Atoms("H")
    step = RelaxStep(0, -1.0, 0.5, None, "lbfgs", 0.1, atoms.positions, np.zeros((1, 3)))
    printer(step, atoms)
    printer(replace(step, step=1), atoms)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[1] == "until the largest force is below 0.02 eV/A" and len(lines) == 5


def test_demonstration_on_a_molecule(tmp_path: Path, basis: Basis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLH_CACHE_DIR", str(tmp_path / "cache"))
    middle, bond = np.array([3.3, 2.6, 2.6]), np.array([1.52, 0.1, 0.05])
    molecule = ase.Atoms(
        "SiO2", [middle, middle + bond, middle - bond], cell=np.diag([6.6, 5.2, 5.2]), pbc=True
    )
    write_structure(tmp_path / "molecule.xyz", molecule)
    console = Console(file=open(tmp_path / "log", "w", encoding="utf-8"), width=120)  # noqa: SIM115
    settings = DemoSettings(
        model=PerfectModel(basis, 0.97),
        host=str(tmp_path / "molecule.xyz"),
        sites=(1, 2),
        fmax=0.5,
        max_steps=20,
    )
    result = run_demo(tmp_path / "demo", settings, lambda title: StepPrinter(console, title))
    assert result.model.converged
    assert result.dft.converged
    energies = result.content["formation_energy"]
    assert abs(energies["dft_relaxed"] - energies["model"]) < 0.5
    stored = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert stored["formation_energy"] == energies
    assert stored["sites"] == [1, 2]
    assert [vacancy["site"] for vacancy in stored["model"]["defects"]] == [1, 2]
    assert [vacancy["site"] for vacancy in stored["dft"]["defects"]] == [1]
    assert len(stored["same_geometry"]["points"]) == 4
    # The model's error at its minimum is what separates the two formation energies there.
    errors = {point["label"]: point["energy_error"] for point in stored["same_geometry"]["points"]}
    difference = errors["vacancy, relaxed"] - errors["host, relaxed"]
    assert energies["model"] - energies["dft_at_model_geometry"] == pytest.approx(difference, abs=1e-6)
    assert (tmp_path / "demo" / "demo.png").stat().st_size > 10_000
    console.print(demo_table(result.content))
    console.file.close()
    log = (tmp_path / "log").read_text()
    for text in (
        "relaxing host",
        "DFT: host",
        "formation energy",
        "coordinate MAE within 3 A",
        "dQ of the host",
    ):
        assert text in log
