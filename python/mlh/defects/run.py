"""Vacancies of one host: relaxations, formation energies, and the same by DFT for some of them.

FOLDER/host, FOLDER/vO12, ...   relaxations (see `relax_files`)
FOLDER/dft/host, ...            their verification by DFT
FOLDER/defects.json             everything a script wants to know

A vacancy whose calculation fails (no self-consistency, a dead process) is reported with the reason; the
others go on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ase
import numpy as np

from mlh.analysis import configuration_coordinate, coordinate_mae
from mlh.common.choices import check_choice
from mlh.common.files import require_place, write_json
from mlh.defects.formation import CONVENTION, formation_energy, removed_atoms
from mlh.defects.references import Reference
from mlh.relaxation.jobs import Announce, Ended, EngineLike, RelaxJob, RelaxJobs, refuse_finished
from mlh.relaxation.loop import OTHER_ENERGIES, RelaxResult, RelaxSettings
from mlh.structures import structure_hash, vacancies

SUMMARY = "defects.json"

DFTStart = Literal["initial", "relaxed"]
"""Where DFT starts beside a model: where the model did, or from what the model relaxed (fewer steps)."""


@dataclass(frozen=True)
class DefectSettings:
    """How to relax, what to compare with, and what to do with files that are there already."""

    relax: RelaxSettings = field(default_factory=RelaxSettings)
    relax_host: bool = True
    potentials: Mapping[str, float] = field(default_factory=dict)
    verify_start: DFTStart = "initial"
    resume: bool = False
    overwrite: bool = False
    processes: int = 1
    """So many vacancies are relaxed at the same time, each in a process of its own."""

    def __post_init__(self) -> None:
        check_choice("verify_start", self.verify_start, DFTStart)


@dataclass(frozen=True)
class Vacancy:
    """One relaxed vacancy; `formation_energy` is NaN when a relaxation did not converge.

    others: of the other energies that a model gives (`mlh.relaxation.loop.OTHER_ENERGIES`).
    """

    site: int
    position: np.ndarray[Any, np.dtype[np.float64]]
    start: ase.Atoms
    result: RelaxResult
    formation_energy: float
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def relaxed(self) -> ase.Atoms:
        """The last geometry with the provenance of the start (where the defect is, what was removed)."""
        atoms = self.start.copy()
        atoms.set_positions(self.result.atoms.positions, apply_constraint=False)
        return atoms


@dataclass(frozen=True)
class DefectRun:
    """A relaxed host with its vacancies, by one engine."""

    host_start: ase.Atoms
    host: RelaxResult
    vacancies: tuple[Vacancy, ...]
    failures: Mapping[int, str] = field(default_factory=dict)
    """Reason by site, for vacancies without a result."""

    @property
    def converged(self) -> bool:
        """True when the host and every vacancy reached the target force."""
        reached = all(vacancy.result.converged for vacancy in self.vacancies)
        return self.host.converged and reached and not self.failures


def run_vacancies(
    host: ase.Atoms,
    sites: Sequence[int],
    engine: EngineLike,
    references: Mapping[str, Reference],
    folder: Path,
    settings: DefectSettings,
    announce: Announce = lambda title: None,
    ended: Ended | None = None,
) -> DefectRun:
    """Relax the host, then the vacancy at each site of the relaxed host."""
    check_folder(host, sites, folder, settings)
    host_result = _relax_host(host, engine, folder, settings, announce, ended)
    relaxed = host_result.atoms
    relaxed.info.setdefault("source", host.info.get("source", host.get_chemical_formula()))
    starts = dict(zip(map(int, sites), vacancies(relaxed, sites), strict=True))
    return _relax_vacancies(host, host_result, starts, engine, references, folder, settings, announce, ended)


def check_folder(host: ase.Atoms, sites: Sequence[int], folder: Path, settings: DefectSettings) -> None:
    """Before the work: an error where the folder holds these relaxations already, or cannot be one."""
    require_place(folder)
    if not (settings.resume or settings.overwrite):
        refuse_finished([folder / "host", *(folder / vacancy_name(host, site) for site in sites)])


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

    def titled(title: str) -> Any:
        return announce(f"{engine.kind}: {title}")

    start = run.host.atoms if relaxed else run.host_start
    host_result = _relax_host(start, engine, folder, settings, titled)
    starts = {
        vacancy.site: vacancy.relaxed if relaxed else vacancy.start
        for vacancy in run.vacancies
        if vacancy.site in set(sites)
    }
    return _relax_vacancies(start, host_result, starts, engine, references, folder, settings, titled)


def vacancy_name(host: ase.Atoms, site: int) -> str:
    """Name of its folder: vO12."""
    return f"v{host.symbols[site]}{site}"


def compare(run: DefectRun, reference: DefectRun) -> list[dict[str, Any]]:
    """One row per vacancy of `reference`: differences of `run` from it; eV, Angstrom, sqrt(amu) Angstrom."""
    rows = []
    known = {vacancy.site: vacancy for vacancy in run.vacancies}
    for vacancy in reference.vacancies:
        if vacancy.site not in known:
            continue
        mine = known[vacancy.site]
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
                "folder": vacancy_name(run.host_start, vacancy.site),
                "position": [float(value) for value in vacancy.position],
                "formation_energy": _number(vacancy.formation_energy),
                **{f"formation_{name}": _number(value) for name, value in vacancy.others.items()},
                **_describe(vacancy.result),
            }
            for vacancy in run.vacancies
        ],
        "failures": [{"site": site, "reason": reason} for site, reason in run.failures.items()],
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


def _relax_host(
    atoms: ase.Atoms,
    engine: EngineLike,
    folder: Path,
    settings: DefectSettings,
    announce: Announce,
    ended: Ended | None = None,
) -> RelaxResult:
    limits = settings.relax if settings.relax_host else _frozen(settings.relax)
    runner = RelaxJobs(engine, limits, settings.resume, settings.overwrite)
    return runner.run(RelaxJob("host", folder / "host", atoms), announce("host"), ended)


def _relax_vacancies(
    host_start: ase.Atoms,
    host: RelaxResult,
    starts: Mapping[int, ase.Atoms],
    engine: EngineLike,
    references: Mapping[str, Reference],
    folder: Path,
    settings: DefectSettings,
    announce: Announce,
    ended: Ended | None = None,
) -> DefectRun:
    """All vacancies, several at the same time when there are several processes."""
    names = {site: vacancy_name(host_start, site) for site in starts}
    jobs = [RelaxJob(names[site], folder / names[site], start) for site, start in starts.items()]
    runner = RelaxJobs(engine, settings.relax, settings.resume, settings.overwrite)
    results, failures = runner.run_all(jobs, settings.processes, announce, ended)
    found = [
        _vacancy(host, site, start, results[names[site]], references, settings)
        for site, start in starts.items()
        if names[site] in results
    ]
    reasons = {site: failures[name] for site, name in names.items() if name in failures}
    return DefectRun(host_start, host, tuple(found), reasons)


def _vacancy(
    host: RelaxResult,
    site: int,
    start: ase.Atoms,
    result: RelaxResult,
    references: Mapping[str, Reference],
    settings: DefectSettings,
) -> Vacancy:
    # The energy of a geometry with forces left is not a formation energy.
    usable = result.converged and (host.converged or not settings.relax_host)
    removed = removed_atoms(host.atoms, result.atoms)
    elements = {name: reference.energy for name, reference in references.items()}

    def from_energies(defect: float, perfect: float) -> float:
        if not usable:
            return math.nan
        return formation_energy(defect, perfect, removed, elements, settings.potentials)

    last = {name: (getattr(result.steps[-1], name), getattr(host.steps[-1], name)) for name in OTHER_ENERGIES}
    return Vacancy(
        site,
        np.asarray(start.info["defect_position"], dtype=np.float64),
        start,
        result,
        from_energies(result.energy, host.energy),
        {name: from_energies(*pair) for name, pair in last.items() if None not in pair},
    )


def _frozen(settings: RelaxSettings) -> RelaxSettings:
    """One evaluation at the given geometry."""
    return RelaxSettings(fmax=settings.fmax, max_steps=0, optimizer=settings.optimizer)


def _describe(result: RelaxResult) -> dict[str, Any]:
    return {
        "status": "converged" if result.converged else "unconverged",
        "energy": result.energy,
        "fmax": result.fmax,
        "steps": len(result.steps) - 1,
        "seconds": result.seconds,
        "residual": result.steps[-1].residual,
    }


def _number(value: float | None) -> float | None:
    """JSON has no NaN."""
    return float(value) if value is not None and math.isfinite(value) else None
