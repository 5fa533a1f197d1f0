"""Structures of a command that takes several of them: each with its engine and the name of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase

from mlh.calculators.engines import Engine
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions, engine_of
from mlh.structures import load_structure


@dataclass(frozen=True)
class Start:
    """One of the structures, by the name of its folder."""

    label: str
    atoms: ase.Atoms
    engine: Engine


def starts_of(
    names: Sequence[str],
    index: int | None,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    at_once: int = 1,
) -> list[Start]:
    """Every structure with its engine. at_once: so many calculations have to fit into the memory."""
    if index is not None and len(names) > 1:
        raise ValueError(f"--index: expected with one structure, got {len(names)}")
    loaded = [load_structure(name, index) for name in names]
    return [
        Start(label, atoms, engine_of(engine, theory, atoms, solver, at_once))
        for label, atoms in zip(labels_of(names), loaded, strict=True)
    ]


def labels_of(structures: Sequence[str]) -> list[str]:
    """Names of their folders; ValueError where two structures would share one."""
    labels = [Path(text).stem.replace(":", "-") for text in structures]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(
            f"structures: expected different names, which their folders have, got {', '.join(twice)} again"
        )
    return labels
