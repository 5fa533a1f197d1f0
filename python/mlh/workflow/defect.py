"""Vacancies of one host: relaxations, formation energies, and the same by DFT for some of them.

FOLDER/host, FOLDER/vO12, ...   relaxations (see `relax_files`)
FOLDER/dft/host, ...            their verification by DFT
FOLDER/defects.json             everything a script wants to know
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import ase
import numpy as np
from ase.calculators.calculator import Calculator

from mlh.analysis import configuration_coordinate, coordinate_mae
from mlh.structures import structure_hash, vacancies
from mlh.workflow.formation import CONVENTION, formation_energy, removed_atoms
from mlh.workflow.references import Reference
from mlh.workflow.relax import RelaxResult, RelaxSettings, StepCallback
from mlh.workflow.relax_files import run_relaxation, write_json

SUMMARY = "defects.json"


class EngineLike(Protocol):
    """Gives calculators and says what it is; `mlh.workflow.engines` has two."""

    @property
    def kind(self) -> str:
        """Short name for titles."""
        ...

    def calculator(self) -> Calculator:
        """A fresh ASE calculator."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values that identify it."""
        ...


@dataclass(frozen=True)
class DefectSettings:
    """How to relax, what to compare with, and what to do with files that are there already."""

    relax: RelaxSettings = field(default_factory=RelaxSettings)
    relax_host: bool = True
    potentials: Mapping[str, float] = field(default_factory=dict)
    verify_start: Literal["initial", "relaxed"] = "initial"
    """DFT starts where the model started, or from what the model relaxed (fewer steps)."""
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Vacancy:
    """One relaxed vacancy; `formation_energy` is NaN when a relaxation did not converge."""

    site: int
    position: np.ndarray[Any, np.dtype[np.float64]]
    start: ase.Atoms
    result: RelaxResult
    formation_energy: float


@dataclass(frozen=True)
class DefectRun:
    """A relaxed host with its vacancies, by one engine."""

    host_start: ase.Atoms
    host: RelaxResult
    vacancies: tuple[Vacancy, ...]

    @property
    def converged(self) -> bool:
        """True when the host and every vacancy reached the target force."""
        return self.host.converged and all(vacancy.result.converged for vacancy in self.vacancies)


Announce = Callable[[str], StepCallback | None]
"""Called with a title before each relaxation; returns the callback of its steps."""


def run_vacancies(
    host: ase.Atoms,
    sites: Sequence[int],
    engine: EngineLike,
    references: Mapping[str, Reference],
    folder: Path,
    settings: DefectSettings,
    announce: Announce = lambda title: None,
) -> DefectRun:
    """Relax the host, then the vacancy at each site of the relaxed host."""
    limits = settings.relax if settings.relax_host else _frozen(settings.relax)
    host_result = _relax(host, engine, folder / "host", limits, settings, announce("host"))
    relaxed = host_result.atoms
    relaxed.info.setdefault("source", host.info.get("source", host.get_chemical_formula()))
    starts = vacancies(relaxed, sites)
    found = [
        _vacancy(host_result, int(site), start, engine, references, folder, settings, announce)
        for site, start in zip(sites, starts, strict=True)
    ]
    return DefectRun(host, host_result, tuple(found))


def verify(
    run: DefectRun,
    sites: Sequence[int],
    engine: EngineLike,
    references: Mapping[str, Reference],
    folder: Path,
    settings: DefectSettings,
    announce: Announce = lambda title: None,
) -> DefectRun:
    """The same host and vacancies by another engine, from the same starts or from what `run` relaxed."""
    relaxed = settings.verify_start == "relaxed"
    limits = settings.relax if settings.relax_host else _frozen(settings.relax)
    start = run.host.atoms if relaxed else run.host_start
    host_result = _relax(start, engine, folder / "host", limits, settings, announce(f"{engine.kind}: host"))
    chosen = [vacancy for vacancy in run.vacancies if vacancy.site in set(sites)]
    found = []
    for vacancy in chosen:
        origin = _carry(vacancy.result.atoms, vacancy.start) if relaxed else vacancy.start
        found.append(
            _vacancy(
                host_result,
                vacancy.site,
                origin,
                engine,
                references,
                folder,
                settings,
                lambda title: announce(f"{engine.kind}: {title}"),
            )
        )
    return DefectRun(start, host_result, tuple(found))


