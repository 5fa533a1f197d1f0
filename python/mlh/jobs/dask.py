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


@dataclass(frozen=True)
class DaskExecutor:
    """Runs jobs on the scheduler at `address` (for example "tcp://10.0.0.1:8786")."""

    address: str

    def __call__(
        self, function: Callable[[Any, ProgressFunction], Any], jobs: Sequence[Any]
    ) -> Iterator[Event[Any]]:
        """Events of all jobs as they end. Closing the iterator cancels what has not started."""
        with self._client() as client:
            from distributed import as_completed

            futures = {client.submit(_Call(function), job, pure=False, retries=1): job for job in jobs}
            try:
                for future in as_completed(futures):
                    if future.status == "finished":
                        yield Event("done", futures[future], future.result())
                    else:
                        reason, trace = future.exception(), future.traceback()
                        details = "".join(traceback.format_tb(trace)) if trace is not None else ""
                        yield Event("failed", futures[future], f"{type(reason).__name__}: {reason}", details)
            finally:
                client.cancel(list(futures))

    def check(self) -> None:
        """An error where there is no scheduler at the address."""
        with self._client():
            pass

    def _client(self) -> Any:
        try:
            from distributed import Client
        except ImportError as error:
            raise ValueError("executor: expected the package distributed (pip install mlh[dask])") from error
        return Client(self.address)


@dataclass(frozen=True)
class _Call:
    """The job function without progress messages, which a cluster has no pipe for."""

    function: Callable[[Any, ProgressFunction], Any]

    def __call__(self, job: Any) -> Any:
        return self.function(job, _silent)


def _silent(value: Any) -> None:
    """Progress of a job on another machine is seen in its files only."""
