"""The verification set of Bosoni et al., Nat. Rev. Phys. 6, 45 (2024): crystals and their equations of state.

For every element four crystals of its own and six oxides, PBE, no spin, scalar relativistic, with the mean of
FLEUR and WIEN2k as reference (`data/acwf.json`; MIT licence, source in the file).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

import numpy as np
from ase import Atoms

from mlh.common.choices import check_choice
from mlh.verification.eos import EquationOfState

Set = Literal["unaries", "oxides"]
UNARIES = ("X/SC", "X/BCC", "X/FCC", "X/Diamond")
OXIDES = ("X2O", "XO", "X2O3", "XO2", "X2O5", "XO3")


@dataclass(frozen=True)
class VerificationSystem:
    """One crystal. reference: of the cell of `atoms`, which has the reference volume. others: epsilon of
    published codes by name."""

    name: str
    element: str
    kind: Set
    atoms: Atoms
    reference: EquationOfState
    others: dict[str, float]

    def at(self, ratio: float) -> Atoms:
        """The crystal at a part of the reference volume."""
        scaled = self.atoms.copy()
        scaled.set_cell(self.atoms.cell * ratio ** (1.0 / 3.0), scale_atoms=True)
        return scaled


@cache
def _table() -> dict[str, Any]:
    with resources.files("mlh").joinpath("data", "acwf.json").open(encoding="utf-8") as file:
        content: dict[str, Any] = json.load(file)
    return content


def codes() -> dict[str, str]:
    """Published codes of the table, short name: name and settings."""
    return dict(_table()["codes"])


def elements() -> tuple[str, ...]:
    """Elements of the table."""
    return tuple(dict.fromkeys(name.split("-", 1)[0] for name in _table()["systems"]))


def systems(chosen: Iterable[str], sets: Sequence[str] = get_args(Set)) -> tuple[VerificationSystem, ...]:
    """The crystals of some elements, unaries first; an oxide of oxygen is a crystal of oxygen.

    ValueError for no element, or one that the table does not have.
    """
    for kind in sets:
        check_choice("set", kind, Set)
    wanted = tuple(dict.fromkeys(chosen))
    if not wanted:
        raise ValueError("elements: expected one or more, got none")
    if unknown := [symbol for symbol in wanted if symbol not in elements()]:
        raise ValueError(
            f"elements: expected elements of the set ({' '.join(elements())}), got {', '.join(unknown)}"
        )
    kinds = {"unaries": UNARIES, "oxides": OXIDES}
    return tuple(
        _system(f"{symbol}-{crystal}", symbol, kind)
        for symbol in wanted
        for kind in get_args(Set)
        if kind in sets
        for crystal in kinds[kind]
        if f"{symbol}-{crystal}" in _table()["systems"]
    )


def _system(name: str, element: str, kind: Set) -> VerificationSystem:
    entry = _table()["systems"][name]
    atoms = Atoms(
        entry["symbols"].split(),
        cell=np.array(entry["cell"]),
        scaled_positions=np.array(entry["positions"]),
        pbc=True,
    )
    reference = EquationOfState(entry["V0"], entry["B0"], entry["B1"])
    return VerificationSystem(name, element, kind, atoms, reference, dict(entry["epsilon"]))
