"""Finished, failed and half-done calculations of a data set in a folder, and the work itself.

FOLDER/finished/ID.npz        labels of one finished job, written in one move
FOLDER/failed/ID.json         why a job was set aside
FOLDER/partial/ID/00012.npz   the geometries of a relaxation that is still running
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np

from mlh.common.files import read_json, write_json
from mlh.labelling.labels import Label, LabelCalculator, Labeller, load_labels, save_labels
from mlh.labelling.plan import DatasetJob
from mlh.relaxation.loop import RelaxStep, relax


@dataclass(frozen=True)
class JobFolder:
    """Paths of one build; `path` is the folder beside the data set."""

    path: Path

    def finished(self, job: DatasetJob) -> Path:
        """File with the labels of a finished job."""
        return self.path / "finished" / f"{job.id}.npz"

    def failed(self, job: DatasetJob) -> Path:
        """File with the reason why a job was set aside."""
        return self.path / "failed" / f"{job.id}.json"

    def partial(self, job: DatasetJob) -> Path:
        """Folder with the geometries of a running relaxation."""
        return self.path / "partial" / job.id

    def set_aside(self, job: DatasetJob, reason: str, details: str = "") -> None:
        """Record that a job failed."""
        self.failed(job).parent.mkdir(parents=True, exist_ok=True)
        write_json(self.failed(job), {"job": job.id, "reason": reason, "details": details, **job.record})

    def reason(self, job: DatasetJob) -> str:
        """Why a job was set aside."""
        return str(read_json(self.failed(job))["reason"])

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one build; a second one is refused. The lock ends with the process."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / "lock", "w", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(f"{self.path}: another build is running there") from None
            yield


@dataclass(frozen=True)
class JobRunner:
    """What a worker process does with a job; picklable."""

    labeller: Labeller
    folder: JobFolder

    def __call__(self, job: DatasetJob, progress: Callable[[Any], None]) -> int:
        """Calculate the labels of a job and write its file; returns how many labels it holds."""
        if job.relaxation is None:
            labels, records = [self.labeller.session(job.engine)(job.atoms)], [dict(job.record)]
        else:
            labels, records = self._relax(job, progress)
        save_labels(self.folder.finished(job), labels, records)
        shutil.rmtree(self.folder.partial(job), ignore_errors=True)
        return len(labels)

    def _relax(
        self, job: DatasetJob, progress: Callable[[Any], None]
    ) -> tuple[list[Label], list[dict[str, Any]]]:
        """Relax, keeping the label of every geometry on disk, so that a kill costs one SCF at most."""
        partial = self.folder.partial(job)
        replay = _read_partial(partial)
        calculator = LabelCalculator(self.labeller.session(job.engine))

        def keep(step: RelaxStep, atoms: ase.Atoms) -> None:
            if calculator.last_label is None:
                raise RuntimeError(f"{job.id}: expected a label at step {step.step}, got none")
            save_labels(partial / f"{step.step:05d}.npz", [calculator.last_label], [_step_record(step)])
            progress(step.step + 1)

        progress(len(replay))
        result = relax(job.atoms, calculator, job.relaxation, on_step=keep, replay=replay)
        labels: list[Label] = []
        records: list[dict[str, Any]] = []
        for index in sample_indices(len(result.steps), job.samples):
            label, _ = load_labels(partial / f"{index:05d}.npz")
            labels.append(label[0])
            records.append({**job.record, "relax_step": index, "fmax": result.steps[index].fmax})
        return labels, records


def sample_indices(n_steps: int, samples: int) -> list[int]:
    """At most `samples` different steps, equally spaced, the first and the last included (1: the last)."""
    if samples == 1:
        return [n_steps - 1]
    positions = np.linspace(0, n_steps - 1, min(samples, n_steps))
    return sorted({round(float(position)) for position in positions})


def _step_record(step: RelaxStep) -> dict[str, Any]:
    return {"step": step.step, "fmax": step.fmax, "optimizer": step.optimizer, "seconds": step.seconds}


def _read_partial(folder: Path) -> list[RelaxStep]:
    """Recorded steps 0, 1, 2, ... of an interrupted relaxation."""
    steps: list[RelaxStep] = []
    while (path := folder / f"{len(steps):05d}.npz").exists():
        (label,), (record,) = load_labels(path)
        steps.append(
            RelaxStep(
                step=int(record["step"]),
                energy=label.energy_ev,
                fmax=float(record["fmax"]),
                residual=None,
                optimizer=str(record["optimizer"]),
                seconds=float(record["seconds"]),
                positions=label.atoms.get_positions(),
                forces=label.forces_ev,
            )
        )
    return steps


def clear_leftovers(folder: Path, target: Path) -> None:
    """Remove temporary files that a killed process left in the folder, and of the data set beside it."""
    for path in [*folder.rglob(".*.tmp"), *target.parent.glob(f".{glob.escape(target.name)}.*.tmp")]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
