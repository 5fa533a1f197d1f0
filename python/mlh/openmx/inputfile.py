"""Input files of OpenMX (``.dat``), also as they are repeated inside ``.scfout`` files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mlh.openmx.text import OpenMXFormatError


@dataclass(frozen=True)
class Definitions:
    """symbols: chemical symbol of every atom; species: {"Si": ("Si7.0-s2p2d1", "Si_PBE19"), ...}."""

    symbols: tuple[str, ...]
    species: dict[str, tuple[str, str]]


def read_definitions(lines: Sequence[str], where: str) -> Definitions:
    """Species and atoms of an input file; `where` names it in errors.

    The chemical symbol of a species is how the name of its orbital file begins, whatever the user calls it.
    """
    labels: dict[str, str] = {}
    species: dict[str, tuple[str, str]] = {}
    for words in _block(lines, "Definition.of.Atomic.Species", where):
        found = re.match(r"[A-Z][a-z]?", words[1]) if len(words) >= 3 else None
        if found is None:
            raise OpenMXFormatError(
                f"{where}, <Definition.of.Atomic.Species: expected a name, orbitals and a potential, "
                f"got {' '.join(words)[:80]!r}"
            )
        symbol, definition = found.group(), (words[1], words[2])
        if species.setdefault(symbol, definition) != definition:
            raise OpenMXFormatError(
                f"{where}, <Definition.of.Atomic.Species: expected one basis per element, "
                f"got {species[symbol]} and {definition} for {symbol}"
            )
        labels[words[0]] = symbol
    symbols = []
    for words in _block(lines, "Atoms.SpeciesAndCoordinates", where):
        if len(words) < 5 or words[1] not in labels:
            raise OpenMXFormatError(
                f"{where}, <Atoms.SpeciesAndCoordinates: expected a number, one of {', '.join(labels)} and "
                f"coordinates, got {' '.join(words)[:80]!r}"
            )
        symbols.append(labels[words[1]])
    return Definitions(tuple(symbols), species)


def keyword(lines: Sequence[str], name: str, default: str) -> str:
    """The word after a keyword outside blocks, the last occurrence counts; `default` where it is absent."""
    value = default
    for line in lines:
        words = line.split("#")[0].split()
        if len(words) >= 2 and words[0].lower() == name.lower():
            value = words[1]
    return value


def _block(lines: Sequence[str], tag: str, where: str) -> list[list[str]]:
    rows: list[list[str]] | None = None
    for line in lines:
        words = line.split("#")[0].split()
        if words and words[0].lower() == f"<{tag}".lower():
            rows = []
        elif words and words[0].lower() == f"{tag}>".lower():
            if rows is not None:
                return rows
        elif rows is not None and words:
            rows.append(words)
    found = "an open one" if rows is not None else "none"
    raise OpenMXFormatError(f"{where}: expected the block <{tag} ... {tag}>, got {found}")
