"""Cost of energy and forces from a given Hamiltonian against the number of atoms, the solver apart.

    PYTHONPATH=python OMP_NUM_THREADS=2 .venv/bin/python bench/python/assembly_scaling.py --copies 1 2 4 8
    ... --copies 32 --solver none            assembly alone
    ... --copies 4 --solver purification --threshold 1e-4

Copies of a 96-atom glass. Every size runs in a process of its own, so that its peak memory is its own. One
JSON line per size: wall and CPU seconds of each phase (CPU seconds are of all threads, and what to compare
on a machine that others use too), peak memory, for a solver also its errors; then the exponents between the
smallest and the largest size. The times of the assembly do not depend on the values of D: it is the unit
matrix times the electrons per orbital. The solvers get the Harris Hamiltonian.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mlh.common.timing import peak_memory_mb
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.solver import (
    Localized,
    LocalizedState,
    Purification,
    PurifiedState,
    State,
    as_solver,
    solve,
)
from mlh.structures.files import load_structure

COPIES = {1: (1, 1, 1), 2: (2, 1, 1), 4: (2, 2, 1), 8: (2, 2, 2), 16: (4, 2, 2), 32: (4, 4, 2), 64: (4, 4, 4)}
ASSEMBLY = ("set-up", "H0", "density, energy, H", "forces")


class Phases:
    """Wall and CPU seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}

    def run(self, name: str, task: Callable[[], Any]) -> Any:
        """The result of the task."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = task()
        self.seconds[name] = (time.perf_counter() - wall, time.process_time() - cpu)
        return result


def neutral_like(system: System) -> BlockMatrix:
    """Unit matrix on the self pairs times the electrons per orbital."""
    p = system.pattern
    data = np.zeros((1, p.nnz))
    own = (np.asarray(p.atom_i) == np.asarray(p.atom_j)) & (np.asarray(p.cell) == 0).all(axis=1)
    for pair in np.flatnonzero(own):
        n = int(p.n_orbitals[p.atom_i[pair]])
        begin = int(p.offset[pair])
        data[0, begin : begin + n * n : n + 1] = system.n_electrons / system.n_orbitals
    return BlockMatrix(p, data)


def setup(copies: int, cutoff_ry: float) -> System:
    """A system with its two-centre matrices, grid and neutral-atom fields."""
    system = System(load_structure("asio2_96_a").repeat(COPIES[copies]), "gth-pbe", cutoff_ry=cutoff_ry)
    system.overlap()
    for term in system.discretisation.matrix_terms:
        _ = term.matrix
    return system


def measure(copies: int, cutoff_ry: float, solver: str, threshold: float) -> dict[str, Any]:
    """One size."""
    phases = Phases()
    system = phases.run("set-up", lambda: setup(copies, cutoff_ry))
    H = phases.run("H0", system.harris_hamiltonian)
    D = neutral_like(system)
    phases.run("density, energy, H", lambda: system.evaluate(D))
    phases.run("forces", lambda: system.forces_and_stress(D, D))
    S, n_electrons = system.overlap(), system.n_electrons
    line: dict[str, Any] = {"atoms": len(system.positions), "orbitals": system.n_orbitals}
    line |= {"cutoff_ry": cutoff_ry, "assembly_peak_mb": round(peak_memory_mb())}
    if solver != "none":
        del system, D
        kinds = {"purification": Purification, "localized": Localized}
        chosen = kinds[solver](threshold) if threshold and solver in kinds else as_solver(solver)
        state: State = phases.run(solver, lambda: solve(H, S, n_electrons, solver=chosen))
        phases.run("W", lambda: state.W)
        line |= {"solver": solver, "peak_mb": round(peak_memory_mb()), "band_energy": state.band_energy}
        if isinstance(state, PurifiedState):
            line |= {"threshold": chosen.threshold, "electron_error": state.report.electron_error}
            line |= {"blocks_per_atom": state.report.blocks_per_atom, "gap": state.gap}
        if isinstance(state, LocalizedState):
            line |= {"threshold": chosen.threshold, "electron_error": state.report.electron_error}
            line |= {"energy_left": state.report.energy_left, "steps": state.report.steps}
            line |= {"atoms_per_group": state.report.blocks_per_function, "gap": state.gap}
    line["seconds"] = {k: [round(wall, 2), round(cpu, 2)] for k, (wall, cpu) in phases.seconds.items()}
    return line


def exponents(first: dict[str, Any], last: dict[str, Any]) -> dict[str, float]:
    """d log(CPU seconds) / d log(atoms) of every phase between two sizes, and of the assembly as a whole."""
    ratio = np.log(last["atoms"] / first["atoms"])

    def cpu(line: dict[str, Any], names: tuple[str, ...]) -> float:
        return sum(line["seconds"][name][1] for name in names)

    groups = {name: (name,) for name in first["seconds"]} | {"assembly": ASSEMBLY}
    return {k: round(float(np.log(cpu(last, v) / cpu(first, v)) / ratio), 3) for k, v in groups.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 2, 4, 8], choices=sorted(COPIES))
    parser.add_argument("--cutoff", type=float, default=200.0, help="Ry")
    parser.add_argument(
        "--solver", choices=["none", "dense", "purification", "localized"], default="localized"
    )
    parser.add_argument("--threshold", type=float, default=0.0, help="0: the default of the solver")
    parser.add_argument("--here", action="store_true", help="run in this process")
    options = parser.parse_args()
    if options.here:
        for copies in options.copies:
            print(json.dumps(measure(copies, options.cutoff, options.solver, options.threshold)), flush=True)
        return
    lines = []
    for copies in options.copies:
        command = [sys.executable, __file__, "--here", "--copies", str(copies), "--solver", options.solver]
        command += ["--cutoff", str(options.cutoff), "--threshold", str(options.threshold)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        lines.append(json.loads(output))
        print(output.strip(), flush=True)
    if len(lines) > 1:
        print(json.dumps({"exponents": exponents(lines[0], lines[-1])}))


if __name__ == "__main__":
    main()