def compare(run: DefectRun, reference: DefectRun) -> list[dict[str, Any]]:
    """One row per vacancy of `reference`: differences of `run` from it; eV, Angstrom, sqrt(amu) Angstrom."""
    rows = []
    for vacancy in reference.vacancies:
        mine = next(item for item in run.vacancies if item.site == vacancy.site)
        atoms, other = mine.result.atoms, vacancy.result.atoms
        rows.append(
            {
                "site": vacancy.site,
                "formation_energy": _number(mine.formation_energy),
                "formation_energy_reference": _number(vacancy.formation_energy),
                "formation_energy_error": _number(mine.formation_energy - vacancy.formation_energy),
                "energy_error_per_atom": (mine.result.energy - vacancy.result.energy) / len(atoms),
                "host_energy_error_per_atom": (run.host.energy - reference.host.energy) / len(run.host.atoms),
                "dQ": configuration_coordinate(atoms, other, remove_translation=True),
                "host_dQ": configuration_coordinate(
                    run.host.atoms, reference.host.atoms, remove_translation=True
                ),
                "coordinate_mae": {
                    f"{radius:g}": value
                    for radius, value in coordinate_mae(
                        atoms, other, mine.position, remove_translation=True
                    ).items()
                },
            }
        )
    return rows


def describe_run(run: DefectRun, engine: EngineLike) -> dict[str, Any]:
    """Plain JSON values of one run."""
    return {
        "engine": engine.describe(),
        "host": {"structure_hash": structure_hash(run.host_start), **_describe(run.host)},
        "vacancies": [
            {
                "site": vacancy.site,
                "position": [float(value) for value in vacancy.position],
                "formation_energy": _number(vacancy.formation_energy),
                **_describe(vacancy.result),
            }
            for vacancy in run.vacancies
        ],
    }


def write_defects(
    folder: Path,
    run: Mapping[str, Any],
    references: Mapping[str, Reference],
    settings: DefectSettings,
    verification: Mapping[str, Any] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write defects.json; returns its path."""
    content = {
        "convention": CONVENTION,
        "references": {name: reference.describe() for name, reference in references.items()},
        "chemical_potentials": dict(settings.potentials),
        "run": dict(run),
        "verification": dict(verification) if verification is not None else None,
        "comparison": [dict(row) for row in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SUMMARY, content)
    return folder / SUMMARY


def _vacancy(
    host: RelaxResult,
    site: int,
    start: ase.Atoms,
    engine: EngineLike,
    references: Mapping[str, Reference],
    folder: Path,
    settings: DefectSettings,
    announce: Announce,
) -> Vacancy:
    species = str(start.info["defect_removed"])
    title = f"v{species}{site}"
    result = _relax(start, engine, folder / title, settings.relax, settings, announce(title))
    # The energy of a geometry with forces left is not a formation energy.
    usable = result.converged and (host.converged or not settings.relax_host)
    energy = (
        formation_energy(
            result.energy,
            host.energy,
            removed_atoms(host.atoms, result.atoms),
            {name: reference.energy for name, reference in references.items()},
            settings.potentials,
        )
        if usable
        else math.nan
    )
    position = np.asarray(start.info["defect_position"], dtype=np.float64)
    return Vacancy(site, position, start, result, energy)


def _relax(
    atoms: ase.Atoms,
    engine: EngineLike,
    folder: Path,
    limits: RelaxSettings,
    settings: DefectSettings,
    on_step: StepCallback | None,
) -> RelaxResult:
    present = folder.exists()
    return run_relaxation(
        atoms,
        engine.calculator(),
        folder,
        limits,
        engine=engine.describe(),
        resume=settings.resume and present,
        overwrite=settings.overwrite,
        on_step=on_step,
    )


def _frozen(settings: RelaxSettings) -> RelaxSettings:
    """One evaluation at the given geometry."""
    return RelaxSettings(fmax=settings.fmax, max_steps=0, optimizer=settings.optimizer)


def _carry(atoms: ase.Atoms, start: ase.Atoms) -> ase.Atoms:
    """Positions of `atoms` with the provenance of `start`."""
    result = start.copy()
    result.set_positions(atoms.positions)
    return result


def _describe(result: RelaxResult) -> dict[str, Any]:
    return {
        "status": "converged" if result.converged else "unconverged",
        "energy": result.energy,
        "fmax": result.fmax,
        "steps": len(result.steps) - 1,
        "seconds": result.seconds,
        "residual": result.steps[-1].residual,
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if math.isfinite(value) else None
