"""The structure in an input file of OpenMX (``.dat``), and the keywords and blocks of such files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from mlh.common.units import BOHR_ANGSTROM, OPENMX_BOHR_ANGSTROM

_LARGEST_FILE = 1 << 26

FloatArray = NDArray[np.float64]


class OpenMXFormatError(ValueError):
    """A file that is not what OpenMX reads or writes; the message names the file and the place."""


@dataclass(frozen=True)
class InputText:
    """Keywords and blocks of an input file, comments taken off; `where` names it in errors."""

    lines: Sequence[str]
    where: str

    def words(self, name: str) -> list[str]:
        """What follows a keyword, the last occurrence counts; none where it is absent."""
        found: list[str] = []
        for line in self.lines:
            words = line.split("#")[0].split()
            if len(words) >= 2 and words[0].lower() == name.lower():
                found = words[1:]
        return found

    def word(self, name: str, default: str) -> str:
        """The word after a keyword; `default` where it is absent."""
        return next(iter(self.words(name)), default)

    def keywords(self) -> list[str]:
        """All keywords outside blocks, as they are written, once each."""
        names: dict[str, str] = {}
        inside = ""
        for line in self.lines:
            words = line.split("#")[0].split()
            if not words:
                continue
            if inside:
                inside = "" if words[0].lower() == f"{inside}>" else inside
            elif words[0].startswith("<"):
                inside = words[0][1:].lower()
            else:
                names.setdefault(words[0].lower(), words[0])
        return list(names.values())

    def numbers(self, name: str, default: Sequence[float], count: int = 1) -> list[float]:
        """So many finite numbers after a keyword."""
        words = self.words(name)
        if not words:
            return list(default)
        return self.floats(words[:count], count, name)

    def floats(self, words: Sequence[str], count: int, what: str) -> list[float]:
        """Words as finite numbers, or an error that says where."""
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = [np.nan]
        if len(values) != count or not np.isfinite(values).all():
            raise OpenMXFormatError(
                f"{self.where}, {what}: expected {count} numbers, got {' '.join(words)[:80]!r}"
            )
        return values

    def one_of(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """The word after a keyword in small letters, one of those allowed."""
        word = self.word(name, default).lower()
        if word not in allowed:
            raise OpenMXFormatError(
                f"{self.where}, {name}: expected one of {', '.join(allowed)}, got {word!r}"
            )
        return word

    def block(self, tag: str) -> list[list[str]] | None:
        """The rows of ``<tag ... tag>``; None where there is no such block."""
        rows: list[list[str]] | None = None
        for line in self.lines:
            words = line.split("#")[0].split()
            if words and words[0].lower() == f"<{tag}".lower():
                rows = []
            elif words and words[0].lower() == f"{tag}>".lower():
                if rows is not None:
                    return rows
            elif rows is not None and words:
                rows.append(words)
        if rows is not None:
            raise OpenMXFormatError(f"{self.where}: expected the block <{tag} ... {tag}>, got an open one")
        return None

    def needed_block(self, tag: str) -> list[list[str]]:
        """The same; an error where it is missing."""
        rows = self.block(tag)
        if rows is None:
            raise OpenMXFormatError(f"{self.where}: expected the block <{tag} ... {tag}>, got none")
        return rows

    def species(self) -> dict[str, tuple[str, str, str]]:
        """{"hydrogen1": ("H", "H5.0-s1", "H_PBE19")}: element, orbitals and potential of every species.

        The element of a species is how the name of its orbital file begins, whatever the user calls it.
        """
        found: dict[str, tuple[str, str, str]] = {}
        tag = "Definition.of.Atomic.Species"
        for words in self.needed_block(tag):
            symbol = re.match(r"[A-Z][a-z]?", words[1]) if len(words) >= 3 else None
            if symbol is None or symbol.group() not in atomic_numbers:
                expected = "a name, orbitals that begin with an element, and a potential"
                raise OpenMXFormatError(
                    f"{self.where}, <{tag}: expected {expected}, got {' '.join(words)[:80]!r}"
                )
            found[words[0]] = (symbol.group(), words[1], words[2])
        return found


def is_openmx_input(path: str | Path) -> bool:
    """Whether a file holds the block of atoms of an OpenMX input."""
    source = Path(path)
    if not source.is_file() or source.stat().st_size > _LARGEST_FILE:
        return False
    return b"<atoms.speciesandcoordinates" in source.read_bytes().lower()


def read_input_text(path: str | Path) -> InputText:
    """The text of a file."""
    return InputText(Path(path).read_text(encoding="latin-1").splitlines(), str(path))


def openmx_atoms(text: InputText) -> ase.Atoms:
    """Atoms, cell and, where scf.SpinPolarization is on, moments (up - down populations).

    Lengths are kept in Bohr, as OpenMX computes with them: Angstrom differ from the file's in the eighth
    digit, its Bohr being `OPENMX_BOHR_ANGSTROM` of mlh.common.units. Without <Atoms.UnitVectors a molecule
    without a cell.
    """
    cell = _cell(text)
    tag, rows = "Atoms.SpeciesAndCoordinates", text.needed_block("Atoms.SpeciesAndCoordinates")
    labels = text.species()
    number = text.numbers("Atoms.Number", [len(rows)])[0]
    if number != len(rows) or not rows:
        raise OpenMXFormatError(f"{text.where}, <{tag}: expected {number:g} atoms, got {len(rows)}")
    unit = text.one_of(f"{tag}.Unit", "ang", ("ang", "au", "frac"))
    symbols, values, moments = [], [], []
    for words in rows:
        if len(words) < 5 or words[1] not in labels:
            raise OpenMXFormatError(
                f"{text.where}, <{tag}: expected a number, one of {', '.join(labels)} and coordinates, "
                f"got {' '.join(words)[:80]!r}"
            )
        symbols.append(labels[words[1]][0])
        values.append(text.floats(words[2:5], 3, f"<{tag}"))
        spins = text.floats(words[5:7], 2, f"<{tag}") if len(words) >= 7 else [0.0, 0.0]
        moments.append(spins[0] - spins[1])
    if unit == "frac" and cell is None:
        raise OpenMXFormatError(f"{text.where}: expected <Atoms.UnitVectors with coordinates FRAC, got none")
    positions = np.array(values) @ (cell if unit == "frac" and cell is not None else np.eye(3))
    atoms = ase.Atoms(symbols, positions if unit == "frac" else positions * _angstrom(unit))
    if cell is not None:
        atoms.set_cell(cell)
        atoms.pbc = True
    if text.word("scf.SpinPolarization", "off").lower() != "off" and any(moments):
        atoms.set_initial_magnetic_moments(moments)
    return atoms


def _cell(text: InputText) -> FloatArray | None:
    """Rows, Angstrom; None where OpenMX makes a box itself."""
    rows = text.block("Atoms.UnitVectors")
    if rows is None:
        return None
    if len(rows) != 3:
        raise OpenMXFormatError(f"{text.where}, <Atoms.UnitVectors: expected 3 rows, got {len(rows)}")
    vectors = np.array([text.floats(row[:3], 3, "<Atoms.UnitVectors") for row in rows])
    cell: FloatArray = vectors * _angstrom(text.one_of("Atoms.UnitVectors.Unit", "ang", ("ang", "au")))
    return cell


def _angstrom(unit: str) -> float:
    """A length of the file in mlh's Angstrom."""
    return BOHR_ANGSTROM if unit == "au" else BOHR_ANGSTROM / OPENMX_BOHR_ANGSTROM
