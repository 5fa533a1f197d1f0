"""Relaxations in folders, one after another or several at the same time in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import ase
import numpy as np
from ase.calculators.calculator import Calculator

import mlh._core as _core
from mlh.dft.mesh import as_mesh
from mlh.jobs.pool import Executor, ProgressFunction, run_jobs
from mlh.relaxation.files import clear, held_files, run_relaxation
from mlh.relaxation.loop import RelaxResult, RelaxSettings, RelaxStep, StepCallback


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


Done = Callable[[RelaxJob, RelaxResult], None]
"""Called with every relaxation that ended, as soon as this process knows."""


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
        calculator, description = engine.calculator(), engine.describe()
        if self.settings.cell != "fixed":
            description |= held_grid(calculator, job.atoms)
        result = run_relaxation(
            job.atoms,
            calculator,
            job.folder,
            self.settings,
            engine=description,
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
        self,
        jobs: Sequence[RelaxJob],
        processes: int,
        announce: Announce,
        ended: Ended | None = None,
        executor: Executor | None = None,
        on_done: Done | None = None,
    ) -> tuple[dict[str, RelaxResult], dict[str, str]]:
        """Results and reasons of failures, by title. A failure does not stop the others.

        executor: runs them in place of processes of this machine. ended: of relaxations of this process, not
        of those in others. on_done: of all that end well, wherever they ran.
        """
        if processes < 1:
            raise ValueError(f"processes: expected at least 1, got {processes}")
        if executor is None and (processes == 1 or len(jobs) < 2):
            return self._one_by_one(jobs, announce, ended, on_done)
        if executor is None:
            threads = max(1, _core.get_num_threads() // processes)
            executor = partial(run_jobs, processes=min(processes, len(jobs)), threads=threads)
        return self._gathered(executor, jobs, announce, on_done)

    def _gathered(
        self, executor: Executor, jobs: Sequence[RelaxJob], announce: Announce, on_done: Done | None
    ) -> tuple[dict[str, RelaxResult], dict[str, str]]:
        """Of relaxations in other processes. One whose process dies goes on from its steps in the next."""
        results: dict[str, RelaxResult] = {}
        failures: dict[str, str] = {}
        printers: dict[str, StepCallback | None] = {}
        for event in executor(self._begun(jobs), jobs):
            title = event.job.title
            if event.kind == "started":
                printers[title] = announce(title)
            elif event.kind == "progress":
                _show(printers.get(title), *event.value)
            elif event.kind == "done":
                results[title] = event.value
                if title not in printers:  # of a cluster there is the end only
                    _show(announce(title), event.value.steps[-1], event.value.atoms)
                if on_done is not None:
                    on_done(event.job, event.value)
            elif event.kind == "failed":
                failures[title] = str(event.value)
        return results, failures

    def _begun(self, jobs: Sequence[RelaxJob]) -> RelaxJobs:
        """The folders as they are to be found by whoever relaxes in them, once or once more: `resume` then
        is right for the first try as for the next."""
        folders = [job.folder for job in jobs]
        if self.overwrite:
            for folder in folders:
                clear(folder)
        elif not self.resume:
            refuse_finished(folders)
        return replace(self, resume=True, overwrite=False)

    def _one_by_one(
        self, jobs: Sequence[RelaxJob], announce: Announce, ended: Ended | None, on_done: Done | None
    ) -> tuple[dict[str, RelaxResult], dict[str, str]]:
        results: dict[str, RelaxResult] = {}
        failures: dict[str, str] = {}
        for job in jobs:
            try:
                results[job.title] = self.run(job, announce(job.title), ended)
            except (RuntimeError, np.linalg.LinAlgError) as error:
                failures[job.title] = f"{type(error).__name__}: {error}"
            else:
                if on_done is not None:
                    on_done(job, results[job.title])
        return results, failures


def held_grid(calculator: Any, atoms: ase.Atoms) -> dict[str, Any]:
    """Hold the grid of a calculator that has one, before the cell changes; it belongs to the description."""
    if not hasattr(calculator, "hold_grid"):
        return {}
    return {"grid": as_mesh(calculator.hold_grid(atoms)).describe()}


def refuse_finished(folders: Sequence[Path]) -> None:
    """Before the work: an error that names the folders that hold a relaxation."""
    held = [str(folder) for folder in folders if held_files(folder)]
    if held:
        raise FileExistsError(
            f"{', '.join(held)}: holds a relaxation already; resume it, overwrite it or choose another folder"
        )


def _show(on_step: StepCallback | None, step: RelaxStep, atoms: ase.Atoms) -> None:
    if on_step is not None:
        on_step(step, atoms)


def _plain(atoms: ase.Atoms) -> ase.Atoms:
    """Without the calculator, which stays in its process."""
    copy: ase.Atoms = atoms.copy()
    copy.calc = None
    return copy
