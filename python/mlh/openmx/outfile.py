"""Energies and forces of a finished OpenMX calculation, from its ``.out`` file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlh.openmx.text import OpenMXFormatError

_LARGEST_FILE = 1 << 30

ENERGY_NAMES = (
    *("Ukin", "UH0", "UH1", "Una", "Unl", "Uxc0", "Uxc1", "Ucore"),
    *("Uhub", "Ucs", "Uzs", "Uzo", "Uef", "UvdW", "Uch"),
)
"""Contributions whose sum is Utot."""


@dataclass(frozen=True)
class OutFile:
    """energies: contributions of ENERGY_NAMES, Hartree. species: the run's names of them. positions (n, 3):
    Angstrom with five decimals. forces (n, 3): Hartree/Bohr. scf_steps: of the last geometry. residual: its
    last NormRD (density).
    """

    energies: dict[str, float]
    species: tuple[str, ...]
    positions: NDArray[np.float64]
    forces: NDArray[np.float64]
    scf_steps: int
    residual: float

    @property
    def total(self) -> float:
        """Utot, Hartree: it has no entropy term."""
        return sum(self.energies.values())


def read_out(path: str | os.PathLike[str]) -> OutFile:
    """Read the last geometry of an ``.out`` file; OpenMXFormatError names the file and what is missing."""
    source = Path(path)
    if source.stat().st_size > _LARGEST_FILE:
        raise OpenMXFormatError(f"{source}: expected at most {_LARGEST_FILE} bytes, got more")
    text = source.read_text(encoding="latin-1")
    energies = {name: _energy(source, text, name) for name in ENERGY_NAMES}
    printed = _energy(source, text, "Utot")
    if abs(printed - sum(energies.values())) > 1e-8 * max(1.0, abs(printed)):
        raise OpenMXFormatError(
            f"{source}: expected Utot {printed:.9f} as the sum of its contributions, "
            f"got {sum(energies.values()):.9f}"
        )
    species, numbers = _forces(source, text)
    steps = re.findall(r"^ *SCF= *([0-9]+) +NormRD= *([-+.0-9eE]+)", text, re.MULTILINE)
    if not steps:
        raise OpenMXFormatError(f"{source}: expected the SCF history, found none")
    residual = _number(source, "NormRD", steps[-1][1])
    return OutFile(energies, species, numbers[:, :3], numbers[:, 3:], int(steps[-1][0]), residual)


def _energy(source: Path, text: str, name: str) -> float:
    found = re.findall(rf"^ *{name}\. +(\S+)", text, re.MULTILINE)
    if not found:
        raise OpenMXFormatError(f"{source}: expected the line {name!r} of the total energy, found none")
    return _number(source, name, found[-1])


def _number(source: Path, name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise OpenMXFormatError(f"{source}, {name}: expected a number, got {word[:40]!r}")
    return value


def _forces(source: Path, text: str) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The rows of <coordinates.forces: number, species, position in Angstrom, force in Hartree/Bohr."""
    where = f"{source}, <coordinates.forces"
    blocks = re.findall(r"^<coordinates\.forces\n(.*?)^coordinates\.forces>", text, re.MULTILINE | re.DOTALL)
    if not blocks:
        raise OpenMXFormatError(f"{where}: expected this block, found none: the calculation has not finished")
    rows = [line.split() for line in blocks[-1].splitlines()]
    if not rows or len(rows[0]) != 1 or rows[0][0] != str(len(rows) - 1):
        raise OpenMXFormatError(f"{where}: expected the number of atoms, then as many rows")
    short = next((row for row in rows[1:] if len(row) != 8), None)
    if short is not None:
        raise OpenMXFormatError(f"{where}: expected 8 columns, got {' '.join(short)[:80]!r}")
    numbers = np.array([[_number(source, "coordinates.forces", w) for w in row[2:]] for row in rows[1:]])
    return tuple(row[1] for row in rows[1:]), numbers.reshape(-1, 6)
