"""The parts of one self-consistency step, each alone, best of the repeats; one JSON line per part.

OPENBLAS_NUM_THREADS=1 PYTHONPATH=python .venv/bin/python bench/python/bench_scf_step.py [STRUCTURE] [REPEATS]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from timers import best_time, machine

import mlh
from mlh.scf.mixing import PulayMixer
from mlh.solver import Filling, OverlapFactor, projected_w, residual_energy
from mlh.structures import load_structure


def main(structure: str, repeats: int) -> None:
    """Time every part at the first density matrix."""
    about = machine()
    threads = about["threads"]
    system = mlh.System(load_structure(structure), "gth-pbe", cutoff_ry=200.0)
    grid, terms = system.grid, system.discretisation.local_terms
    H0, factor = system.harris_hamiltonian(), OverlapFactor.of(system.overlap())
    filling = Filling(system.n_electrons)
    solution = factor.occupied(H0, filling)
    D = solution.D
    density = [grid.density(D.data[0])]
    states = {term.name: term.at(density) for term in terms}
    potential = sum(
        (s.potential[0] for s in states.values()), start=grid.uniform_potential(0.0 * grid.weight)
    )
    evaluation = system.evaluate(D)
    R = evaluation.H - H0
    W = projected_w(solution, evaluation.H)
    mixer = PulayMixer()
    for k in range(8):
        mixer.next(H0.data * (1 + k**2), R.data / (1 + k**2))
    parts: dict[str, Callable[[], object]] = {
        "overlap factor": lambda: OverlapFactor.of(system.overlap()),
        "eigenstates, D, W": lambda: factor.occupied(H0, filling),
        "density": lambda: grid.density(D.data[0]),
        **{name: (lambda t=term: t.at(density)) for name, term in zip(states, terms)},
        "matrix": lambda: grid.matrix(potential),
        "residual energy": lambda: residual_energy(solution, R),
        "mixing": lambda: mixer.next(H0.data, R.data),
        "forces and stress": lambda: system.forces_and_stress(D, W),
    }
    for name, work in parts.items():
        t = best_time(work, repeats)
        row = {"case": name, "structure": structure, **about, "wall_s": round(t.wall, 4)}
        print(json.dumps({**row, "cpu_per_thread_s": round(t.cpu / threads, 4)}), flush=True)


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "asio2_96_a",
        int(sys.argv[2]) if len(sys.argv) > 2 else 3,
    )
