"""Purification against the dense solver at the Hamiltonian that a model predicts: errors and CPU seconds.

    PYTHONPATH=python OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python \\
        bench/python/purification_accuracy.py --repeat 2 2 1 --thresholds 1e-4 5e-5 1e-5

One JSON line per threshold: energy E[D] per atom, forces with W from H[D], D, electrons; CPU seconds of the
factor with the density matrix, and of W. The first line is the dense solver.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mlh.common.units import HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.dft.system import System
from mlh.model.model import load_model, predict
from mlh.solver import Purification, solve
from mlh.structures.files import load_structure


def timed(task: Callable[[], Any]) -> tuple[Any, float]:
    """Result and CPU seconds."""
    start = time.process_time()
    result = task()
    return result, round(time.process_time() - start, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--structure", default="asio2_96_seed5")
    parser.add_argument("--model", default="sio2-vo")
    parser.add_argument("--repeat", type=int, nargs=3, default=[2, 2, 1])
    parser.add_argument("--thresholds", type=float, nargs="+", default=[1e-4, 5e-5, 1e-5])
    options = parser.parse_args()
    model = load_model(options.model)
    atoms = load_structure(options.structure).repeat(options.repeat)
    system = System(atoms, model.basis, cutoff_ry=model.cutoff_ry)
    H, S, n = predict(model, system), system.overlap(), system.n_electrons
    dense, seconds = timed(lambda: solve(H, S, n))
    reference = system.evaluate(dense.D)
    W, seconds_w = timed(lambda: dense.projected_w(reference.H))
    forces = system.forces(dense.D, W).total
    print(json.dumps({"atoms": len(atoms), "solver": "dense", "seconds": [seconds, seconds_w]}), flush=True)
    for threshold in options.thresholds:
        state, seconds = timed(lambda t=threshold: solve(H, S, n, solver=Purification(t)))
        found = system.evaluate(state.D)
        W, seconds_w = timed(lambda s=state, h=found.H: s.projected_w(h))
        off = (system.forces(state.D, W).total - forces) * HARTREE_BOHR_EV_ANGSTROM * 1e3
        energy = (found.energies.total - reference.energies.total) * HARTREE_EV * 1e3
        line = {
            "threshold": threshold,
            "energy_mev_atom": round(energy / len(atoms), 4),
            "forces_mev_angstrom_rms_max": [
                round(float(np.sqrt((off**2).mean())), 3),
                round(float(np.abs(off).max()), 3),
            ],
            "D_max": float(f"{(state.D - dense.D).max_abs():.1e}"),
            "electrons_per_atom": float(f"{state.report.electron_error / len(atoms):.1e}"),
            "factor_error": float(f"{state.report.factor_error:.1e}"),
            "blocks_per_atom": round(state.report.blocks_per_atom),
            "seconds": [seconds, seconds_w],
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
