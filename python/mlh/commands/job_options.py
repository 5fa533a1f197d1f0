"""Options of commands whose calculations run beside each other: here, or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from mlh.jobs.dask import DaskExecutor


@dataclass(frozen=True)
class JobOptions:
    """How many at the same time, and where."""

    panel: ClassVar[str] = "Jobs"

    processes: Annotated[
        int, typer.Option(min=1, help="Relaxations at the same time on this machine; they share the threads.")
    ] = 1
    dask: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that runs the relaxations instead.")
    ] = None

    def executor(self) -> DaskExecutor | None:
        """The cluster, where one is named; an error where no scheduler answers."""
        if self.dask is None:
            return None
        found = DaskExecutor(self.dask)
        found.check()
        return found

    @property
    def here(self) -> int:
        """Calculations at the same time in the memory of one machine."""
        return 1 if self.dask is not None else self.processes

    @property
    def side_by_side(self) -> bool:
        """Whether lines of several relaxations come in turns."""
        return self.processes > 1 or self.dask is not None
