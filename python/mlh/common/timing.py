"""Wall time by phase, and the peak memory of the process."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from mlh.common.activity import doing


class Stopwatch:
    """Adds up wall seconds by the name of a phase, in the order in which phases first ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str, told: bool = True) -> Iterator[None]:
        """told: whether the phase is said to who watches (`mlh.common.activity`)."""
        began = time.perf_counter()
        try:
            with doing(phase) if told else nullcontext():
                yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - began


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kB, macOS in bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
