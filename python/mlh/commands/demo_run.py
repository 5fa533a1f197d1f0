"""The demonstration: oxygen vacancies in an unseen glass by a model, one checked against DFT, step by step.

    1 DFT: O2, the oxygen reference    4 DFT: go on relaxing host and first vacancy from the model's minima
    2 model: relax host and vacancies  5 table, demo.json, demo.png
    3 DFT: the same geometries (Hamiltonian, energy, forces, time)

DFT relaxations start from the model's minima: dQ is the distance that DFT still moves. Every number
is measured in the run. There is no time limit: on a busy machine everything takes longer, and a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlh.accuracy.points import PointComparison, compare_at, summarize
from mlh.calculators import HamiltonianModel
from mlh.calculators.engines import DFTEngine, ModelEngine, dft_engine_of
from mlh.common.files import write_json
from mlh.defects.cases import vacancy_cases
from mlh.defects.formation import CONVENTION, formation_energy
from mlh.defects.record import describe_run
from mlh.defects.references import Reference, reference_energies, reference_title
from mlh.defects.run import (
    DefectRun,
    DefectSettings,
    check_folder,
    compare,
    run_defects,
    verify,
)
from mlh.relaxation.jobs import Announce
from mlh.relaxation.loop import RelaxSettings
from mlh.report.defect_pictures import DefectPictures
from mlh.solver import Dense, Solver
from mlh.structures import load_structure, select_sites

DEFAULT_MODEL = "sio2-vo"
SUMMARY, PICTURE = "demo.json", "demo.png"


@dataclass(frozen=True)
class DemoSettings:
    """What to run."""

    model: str | HamiltonianModel = DEFAULT_MODEL
    host: str = "asio2_48_b"
    species: str = "O"
    sites: tuple[int, ...] | int = 2  # indices, or a number drawn with `seed`; DFT verifies the first
    seed: int = 0
    refine: int = 1  # self-consistency steps after each prediction
    fmax: float = 0.05
    max_steps: int = 150
    solver: Solver = field(default_factory=Dense)
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class DemoResult:
    """Both runs, the comparisons at equal geometries, the JSON content, and why a vacancy was not drawn."""

    model: DefectRun
    dft: DefectRun
    points: tuple[PointComparison, ...]
    content: Mapping[str, Any]
    not_drawn: Mapping[str, str]


def run_demo(folder: Path, settings: DemoSettings, announce: Announce) -> DemoResult:
    """Run everything and write the files; `announce(title)` is called before each stage."""
    start = time.perf_counter()
    host = load_structure(settings.host)
    chosen = settings.sites if isinstance(settings.sites, int) else list(settings.sites)
    sites = select_sites(host, settings.species, chosen, settings.seed)
    engine = ModelEngine(settings.model, settings.refine, solver=settings.solver)
    reference_engine = dft_engine_of(engine)
    options = DefectSettings(
        relax=RelaxSettings(fmax=settings.fmax, max_steps=settings.max_steps),
        verify_start="relaxed",
        resume=settings.resume,
        overwrite=settings.overwrite,
    )
    cases = vacancy_cases(host, sites)
    check_folder(host, cases, folder / "model", options)
    check_folder(host, cases[:1], folder / "dft", options)
    step = announce(
        f"1/5 {reference_title(settings.species)}, the reference of the element, by DFT (kept for later runs)"
    )
    references = reference_energies([settings.species], reference_engine, on_step=step)
    drawing = DefectPictures(engine, folder / "model")
    run = run_defects(
        host,
        cases,
        engine,
        references,
        folder / "model",
        options,
        lambda title: announce(f"2/5 model: relaxing {title}"),
        drawing,
    )
    points = _points(run, engine, reference_engine, announce)
    dft_run = verify(
        run,
        cases[:1],
        reference_engine,
        references,
        folder / "dft",
        options,
        lambda title: announce(f"4/5 going on from the model's minimum, {title}"),
    )
    announce("5/5 writing the results, drawing levels and states")
    seconds = time.perf_counter() - start
    content = _content(settings, run, dft_run, points, references, engine, reference_engine, seconds)
    write_json(folder / SUMMARY, content)
    _picture(folder / PICTURE, settings, run, dft_run, points)
    return DemoResult(run, dft_run, points, content, drawing.finish(run))


def _points(
    run: DefectRun, engine: ModelEngine, dft: DFTEngine, announce: Announce
) -> tuple[PointComparison, ...]:
    """Both engines at the first and the last geometry of the model's relaxations."""
    model, reference = engine.calculator(), dft.calculator()
    vacancy = run.defects[0]
    geometries = {
        "host, initial": run.host_start,
        "host, relaxed": run.host.atoms,
        "vacancy, initial": vacancy.start,
        "vacancy, relaxed": vacancy.result.atoms,
    }
    # The first call pays for tables and caches that no later call pays; it is not timed.
    model.get_property("energy", run.host_start.copy())
    found = []
    for number, (label, atoms) in enumerate(geometries.items(), start=1):
        announce(f"3/5 model and DFT at the same geometry, {number} of {len(geometries)}: {label}")
        found.append(compare_at(atoms, model, reference, label))
    return tuple(found)


