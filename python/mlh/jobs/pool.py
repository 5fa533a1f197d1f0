"""Worker processes for long, independent calculations.

Each worker is a fresh interpreter with its own number of threads. A worker that dies (out of
memory, killed, a crash in compiled code) is replaced and its job tried once more; a job that ends
two workers is reported as failed. The others go on. Workers ignore Ctrl-C, the parent stops them;
when the parent ends in any way, by a kill too, they end at once: nothing goes on calculating unseen.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, Literal, TypeVar

from mlh.common.terminal import warnings_in_lines

Job = TypeVar("Job")
_CONTEXT = multiprocessing.get_context("spawn")  # fork would copy the threads of BLAS and OpenMP half alive
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Event(Generic[Job]):
    """What a worker reports: `value` is the progress, the returned value, or the reason of the failure."""

    kind: Literal["started", "progress", "done", "retry", "failed"]
    job: Job
    value: Any = None
    details: str = ""


ProgressFunction = Callable[[Any], None]

Executor = Callable[[Callable[[Any, ProgressFunction], Any], Sequence[Any]], Iterator[Event[Any]]]
"""Runs `function(job, progress)` for every job and yields events as they come; `run_jobs` is one."""


def run_jobs(
    function: Callable[[Job, ProgressFunction], Any],
    jobs: Sequence[Job],
    processes: int = 2,
    threads: int = 1,
) -> Iterator[Event[Job]]:
    """Run `function(job, progress)` for every job in worker processes; yields events as they come.

    Function, jobs and returned values must be picklable; `progress(value)` sends a progress event.
    Closing the iterator (or Ctrl-C in the parent) stops all workers at once.
    """
    with Workers(function, processes, threads) as workers:
        yield from workers.run(jobs)


class Workers(Generic[Job]):
    """Worker processes that stay between runs of `function(job, progress)`, with all that it keeps.

    Of at most as many jobs as there are workers, the k-th goes to the k-th worker in every run. Workers start
    with their first job, and end with the block.
    """

    def __init__(
        self, function: Callable[[Job, ProgressFunction], Any], processes: int = 2, threads: int = 1
    ) -> None:
        if processes < 1 or threads < 1:
            raise ValueError(f"processes, threads: expected at least 1, got {processes}, {threads}")
        self._function, self._processes, self._threads = function, processes, threads
        self._workers: list[_Worker[Job]] = []

    def __enter__(self) -> Workers[Job]:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.stop()

    def run(self, jobs: Sequence[Job]) -> Iterator[Event[Job]]:
        """Every job once; events as they come."""
        waiting = list(reversed(jobs))
        deaths: list[Job] = []
        while waiting or any(worker.job is not None for worker in self._workers):
            while waiting and len(self._workers) < min(self._processes, len(jobs)):
                self._workers.append(_Worker(self._function, self._threads))
            for worker in self._workers:
                if worker.job is None and waiting:
                    worker.send(waiting.pop())
                    yield Event("started", worker.current)
            busy = [worker for worker in self._workers if worker.job is not None]
            ready = wait([worker.pipe for worker in busy] + [worker.process.sentinel for worker in busy])
            for worker in busy:
                if worker.pipe in ready or worker.process.sentinel in ready:
                    event = worker.receive()
                    if event.kind == "retry" and not any(job is event.job for job in deaths):
                        deaths.append(event.job)
                        waiting.append(event.job)
                    elif event.kind == "retry":
                        event = replace(event, kind="failed")
                    yield event
            self._workers = [worker for worker in self._workers if worker.alive]


class _Worker(Generic[Job]):
    """The parent's side of one worker process."""

    def __init__(self, function: Callable[[Job, ProgressFunction], Any], threads: int) -> None:
        self.pipe, child = _CONTEXT.Pipe()
        self.process: SpawnProcess = _CONTEXT.Process(target=_serve, args=(function, child), daemon=True)
        self.job: Job | None = None
        self.alive = True
        with _environment({name: str(threads) for name in _THREAD_VARIABLES}):
            self.process.start()
        child.close()

    @property
    def current(self) -> Job:
        if self.job is None:
            raise RuntimeError("worker: expected a job, got none")
        return self.job

    def send(self, job: Job) -> None:
        self.job = job
        # A worker that died between two jobs is noticed by the next receive.
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(job)

    def receive(self) -> Event[Job]:
        job = self.current
        try:
            if self.pipe.poll():
                kind, value, details = self.pipe.recv()
                if kind != "progress":
                    self.job = None
                return Event(kind, job, value, details)
        except (EOFError, OSError):
            pass
        self.process.join()
        self.alive, self.job = False, None
        self.pipe.close()
        return Event("retry", job, f"worker process ended with exit code {self.process.exitcode}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _serve(function: Callable[[Job, ProgressFunction], Any], pipe: Connection) -> None:
    """The worker's side: one job after another until the parent is gone; warnings are lines."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with warnings_in_lines():
        _serve_jobs(function, pipe)


def _serve_jobs(function: Callable[[Job, ProgressFunction], Any], pipe: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def progress(value: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            pipe.send(("progress", value, ""))

    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            message = ("done", function(job, progress), "")
        except Exception as error:
            message = ("failed", f"{type(error).__name__}: {error}", traceback.format_exc())
        try:
            pipe.send(message)
        except BrokenPipeError:
            return


def _end_with_parent() -> None:
    """End this process when its parent has ended; files are complete or absent at any moment."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes started inside."""
    saved = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
