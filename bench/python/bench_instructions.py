"""The core's instruction sets beside each other: parts of a step and a whole single point, as a table.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONPATH=python .venv/bin/python \\
        bench/python/bench_instructions.py [STRUCTURE] [ROUNDS] [LEVEL...]

Processor seconds, the best of the rounds; default: every level that is compiled and that this machine has.
To have all of them in the working tree: cmake --preset dev -DMLH_ISA="x86-64-v2;x86-64-v3;x86-64-v4;native".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import mlh
from mlh.common.instructions import compiled_levels, processor_levels

WHOLE = "single point"


def seconds(level: str, structure: str) -> dict[str, float]:
    """Processor seconds of every part with one level."""
    folder = Path(__file__).parent
    found: dict[str, float] = {}
    for script in ("bench_scf_step.py", "bench_single_point.py"):
        done = subprocess.run(
            [sys.executable, str(folder / script), structure],
            env={**os.environ, "MLH_ISA": level},
            capture_output=True,
            text=True,
            check=True,
        )
        for line in done.stdout.splitlines():
            row = json.loads(line)
            found[row["case"]] = row["cpu"] if row["case"] == WHOLE else row["cpu_per_thread_s"]
    return found


def main(structure: str, rounds: int, levels: list[str]) -> None:
    """Run the rounds and print the table."""
    best: dict[str, dict[str, float]] = {level: {} for level in levels}
    for _ in range(rounds):
        for level in levels:
            for name, value in seconds(level, structure).items():
                best[level][name] = min(value, best[level].get(name, value))
    print("| part, processor s |", " | ".join(levels), "|")
    print("|---" * (len(levels) + 1) + "|")
    for name in best[levels[0]]:
        print(f"| {name} |", " | ".join(f"{best[level][name]:.3f}" for level in levels), "|", flush=True)


if __name__ == "__main__":
    usable = ("native", "plain", *processor_levels())
    compiled = [level for level in compiled_levels(Path(mlh.__file__).parent) if level in usable]
    main(
        sys.argv[1] if len(sys.argv) > 1 else "asio2_48_b",
        int(sys.argv[2]) if len(sys.argv) > 2 else 2,
        sys.argv[3:] or compiled[::-1],
    )
