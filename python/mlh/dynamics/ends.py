"""The two ends of a path: the same atoms in the same order and cell, by the shortest ways."""

from __future__ import annotations

import ase
import numpy as np
from ase.geometry import find_mic
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

SAME_PLACE = 0.5
"""Angstrom. An atom this near to the place of another at the other end, not to its own, stands there."""

LARGEST = 2000
"""Atoms above which nobody looks whether another order fits better, at a cost of the third power."""


def matched_end(start: ase.Atoms, end: ase.Atoms, any_order: bool = False) -> ase.Atoms:
    """END with every atom at the image that is nearest to where START has it; ValueError in words where the
    ends do not belong together. any_order: atoms that take each other's places are meant to."""
    if len(start) != len(end):
        raise ValueError(
            f"end: expected the {len(start)} atoms of the start ({start.get_chemical_formula()}), got "
            f"{len(end)} ({end.get_chemical_formula()})"
        )
    _require_elements(start, end)
    if not (start.pbc == end.pbc).all():
        raise ValueError(f"end: expected the periodicity of the start, {start.pbc}, got {end.pbc}")
    difference = float(np.abs(start.cell.array - end.cell.array).max())
    if difference > 1e-4:
        raise ValueError(
            f"end: expected the cell of the start, got vectors that differ by {difference:.4f} A; relax both "
            "ends in one cell"
        )
    moved, lengths = find_mic(end.positions - start.positions, start.cell, start.pbc)
    if lengths.max() < 1e-3:
        raise ValueError("end: expected another geometry than the start, got the same")
    if not any_order:
        _require_order(start, end, lengths)
    result = end.copy()
    result.set_constraint(start.constraints)
    result.set_positions(start.positions + moved, apply_constraint=False)
    _require_constraints(start, result)
    return result


def _require_elements(start: ase.Atoms, end: ase.Atoms) -> None:
    other = np.flatnonzero(start.numbers != end.numbers)
    if not len(other):
        return
    atom = int(other[0])
    a, b = start.get_chemical_symbols(), end.get_chemical_symbols()
    if sorted(a) != sorted(b):
        formulas = start.get_chemical_formula(), end.get_chemical_formula()
        raise ValueError(f"end: expected the elements of the start ({formulas[0]}), got {formulas[1]}")
    raise ValueError(
        f"end: expected the atoms in the order of the start; atom {atom} is {a[atom]} there, {b[atom]} here"
    )


def _require_order(start: ase.Atoms, end: ase.Atoms, lengths: NDArray[np.float64]) -> None:
    """Another order of equal atoms would be the way from one to the other through all of them."""
    for element in np.unique(start.numbers):
        atoms = np.flatnonzero(start.numbers == element)
        if len(atoms) > LARGEST:
            continue
        pairs = end.positions[None, atoms] - start.positions[atoms, None]
        distances = find_mic(pairs.reshape(-1, 3), start.cell, start.pbc)[1].reshape(len(atoms), -1)
        better = linear_sum_assignment(distances**2)[1]
        wrong = [
            (int(atoms[k]), int(atoms[other]))
            for k, other in enumerate(better)
            if other != k and distances[k, other] < SAME_PLACE < lengths[atoms[k]]
        ]
        if wrong:
            atom, other = wrong[0]
            raise ValueError(
                f"end: expected the atoms in the order of the start; where atom {atom} is at the start, "
                f"atom {other} is at the end, and atom {atom} is {lengths[atom]:.2f} A away "
                f"({len(wrong)} such atoms); any_order=True if they are meant to change places"
            )


def _require_constraints(start: ase.Atoms, end: ase.Atoms) -> None:
    """An atom that is held where it is at the start cannot be elsewhere at the end."""
    bound = start.copy()
    bound.set_positions(end.positions)  # as far as the constraints let it
    apart = np.linalg.norm(bound.positions - end.positions, axis=1)
    if apart.max() > 1e-3:
        atom = int(np.argmax(apart))
        raise ValueError(
            f"end: expected atoms that are held to be where the start has them; atom {atom} is "
            f"{apart[atom]:.3f} A from there"
        )
