"""Cost of exact forces of a model beside plain ones, and the share of each part, in processor seconds.

python bench/python/exact_forces.py asio2_48_b            (OMP_NUM_THREADS=1)
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from ase import Atoms

import mlh
from mlh.scf.gradient import ResidualResponse
from mlh.structures import load_structure

T = TypeVar("T")

CASES = {
    "plain": {"forces": "plain"},
    "exact, kappa 0": {"kappa": 0.0},
    "exact, corrected": {},
    "plain, refine 1": {"refine": 1},
}


def taken(label: str, work: Callable[[], T]) -> T:
    """Do the work and print its processor seconds."""
    start = time.process_time()
    value = work()
    print(f"{label:28s} {time.process_time() - start:8.2f}", flush=True)
    return value


def main(name: str) -> None:
    """All cases on one structure, then the parts of corrected exact forces."""
    atoms: Atoms = load_structure(name)
    warm = load_structure("alpha-quartz")
    warm.calc = mlh.MLHCalculator("sio2-vo")
    warm.get_forces()  # tables and compiled functions, which no later call pays for
    print(f"{name}, {len(atoms)} atoms: energy and forces")
    for label, options in CASES.items():
        atoms.calc = mlh.MLHCalculator("sio2-vo", **options)
        taken(label, atoms.get_forces)
    atoms.calc = calculator = mlh.MLHCalculator("sio2-vo")
    atoms.get_potential_energy()
    response = ResidualResponse(calculator.result, calculator.results["kappa"])
    system, state = response.system, response.result.solution
    print("parts")
    taken("response to R", lambda: response.first)
    taken("second order", lambda: response.second)
    taken("density of Z, K Z", lambda: response.kernel)
    Z = response.first.D.data[0]
    taken("back-propagation", lambda: calculator.model.term(system).derivative(Z))
    more = [system.harris.trace(Z, single=True), response.change.trace]
    D, W = response.result.D, state.W
    taken("gradient, all on the grid", lambda: system.forces_and_stress(D, W, more))
    taken("the same of plain forces", lambda: system.forces_and_stress(D, W))


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main(sys.argv[1] if len(sys.argv) > 1 else "asio2_48_b")
