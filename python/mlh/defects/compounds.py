"""Formation energies of compounds that limit chemical potentials: cell and atoms relaxed by the DFT engine,
and kept with their settings like the references of the elements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase

from mlh.basis.gth.library import cache_folder
from mlh.calculators.engines import DFTEngine
from mlh.common.files import intact, read_json, write_json
from mlh.defects.bulk import bulk_theory, relaxed_crystal
from mlh.defects.conditions import Compound, compound_of
from mlh.defects.references import SMAX, Reference, settings_key
from mlh.dft.theory import Theory
from mlh.relaxation.loop import StepCallback
from mlh.structures.files import structure_hash


def relaxed_compound(
    atoms: ase.Atoms,
    engine: DFTEngine,
    references: Mapping[str, Reference],
    *,
    cache: Path | None = None,
    fmax: float = 0.02,
    on_step: StepCallback | None = None,
) -> Compound:
    """The phase of these atoms, a cell of its crystal; k mesh and smearing as of the crystals of elements."""
    theory = Theory(
        engine.subset(sorted(set(atoms.get_chemical_symbols()))),
        engine.theory.cutoff_ry,
        xc=engine.theory.xc,
        integration=engine.theory.integration,
        dispersion=engine.theory.dispersion,
    )
    level, name = bulk_theory(theory), atoms.get_chemical_formula("metal")
    settings: dict[str, Any] = {
        **level.describe(),
        "atoms": structure_hash(atoms),
        "fmax": fmax,
        "smax": SMAX,
    }
    folder = cache_folder() / "references" if cache is None else cache
    path = folder / f"{name}-compound-{settings_key(settings)}.json"
    if path.exists():
        with intact(path, "remove it, and it is calculated again"):
            energy = float(read_json(path)["energy"])
    else:
        energy = relaxed_crystal(atoms, level, name, fmax, SMAX, on_step).energy
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"energy": energy, "settings": json.loads(json.dumps(settings))})
    return compound_of(atoms, energy, {element: r.energy for element, r in references.items()})


def elements_of(structures: Sequence[ase.Atoms]) -> tuple[str, ...]:
    """All elements of some structures, sorted."""
    return tuple(sorted({symbol for atoms in structures for symbol in atoms.get_chemical_symbols()}))
