"""Species and atoms of OpenMX's input files, also as they are repeated inside ``.scfout`` files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlh.structures.openmx_dat import InputText, OpenMXFormatError


@dataclass(frozen=True)
class Definitions:
    """symbols: chemical symbol of every atom; species: {"Si": ("Si7.0-s2p2d1", "Si_PBE19"), ...}."""

    symbols: tuple[str, ...]
    species: dict[str, tuple[str, str]]


def read_definitions(lines: Sequence[str], where: str) -> Definitions:
    """Species and atoms of an input file; `where` names it in errors."""
    text = InputText(lines, where)
    labels = text.species()
    symbols = []
    for words in text.needed_block("Atoms.SpeciesAndCoordinates"):
        if len(words) < 5 or words[1] not in labels:
            raise OpenMXFormatError(
                f"{where}, <Atoms.SpeciesAndCoordinates: expected a number, one of {', '.join(labels)} and "
                f"coordinates, got {' '.join(words)[:80]!r}"
            )
        symbols.append(labels[words[1]][0])
    return Definitions(tuple(symbols), one_basis(text))


def one_basis(text: InputText) -> dict[str, tuple[str, str]]:
    """Orbitals and potential of every element; an error where an element has several."""
    species: dict[str, tuple[str, str]] = {}
    for symbol, *definition in text.species().values():
        orbitals, potential = definition
        if species.setdefault(symbol, (orbitals, potential)) != (orbitals, potential):
            raise OpenMXFormatError(
                f"{text.where}, <Definition.of.Atomic.Species: expected one basis per element, "
                f"got {species[symbol]} and {(orbitals, potential)} for {symbol}"
            )
    return species


def keyword(lines: Sequence[str], name: str, default: str) -> str:
    """The word after a keyword outside blocks, the last occurrence counts; `default` where it is absent."""
    return InputText(lines, "").word(name, default)
