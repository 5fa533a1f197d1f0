"""A pseudopotential from a file of any of the formats."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ase.data import atomic_numbers, chemical_symbols

from mlh.basis.files.content import FileContent, SourceText, read_source
from mlh.basis.files.psml import is_psml, read_psml
from mlh.basis.files.psp8 import is_psp8, read_psp8
from mlh.basis.files.tabulated import TabulatedPotential, from_content
from mlh.basis.files.upf import is_upf, read_upf
from mlh.common.files import intact

SUFFIXES = (".upf", ".psp8", ".psml")


def read_pseudopotential(path: str | os.PathLike[str]) -> TabulatedPotential:
    """The norm-conserving pseudopotential of a UPF 2, psp8 or PSML file.

    WrongPseudopotentialError: an ultrasoft, PAW or spin-orbit file, another functional than the core has;
    DamagedFileError: a file that is none of these, or cut off.
    """
    source = read_source(Path(path))
    with intact(path):
        return from_content(_content(source), source)


def element_of(path: Path) -> str | None:
    """The element that a file names in its head; None where there is none: quick, the rest is not read."""
    with open(path, "rb") as stream:
        text = stream.read(2**17).decode("latin-1")
    lines = text.split("\n", 3)
    if len(lines) > 3 and "pspcod" in lines[2]:
        number = re.match(r"\s*(\d+)", lines[1])
        found = chemical_symbols[int(number[1])] if number and int(number[1]) < len(chemical_symbols) else ""
    else:
        named = re.search(r"\b(?:atomic-label|element)\s*=\s*\"\s*([A-Za-z]{1,2})\s*\"", text)
        old = re.search(r"^\s*([A-Z][a-z]?)\s+Element\b", text, re.MULTILINE)  # UPF version 1
        found = (named or old or [""] * 2)[1].capitalize()
    return found if found in atomic_numbers else None


def _content(source: SourceText) -> FileContent:
    if is_psml(source):
        return read_psml(source)
    if is_psp8(source):
        return read_psp8(source)
    if is_upf(source):
        return read_upf(source)
    raise source.damaged("expected UPF 2, psp8 or PSML")
