"""From relaxations with electrons kept beside them to corrected formation energies; the engine is EMT."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import CalculatorSetupError

from mlh.calculators.engines import DFTEngine, ModelEngine
from mlh.defects import charged, corrections
from mlh.defects.cases import charged_cases, vacancy_cases
from mlh.defects.charged import ChargedSettings, at_conditions, charged_run, describe_charged, diagram_of
from mlh.defects.conditions import Conditions
from mlh.defects.corrections import Correction, MissingLibraryError, dielectric_tensor
from mlh.defects.electrons import ELECTRONS, Electrons, read_electrons
from mlh.defects.run import DefectRun, DefectSettings, run_defects
from mlh.defects.study import StudySettings, check_study, run_study, write_study
from mlh.dft.theory import Theory
from mlh.relaxation.loop import RelaxSettings
from mlh.solver import Purification
from mlh.structures import DefectName, choose_places, crystal
from mlh.structures.files import structure_hash
from test_defect_workflow import ChargedEMT, copper_reference, host

EDGE, GAP = 4.0, 6.0


def keep_made_up(run: DefectRun, potentials: bool = True) -> None:
    """electrons.json of every folder, as a DFT engine would have left them."""
    folders = {run.folder / "host": (run.host, 0)}
    folders |= {d.case.folder(run.folder): (d.result, d.case.charge) for d in run.defects}
    for folder, (result, charge) in folders.items():
        values = tuple(np.full(len(result.atoms), 0.1 * charge).tolist()) if potentials else None
        edges = (EDGE, EDGE + GAP, (EDGE - 0.2, EDGE + GAP + 0.4))
        levels = tuple((0, EDGE + x, 2.0, 0.1) for x in (-1.0, 1.0, GAP + 1.0))
        planes = ((0.1 * charge,) * 4,) * 3 if potentials else None
        kept = Electrons(
            *(structure_hash(result.atoms), result.energy, charge, 0.0, *edges, values),
            levels=levels,
            planar_potentials=planes,
        )
        (folder / ELECTRONS).write_text(json.dumps(asdict(kept)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> DefectRun:
    cases = charged_cases([vacancy_cases(host(), [7])[0].defect], (0, 1, 2))
    folder = tmp_path_factory.mktemp("charged")
    settings = DefectSettings(RelaxSettings(fmax=1e-5))
    found = run_defects(host(), cases, ChargedEMT(), copper_reference(), folder, settings)
    keep_made_up(found)
    return found


def test_energies_at_the_valence_edge_with_corrections(
    run: DefectRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(charge: int, defect: object, perfect: object, tensor: object, center: object) -> Correction:
        return Correction("eFNV", 0.05 * charge**2, 0.0, 0.0, 0.0, 9)

    def planes(charge: int, defect: object, perfect: object, *more: object) -> Correction:
        assert [len(plane) for plane in defect] == [4, 4, 4] and len(more) == 3  # type: ignore[attr-defined]
        return Correction("FNV", 0.06 * charge**2, 0.0, 0.0, 0.0, 0)

    monkeypatch.setattr(charged, "efnv_correction", fake)
    monkeypatch.setattr(charged, "fnv_correction", planes)
    found = charged_run(run, ChargedSettings(dielectric_tensor(3.9)))
    neutral, plus, double = (state.energy for state in found.states)
    assert neutral == run.defects[0].formation_energy
    # ChargedEMT: 2 eV lower for every electron that is removed.
    assert plus - neutral == pytest.approx(-2.0 + EDGE + 0.05)
    assert double - neutral == pytest.approx(-4.0 + 2 * EDGE + 0.2)
    content = describe_charged(found, [Conditions("Cu-poor", {"Cu": -0.5})], {}, run.folder)
    assert content["states"][2]["correction_by_planes"]["energy"] == pytest.approx(0.24)
    assert content["states"][0]["correction_by_planes"] is None
    assert content["corrected"] and not content["notes"] and content["gap"] == pytest.approx(GAP)
    assert content["mobility_edges"] == pytest.approx([-0.2, GAP + 0.4])
    by_name = {level["name"]: level["level"] for level in content["levels"]}
    assert by_name["(+1/0)"] == pytest.approx(2.0 - EDGE - 0.05)
    assert content["conditions"][0]["energies"]["V_Cu-7_+1"] == pytest.approx(plus - 0.5)
    assert diagram_of(json.loads(json.dumps(content))) == found.diagram()
    # One level is in the gap; the potential of charge q is 0.1 q V higher there, and levels lower by that.
    energies = [[level.energy for level in state.levels] for state in found.states]
    np.testing.assert_allclose(energies, [[1.0], [1.1], [1.2]])
    shifted = charged_run(run, ChargedSettings(dielectric_tensor(3.9), (-0.5, 0.7)))
    assert shifted.gap == pytest.approx(GAP + 1.2)
    assert shifted.states[2].energy - double == pytest.approx(-1.0)


def test_without_the_library_the_run_goes_on_uncorrected(
    run: DefectRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> Correction:
        raise MissingLibraryError(f"not here; install it with {corrections.INSTALL}")

    monkeypatch.setattr(charged, "efnv_correction", missing)
    found = charged_run(run, ChargedSettings(dielectric_tensor(3.9)))
    aligned = found.states[1].correction  # the common zero of energy needs no library
    assert aligned is not None and aligned.kind == "alignment" and len(found.notes) == 1
    assert aligned.energy == pytest.approx(-0.1) and found.states[2].correction.energy == pytest.approx(-0.4)
    assert "mlh[defects]" in found.notes[0] and "resume=True" in found.notes[0]
    assert not describe_charged(found, [], {}, run.folder)["corrected"]
    assert charged_run(run, ChargedSettings()).notes == ()  # nobody asked for a correction


def test_what_is_missing_is_said(run: DefectRun, tmp_path: Path) -> None:
    assert "resume=True" in str(read_electrons(tmp_path))
    (tmp_path / ELECTRONS).write_text(json.dumps({"reason": "SCF not converged"}))
    assert read_electrons(tmp_path) == "SCF not converged"
    keep_made_up(run, potentials=False)
    found = charged_run(run, ChargedSettings(dielectric_tensor(3.9)))
    assert len(found.notes) == 1 and "no potentials at the atoms" in found.notes[0]
    keep_made_up(run)
    other = replace(run.defects[1].result.steps[-1], energy=0.0)
    result = replace(run.defects[1].result, steps=(*run.defects[1].result.steps[:-1], other))
    moved = replace(run, defects=(run.defects[0], replace(run.defects[1], result=result)))
    assert "its electrons were kept of a state" in charged_run(moved, ChargedSettings()).notes[0]


def test_charges_are_checked_before_the_work(tmp_path: Path) -> None:
    quartz = crystal("alpha-quartz")
    placed = vacancy_cases(quartz, [7])[0].defect
    cases, plain = charged_cases([placed], (0, 1)), StudySettings(DefectSettings())
    for engine, settings, words in (
        (DFTEngine(), plain, "dielectric: expected the dielectric constant of the host"),
        (DFTEngine(Theory(charge=1.0)), plain, r"charge: expected a neutral host, got \+1"),
        (DFTEngine(Theory(total_moment=1.0)), plain, "total_moment: expected none beside several charges"),
        (ModelEngine("sio2-vo"), plain, r"charge: expected 0 with a model, .* got \+1"),
        (DFTEngine(), replace(plain, then_dft=True), "then_dft: expected together with a model"),
        (DFTEngine(), replace(plain, rich=("Cu",), charged=ChargedSettings()), "conditions: expected an"),
    ):
        with pytest.raises(ValueError, match=words):
            check_study(quartz, cases, engine, tmp_path, settings)
    every = replace(plain, charged=ChargedSettings())
    with pytest.raises(ValueError, match=r"charge: expected less than \+42"):
        check_study(quartz, charged_cases([placed], (42,)), DFTEngine(), tmp_path, every)
    (foreign,) = choose_places(quartz, DefectName.parse("U_i"), [0])
    with pytest.raises(CalculatorSetupError, match="got U"):
        check_study(quartz, charged_cases([foreign], (0,)), DFTEngine(), tmp_path, every)
    with pytest.raises(ValueError, match="need the levels of their host"):
        check_study(quartz, cases, DFTEngine(solver=Purification()), tmp_path, every)


def test_what_was_relaxed_is_kept_where_conditions_cannot_be(tmp_path: Path) -> None:
    """Copper has no formation energy against copper."""
    settings = StudySettings(DefectSettings(RelaxSettings(fmax=0.05)), rich=("Cu",))
    engine = ChargedEMT()
    found = run_study(
        *(host(), vacancy_cases(host(), [7]), engine, engine, copper_reference(), [], tmp_path, settings),
        lambda title: None,
    )
    assert "expected a host that is stable" in found.failed[0] and not found.converged
    assert found.run.converged and np.isfinite(found.run.defects[0].formation_energy)
    path = write_study(found, engine, engine, copper_reference(), tmp_path)
    assert json.loads(path.read_text())["failed"] == list(found.failed)


def test_other_chemical_potentials(run: DefectRun) -> None:
    moved = at_conditions(run, {}, {"Cu": -0.25})
    for before, after in zip(run.defects, moved.defects, strict=True):
        assert after.formation_energy == pytest.approx(before.formation_energy - 0.25)
