"""How accurate a model is on structures it has not seen: equal geometries, relaxations, formation energies.

For every host: the host and its vacancies as cut from it, by DFT and by the model with every number of
refining steps; with `relax` also relaxations by the model and by DFT, each in its own folder, and both
engines at the geometries that DFT relaxed.

FOLDER/accuracy.json                  all numbers and settings, written after every part
FOLDER/points/HOST-vO12-HASH.json     one geometry by all engines
FOLDER/HOST/refine1, HOST/dft         relaxations (see `relax_files`)

The same call goes on where it stopped: what has a file is not calculated again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ase

from mlh.accuracy.measured import PointJob, PointRunner, known_point, measure_point
from mlh.calculators import MLHCalculator
from mlh.calculators.engines import DFTEngine, KPoints, ModelEngine, dft_engine_of
from mlh.common.choices import check_choice
from mlh.common.files import read_json, write_json
from mlh.defects.cases import vacancy_cases, vacancy_name
from mlh.defects.references import reference_energies, reference_title
from mlh.defects.run import (
    DefectRun,
    DefectSettings,
    DFTStart,
    compare,
    run_vacancies,
    verify,
)
from mlh.jobs.dask import SchedulerLost
from mlh.jobs.pool import Executor
from mlh.matrix.kpoints import kpoints_record
from mlh.model.card import model_digest
from mlh.relaxation.jobs import Announce
from mlh.relaxation.loop import RelaxSettings
from mlh.solver import Dense, Solver
from mlh.structures import load_structure, select_sites, structure_hash, vacancies

SUMMARY = "accuracy.json"


@dataclass(frozen=True)
class AccuracySettings:
    """What to measure. `relax_refine`: the numbers of refining steps with which relaxations are done."""

    species: str = "O"
    sites: list[int] | int | str = 2
    """As for `select_sites`: indices, a number drawn with `seed`, "all" or "inequivalent"."""
    seed: int = 0
    refine: tuple[int, ...] = (0, 1)
    relax: bool = False
    relax_refine: tuple[int, ...] = (1,)
    limits: RelaxSettings = field(default_factory=RelaxSettings)
    dft_start: DFTStart = "initial"
    """DFT relaxes the host and its own vacancies from the start, or goes on from what the model relaxed."""
    processes: int = 1
    executor: Executor | None = None
    """Runs geometries and relaxations in place of processes of this machine."""
    kpts: KPoints = None
    cutoff_ry: float | None = None
    smearing_ev: float | None = None
    """k points, grid cutoff and smearing of model and DFT; None: those of the model."""
    solver: Solver = field(default_factory=Dense)

    def engine(self, model: str | Any, refine: int = 0) -> ModelEngine:
        """The model with refining steps."""
        return ModelEngine(
            model,
            refine,
            kpts=self.kpts,
            cutoff_ry=self.cutoff_ry,
            smearing_ev=self.smearing_ev,
            solver=self.solver,
        )

    def level(self) -> dict[str, Any]:
        """What differs from the level of theory of the model, for files; empty when nothing does."""
        kpts = None if self.kpts is None else kpoints_record(self.kpts)
        values = {"kpts": kpts, "cutoff_ry": self.cutoff_ry, "smearing_ev": self.smearing_ev}
        given = {name: value for name, value in values.items() if value is not None}
        given |= self.solver.describe()
        return {"level": given} if given else {}

    def __post_init__(self) -> None:
        if not self.refine or min(self.refine) < 0:
            raise ValueError(f"refine: expected one or more numbers of steps, got {self.refine}")
        if self.relax and not self.relax_refine:
            raise ValueError("relax_refine: expected one or more numbers of steps, got none")
        check_choice("dft_start", self.dft_start, DFTStart)


@dataclass
class _Record:
    """What has been measured so far; the only state of a run."""

    folder: Path
    content: dict[str, Any]

    def save(self) -> None:
        write_json(self.folder / SUMMARY, self.content)


def run_accuracy(
    hosts: Sequence[str],
    model: str | Any,
    folder: Path,
    settings: AccuracySettings,
    announce: Announce,
    on_part: Callable[[Mapping[str, Any]], None] = lambda content: None,
) -> dict[str, Any]:
    """Measure everything for every host; `on_part(content)` is called after each part. Returns the content.

    A DFT calculation that does not converge is listed in `failures`, and the rest goes on.
    """
    checker = settings.engine(model).calculator()
    loaded = checker.model
    chosen = {name: _host_with_sites(name, checker, settings) for name in hosts}  # all, before the work
    folder.mkdir(parents=True, exist_ok=True)
    record = _Record(folder, _content(folder, model, settings))
    for name, (host, sites) in chosen.items():
        label = Path(name).stem.replace(":", "-")
        dft = dft_engine_of(settings.engine(loaded))
        study = _HostStudy(label, host, sites, model, loaded, dft, folder, settings, announce)
        study.ahead(study.given_geometries())
        for part in study.parts():
            start = time.perf_counter()
            try:
                part.work(record.content)
            except SchedulerLost:
                raise
            except RuntimeError as error:
                record.content["failures"][part.title] = f"{type(error).__name__}: {error}"
            else:
                record.content["failures"].pop(part.title, None)
                seconds = time.perf_counter() - start
                record.content["seconds"].setdefault(part.title, seconds)
            record.save()
            on_part(record.content)
    return record.content


def _host_with_sites(
    name: str, checker: MLHCalculator, settings: AccuracySettings
) -> tuple[ase.Atoms, tuple[int, ...]]:
    """A host with the sites of its vacancies; an error for what the model does not know."""
    host = load_structure(name)
    checker.check_elements(host)
    return host, select_sites(host, settings.species, settings.sites, settings.seed)


_Geometry = tuple[str, str, str, ase.Atoms]
"""Name, kind, state and atoms of a point."""


@dataclass(frozen=True)
class _Part:
    """One piece of work that writes its result into the content."""

    title: str
    work: Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class _HostStudy:
    """The work on one host; `runs`: its relaxations by the name of the engine, as they get done."""

    label: str
    host: ase.Atoms
    sites: Sequence[int]
    model: Any
    loaded: Any
    dft: DFTEngine
    folder: Path
    settings: AccuracySettings
    announce: Announce
    runs: dict[str, DefectRun] = field(default_factory=dict)

    def parts(self) -> Iterator[_Part]:
        """In the order in which results come soonest."""
        for name, kind, state, atoms in self.given_geometries():
            yield self._point(name, kind, state, atoms)
        if not self.settings.relax:
            return
        yield from self._relaxations()
        if "dft" not in self.runs:
            return
        run = self.runs["dft"]
        relaxed = [("host", "host", "relaxed by DFT", run.host.atoms)]
        for vacancy in run.defects:
            relaxed.append((self._name(vacancy.site), "vacancy", "relaxed by DFT", vacancy.result.atoms))
        self.ahead(relaxed)
        for name, kind, state, atoms in relaxed:
            yield self._point(name, kind, state, atoms)

    def given_geometries(self) -> list[_Geometry]:
        """The host and its vacancies as cut from it."""
        cut = zip(self.sites, vacancies(self.host, self.sites), strict=True)
        found = [(self._name(int(site)), "vacancy", "as cut", atoms) for site, atoms in cut]
        return [("host", "host", "as given", self.host), *found]

    def ahead(self, geometries: Sequence[_Geometry]) -> None:
        """Where there is a cluster: the numbers of all these geometries at the same time, into the files that
        the parts read. What fails there is tried once more by its part, which says why."""
        executor = self.settings.executor
        if executor is None:
            return
        jobs = [
            PointJob(f"{self.label} {name}, {state}", self._path(name, atoms), atoms)
            for name, _, state, atoms in geometries
        ]
        todo = [job for job in jobs if known_point(job.path, self.settings.refine) is None]
        engines = {n: self.settings.engine(self.model, n) for n in self.settings.refine}
        for event in executor(PointRunner(engines), todo):
            if event.kind in ("done", "failed"):
                self.announce(f"{event.job.title}: {event.kind}")

    def _name(self, site: int) -> str:
        return vacancy_name(str(self.host.symbols[site]), site)

    def _point(self, name: str, kind: str, state: str, atoms: ase.Atoms) -> _Part:
        """All engines at one geometry."""
        title = f"{self.label} {name}, {state}"

        def work(content: dict[str, Any]) -> None:
            point = self._measured(name, title, atoms)
            content["points"][title] = {**point, "host": self.label, "kind": kind, "state": state}

        return _Part(title, work)

    def _path(self, name: str, atoms: ase.Atoms) -> Path:
        return self.folder / "points" / f"{self.label}-{name}-{structure_hash(atoms)[:8]}.json"

    def _measured(self, name: str, title: str, atoms: ase.Atoms) -> dict[str, Any]:
        """One geometry by all engines, from its file when that has every number of refining steps."""
        path = self._path(name, atoms)
        known = known_point(path, self.settings.refine)
        if known is not None:
            return known
        self.announce(f"{title}: model and DFT at the same geometry")
        models = {n: self.settings.engine(self.loaded, n).calculator() for n in self.settings.refine}
        return measure_point(path, title, atoms, models, self.dft.calculator())

    def _relaxations(self) -> Iterator[_Part]:
        """Model by model, then DFT, then their differences; the runs are left in `runs`."""
        for steps in self.settings.relax_refine:
            title = f"{self.label}, relaxations by the model, refine {steps}"
            yield _Part(title, partial(self._relax_by, f"refine{steps}"))
        yield _Part(f"{self.label}, relaxations by DFT", partial(self._relax_by, "dft"))
        yield _Part(f"{self.label}, differences", self._compare_runs)

    def _relax_by(self, name: str, content: dict[str, Any]) -> None:
        """Relaxations by one engine, "refine0", "refine1", ... or "dft"."""
        run = self.runs[name] = self._run(name)
        content["failures"] |= {
            f"{self.label} {name} site {case.defect.site}": reason for case, reason in run.failures.items()
        }

    def _run(self, name: str) -> DefectRun:
        """The relaxations of `_relax_by`; DFT starts where the settings say."""
        settings, species = self.settings, self.settings.species
        references = reference_energies(
            [species], self.dft, on_step=self.announce(f"{reference_title(species)}, the reference")
        )
        options = DefectSettings(
            relax=settings.limits,
            verify_start=settings.dft_start,
            resume=True,
            processes=settings.processes,
            executor=settings.executor,
        )

        def titled(title: str) -> Any:
            return self.announce(f"{self.label} {name}: {title}")

        common = (references, self.folder / self.label / name, options, titled)
        if name != "dft":
            engine = settings.engine(self.model, int(name.removeprefix("refine")))
            return run_vacancies(self.host, self.sites, engine, *common)
        if settings.dft_start == "initial":
            return run_vacancies(self.host, self.sites, self.dft, *common)
        last = self.runs[f"refine{settings.relax_refine[-1]}"]
        return verify(last, vacancy_cases(self.host, self.sites), self.dft, *common)

    def _compare_runs(self, content: dict[str, Any]) -> None:
        """The differences of the relaxations that there are."""
        for steps in self.settings.relax_refine:
            name = f"refine{steps}"
            if name in self.runs and "dft" in self.runs:
                content["relaxations"][f"{self.label} {name}"] = _differences(
                    self.label, steps, self.runs[name], self.runs["dft"]
                )


def _differences(label: str, steps: int, run: DefectRun, dft: DefectRun) -> dict[str, Any]:
    return {
        "host": label,
        "refine": steps,
        "n_atoms": len(run.host.atoms),
        "converged": run.converged and dft.converged,
        "steps": {"model": _steps(run), "dft": _steps(dft)},
        "seconds": {"model": _seconds(run), "dft": _seconds(dft)},
        "vacancies": compare(run, dft),
    }


def _steps(run: DefectRun) -> list[int]:
    return [len(r.steps) - 1 for r in (run.host, *(v.result for v in run.defects))]


def _seconds(run: DefectRun) -> float:
    return float(run.host.seconds + sum(v.result.seconds for v in run.defects))


def _content(folder: Path, model: str | Any, settings: AccuracySettings) -> dict[str, Any]:
    """What is there already, when it is of the same model."""
    identity = {"model": str(model), "weights": model_digest(model) if isinstance(model, str) else str(model)}
    identity |= settings.level()
    fresh: dict[str, Any] = {**identity, "points": {}, "relaxations": {}, "seconds": {}, "failures": {}}
    path = folder / SUMMARY
    if not path.exists():
        return fresh
    known = read_json(path, "remove it, and its numbers are calculated again")
    if known.get("weights") != identity["weights"]:
        raise ValueError(
            f"{folder}: holds the accuracy of another model ({known.get('model')}, weights "
            f"{known.get('weights')}); expected {identity['weights']} of {model}; choose another folder"
        )
    level: Any = known.get("level", {})
    now: Any = identity.get("level", {})
    if level != now:
        raise ValueError(f"{folder}: holds the accuracy at {level}, expected {now}; choose another folder")
    return known
