"""`mlh info --estimate`: what calculations of a structure will need, before any is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from ase import Atoms

from mlh.calculators.engines import DFTEngine, Engine, KPoints, ModelEngine, dft_engine_of
from mlh.calculators.estimate import GB, estimate, machine_memory, of_counts
from mlh.dft.theory import Theory
from mlh.solver import Dense, Localized


def estimates(
    atoms: Atoms, model: str | None, basis: str | None, cutoff: float | None, kpts: KPoints
) -> dict[str, Any]:
    """Counts, machine, and a row for every engine and solver that is possible."""
    import mlh._core as _core
    from mlh.report.estimate_table import estimate_row

    there, threads = machine_memory(), _core.get_num_threads()
    rows, counts = [], {}
    for name, engine in _engines(model, basis, cutoff, kpts):
        found = estimate(atoms, engine)
        counts = asdict(found.counts)
        solvers: list[Dense | Localized] = [Dense(), Localized()] if found.counts.kpoints == 1 else [Dense()]
        for solver in solvers:
            one = of_counts(found.counts, replace(engine, solver=solver))
            rows.append(estimate_row(name, solver.name, one, there, threads))
    memory = None if there is None else there / GB
    return {"counts": counts, "machine": {"memory_gb": memory, "threads": threads}, "calculations": rows}


def _engines(
    model: str | None, basis: str | None, cutoff: float | None, kpts: KPoints
) -> Iterator[tuple[str, Engine]]:
    if model is None:
        given: dict[str, Any] = {"basis": basis, "cutoff_ry": cutoff, "kpts": kpts}
        theory = replace(Theory(), **{name: value for name, value in given.items() if value is not None})
        yield "DFT", DFTEngine(theory)
        return
    engine = ModelEngine(model, kpts=kpts, cutoff_ry=cutoff)
    yield f"model {model}", engine
    yield "DFT", dft_engine_of(engine)
