"""Energies per atom of the elements in their reference phase, by the DFT engine in the same basis.

Gases: half of E(O2), triplet, bond relaxed, in a cubic box. Others: their crystal with a relaxed cell
(`mlh.defects.bulk`), or a given energy. Kept with its settings in a small JSON file per reference, so that
one level of theory calculates its molecule once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers

from mlh.basis.gth.library import cache_folder
from mlh.calculators.dft import DFTCalculator
from mlh.calculators.engines import DFTEngine
from mlh.common.files import intact, read_json, write_json
from mlh.defects.bulk import BULK, bulk_name, bulk_theory, relaxed_bulk
from mlh.dft.theory import Theory
from mlh.relaxation.loop import RelaxSettings, StepCallback, relax

_DIATOMICS = {  # element: (start of the bond length in Angstrom, number of unpaired electrons)
    "H": (0.74, 0),
    "N": (1.10, 0),
    "O": (1.21, 2),
    "F": (1.41, 0),
    "Cl": (1.99, 0),
}

KNOWN = (*_DIATOMICS, *BULK)
"""Elements whose reference is calculated."""

SMAX = 0.1
"""GPa; largest stress of a reference crystal."""


@dataclass(frozen=True)
class Reference:
    """Energy per atom (eV) of an element and how it was obtained."""

    element: str
    energy: float
    phase: str
    bond_length: float | None
    settings: Mapping[str, Any]

    def describe(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "settings": dict(self.settings)}


CalculatorFactory = Callable[[int], Calculator]
"""Unpaired electrons -> spin-polarised calculator with that fixed total spin."""


def diatomic_reference(
    element: str,
    make_calculator: CalculatorFactory,
    settings: Mapping[str, Any],
    *,
    cache: Path | None = None,
    box: float = 7.5,
    fmax: float = 0.02,
    on_step: StepCallback | None = None,
) -> Reference:
    """E(X2)/2 of a gas: bond relaxed to `fmax` (eV/Angstrom) in a cubic box (Angstrom).

    `settings` (plain values, basis fingerprint included) name the level of theory: the key of the cache.
    """
    if element not in _DIATOMICS:
        raise ValueError(f"element: expected one of {sorted(_DIATOMICS)}, got {element!r}")
    bond, unpaired = _DIATOMICS[element]
    full = {**settings, "molecule": f"{element}2", "unpaired_electrons": unpaired, "box": box, "fmax": fmax}
    path = None if cache is None else cache / f"{element}2-{settings_key(full)}.json"
    if path is not None and path.exists():
        return _load(path, full)
    result = relax(
        diatomic(element, bond, box),
        make_calculator(unpaired),
        RelaxSettings(fmax=fmax, max_steps=40),
        on_step=on_step,
    )
    if not result.converged:
        raise RuntimeError(f"{element}2: bond not relaxed, fmax {result.fmax:.3f} eV/A, expected {fmax}")
    length = float(result.atoms.get_distance(0, 1))
    phase = f"{element}2 molecule, {unpaired} unpaired electrons"
    reference = Reference(element, result.energy / 2.0, phase, length, full)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, reference.describe())
    return reference


def bulk_reference(
    element: str,
    theory: Theory,
    *,
    cache: Path | None = None,
    fmax: float = 0.02,
    on_step: StepCallback | None = None,
) -> Reference:
    """Energy per atom of the crystal of an element, cell relaxed, extrapolated to zero smearing.

    theory: basis of the element, grid cutoff, functional and integration; k mesh and smearing are those of
    `bulk_theory`.
    """
    level = bulk_theory(theory)
    full = {**level.describe(), "crystal": bulk_name(element), "fmax": fmax, "smax": SMAX}
    path = None if cache is None else cache / f"{element}-bulk-{settings_key(full)}.json"
    if path is not None and path.exists():
        return _load(path, full)
    result = relaxed_bulk(element, level, fmax, SMAX, on_step)
    reference = Reference(element, result.energy / len(result.atoms), bulk_name(element), None, full)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, reference.describe())
    return reference


def given_reference(element: str, energy: float) -> Reference:
    """An energy per atom (eV) that somebody knows."""
    if element not in atomic_numbers or not math.isfinite(energy):
        raise ValueError(f"reference: expected an element and a finite energy in eV, got {element}={energy}")
    return Reference(element, energy, "given", None, {"given": energy})


def reference_title(element: str) -> str:
    """What is calculated as the reference of an element, in words."""
    return f"{element}2" if element in _DIATOMICS else bulk_name(element) if element in BULK else element


def check_known(element: str, given: Mapping[str, Reference] = MappingProxyType({})) -> None:
    """ValueError, before any work, for an element without a reference."""
    if element not in given and element not in KNOWN:
        molecules, crystals = (", ".join(sorted(names)) for names in (_DIATOMICS, BULK))
        raise ValueError(
            f"reference: expected {element}=ENERGY in eV per atom, because none is calculated for {element} "
            f"(molecules of {molecules}; crystals of {crystals})"
        )


def diatomic(element: str, bond: float, box: float) -> ase.Atoms:
    """X2 along the diagonal of a cubic box (Angstrom), where its images are farthest away."""
    half = 0.5 * bond / np.sqrt(3.0) * np.ones(3)
    # Off the symmetric point of the grid, so that no symmetry of the grid acts on the molecule.
    middle = 0.5 * box * np.ones(3) + np.array([0.031, 0.047, 0.059])
    return ase.Atoms(f"{element}2", [middle - half, middle + half], cell=box * np.eye(3), pbc=True)


def reference_energies(
    elements: Sequence[str],
    engine: DFTEngine,
    *,
    cache: Path | None = None,
    fmax: float = 0.02,
    on_step: StepCallback | None = None,
    given: Mapping[str, Reference] = MappingProxyType({}),
) -> dict[str, Reference]:
    """E_i per atom of each element in its gas or crystal, by DFT; kept in `cache` (default: mlh's cache
    folder). given: those that are known already."""
    for element in elements:
        check_known(element, given)
    folder = cache_folder() / "references" if cache is None else cache
    found: dict[str, Reference] = {}
    for element in elements:
        if element in given:
            found[element] = given[element]
            continue
        basis = engine.subset([element])
        theory = Theory(
            basis,
            engine.theory.cutoff_ry,
            xc=engine.theory.xc,
            integration=engine.theory.integration,
            dispersion=engine.theory.dispersion,
        )
        if element not in _DIATOMICS:
            found[element] = bulk_reference(element, theory, cache=folder, fmax=fmax, on_step=on_step)
            continue
        settings = {key: value for key, value in theory.describe().items() if key != "kpts"}
        molecule = DFTEngine(theory)

        def make(unpaired: int, molecule: DFTEngine = molecule) -> DFTCalculator:
            return molecule.calculator(spin=True, total_moment=float(unpaired))

        found[element] = diatomic_reference(element, make, settings, cache=folder, fmax=fmax, on_step=on_step)
    return found


def settings_key(settings: Mapping[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _load(path: Path, settings: Mapping[str, Any]) -> Reference:
    advice = "remove it, and the reference is calculated again"
    content = read_json(path, advice)
    with intact(path, advice):
        if content["settings"] != json.loads(json.dumps(dict(settings))):
            raise ValueError(f"{path}: holds a reference of other settings; delete the file")
        return Reference(**content)
