"""Before the work: whether it fits in the memory of this machine."""

from __future__ import annotations

from dataclasses import replace

from ase import Atoms

from mlh.calculators.engines import Engine
from mlh.calculators.estimate import GB, Estimate, estimate, machine_memory, of_counts
from mlh.solver import Dense, Localized


def require_memory(atoms: Atoms, engine: Engine, beyond: bool = False, processes: int = 1) -> None:
    """An error in words where so many processes of this calculation need more memory than there is.

    beyond: not even then.
    """
    there = machine_memory()
    if there is None or beyond:
        return
    needed = estimate(atoms, engine)
    if processes * needed.memory <= there:
        return
    several = f"{processes} processes of " if processes > 1 else ""
    raise ValueError(
        f"memory: {several}{needed.counts.atoms} atoms, {needed.counts.orbitals} orbitals, need about "
        f"{processes * needed.memory / GB:.0f} GB, this machine has {there / GB:.0f}"
        f"{_other(needed, engine, there, processes)}; --beyond-memory starts it nevertheless"
    )


def _other(needed: Estimate, engine: Engine, there: float, processes: int) -> str:
    """What would fit, where something does."""
    if isinstance(engine.solver, Dense) and needed.counts.kpoints == 1:
        lean = processes * of_counts(needed.counts, replace(engine, solver=Localized())).memory
        if lean <= there:
            return f"; --method localized, for insulators, about {lean / GB:.0f}"
    if processes > 1 and needed.memory <= there:
        return f"; one process {needed.memory / GB:.0f}"
    return ""
