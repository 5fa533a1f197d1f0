"""Relaxations in folders, one after another or several at the same time in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ase
import numpy as np
from ase.calculators.calculator import Calculator

import mlh._core as _core
from mlh.jobs.pool import ProgressFunction, run_jobs
from mlh.relaxation.files import held_files, run_relaxation
from mlh.relaxation.loop import RelaxResult, RelaxSettings, StepCallback


class EngineLike(Protocol):
    """Gives calculators and says what it is; `mlh.calculators.engines` has two."""

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

    def charged(self, charge: int) -> EngineLike:
        """The same with a charged cell (e); ValueError where it knows no charge."""
        ...


Announce = Callable[[str], StepCallback | None]
"""Called with a title before each relaxation; returns the callback of its steps."""


@dataclass(frozen=True)
class RelaxJob:
    """One structure to relax, and where; engine: None for that of all jobs."""

    title: str
    folder: Path
    atoms: ase.Atoms
    engine: EngineLike | None = None


Keep = Callable[[RelaxJob, ase.Atoms, Calculator], None]
"""Called as `Ended`, wherever the relaxation ran: picklable, and what it finds it writes into the folder."""


Ended = Callable[[RelaxJob, ase.Atoms, Calculator], None]
"""Called with job, last geometry and calculator when a relaxation of this process has ended: what the
calculator has of that geometry need not be calculated again. A resumed one may have calculated nothing.
"""


@dataclass(frozen=True)
class RelaxJobs:
    """Runs relaxations by one engine, or by those of the jobs; picklable when the engines are."""

    engine: EngineLike | None
    settings: RelaxSettings
    resume: bool = False
    overwrite: bool = False
    keep: Keep | None = None

    def run(self, job: RelaxJob, on_step: StepCallback | None, ended: Ended | None = None) -> RelaxResult:
        """One relaxation, here."""
        engine = job.engine or self.engine
        if engine is None:
            raise ValueError(f"engine: expected one for {job.title}, got none")
        calculator = engine.calculator()
        result = run_relaxation(
            job.atoms,
            calculator,
            job.folder,
            self.settings,
            engine=engine.describe(),
            resume=self.resume and job.folder.exists(),
            overwrite=self.overwrite,
            on_step=on_step,
        )
        if self.keep is not None:
            self.keep(job, result.atoms, calculator)
        if ended is not None:
            ended(job, result.atoms, calculator)
        return result

    def __call__(self, job: RelaxJob, progress: ProgressFunction) -> RelaxResult:
        """One relaxation in a worker process; progress sends (step, atoms)."""
        return self.run(job, lambda step, atoms: progress((step, _plain(atoms))))

    def run_all(
        self, jobs: Sequence[RelaxJob], processes: int, announce: Announce, ended: Ended | None = None
    ) -> tuple[dict[str, RelaxResult], dict[str, str]]:
        """Results and reasons of failures, by title. A failure does not stop the others.

        ended: of relaxations of this process, not of those in others.
        """
        if processes < 1:
            raise ValueError(f"processes: expected at least 1, got {processes}")
        if processes == 1 or len(jobs) < 2:
            return self._one_by_one(jobs, announce, ended)
        results: dict[str, RelaxResult] = {}
        failures: dict[str, str] = {}
        printers: dict[str, StepCallback | None] = {}
        threads = max(1, _core.get_num_threads() // processes)
        for event in run_jobs(self, jobs, min(processes, len(jobs)), threads):
            title = event.job.title
            if event.kind == "started":
                printers[title] = announce(title)
            elif event.kind == "progress":
                on_step = printers.get(title)
                if on_step is not None:
                    on_step(*event.value)
            elif event.kind == "done":
                results[title] = event.value
            elif event.kind == "failed":
                failures[title] = str(event.value)
        return results, failures

    def _one_by_one(
        self, jobs: Sequence[RelaxJob], announce: Announce, ended: Ended | None
    ) -> tuple[dict[str, RelaxResult], dict[str, str]]:
        results: dict[str, RelaxResult] = {}
        failures: dict[str, str] = {}
        for job in jobs:
            try:
                results[job.title] = self.run(job, announce(job.title), ended)
            except (RuntimeError, np.linalg.LinAlgError) as error:
                failures[job.title] = f"{type(error).__name__}: {error}"
        return results, failures


def refuse_finished(folders: Sequence[Path]) -> None:
    """Before the work: an error that names the folders that hold a relaxation."""
    held = [str(folder) for folder in folders if held_files(folder)]
    if held:
        raise FileExistsError(
            f"{', '.join(held)}: holds a relaxation already; resume it, overwrite it or choose another folder"
        )


def _plain(atoms: ase.Atoms) -> ase.Atoms:
    """Without the calculator, which stays in its process."""
    copy: ase.Atoms = atoms.copy()
    copy.calc = None
    return copy
