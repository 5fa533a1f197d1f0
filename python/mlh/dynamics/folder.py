"""The folder of a run: made, cleared, refused, or gone on with; and the cell that its atoms have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
from ase.calculators.calculator import Calculator

from mlh.common.files import read_json, require_place
from mlh.relaxation.identity import held, require_same
from mlh.structures.files import structure_hash


def identity_of(atoms: ase.Atoms, engine: Mapping[str, Any]) -> dict[str, Any]:
    """What a run must have in common with the one that it goes on with."""
    return {
        "structure_hash": structure_hash(atoms),
        "formula": atoms.get_chemical_formula(),
        "engine": dict(engine),
        **held(atoms),
    }


def open_folder(
    target: Path,
    files: Sequence[str],
    identity: Mapping[str, Any],
    *,
    what: str,
    resume: bool = False,
    overwrite: bool = False,
) -> bool:
    """Make or clear the folder; True where it holds an earlier run of the same, to go on with.

    files: patterns of what such a run writes, the first is its summary (JSON). what: its name in messages.
    """
    if resume and overwrite:
        raise ValueError(f"{what}: expected one of resume and overwrite, got both")
    require_place(target)
    existing = [path for pattern in files for path in sorted(target.glob(pattern))]
    if existing and not (resume or overwrite):
        names = ", ".join(path.name for path in existing[:4])
        raise FileExistsError(
            f"{target}: holds a {what} already ({names}); resume it, overwrite it or choose another folder"
        )
    going_on = resume and (target / files[0]).exists()
    if going_on:
        require_same(read_json(target / files[0]), identity, target, what)
    target.mkdir(parents=True, exist_ok=True)
    for path in [] if going_on else existing:
        path.unlink()
    return going_on


def with_cell(atoms: ase.Atoms, calculator: Calculator) -> ase.Atoms:
    """Copy with three cell vectors, the same for every geometry of a run: those that a calculator of mlh
    gives a molecule at its first geometry."""
    copy = atoms.copy()
    copy.calc = None
    if atoms.cell.rank == 3:
        return copy
    if not hasattr(calculator, "system_for"):
        raise ValueError(f"atoms: expected three cell vectors, got a cell of rank {atoms.cell.rank}")
    copy.set_cell(calculator.system_for(atoms)[1].cell)
    return copy


def plain_forces_word(results: Mapping[str, Any]) -> str:
    """A sentence where the forces are not the gradient of the energy; empty where they are."""
    if results.get("forces_exact", True):
        return ""
    return (
        "the forces are plain, without the response of the density matrix: not the gradient of the energy, "
        "which is not conserved"
    )
