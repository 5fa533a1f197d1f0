"""Charged defects for doped and pydefect: what is read from a run, and that they give the same levels."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from mlh.commands import cli
from mlh.defects import corrections
from mlh.defects.cases import charged_cases
from mlh.defects.charged import ChargedSettings, charged_run, describe_charged
from mlh.defects.conditions import Conditions
from mlh.defects.exchange import export_doped, export_pydefect, read_charged
from mlh.defects.record import describe_run, write_defects
from mlh.defects.run import DefectSettings, run_defects
from mlh.relaxation.loop import RelaxSettings
from mlh.structures import DefectName, choose_places
from test_charged_run import EDGE, GAP, keep_made_up
from test_defect_workflow import ChargedEMT, elements, host

DOPED = importlib.util.find_spec("doped") is not None
PYDEFECT = corrections._missing() is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    placed = [
        place
        for text, site in (("V_Cu", 7), ("Ag_Cu", 3), ("V_Cu+Ag_Cu", 5))
        for place in choose_places(host(), DefectName.parse(text), [site])
    ]
    run = run_defects(
        *(host(), charged_cases(placed, (0, 1, 2)), ChargedEMT(), elements(), path),
        DefectSettings(RelaxSettings(fmax=0.05)),
    )
    keep_made_up(run)
    found = charged_run(run, ChargedSettings(3.9 * np.eye(3) if PYDEFECT else None))
    content = describe_charged(found, [Conditions("Cu-rich", {"Cu": 0.0})], {}, path)
    described = describe_run(run, ChargedEMT())
    told = [{"name": "Cu-rich", "chemical_potentials": {"Cu": 0.0}}]
    write_defects(path, described, elements(), {}, charged=content, conditions=told)
    return path


def test_what_is_read_from_the_files(folder: Path, tmp_path: Path) -> None:
    files = read_charged(folder)
    assert [(cell.title("v"), cell.charge) for cell in files.defects] == [
        *(("v_Cu_7_0", 0), ("v_Cu_7_+1", 1), ("v_Cu_7_+2", 2)),
        *(("Ag_Cu_3_0", 0), ("Ag_Cu_3_+1", 1), ("Ag_Cu_3_+2", 2)),
    ]
    assert len(files.left_out) == 3 and "complex" in files.left_out[0]
    assert files.valence_edge == EDGE and files.gap == pytest.approx(GAP)
    assert len(files.host.atoms) == 32 and len(files.defects[0].atoms) == 31
    assert files.chempots["Cu-rich"] == pytest.approx(files.references)
    (tmp_path / "defects.json").write_text(json.dumps({"run": {}}))
    with pytest.raises(ValueError, match="expected a run of defects with charges"):
        read_charged(tmp_path)


@pytest.mark.skipif(DOPED, reason="doped is installed")
def test_without_doped_it_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["mlh", "export", "doped", str(folder), "--out", str(out)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2 and not out.exists()
    assert 'install it with pip install "mlh[doped]"' in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(not PYDEFECT, reason="extra mlh[defects] is not installed")
def test_pydefect_reads_its_results(folder: Path, tmp_path: Path) -> None:
    from monty.serialization import loadfn

    files = read_charged(folder)
    paths = export_pydefect(files, tmp_path)
    assert [path.parent.name for path in paths[:3]] == ["perfect", "Va_Cu_7_0", "Va_Cu_7_1"]
    results = loadfn(str(paths[2]))
    assert results.energy == files.defects[1].energy and len(results.structure) == 31
    assert results.potentials == pytest.approx([0.1] * 31)
    with pytest.raises(FileExistsError):
        export_pydefect(files, tmp_path)


@pytest.mark.skipif(not (DOPED and PYDEFECT), reason="extra mlh[doped] is not installed")
def test_doped_gives_the_same_levels(folder: Path, tmp_path: Path) -> None:
    from doped.core import DefectEntry
    from doped.thermodynamics import DefectThermodynamics

    charged = json.loads((folder / "defects.json").read_text())["charged"]
    *paths, chempots = export_doped(read_charged(folder), tmp_path)
    entries = [DefectEntry.from_json(str(path)) for path in paths]
    thermodynamics = DefectThermodynamics(entries, chempots=json.loads(chempots.read_text()))
    ours = {s["folder"]: s["energy"] for s in charged["states"]}
    for entry in entries:
        name, number, charge = entry.name.replace("v_", "V_").rsplit("_", 2)
        theirs = thermodynamics.get_formation_energy(entry, limit="Cu-rich", fermi_level=0.0)
        assert theirs == pytest.approx(ours[f"{name}-{number}_{charge}"], abs=1e-5), entry.name
    levels = thermodynamics.get_transition_levels(all=True)["eV from VBM"]
    found = sorted(float(value) for value in levels)
    own = [level["level"] for level in charged["levels"] if level["stable"] and "+Ag" not in level["place"]]
    assert all(min(abs(level - value) for value in found) < 1e-3 for level in own)
    # doped adds a second correction to the first: the last of what is asked.
    planes = {s["folder"]: s["correction_by_planes"] for s in charged["states"]}
    entry = next(entry for entry in entries if entry.charge_state == 2)
    name, number, charge = entry.name.replace("v_", "V_").rsplit("_", 2)
    correction = entry.get_freysoldt_correction(verbose=False).correction_energy
    assert correction == pytest.approx(planes[f"{name}-{number}_{charge}"]["energy"], abs=1e-6)
