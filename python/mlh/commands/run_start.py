"""How a run of one structure begins: its atoms and its engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ase

from mlh.calculators.engines import Engine
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions, engine_of
from mlh.dynamics.folder import with_cell
from mlh.structures import load_structure


@dataclass(frozen=True)
class RunStart:
    """Atoms with the cell that the engine gives them, and what calculates them."""

    atoms: ase.Atoms
    engine: Engine
    calculator: Any


def run_start(
    structure: str, index: int | None, engine: EngineOptions, theory: TheoryOptions, solver: SolverOptions
) -> RunStart:
    """Before the work: errors for structures, elements and options that do not fit."""
    atoms = load_structure(structure, index)
    chosen = engine_of(engine, theory, atoms, solver)
    calculator = chosen.calculator()
    calculator.check_elements(atoms)
    return RunStart(with_cell(atoms, calculator), chosen, calculator)
