"""What is calculated: one defect at one place with one charge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase

from mlh.structures import PlacedDefect, vacancy_at
from mlh.structures.defect_names import charge_text


@dataclass(frozen=True, order=True)
class DefectCase:
    """One of them; str, which is also the name of its folder: V_O-12_+1, V_O-12+H_i-3_0."""

    defect: PlacedDefect
    charge: int = 0
    """Of the cell in e: electrons removed."""

    def __str__(self) -> str:
        return f"{self.defect}_{charge_text(self.charge)}"

    def folder(self, parent: Path) -> Path:
        """Where it is relaxed: parent/V_O-12_0, or the parent/vO12 that an earlier version began."""
        new, members = parent / str(self), self.defect.name.members
        if self.charge or len(members) > 1 or members[0].added is not None or members[0].site is None:
            return new
        old = parent / vacancy_name(members[0].site, self.defect.site)
        return old if old.exists() and not new.exists() else new


def vacancy_name(element: str, site: int) -> str:
    """vO12: how neutral vacancies were called when there was nothing else."""
    return f"v{element}{site}"


def vacancy_cases(host: ase.Atoms, sites: Iterable[int]) -> tuple[DefectCase, ...]:
    """Neutral vacancies of these atoms."""
    return tuple(DefectCase(vacancy_at(host, int(site))) for site in sites)


def charged_cases(defects: Sequence[PlacedDefect], charges: Sequence[int]) -> tuple[DefectCase, ...]:
    """Every defect with every charge, the charges of one defect one after the other."""
    return tuple(DefectCase(defect, charge) for defect in defects for charge in charges)
