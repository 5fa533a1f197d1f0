"""Peak memory of energy and forces by phase: what is told by `mlh.common.activity`, on Linux.

    PYTHONPATH=python OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python \
        bench/python/memory_phases.py --repeat 2 2 1 --model sio2-vo --method localized

The peak is set back at every change of phase, so that each line is the largest memory of its own phase.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mlh.calculators.engines import DFTEngine, Engine, ModelEngine
from mlh.calculators.estimate import estimate
from mlh.common.activity import watched
from mlh.common.timing import peak_memory_mb
from mlh.dft.theory import Theory
from mlh.matrix import block_matrix
from mlh.solver import as_solver
from mlh.structures import load_structure


def memory_now() -> tuple[float, float]:
    """Resident memory now and at its peak since the last call, GB; the peak is set back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split(":")[1].split() for line in lines if ":" in line}
    Path("/proc/self/clear_refs").write_text("5")
    return 1024e-9 * float(found["VmRSS"][0]), 1024e-9 * float(found["VmHWM"][0])


class Watcher:
    """Prints what the phase that ends has needed."""

    def __init__(self) -> None:
        self.phase, self.since, self.highest = "", time.process_time(), 0.0
        memory_now()

    def __call__(self, phase: str) -> None:
        now, peak = memory_now()
        spent, self.since = time.process_time() - self.since, time.process_time()
        self.highest = max(self.highest, peak)
        print(f"{peak:7.3f} {now:7.3f} GB {spent:8.1f} s  {self.phase}", flush=True)
        self.phase = phase


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("structure", nargs="?", default="asio2_96_a")
    parser.add_argument("--repeat", type=int, nargs=3, default=(1, 1, 1))
    parser.add_argument("--model", help="default: DFT")
    parser.add_argument("--forces", choices=["exact", "plain", "none"], default="exact")
    parser.add_argument("--cutoff", type=float, help="Ry")
    parser.add_argument("--method", default="localized")
    parser.add_argument("--large", action="store_true", help="as large cells: keep no matrix, any size")
    given = parser.parse_args()
    if given.large:
        block_matrix.LARGE = 0
    atoms = load_structure(given.structure).repeat(given.repeat)
    solver = as_solver(given.method)
    engine: Engine = DFTEngine(Theory(cutoff_ry=given.cutoff or 200.0), solver)
    if given.model is not None:
        kind = "plain" if given.forces == "none" else given.forces
        engine = ModelEngine(given.model, solver=solver, cutoff_ry=given.cutoff, forces=kind)
    found = estimate(atoms, engine)
    print(f"{len(atoms)} atoms; estimate {found.memory / 1e9:.2f} GB, {found.seconds:.0f} s", flush=True)
    atoms.calc = engine.calculator()
    watcher, start = Watcher(), time.process_time()
    with watched(watcher):
        print(f"energy {atoms.get_potential_energy():.9f} eV", flush=True)
        if given.forces != "none":
            forces = atoms.get_forces()
            print(f"forces: sum of squares {float((forces**2).sum()):.9f}, first {forces[0].tolist()}")
    watcher("")
    peak = max(watcher.highest, peak_memory_mb() / 1e3)
    print(f"peak {peak:.3f} GB, {time.process_time() - start:.1f} processor s", flush=True)


if __name__ == "__main__":
    main()
