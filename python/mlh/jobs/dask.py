"""Jobs on a Dask cluster: SLURM, PBS and others through dask-jobqueue, or any running scheduler.

    from dask_jobqueue import SLURMCluster
    cluster = SLURMCluster(cores=8, memory="32GB", walltime="12:00:00"); cluster.scale(jobs=20)
    build_dataset(config, "set.h5", executor=DaskExecutor(cluster.scheduler_address))

Workers must see the same file system: results go to the files of the job folder, as on one machine.
Needs the package `distributed` (`pip install mlh[dask]`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlh.jobs.pool import Event, ProgressFunction


class SchedulerLost(RuntimeError):
    """The scheduler went away before the jobs were done."""


@dataclass(frozen=True)
class DaskExecutor:
    """Runs jobs on the scheduler at `address` (for example "tcp://10.0.0.1:8786")."""

    address: str
    timeout: float = 10.0
    """Seconds to wait for it at first."""

    def __call__(
        self, function: Callable[[Any, ProgressFunction], Any], jobs: Sequence[Any]
    ) -> Iterator[Event[Any]]:
        """Events of all jobs as they end. Closing the iterator cancels what has not started."""
        with self._client() as client:
            from distributed import as_completed

            futures = {client.submit(_Call(function), job, pure=False): job for job in jobs}
            try:
                for future in as_completed(futures):
                    yield self._event(future, futures[future])
            finally:
                if client.status == "running":
                    client.cancel(list(futures))

    def _event(self, future: Any, job: Any) -> Event[Any]:
        """How a job ended. A worker that dies is no end: the scheduler gives its jobs to another one."""
        if future.status == "finished":
            return Event("done", job, future.result())
        if future.status in ("cancelled", "lost"):
            raise SchedulerLost(
                f"the scheduler at {self.address} is gone; what is finished is kept, and the same run goes "
                "on with another scheduler"
            )
        reason, trace = future.exception(), future.traceback()
        details = "".join(traceback.format_tb(trace)) if trace is not None else ""
        return Event("failed", job, f"{type(reason).__name__}: {reason}", details)

    def check(self) -> None:
        """An error where there is no scheduler at the address."""
        with self._client():
            pass

    def _client(self) -> Any:
        try:
            from distributed import Client
        except ImportError as error:
            raise ValueError("executor: expected the package distributed (pip install mlh[dask])") from error
        if not self.address:
            raise ValueError("executor: expected the address of a Dask scheduler, got ''")
        try:
            return Client(self.address, timeout=self.timeout)
        except OSError as error:
            raise OSError(f"no Dask scheduler answers at {self.address}: {error}") from error


@dataclass(frozen=True)
class _Call:
    """The job function without progress messages, which a cluster has no pipe for."""

    function: Callable[[Any, ProgressFunction], Any]

    def __call__(self, job: Any) -> Any:
        return self.function(job, _silent)


def _silent(value: Any) -> None:
    """Progress of a job on another machine is seen in its files only."""
