"""An estimate of memory and processor time beside the run itself; one JSON line for each structure.

    PYTHONPATH=python OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python bench/python/estimate.py \
        asio2_48_b asio2_96_a --model sio2-vo

Every structure in a process of its own, so that its peak memory is its own. One thread: others that wait for
each other in a loop count as processor time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

from mlh.calculators.engines import DFTEngine, Engine, ModelEngine
from mlh.calculators.estimate import estimate
from mlh.common.timing import peak_memory_mb
from mlh.dft.theory import Theory
from mlh.solver import as_solver
from mlh.structures import load_structure


def measure(structure: str, engine: Engine) -> dict[str, object]:
    """One run, after its estimate."""
    atoms = load_structure(structure)
    found = estimate(atoms, engine)
    atoms.calc = engine.calculator()
    start = time.process_time()
    atoms.get_potential_energy()
    atoms.get_forces()
    return {
        "structure": structure,
        "atoms": len(atoms),
        "engine": engine.kind,
        "estimate_gb": round(found.memory / 1e9, 2),
        "gb": round(peak_memory_mb() / 1e3, 2),
        "estimate_seconds": round(found.seconds, 1),
        "seconds": round(time.process_time() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("structures", nargs="+")
    parser.add_argument("--model", help="default: DFT")
    parser.add_argument("--cutoff", type=float, default=200.0, help="Ry")
    parser.add_argument("--method", default="dense")
    given = parser.parse_args()
    if len(given.structures) > 1:
        rest = [text for text in sys.argv[1:] if text not in given.structures]
        for structure in given.structures:
            subprocess.run([sys.executable, __file__, structure, *rest], check=True)
        return
    solver = as_solver(given.method)
    engine: Engine = DFTEngine(Theory(cutoff_ry=given.cutoff), solver)
    if given.model is not None:
        engine = ModelEngine(given.model, solver=solver, cutoff_ry=given.cutoff)
    print(json.dumps(measure(given.structures[0], engine)), flush=True)


if __name__ == "__main__":
    main()
