"""A whole single point by phase: from the structure to converged energy, forces and stress; JSON.

    OPENBLAS_NUM_THREADS=1 PYTHONPATH=python .venv/bin/python bench/python/bench_single_point.py [STRUCTURE]

Wall seconds by phase; `cpu` is the processor time of all threads together (on a machine that others use too,
cpu / threads is near the wall time of an idle one).
"""

from __future__ import annotations

import json
import sys
import time

from timers import machine

import mlh
from mlh.common.timing import Stopwatch, peak_memory_mb
from mlh.structures import load_structure


def main(structure: str) -> None:
    """Run the case and print its JSON."""
    about = machine()
    atoms = load_structure(structure)
    watch = Stopwatch()
    cpu = time.process_time()
    with watch("basis"):
        basis = mlh.load_basis("gth-pbe")
    with watch("two-centre"):
        system = mlh.System(atoms, basis, cutoff_ry=200.0)
        system.overlap(), system.kinetic(), system.nonlocal_potential()
    with watch("grid and neutral atoms"):
        shape = system.grid_shape
    result = mlh.scf(system)
    with watch("forces and stress"):
        result.forces_and_stress()
    seconds = {**watch.seconds, **result.seconds}
    print(
        json.dumps(
            {
                "case": "single point",
                "structure": structure,
                "atoms": len(atoms),
                "orbitals": system.n_orbitals,
                "grid": shape,
                "sphere_points": system.grid.n_sphere_points,
                **about,
                "converged": result.converged,
                "steps": result.n_steps,
                "seconds": {k: round(v, 3) for k, v in seconds.items()},
                "wall": round(sum(seconds.values()), 2),
                "cpu": round(time.process_time() - cpu, 2),
                "peak_memory_mb": round(peak_memory_mb()),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "asio2_96_a")
