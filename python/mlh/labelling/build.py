"""Build a data set: run what is not finished yet, set failures aside, merge into one HDF5 file.

`PATH` is the data set, `PATH.jobs/` the folder of its calculations (see `dataset_jobs`). Jobs are
named by their content, so a build that was interrupted, killed or extended by more sources goes on
from what is there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from mlh.common.files import read_yaml, refuse_existing, write_text
from mlh.jobs.pool import Executor, run_jobs
from mlh.labelling.config import DatasetConfig
from mlh.labelling.jobs import JobFolder, JobRunner, clear_leftovers
from mlh.labelling.labels import Label, Labeller, load_labels
from mlh.labelling.own_labeller import labeller_of
from mlh.labelling.plan import DatasetJob, plan
from mlh.labelling.progress import BuildProgress, BuildTracker
from mlh.matrix.kpoints import kpoints_record

Store = Callable[[Path, DatasetConfig, Iterable[tuple[Label, dict[str, Any]]]], int]


class BuildError(RuntimeError):
    """No calculation of a build succeeded; `report` has the reasons."""

    def __init__(self, report: BuildReport) -> None:
        self.report = report
        first = next(iter(report.failed.values()), "no job")
        super().__init__(f"{report.path}: no calculation succeeded (first reason: {first})")


@dataclass(frozen=True)
class BuildReport:
    """Outcome of a build; `failed`: reasons by the jobs set aside. Without samples there is no file."""

    path: Path
    n_jobs: int
    n_samples: int
    failed: Mapping[str, str]
    seconds: float


def build_dataset(
    config: DatasetConfig,
    path: str | os.PathLike[str],
    *,
    labeller: Labeller | None = None,
    store: Store | None = None,
    processes: int = 2,
    threads: int = 1,
    executor: Executor | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    on_progress: Callable[[BuildProgress], None] | None = None,
) -> BuildReport:
    """Calculate all labels of `config` and write the data set `path` (a new file, or `overwrite`).

    executor: runs the jobs; default: `processes` worker processes of this machine with `threads` each.
    `mlh.jobs.dask.DaskExecutor` hands them to a cluster that shares the file system.

    labeller: default: that of the configuration, else the embedded DFT engine.

    Only converged calculations are stored. Raises BuildError when no job succeeded.
    """
    start = time.perf_counter()
    target = Path(path)
    worker = labeller or labeller_of(config.engine.labeller)
    refuse_existing([target], overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    jobs = plan(config)
    folder = JobFolder(target.with_name(target.name + ".jobs"))
    with folder.locked():
        clear_leftovers(folder.path, target)
        _refuse_other_meshes(folder, config)
        _save_config(folder, config)
        run = executor or partial(run_jobs, processes=processes, threads=threads)
        tracker = _run(jobs, folder, worker, run, retry_failed, on_progress)
        tracker.report("writing the data set")
        n_samples = (store or _default_store())(target, config, finished_labels(jobs, folder))
    failed = {job.id: folder.reason(job) for job in jobs if not folder.finished(job).exists()}
    report = BuildReport(target, len(jobs), n_samples, failed, time.perf_counter() - start)
    if n_samples == 0:
        raise BuildError(report)
    return report


def finished_labels(jobs: Sequence[DatasetJob], folder: JobFolder) -> Iterator[tuple[Label, dict[str, Any]]]:
    """All labels of the finished jobs in the order of the plan, with their records."""
    for job in jobs:
        if folder.finished(job).exists():
            labels, records = load_labels(folder.finished(job))
            for label, record in zip(labels, records, strict=True):
                yield label, {**record, "job": job.id, "group": job.group, "kpts": job.kpts_record}


def _run(
    jobs: Sequence[DatasetJob],
    folder: JobFolder,
    labeller: Labeller,
    executor: Executor,
    retry_failed: bool,
    on_progress: Callable[[BuildProgress], None] | None,
) -> BuildTracker:
    if retry_failed:
        for job in jobs:
            folder.failed(job).unlink(missing_ok=True)
    finished = {job.id: job for job in jobs if folder.finished(job).exists()}
    failed = {job.id: job for job in jobs if job.id not in finished and folder.failed(job).exists()}
    todo = [job for job in jobs if job.id not in finished and job.id not in failed]
    # Long jobs first, so that the end of the build does not wait for one relaxation.
    todo.sort(key=lambda job: -job.cost)
    tracker = BuildTracker(todo, list(finished.values()), list(failed.values()), on_progress)
    tracker.report(f"{len(jobs) - len(todo)} of {len(jobs)} calculations are there already")
    for event in executor(JobRunner(labeller, folder), todo):
        if event.kind == "failed":
            folder.set_aside(event.job, str(event.value), event.details)
        tracker.update(event)
    return tracker


def _default_store() -> Store:
    from mlh.labelling.collect import store_hdf5  # late: it loads torch

    return store_hdf5


def _refuse_other_meshes(folder: JobFolder, config: DatasetConfig) -> None:
    """Three even numbers meant Monkhorst-Pack's mesh before, and a folder of that time has them in its
    configuration: it is not gone on with silently."""
    path = folder.path / "config.yaml"
    before = read_yaml(path) if path.exists() else None
    if not isinstance(before, dict):
        return
    now = {s.name: kpoints_record(config.engine.settings(s.kpts).kpts) for s in config.sources}
    for source in before.get("sources", []):
        old = source.get("kpts") or before.get("engine", {}).get("kpts")
        if isinstance(old, list) and now.get(source["name"]) == {"size": old, "gamma": True}:
            raise ValueError(
                f"{folder.path}: source {source['name']} was calculated with the Monkhorst-Pack mesh {old}; "
                "three numbers mean a mesh with Gamma now. Write kpts: {size: "
                f"{old}, gamma: false}} to go on with what is there, or choose another name"
            )


def _save_config(folder: JobFolder, config: DatasetConfig) -> None:
    """The resolved configuration beside the calculations; the kind of every k mesh is said."""
    content = config.model_dump(mode="json")
    for part in (content["engine"], *content["sources"]):
        if isinstance(part["kpts"], list):
            part["kpts"] = {"size": part["kpts"], "gamma": True}
    text = yaml.safe_dump(content, sort_keys=False)
    write_text(folder.path / "config.yaml", text)
