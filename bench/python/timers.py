"""Timers of the Python benchmarks: wall and processor time, the DGEMM rate, the machine."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlh import _core


@dataclass(frozen=True, slots=True)
class Timing:
    """Best of the repeats, seconds. cpu / threads is what the wall time would be on an idle machine."""

    wall: float
    cpu: float


def best_time(work: Callable[[], object], repeats: int = 3) -> Timing:
    """Runs the work `repeats` times; wall and processor time are each the best one."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Timing(min(walls), min(cpus))


def dgemm_rate(n: int = 1500) -> float:
    """GFlop per processor second of the BLAS that NumPy uses."""
    a = np.random.default_rng(0).random((n, n))
    return 2e-9 * n**3 / best_time(lambda: a @ a, 5).cpu


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": _core.get_num_threads(),
        "dgemm_gflops_per_thread": round(dgemm_rate(), 1),
    }
