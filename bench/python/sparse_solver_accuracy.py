"""Localized functions or purification against the dense solver at the Hamiltonian of a model.

    PYTHONPATH=python OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python \\
        bench/python/sparse_solver_accuracy.py --repeat 2 2 1 --solver localized --thresholds 2e-4 1e-4

One JSON line per threshold: energy E[D] per atom, forces with W from H[D], D, electrons; CPU seconds of the
density matrix, of W and (--response) of its change along H[D] - H. The first line is the dense solver.
--vacancy SITE takes one atom out.
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
from mlh.solver import Localized, LocalizedState, Purification, State, as_solver, solve
from mlh.structures.defects import point_defect
from mlh.structures.files import load_structure


def timed(task: Callable[[], Any]) -> tuple[Any, float]:
    """Result and CPU seconds."""
    start = time.process_time()
    result = task()
    return result, round(time.process_time() - start, 1)


def report_of(state: State) -> dict[str, Any]:
    """What a solver says of itself."""
    if isinstance(state, LocalizedState):
        left = state.report.energy_left * HARTREE_EV * 1e3 / state.S.n_atoms
        return {
            "energy_left_mev_atom": float(f"{left:.1e}"),
            "steps": state.report.steps,
            "atoms_per_group": round(state.report.blocks_per_function),
        }
    return {
        "factor_error": float(f"{state.report.factor_error:.1e}"),
        "blocks_per_atom": round(state.report.blocks_per_atom),
    }


def response_errors(state: Any, dense: Any, R: Any) -> dict[str, Any]:
    """Relative rms errors of the response, and its CPU seconds."""
    found, seconds = timed(lambda: state.response(R))
    exact = dense.response(R)
    errors = {
        name: float(f"{(getattr(found, name) - getattr(exact, name)).rms() / getattr(exact, name).rms():.1e}")
        for name in ("D", "W")
    }
    energy = state.residual_energy(R) / dense.residual_energy(R) - 1.0
    return {**errors, "energy": float(f"{energy:.1e}"), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--structure", default="asio2_96_seed5")
    parser.add_argument("--model", default="sio2-vo")
    parser.add_argument("--repeat", type=int, nargs=3, default=[2, 2, 1])
    parser.add_argument("--solver", choices=["localized", "purification"], default="localized")
    parser.add_argument("--thresholds", type=float, nargs="+")
    parser.add_argument("--vacancy", type=int)
    parser.add_argument("--response", action="store_true")
    options = parser.parse_args()
    model = load_model(options.model)
    atoms = load_structure(options.structure).repeat(options.repeat)
    if options.vacancy is not None:
        atoms = point_defect(atoms, site=options.vacancy)
    system = System(atoms, model.basis, cutoff_ry=model.cutoff_ry)
    H, S, n = predict(model, system), system.overlap(), system.n_electrons
    dense, seconds = timed(lambda: solve(H, S, n))
    reference = system.evaluate(dense.D)
    W, seconds_w = timed(lambda: dense.projected_w(reference.H))
    forces = system.forces(dense.D, W).total
    print(json.dumps({"atoms": len(atoms), "solver": "dense", "seconds": [seconds, seconds_w]}), flush=True)
    kind = {"localized": Localized, "purification": Purification}[options.solver]
    for threshold in options.thresholds or [as_solver(options.solver).threshold]:
        state, seconds = timed(lambda t=threshold: solve(H, S, n, solver=kind(t)))
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
            **report_of(state),
            "gap_error": float(f"{state.gap - dense.gap:.1e}"),
            "seconds": [seconds, seconds_w],
        }
        if options.response:
            line["response"] = response_errors(state, dense, found.H - H)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
