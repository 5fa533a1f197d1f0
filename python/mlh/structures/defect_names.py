"""Names of point defects as doped, pymatgen and pydefect write them: what is there, and where.

    V_O       oxygen vacancy (also v_O, Va_O)       H_i     hydrogen interstitial
    Si_O      silicon on an oxygen site             V_O+H_i complex: both beside each other

The charge is no part of the name here; with it, as doped writes it: V_O_+2, H_i_-1, Si_O_0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ase.data import atomic_numbers

_VACANCY = ("V", "v", "Va", "va", "Vac", "vac")
"""Spellings of nothing: with a site V is no vanadium, which only its interstitial V_i can be."""

_FORM = "a name such as V_O (vacancy), H_i (interstitial), Si_O (silicon on oxygen) or V_O+H_i (both)"


@dataclass(frozen=True, order=True)
class PointDefect:
    """One of them. added: element that is put there, None for a vacancy; site: element whose place it takes,
    None for an interstitial."""

    added: str | None
    site: str | None

    def __str__(self) -> str:
        return f"{self.added or 'V'}_{self.site or 'i'}"


@dataclass(frozen=True, order=True)
class DefectName:
    """One point defect, or several of one complex in the order of their names."""

    members: tuple[PointDefect, ...]

    @classmethod
    def parse(cls, text: str) -> DefectName:
        """V_O, Si_O, H_i, V_O+H_i; ValueError in words for anything else."""
        return cls(tuple(_parse_one(part, text) for part in text.split("+")))

    def __str__(self) -> str:
        return "+".join(map(str, self.members))

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements that come or go: those whose reference energies count. Sorted."""
        return tuple(sorted({e for m in self.members for e in (m.added, m.site) if e is not None}))


def _parse_one(part: str, text: str) -> PointDefect:
    found = re.fullmatch(r"([A-Za-z]+)_([A-Za-z]+)", part.strip())
    if found is None:
        raise ValueError(f"defect: expected {_FORM}, got {text!r}")
    what, where = found.groups()
    if where == "i":
        return PointDefect(_element(what, text), None)
    site = _element(where, text)
    if what in _VACANCY:
        return PointDefect(None, site)
    added = _element(what, text)
    if added == site:
        raise ValueError(f"defect: expected another element on the site of {site}, got {text!r}")
    return PointDefect(added, site)


def _element(symbol: str, text: str) -> str:
    if symbol not in atomic_numbers or symbol == "X":
        raise ValueError(f"defect: expected {_FORM}, got {text!r} ({symbol} is no element)")
    return symbol


def charge_text(charge: int) -> str:
    """+1, 0, -2: as it stands at the end of a name."""
    return f"{charge:+d}" if charge else "0"