def _content(
    settings: DemoSettings,
    run: DefectRun,
    dft_run: DefectRun,
    points: tuple[PointComparison, ...],
    references: Mapping[str, Reference],
    engine: ModelEngine,
    dft: DFTEngine,
    seconds: float,
) -> dict[str, Any]:
    """Everything measured, as plain JSON values."""
    rows = compare(run, dft_run)
    by_label = {point.label: point for point in points}
    energies = {name: reference.energy for name, reference in references.items()}
    # DFT energies at the model's minima: model energy minus its error there.
    frozen = formation_energy(
        run.defects[0].result.energy - by_label["vacancy, relaxed"].energy_error,
        run.host.energy - by_label["host, relaxed"].energy_error,
        {settings.species: 1},
        energies,
    )
    return {
        "convention": CONVENTION,
        "host": settings.host,
        "sites": [vacancy.site for vacancy in run.defects],
        "verified_site": run.defects[0].site,
        "model": describe_run(run, engine),
        "dft": describe_run(dft_run, dft),
        "dft_start": "minima of the model",
        "same_geometry": {"points": [point.describe() for point in points], "mean": summarize(points)},
        "formation_energy": {
            "model": rows[0]["formation_energy"],
            "dft_at_model_geometry": frozen,
            "dft_relaxed": rows[0]["formation_energy_reference"],
        },
        "relaxed": rows[0],
        "seconds_per_step": {
            "model": _seconds_per_step(run),
            "dft": _seconds_per_step(dft_run),
        },
        "references": {name: reference.describe() for name, reference in references.items()},
        "fmax": settings.fmax,
        "seconds": seconds,
    }


def _seconds_per_step(run: DefectRun) -> float:
    """Median wall time of one relaxation step."""
    steps = [*run.host.steps, *(step for defect in run.defects for step in defect.result.steps)]
    return float(np.median([step.seconds for step in steps]))


def _picture(
    path: Path,
    settings: DemoSettings,
    run: DefectRun,
    dft_run: DefectRun,
    points: tuple[PointComparison, ...],
) -> None:
    from mlh.report.plots import (  # late: it loads matplotlib
        DFT_COLOR,
        MODEL_COLOR,
        EnergyPath,
        comparison_figure,
        save_figure,
    )

    pairs = {
        "host": (run.host, dft_run.host),
        f"vacancy {settings.species}{run.defects[0].site}": (
            run.defects[0].result,
            dft_run.defects[0].result,
        ),
    }
    panels = {
        name: [
            EnergyPath("model", MODEL_COLOR, [step.energy for step in mine.steps], len(mine.atoms)),
            EnergyPath(
                "DFT, from there",
                DFT_COLOR,
                [step.energy for step in other.steps],
                len(other.atoms),
                offset=len(mine.steps) - 1,
            ),
        ]
        for name, (mine, other) in pairs.items()
    }
    figure = comparison_figure(
        panels,
        np.concatenate([point.forces_model for point in points]),
        np.concatenate([point.forces_dft for point in points]),
        f"{settings.host}: {settings.species} vacancy, model {settings.model} against DFT",
    )
    save_figure(figure, path)
