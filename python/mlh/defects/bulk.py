"""Reference energies of elements that are crystals: cell and positions relaxed by the DFT engine."""

from __future__ import annotations

from dataclasses import replace

import ase
import spglib
from ase.build import bulk

from mlh.calculators.engines import DFTEngine
from mlh.dft.theory import Theory
from mlh.relaxation.loop import RelaxResult, RelaxSettings, StepCallback, relax
from mlh.structures import crystal

_SHIPPED = {"Si": "silicon"}
"""Crystals of `mlh.structures.CRYSTALS`."""

_SIMPLE = {
    **dict.fromkeys(("C", "Ge"), "diamond"),
    **{"Na": "bcc", "Al": "fcc"},
    **dict.fromkeys(("Mg", "Ti", "Zn", "Zr", "Hf"), "hcp"),
}
"""Elements of one lattice parameter, or two: the start of the relaxation is ASE's."""

K_SPACING, SMEARING_EV = 0.2, 0.1
"""1/Angstrom, 2 pi included, and eV: metals to a few meV per atom."""

BULK = (*_SHIPPED, *_SIMPLE)
"""Elements whose crystal is known here."""


def bulk_name(element: str) -> str:
    """The crystal of an element in words."""
    return _SHIPPED.get(element) or f"{_SIMPLE[element]} {element}"


def bulk_crystal(element: str) -> ase.Atoms:
    """Primitive cell of the crystal of an element of `BULK`."""
    if element not in _SHIPPED:
        return bulk(element, _SIMPLE[element])
    whole = crystal(_SHIPPED[element])
    cell = (whole.cell[:], whole.get_scaled_positions(), whole.numbers)
    vectors, places, numbers = spglib.find_primitive(cell, symprec=1e-5)
    return ase.Atoms(numbers, cell=vectors, scaled_positions=places, pbc=True)


def bulk_theory(theory: Theory) -> Theory:
    """The level of a reference crystal: spin-unpolarised, with a k mesh and smeared occupations."""
    return replace(
        theory,
        kpts={"spacing": K_SPACING},
        smearing_ev=SMEARING_EV,
        spin=False,
        total_moment=None,
        grid_shape=None,
    )


def relaxed_bulk(
    element: str, theory: Theory, fmax: float, smax: float, on_step: StepCallback | None = None
) -> RelaxResult:
    """The crystal with the cell that this level of theory gives it; forces in eV/A, stress in GPa."""
    calculator = DFTEngine(theory).calculator()
    atoms = bulk_crystal(element)
    calculator.hold_grid(atoms)
    settings = RelaxSettings(fmax=fmax, smax=smax, max_steps=60, cell="full")
    result = relax(atoms, calculator, settings, on_step=on_step)
    if not result.converged:
        raise RuntimeError(f"{bulk_name(element)}: cell not relaxed to {smax} GPa in 60 steps")
    return result
