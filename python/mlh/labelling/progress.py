"""Where a build of a data set stands, and how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlh.jobs.pool import Event
from mlh.labelling.plan import DatasetJob


@dataclass(frozen=True)
class BuildProgress:
    """Where a build stands; `fraction` counts the expected cost, not the jobs."""

    n_jobs: int
    finished: int
    failed: int
    fraction: float
    seconds_left: float | None
    message: str


class BuildTracker:
    """Counts jobs and cost. The time left follows from the cost done per worker and second in this run.

    Relaxations that end before their last step shorten what is expected of the others; geometries that an
    earlier run left count as done, but not as work of this run; and the build takes at least as long as its
    longest job on one worker.
    """

    def __init__(
        self,
        todo: Sequence[DatasetJob],
        finished: Sequence[DatasetJob],
        failed: Sequence[DatasetJob],
        on_progress: Callable[[BuildProgress], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._on_progress, self._clock = on_progress, clock
        self._todo = {job.id: job for job in todo}
        self._n_jobs = len(todo) + len(finished) + len(failed)
        self._finished, self._failed = len(finished), len(failed)
        self._done = sum(job.cost for job in (*finished, *failed))
        self._worked = 0.0  # of _done, in this run
        self._busy = 0.0  # worker seconds
        self._running: dict[
            str, int | None
        ] = {}  # geometries of the jobs at work; None before the first report
        self._widest = 1
        self._relaxed, self._allowed = 0, 0  # geometries of the relaxations that ended, and how many they had
        self._last = clock()

    def update(self, event: Event[DatasetJob]) -> None:
        """Take note of an event and report."""
        self._pass_time()
        job = event.job
        if event.kind == "started":
            self._running[job.id] = None
            self._widest = max(self._widest, len(self._running))
        elif event.kind == "progress":
            self._count(job, int(event.value))
        elif event.kind == "retry":
            self._running.pop(job.id, None)
        else:
            self._end(job, event.kind == "done")
        outcome = {
            "started": "started",
            "progress": f"{event.value} geometries",
            "done": "done",
            "retry": f"tried once more: {event.value}",
            "failed": f"SET ASIDE: {event.value}",
        }
        self.report(f"{job.id}: {outcome[event.kind]}")

    def report(self, message: str) -> None:
        """Hand on where the build stands."""
        if self._on_progress is None:
            return
        costs = [self._remaining(job) for job in self._todo.values()]
        total = self._done + sum(costs)
        left = None
        if self._worked > 0.0 and self._busy > 0.0:
            rate = self._worked / self._busy
            left = max(sum(costs) / self._widest, max(costs, default=0.0)) / rate
        fraction = self._done / total if total else 1.0
        self._on_progress(BuildProgress(self._n_jobs, self._finished, self._failed, fraction, left, message))

    def _pass_time(self) -> None:
        now = self._clock()
        # Executors that report only ends (a cluster) count as one worker.
        self._busy += (now - self._last) * max(1, len(self._running))
        self._last = now

    def _count(self, job: DatasetJob, geometries: int) -> None:
        """The first report of a job says what an earlier run has left."""
        before = self._running.get(job.id)
        new = geometries - (before or 0)
        self._running[job.id] = geometries
        self._done += new * job.cost_of_one
        if before is not None:
            self._worked += new * job.cost_of_one

    def _end(self, job: DatasetJob, success: bool) -> None:
        geometries = self._running.pop(job.id, None)
        self._todo.pop(job.id, None)
        if geometries is None and (success or job.relaxation is None):  # nothing is known of its course
            self._done += job.cost
            self._worked += job.cost
        elif geometries is not None and success:
            self._relaxed += geometries
            self._allowed += job.n_calculations
        self._finished += success
        self._failed += not success

    def _remaining(self, job: DatasetJob) -> float:
        """Expected cost of what is left of a job."""
        expected = float(job.n_calculations)
        if job.relaxation is not None and self._allowed:
            expected *= self._relaxed / self._allowed
        return job.cost_of_one * max(expected - (self._running.get(job.id) or 0), 1.0)
