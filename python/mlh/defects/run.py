"""Defects of one host: relaxations, formation energies, and the same by DFT for some of them.

FOLDER/host, FOLDER/V_O-12_0, FOLDER/V_O-12_+1, ...   relaxations (see `relax_files`)
FOLDER/dft/host, ...                                  their verification by DFT
FOLDER/defects.json                                   everything a script wants to know (`mlh.defects.record`)

A defect whose calculation fails (no self-consistency, a dead process) is reported with the reason; the
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
from mlh.basis.ghosts import without_ghosts
from mlh.common.choices import check_choice
from mlh.common.files import require_place
from mlh.defects.cases import DefectCase, vacancy_cases
from mlh.defects.formation import formation_energy, removed_atoms
from mlh.defects.references import Reference
from mlh.defects.starts import (
    with_orbitals_of_removed,
    with_room,
    with_start_moments,
    without_states,
)
from mlh.jobs.pool import Executor
from mlh.relaxation.jobs import Announce, Ended, EngineLike, Keep, RelaxJob, RelaxJobs, refuse_finished
from mlh.relaxation.loop import OTHER_ENERGIES, RelaxResult, RelaxSettings
from mlh.structures import placed_defect
from mlh.structures.vacancy_starts import VacancyStart, puckered

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
    """So many defects are relaxed at the same time, each in a process of its own."""
    start: VacancyStart = "cut"
    """Vacancies start as the atom left them (positive ones with room), or puckered."""
    ghost: bool = False
    """DFT keeps the orbitals of the removed atoms, at their places in the relaxed host."""
    executor: Executor | None = None
    """Runs host and defects in place of processes of this machine (`mlh.jobs.dask.DaskExecutor`)."""
    keep: Keep | None = None
    """Called at the end of every relaxation, also in another process: what is kept beside it."""

    def __post_init__(self) -> None:
        check_choice("verify_start", self.verify_start, DFTStart)
        check_choice("start", self.start, VacancyStart)


@dataclass(frozen=True)
class RelaxedDefect:
    """One relaxed defect; `formation_energy` is NaN when a relaxation did not converge, and of a charged one
    what does not depend on the electrons' reservoir: E(defect) - E(host) + sum_i n_i (E_i + mu_i).

    others: of the other energies that a model gives (`mlh.relaxation.loop.OTHER_ENERGIES`).
    """

    case: DefectCase
    position: np.ndarray[Any, np.dtype[np.float64]]
    start: ase.Atoms
    result: RelaxResult
    formation_energy: float
    others: Mapping[str, float] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)
    """n_i by element, positive for atoms removed from the host."""

    @property
    def site(self) -> int:
        """The place of the defect: an atom or a void of the host."""
        return self.case.defect.site

    @property
    def relaxed(self) -> ase.Atoms:
        """The atoms of the last geometry with the provenance of the start (where the defect is, what was
        removed); without ghosts."""
        atoms = self.start.copy()
        atoms.set_positions(without_ghosts(self.result.atoms).positions, apply_constraint=False)
        return atoms

    @property
    def calculated(self) -> ase.Atoms:
        """`relaxed` with the ghosts of the calculation."""
        atoms = self.result.atoms.copy()
        atoms.info.update(self.start.info)
        return atoms


@dataclass(frozen=True)
class DefectRun:
    """A relaxed host with its defects, by one engine."""

    host_start: ase.Atoms
    host: RelaxResult
    defects: tuple[RelaxedDefect, ...]
    failures: Mapping[DefectCase, str] = field(default_factory=dict)
    """Reasons, of defects without a result."""
    folder: Path = Path()

    def _repr_html_(self) -> str:
        from mlh.defects.display import run_html

        return run_html(self)

    @property
    def converged(self) -> bool:
        """True when the host and every defect reached the target force."""
        reached = all(defect.result.converged for defect in self.defects)
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
    """Relax the host, then the neutral vacancy at each site of the relaxed host."""
    cases = vacancy_cases(host, sites)
    return run_defects(host, cases, engine, references, folder, settings, announce, ended)


def run_defects(
    host: ase.Atoms,
    cases: Sequence[DefectCase],
    engine: EngineLike,
    references: Mapping[str, Reference],
    folder: Path,
    settings: DefectSettings,
    announce: Announce = lambda title: None,
    ended: Ended | None = None,
) -> DefectRun:
    """Relax the host, then every defect in the relaxed host; each case by the engine with its charge.

    The places of the cases are those of `host` as it is given.
    """
    check_folder(host, cases, folder, settings)
    engines = engines_of(engine, cases)
    host_result = _relax_host(host, engine, folder, settings, announce, ended)
    starts = defect_starts(host, host_result, cases, settings.start)
    return _relax_defects(host, host_result, starts, engines, references, folder, settings, announce, ended)


def defect_starts(
    host: ase.Atoms, relaxed: RelaxResult, cases: Sequence[DefectCase], start: VacancyStart = "cut"
) -> dict[DefectCase, ase.Atoms]:
    """Every defect in the relaxed host, at its place in the host that was given."""
    atoms = relaxed.atoms
    atoms.info.setdefault("source", host.info.get("source", host.get_chemical_formula()))
    found = {case: placed_defect(atoms, case.defect, given=host) for case in cases}
    return {case: puckered(defect) for case, defect in found.items()} if start == "puckered" else found


def check_folder(
    host: ase.Atoms, cases: Sequence[DefectCase], folder: Path, settings: DefectSettings
) -> None:
    """Before the work: an error where the folder holds these relaxations already, or cannot be one."""
    require_place(folder)
    if settings.start == "puckered":
        for case in cases:
            if any(member.added is not None for member in case.defect.name.members):
                raise ValueError(f"start: puckered is of vacancies, got {case.defect.name}")
            puckered(placed_defect(host, case.defect))
    if not (settings.resume or settings.overwrite):
        refuse_finished([folder / "host", *(case.folder(folder) for case in cases)])


def verify(
    run: DefectRun,
    cases: Sequence[DefectCase],
    engine: EngineLike,
    references: Mapping[str, Reference],
    folder: Path,
    settings: DefectSettings,
    announce: Announce = lambda title: None,
    ended: Ended | None = None,
) -> DefectRun:
    """The same host and some of its defects by another engine, from the same starts or from what `run`
    relaxed; with charges, from the defect at the same place that `run` has, whatever its charge."""
    relaxed = settings.verify_start == "relaxed"

    def titled(title: str) -> Any:
        return announce(f"{engine.kind}: {title}")

    engines = engines_of(engine, cases)
    start = run.host.atoms if relaxed else run.host_start
    host_result = _relax_host(start, engine, folder, settings, titled, ended)
    known = {defect.case.defect: defect for defect in reversed(run.defects)}
    known |= {defect.case.defect: defect for defect in run.defects if not defect.case.charge}
    starts = {
        case: known[case.defect].relaxed if relaxed else known[case.defect].start
        for case in cases
        if case.defect in known
    }
    return _relax_defects(start, host_result, starts, engines, references, folder, settings, titled, ended)


def compare(run: DefectRun, reference: DefectRun) -> list[dict[str, Any]]:
    """One row per defect of `reference` that `run` has with the same charge: differences of `run` from it;
    eV, Angstrom, sqrt(amu) Angstrom."""
    rows = []
    known = {defect.case: defect for defect in run.defects}
    for defect in reference.defects:
        if defect.case not in known:
            continue
        mine = known[defect.case]
        atoms, other = mine.relaxed, defect.relaxed
        near = coordinate_mae(atoms, other, mine.position, remove_translation=True)
        rows.append(
            {
                "defect": str(defect.case),
                "site": defect.site,
                "formation_energy": json_number(mine.formation_energy),
                "formation_energy_reference": json_number(defect.formation_energy),
                "formation_energy_error": json_number(mine.formation_energy - defect.formation_energy),
                "energy_error_per_atom": (mine.result.energy - defect.result.energy) / len(atoms),
                "host_energy_error_per_atom": (run.host.energy - reference.host.energy) / len(run.host.atoms),
                "dQ": configuration_coordinate(atoms, other, remove_translation=True),
                "host_dQ": configuration_coordinate(
                    run.host.atoms, reference.host.atoms, remove_translation=True
                ),
                "coordinate_mae": {f"{radius:g}": value for radius, value in near.items()},
            }
        )
    return rows


def json_number(value: float | None) -> float | None:
    """JSON has no NaN."""
    return float(value) if value is not None and math.isfinite(value) else None


def engines_of(engine: EngineLike, cases: Sequence[DefectCase]) -> dict[int, EngineLike]:
    """By charge; ValueError, before any work, where an engine knows no charge."""
    charges = sorted({case.charge for case in cases})
    return {charge: engine.charged(charge) if charge else engine for charge in charges}


def _relax_host(
    atoms: ase.Atoms,
    engine: EngineLike,
    folder: Path,
    settings: DefectSettings,
    announce: Announce,
    ended: Ended | None = None,
) -> RelaxResult:
    runner = host_runner(settings)
    job = host_job("host", atoms, engine, folder)
    if settings.executor is None:
        return runner.run(job, announce("host"), ended)
    results, failures = runner.run_all([job], 1, announce, ended, settings.executor)
    for reason in failures.values():
        raise RuntimeError(f"host: {reason}")
    return results["host"]


def host_runner(settings: DefectSettings) -> RelaxJobs:
    """Relaxes hosts."""
    return _runner(None, settings.relax if settings.relax_host else _frozen(settings.relax), settings)


def host_job(title: str, atoms: ase.Atoms, engine: EngineLike, folder: Path) -> RelaxJob:
    """The relaxation of a host."""
    return RelaxJob(title, folder / "host", atoms, without_states(engine))


def defect_runner(settings: DefectSettings) -> RelaxJobs:
    """Relaxes defects."""
    return _runner(None, settings.relax, settings)


def defect_job(
    title: str,
    case: DefectCase,
    start: ase.Atoms,
    engine: EngineLike,
    host: ase.Atoms,
    folder: Path,
    settings: DefectSettings,
) -> RelaxJob:
    """The relaxation of a defect by the engine with its charge. host: relaxed."""
    # A geometry that is not to be relaxed stays what it is.
    placed = with_room(start, case) if settings.relax.max_steps and settings.start == "cut" else start
    begun = with_start_moments(placed, engine)
    if settings.ghost:
        begun = with_orbitals_of_removed(begun, host, case, engine)
    return RelaxJob(title, case.folder(folder), begun, engine)


def _runner(engine: EngineLike | None, limits: RelaxSettings, settings: DefectSettings) -> RelaxJobs:
    return RelaxJobs(engine, limits, settings.resume, settings.overwrite, settings.keep)


def _relax_defects(
    host_start: ase.Atoms,
    host: RelaxResult,
    starts: Mapping[DefectCase, ase.Atoms],
    engines: Mapping[int, EngineLike],
    references: Mapping[str, Reference],
    folder: Path,
    settings: DefectSettings,
    announce: Announce,
    ended: Ended | None = None,
) -> DefectRun:
    """All defects, several at the same time when there are several processes."""
    jobs = [
        defect_job(str(case), case, start, engines[case.charge], host.atoms, folder, settings)
        for case, start in starts.items()
    ]
    runner = defect_runner(settings)
    results, failures = runner.run_all(jobs, settings.processes, announce, ended, settings.executor)
    found = [
        relaxed_defect(host, case, start, results[str(case)], references, settings)
        for case, start in starts.items()
        if str(case) in results
    ]
    reasons = {case: failures[str(case)] for case in starts if str(case) in failures}
    return DefectRun(host_start, host, tuple(found), reasons, folder)


def relaxed_defect(
    host: RelaxResult,
    case: DefectCase,
    start: ase.Atoms,
    result: RelaxResult,
    references: Mapping[str, Reference],
    settings: DefectSettings,
) -> RelaxedDefect:
    """A defect with its formation energy, of its relaxation and that of its host."""
    # The energy of a geometry with forces left is not a formation energy.
    usable = result.converged and (host.converged or not settings.relax_host)
    removed = removed_atoms(host.atoms, without_ghosts(result.atoms))
    elements = {name: reference.energy for name, reference in references.items()}

    def from_energies(defect: float, perfect: float) -> float:
        if not usable:
            return math.nan
        return formation_energy(defect, perfect, removed, elements, settings.potentials)

    last = {name: (getattr(result.steps[-1], name), getattr(host.steps[-1], name)) for name in OTHER_ENERGIES}
    return RelaxedDefect(
        case,
        np.asarray(start.info["defect_position"], dtype=np.float64),
        start,
        result,
        from_energies(result.energy, host.energy),
        {name: from_energies(*pair) for name, pair in last.items() if None not in pair},
        removed,
    )


def _frozen(settings: RelaxSettings) -> RelaxSettings:
    """One evaluation at the given geometry."""
    return RelaxSettings(fmax=settings.fmax, max_steps=0, optimizer=settings.optimizer)
