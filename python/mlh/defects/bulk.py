"""Reference energies of elements that are crystals: cell and positions relaxed by the DFT engine."""

from __future__ import annotations

from dataclasses import replace

import ase
import spglib
from ase.build import bulk

from mlh.calculators.engines import DFTEngine
from mlh.dft.theory import Theory
from mlh.relaxation.loop import RelaxResult, RelaxSettings, StepCallback, relax
from mlh.structures import CrystalData, crystal
from mlh.structures.crystals import built_crystal

_SHIPPED = {"Si": "silicon"}
"""Crystals of `mlh.structures.CRYSTALS`."""

_TABLE = {
    "B": CrystalData(
        "alpha boron",
        166,
        (4.908, 4.908, 12.567, 90.0, 90.0, 120.0),
        (("B", (0.1189, -0.1189, 0.8913)), ("B", (0.1969, -0.1969, 0.0243))),
        36,
        "Will, Kiefer, Zeitschrift fuer anorganische und allgemeine Chemie 627, 2100 (2001); R-3m",
    ),
    "P": CrystalData(
        "black phosphorus",
        64,
        (3.3136, 10.478, 4.3763, 90.0, 90.0, 90.0),
        (("P", (0.0, 0.10168, 0.08056)),),
        8,
        "Brown, Rundqvist, Acta Crystallographica 19, 684 (1965); Cmce",
    ),
    "Ga": CrystalData(
        "alpha gallium",
        64,
        (4.5192, 7.6586, 4.5258, 90.0, 90.0, 90.0),
        (("Ga", (0.0, 0.1539, 0.0810)),),
        8,
        "Sharma, Donohue, Zeitschrift fuer Kristallographie 117, 293 (1962); Cmce",
    ),
    "As": CrystalData(
        "grey arsenic",
        166,
        (3.7598, 3.7598, 10.5475, 90.0, 90.0, 120.0),
        (("As", (0.0, 0.0, 0.22707)),),
        6,
        "Schiferl, Barrett, Journal of Applied Crystallography 2, 30 (1969); R-3m",
    ),
}
"""Elements whose crystal has free coordinates. Of sulphur, with 128 atoms in its cell, none is calculated."""

_SIMPLE = {
    **dict.fromkeys(("C", "Ge"), "diamond"),
    **{"Na": "bcc", "Al": "fcc"},
    **dict.fromkeys(("Mg", "Ti", "Zn", "Zr", "Hf"), "hcp"),
}
"""Elements of one lattice parameter, or two: the start of the relaxation is ASE's."""

_MAX_STEPS = 60
K_SPACING, SMEARING_EV = 0.2, 0.1
"""1/Angstrom, 2 pi included, and eV: metals to a few meV per atom."""

BULK = (*_SHIPPED, *_TABLE, *_SIMPLE)
"""Elements whose crystal is known here."""


def bulk_name(element: str) -> str:
    """The crystal of an element in words."""
    if element in _TABLE:
        return _TABLE[element].name
    return _SHIPPED.get(element) or f"{_SIMPLE[element]} {element}"


def bulk_crystal(element: str) -> ase.Atoms:
    """Primitive cell of the crystal of an element of `BULK`."""
    if element in _SIMPLE:
        return bulk(element, _SIMPLE[element])
    whole = crystal(_SHIPPED[element]) if element in _SHIPPED else built_crystal(_TABLE[element])
    cell = (whole.cell[:], whole.get_scaled_positions(), whole.numbers)
    vectors, places, numbers = spglib.find_primitive(cell, symprec=1e-5)
    return ase.Atoms(numbers, cell=vectors, scaled_positions=places, pbc=True)


def bulk_theory(theory: Theory) -> Theory:
    """The level of a reference crystal: neutral, spin-unpolarised, with a k mesh and smeared occupations."""
    return replace(
        theory,
        kpts={"spacing": K_SPACING},
        smearing_ev=SMEARING_EV,
        spin=False,
        total_moment=None,
        grid_shape=None,
        charge=0.0,
        spin_states=(),
    )


def relaxed_bulk(
    element: str, theory: Theory, fmax: float, smax: float, on_step: StepCallback | None = None
) -> RelaxResult:
    """The crystal with the cell that this level of theory gives it; forces in eV/A, stress in GPa."""
    return relaxed_crystal(bulk_crystal(element), theory, bulk_name(element), fmax, smax, on_step)


def relaxed_crystal(
    atoms: ase.Atoms,
    theory: Theory,
    name: str,
    fmax: float,
    smax: float,
    on_step: StepCallback | None = None,
) -> RelaxResult:
    """Any crystal so; RuntimeError with its name where it does not get there."""
    calculator = DFTEngine(theory).calculator()
    calculator.hold_grid(atoms)
    settings = RelaxSettings(fmax=fmax, smax=smax, max_steps=_MAX_STEPS, cell="full")
    result = relax(atoms, calculator, settings, on_step=on_step)
    if not result.converged:
        raise RuntimeError(f"{name}: cell not relaxed to {smax} GPa in {_MAX_STEPS} steps")
    return result
