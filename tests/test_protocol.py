"""`mlh accuracy --protocol`: several studies as one result, and what is not done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import yaml
from matplotlib.image import imread
from typer.testing import CliRunner

from mlh.accuracy import measured
from mlh.accuracy import study as accuracy
from mlh.accuracy.protocol import load_protocol, run_protocol
from mlh.accuracy.study import AccuracySettings
from mlh.basis.families import load_basis
from mlh.commands.cli import app
from mlh.defects.references import Reference
from mlh.report.accuracy import accuracy_markdown
from mlh.report.plots import save_figure
from mlh.report.protocol import protocol_figure
from mlh.structures import load_structure, write_structure
from test_accuracy import NearlyPerfect, silent


def _protocol(folder: Path, **changes: Any) -> Path:
    middle, bond = np.array([3.3, 2.6, 2.6]), np.array([1.52, 0.1, 0.05])
    molecule = ase.Atoms(
        "SiO2", [middle, middle + bond, middle - bond], cell=np.diag([6.6, 5.2, 5.2]), pbc=True
    )
    write_structure(folder / "molecule.xyz", molecule)
    groups: list[dict[str, Any]] = [
        {"name": "points", "hosts": ["molecule.xyz"], "sites": [1]},
        # A large force target: every relaxation is one calculation.
        {"name": "relaxed", "hosts": ["molecule.xyz"], "sites": [2], "relax": True, "fmax": 30.0},
    ]
    path = folder / "protocol.yaml"
    path.write_text(yaml.safe_dump({"title": "two studies", "groups": groups, **changes}))
    return path


def test_two_studies_are_one_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        accuracy, "reference_energies", lambda *a, **k: {"O": Reference("O", -430.0, "test", None, {})}
    )
    title, groups = load_protocol(_protocol(tmp_path), AccuracySettings(cutoff_ry=80.0))
    assert [g.settings.cutoff_ry for g in groups] == [80.0, 80.0]
    assert [g.settings.sites for g in groups] == [[1], [2]] and groups[1].settings.relax
    model, folder = NearlyPerfect(load_basis("gth-pbe", elements=["Si", "O"])), tmp_path / "out"
    parts: list[list[str]] = []
    content = run_protocol(title, groups, model, folder, silent, lambda c: parts.append(sorted(c["points"])))
    assert content["failures"] == {} and content["protocol"] == "two studies"
    assert parts[0] == ["points: molecule host, as given"] and len(parts[-1]) == 6
    assert list(content["relaxations"]) == ["relaxed: molecule refine0"]
    assert json.loads((folder / "accuracy.json").read_text()) == json.loads(json.dumps(content))
    assert "| host, as given | 3 | 2 | 0 |" in accuracy_markdown(content, paper=True)
    save_figure(protocol_figure(content, paper=True), tmp_path / "a.png")
    assert len(np.unique(imread(tmp_path / "a.png").reshape(-1, 4), axis=0)) > 3

    def refuse(*args: Any) -> Any:
        raise AssertionError("calculated a second time")

    monkeypatch.setattr(measured, "evaluate_point", refuse)
    again = run_protocol(title, groups, model, folder, silent)
    assert again["points"] == json.loads(json.dumps(content["points"]))


def test_the_shipped_protocol_names_unseen_hosts_that_are_there() -> None:
    _, groups = load_protocol("paper", AccuracySettings())
    hosts = [name for group in groups for name in group.hosts]
    assert len({name for name in hosts if name.startswith("asio2_96")}) == 12
    sizes = {len(load_structure(name)) for name in hosts}
    assert sizes == {96, 216, 384, 576}
    chosen = {g.name: g for g in groups}
    drawn = [
        set(accuracy.select_sites(load_structure("asio2_216_seed11"), "O", g.settings.sites, g.settings.seed))
        for g in (chosen["216-from-minima"], chosen["216-equal-starts"])
    ]
    assert not drawn[0] & drawn[1] and sum(map(len, drawn)) == 10


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--protocol", "paper", "--sites", "3"], "says --sites of each"),
        (["asio2_48_b", "--protocol", "paper"], "not both, got asio2_48_b and"),
        ([], "got neither"),
        (["--protocol", "no-such"], "one of paper"),
    ],
)
def test_what_does_not_go_together_is_refused(given: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["accuracy", *given, "--model", "sio2-vo", "--out", "new"])
    text = " ".join(f"{result.output} {result.exception}".replace("│", " ").split())
    assert result.exit_code != 0 and said in text


def test_a_protocol_with_unknown_keys_is_refused(tmp_path: Path) -> None:
    path = _protocol(tmp_path, groups=[{"name": "a", "hosts": ["b"], "relaxe": True}])
    with pytest.raises(ValueError, match=r"groups\.0\.relaxe"):
        load_protocol(path, AccuracySettings())
