"""Levels and pictures of a vacancy by the shipped model, and where the report shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ase import Atoms

from mlh.calculators.electronic import levels_state
from mlh.calculators.engines import DFTEngine, ModelEngine
from mlh.defects.cases import DefectCase
from mlh.defects.record import describe_run, write_defects
from mlh.defects.references import Reference
from mlh.defects.run import DefectRun, DefectSettings, RelaxedDefect, run_vacancies
from mlh.dft.theory import Theory
from mlh.relaxation.jobs import RelaxJob
from mlh.relaxation.loop import RelaxResult, RelaxSettings
from mlh.report import defect_pictures
from mlh.report.defect_pictures import DefectPictures, draw_defects
from mlh.report.html import read_run, render
from mlh.solver import Localized, Purification
from mlh.structures import load_structure, placed_defect, select_sites, vacancy_at


@pytest.mark.slow
def test_levels_of_a_vacancy_are_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ModelEngine("sio2-vo", forces="plain")
    host = load_structure("asio2_48_a")
    sites = select_sites(host, "O", 1, 0)
    settings = DefectSettings(RelaxSettings(fmax=0.1, max_steps=0))
    reference = {"O": Reference("O", -430.0, "gas", None, {})}
    calculated: list[int] = []
    monkeypatch.setattr(
        defect_pictures,
        "levels_state",
        lambda atoms, engine: calculated.append(len(atoms)) or levels_state(atoms, engine),
    )
    pictures = DefectPictures(engine, tmp_path)
    run = run_vacancies(host, sites, engine, reference, tmp_path, settings, ended=pictures)
    write_defects(tmp_path, describe_run(run, engine), reference, {})
    assert pictures.finish(run) == {} and calculated == []  # the relaxations had the states
    name = f"V_O-{sites[0]}_0"
    handed_on = json.loads((tmp_path / name / "levels.json").read_text())
    assert draw_defects(run, engine, tmp_path) == {} and calculated == [48, 47]
    levels = json.loads((tmp_path / name / "levels.json").read_text())
    assert [atom[:2] for atom in levels["atoms"]] == ["Si", "Si"]
    for one, other in zip(handed_on["levels"], levels["levels"], strict=True):
        assert one["energy_ev"] == pytest.approx(other["energy_ev"], abs=1e-6)
    by_band = {level["band"]: level for level in levels["levels"]}
    bonding, antibonding = by_band[levels["occupied_band"]], by_band[levels["empty_band"]]
    assert bonding["overlap_population"] > 0.0 > antibonding["overlap_population"]
    assert 0.0 < bonding["energy_ev"] < levels["gap_ev"]
    sparse = replace(engine, solver=Purification())
    assert "need eigenstates" in draw_defects(run, sparse, tmp_path)[name]  # not a dense matrix in silence
    localized = replace(engine, solver=Localized())  # which knows the states next to the gap
    assert draw_defects(run, localized, tmp_path) == {}
    near = json.loads((tmp_path / name / "levels.json").read_text())
    assert near["in_gap_bands"] == levels["in_gap_bands"]
    for level in near["levels"]:
        if level["band"] in (levels["occupied_band"], levels["empty_band"]):
            same = by_band[level["band"]]
            assert level["energy_ev"] == pytest.approx(same["energy_ev"], abs=2e-3)
            assert level["site_share"] == pytest.approx(same["site_share"], abs=5e-3)
    text = render(read_run(tmp_path))
    for picture in ("levels", "occupied", "empty", "difference"):
        assert f"{name}/{picture}.png" in text
    assert f"<td>{bonding['ipr']:.3f}</td>" in text


def test_pictures_of_a_charged_defect_are_those_of_its_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its state is calculated again, as after --resume."""
    asked: list[tuple[float, bool]] = []

    def no_state(atoms: Atoms, engine: DFTEngine) -> None:
        asked.append((engine.theory.charge, bool(atoms.get_initial_magnetic_moments().any())))
        raise RuntimeError("far enough")

    monkeypatch.setattr(defect_pictures, "levels_state", no_state)
    host = load_structure("alpha-quartz")
    pictures = DefectPictures(DFTEngine(), tmp_path)
    pictures._host = object()  # type: ignore[assignment]
    found = []
    for charge in (0, 1):
        case = DefectCase(vacancy_at(host, 4), charge)
        start = placed_defect(host, case.defect)
        result = RelaxResult(start, True, (), RelaxSettings())
        found.append(RelaxedDefect(case, host.positions[4], start, result, 0.0))
        job = RelaxJob(str(case), tmp_path, start, DFTEngine(Theory(charge=float(charge))))
        pictures(job, start, None)
    assert asked == [(0.0, False), (1.0, False)]
    pictures._reasons.clear()
    run = DefectRun(host, RelaxResult(host, True, (), RelaxSettings()), tuple(found))
    assert set(pictures.finish(run).values()) == {"far enough"}
    assert asked[2:] == [(0.0, False), (1.0, True)]
