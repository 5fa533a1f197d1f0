"""`mlh accuracy`: errors of a model against DFT, end to end on a molecule, and what is not done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from matplotlib.image import imread

from mlh.accuracy import measured
from mlh.accuracy import study as accuracy
from mlh.accuracy.study import AccuracySettings, run_accuracy
from mlh.basis.families import load_basis
from mlh.basis.species import Basis
from mlh.calculators import MLHCalculator
from mlh.defects.references import Reference
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.relaxation.loop import RelaxSettings
from mlh.report.accuracy import accuracy_figure, accuracy_markdown
from mlh.report.plots import save_figure
from mlh.report.steps import steps_left
from mlh.structures import write_structure
from test_demo import PerfectModel


@pytest.fixture(scope="module")
def basis() -> Basis:
    return load_basis("gth-pbe", elements=["Si", "O"])


class NearlyPerfect(PerfectModel):
    """0.97 of the exact dH; knows the geometries that it has seen."""

    def __init__(self, basis: Basis) -> None:
        super().__init__(basis, 0.97)
        self.known: dict[bytes, BlockMatrix] = {}

    def predict(self, system: System) -> BlockMatrix:
        key = system.positions.tobytes()
        if key not in self.known:
            self.known[key] = super().predict(system)
        return BlockMatrix(system.pattern, self.known[key].data)


def silent(title: str) -> None:
    return None


@pytest.mark.slow
def test_accuracy_of_a_nearly_perfect_model(
    tmp_path: Path, basis: Basis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        accuracy, "reference_energies", lambda *a, **k: {"O": Reference("O", -430.0, "test", None, {})}
    )
    middle, bond = np.array([3.3, 2.6, 2.6]), np.array([1.52, 0.1, 0.05])
    molecule = ase.Atoms(
        "SiO2", [middle, middle + bond, middle - bond], cell=np.diag([6.6, 5.2, 5.2]), pbc=True
    )
    write_structure(tmp_path / "molecule.xyz", molecule)
    # A large force target: every relaxation is one calculation.
    settings = AccuracySettings(
        sites=[1], refine=(0, 4), relax=True, relax_refine=(4,), limits=RelaxSettings(fmax=30.0)
    )
    hosts, folder = [str(tmp_path / "molecule.xyz")], tmp_path / "out"
    model = NearlyPerfect(basis)
    parts: list[int] = []
    content = run_accuracy(hosts, model, folder, settings, silent, lambda c: parts.append(len(c["points"])))
    assert content["failures"] == {}
    point = content["points"]["molecule host, as given"]["model"]
    # 3 percent of dH are missing; steps of self-consistency bring everything nearer.
    errors = point["0"]["hamiltonian"]
    assert errors["mae_mev"] == pytest.approx(0.03 * errors["zero_mae_mev"], rel=1e-3)
    for name in ("energy_error", "density_mae", "force_mae"):
        assert 0 < point["4"][name] < point["0"][name]
    assert point["4"]["hamiltonian"]["mae_mev"] < errors["mae_mev"]
    check = MLHCalculator(model, refine=4)
    assert check.get_property("energy", molecule) - point["4"]["energy_error"] == pytest.approx(
        content["points"]["molecule host, as given"]["dft"]["energy"], abs=1e-6
    )
    row = content["relaxations"]["molecule refine4"]["vacancies"][0]
    assert row["dQ"] == pytest.approx(0.0, abs=1e-6)
    vacancy = content["points"]["molecule vO1, as cut"]["model"]["4"]
    difference = vacancy["energy_error"] - point["4"]["energy_error"]
    assert row["formation_energy_error"] == pytest.approx(difference, abs=1e-4)

    text = accuracy_markdown(content, paper=True)
    assert "| host, as given | 3 | 1 | 0 |" in text and "arXiv 2604.07197" in text
    save_figure(accuracy_figure(content), tmp_path / "a.png")
    assert len(np.unique(imread(tmp_path / "a.png").reshape(-1, 4), axis=0)) > 3

    def refuse(*args: Any) -> Any:
        raise AssertionError("calculated a second time")

    monkeypatch.setattr(measured, "evaluate_point", refuse)
    again = run_accuracy(hosts, model, folder, settings, silent)
    assert again["points"] == json.loads(json.dumps(content["points"]))
    with pytest.raises(ValueError, match="holds the accuracy of another model"):
        run_accuracy(hosts, "sio2-vo", folder, settings, silent)
    path = next((folder / "points").glob("molecule-host-*.json"))
    before = json.loads(path.read_text())
    for row in before["model"].values():
        del row["energy_error_uncorrected"]  # as files of before corrected energies: other numbers
    path.write_text(json.dumps(before))
    (folder / "accuracy.json").unlink()
    with pytest.raises(AssertionError, match="calculated a second time"):
        run_accuracy(hosts, model, folder, settings, silent)


def test_time_left_follows_the_fall_of_the_force() -> None:
    assert steps_left([1.0, 0.1, 0.01], 0.001) == pytest.approx(1.0)
    assert steps_left([1.0, 0.1, 0.01], 0.05) == 0.0
    assert steps_left([1.0, 2.0, 3.0], 0.05) is None
