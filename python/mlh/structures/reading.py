"""One structure out of a file in the formats of the field; what is wrong with the file in one line."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ase
import ase.io
from ase.data import atomic_numbers
from ase.io.formats import UnknownFileTypeError, filetype, open_with_compression

from mlh.structures.openmx_dat import is_openmx_input, openmx_atoms, read_input_text

_log = logging.getLogger("mlh.structures")

ISOTOPES = {"D": ("H", 2.01410178), "T": ("H", 3.01604928)}
"""Symbols of isotopes: the element, and the mass in u."""


class StructureError(ValueError):
    """A file that holds no usable structure; the message is one line that names it."""


@dataclass(frozen=True)
class _Frame:
    """The text of one structure as ASE reads it, and the masses of its isotopes by atom."""

    text: str
    masses: Mapping[int, float] = field(default_factory=dict)


def read_structure(path: Path, index: int | None = None) -> ase.Atoms:
    """The structure of a file; of several frames the last, with a word, or the one asked for.

    index: of the frame, from 0, or from the end: -1. D and T are hydrogen with the mass of the isotope.
    StructureError where sites are occupied in part.
    """
    label = f"structure {path}"
    if path.stat().st_size == 0:
        raise StructureError(f"{label}: expected a structure, got an empty file")
    if is_openmx_input(path):
        _chosen(1, index, label)
        return openmx_atoms(read_input_text(path))
    try:
        kind = filetype(str(path), read=True)
    except Exception as error:
        raise _unreadable(label, error) from None
    if kind == "extxyz":
        frames = _xyz_frames(_text(path), label)
        atoms = _from_text(frames[_chosen(len(frames), index, label)], kind, label)
    elif kind == "vasp":
        _chosen(1, index, label)
        atoms = _from_text(_poscar(_text(path)), kind, label)
    else:
        listed = _by_ase(path, kind, label)
        atoms = listed[_chosen(len(listed), index, label)]
    if len(atoms) == 0:
        raise StructureError(f"{label}: expected at least one atom, got none")
    refuse_shared_sites(atoms, label)
    return atoms


def read_all(path: Path) -> list[ase.Atoms]:
    """Every structure of a file; of a trajectory that a run still writes, or was killed at, those before the
    frame that is cut off, with a word."""
    label = f"structures {path}"
    if path.stat().st_size == 0:
        raise StructureError(f"{label}: expected structures, got an empty file")
    if is_openmx_input(path):
        return [read_structure(path)]
    try:
        kind = filetype(str(path), read=True)
    except Exception as error:
        raise _unreadable(label, error) from None
    if kind == "extxyz":
        frames = [_from_text(frame, kind, label) for frame in _whole_frames(_text(path), label)]
    else:
        frames = [read_structure(path)] if kind == "vasp" else _by_ase(path, kind, label)
    for atoms in frames:
        refuse_shared_sites(atoms, label)
    return frames


def _whole_frames(text: str, label: str) -> list[_Frame]:
    """The frames of (extended) xyz that are there to their end."""
    frames = _xyz_frames(text, label, whole=False)
    if len(frames) > 1 and not text.endswith("\n"):  # its last number may be cut
        frames = _xyz_frames(text[: text.rindex("\n") + 1], label, whole=False)
    return frames


def _text(path: Path) -> str:
    with open_with_compression(str(path), "rb") as stream:
        return str(stream.read().decode("utf-8", errors="replace"))


def _by_ase(path: Path, kind: str, label: str) -> list[ase.Atoms]:
    try:
        read = ase.io.read(path, index=":", format=kind)
    except Exception as error:  # every reader of ASE has errors of its own
        raise _unreadable(label, error) from None
    if not read:
        raise StructureError(f"{label}: expected a structure, got none")
    return list(read)


def _from_text(frame: _Frame, kind: str, label: str) -> ase.Atoms:
    try:
        atoms = ase.io.read(io.StringIO(frame.text), format=kind)
    except Exception as error:
        raise _unreadable(label, error) from None
    if frame.masses:
        masses = atoms.get_masses()
        masses[list(frame.masses)] = list(frame.masses.values())
        atoms.set_masses(masses)
    return atoms


def _unreadable(label: str, error: Exception) -> StructureError:
    if isinstance(error, UnknownFileTypeError):
        return StructureError(
            f"{label}: expected a format that its name or its content tells (.xyz, .extxyz, .cif, .vasp, "
            "POSCAR, .xsf, .traj, ...), got neither"
        )
    if isinstance(error, KeyError):
        return StructureError(f"{label}: expected chemical symbols, got {error}")
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    return StructureError(f"{label}: could not be read: {said}")


def _chosen(count: int, index: int | None, label: str) -> int:
    """Which frame; the last with a word where there are several and none was asked for."""
    if index is None:
        if count > 1:
            _log.warning("%s: the last of its %d frames is taken (index=%d)", label, count, count - 1)
        return count - 1
    if not -count <= index < count:
        raise StructureError(f"index: expected a frame from 0 to {count - 1} of {label}, got {index}")
    return index % count


def _xyz_frames(text: str, label: str, whole: bool = True) -> list[_Frame]:
    """Frames of (extended) xyz: "n", a comment, n lines of atoms, perhaps lines VEC1, VEC2, VEC3.

    whole: a last frame that is cut off is an error, also where others are before it.
    """
    lines = text.splitlines()
    frames: list[_Frame] = []
    start = 0
    while start < len(lines) and lines[start].strip():
        try:
            stop = start + 2 + int(lines[start])
        except ValueError:
            raise StructureError(
                f"{label}, line {start + 1}: expected the number of atoms, got {lines[start][:40]!r}"
            ) from None
        if stop > len(lines) and frames and not whole:
            _log.warning("%s: frame %d is cut off and left out", label, len(frames))
            break
        if stop > len(lines):
            last = f"; the last whole frame is index={len(frames) - 1}" if frames else ""
            raise StructureError(
                f"{label}: ends inside the frame of {lines[start].strip()} atoms that begins in line "
                f"{start + 1}{last}"
            )
        while stop < len(lines) and lines[stop].lstrip().startswith("VEC"):
            stop += 1
        frames.append(_xyz_frame(lines[start:stop], start, label))
        start = stop
    if not frames:
        raise StructureError(f"{label}: expected a structure, got blank lines")
    return frames


def _xyz_frame(lines: Sequence[str], start: int, label: str) -> _Frame:
    column = _species_column(lines[1])
    rows = list(lines)
    masses: dict[int, float] = {}
    for atom, row in enumerate(lines[2:] if column is not None else []):
        words = row.split()
        if row.lstrip().startswith("VEC") or len(words) <= (column or 0):
            continue  # ASE says what a short row lacks
        symbol = words[column or 0]
        name = symbol.capitalize()
        if name in ISOTOPES:
            words[column or 0], masses[atom] = ISOTOPES[name]
            rows[2 + atom] = " ".join(words)
        elif name not in atomic_numbers and not symbol.isdigit():
            raise StructureError(f"{label}, line {start + 3 + atom}: unknown symbol {symbol!r}")
    return _Frame("\n".join(rows) + "\n", masses)


def _species_column(comment: str) -> int | None:
    """Where the rows have the symbol; None where they have atomic numbers instead."""
    found = re.search(r'properties="?([^\s"]+)', comment, re.IGNORECASE)
    if found is None:
        return 0
    parts, column = found[1].split(":"), 0
    for name, width in zip(parts[0::3], parts[2::3], strict=False):
        if name.lower() in ("species", "symbols"):
            return column
        column += int(width) if width.isdigit() else 1
    return None


def _poscar(text: str) -> _Frame:
    """A POSCAR; the symbols are in its first line or, since VASP 5, in the sixth: "O D"."""
    lines = text.splitlines()
    masses: dict[int, float] = {}
    for row, counts in ((5, 6), (0, 5)):
        words = lines[row].split() if row < len(lines) else []
        listed = lines[counts].split() if counts < len(lines) else []
        numbers = [int(word) for word in listed if word.isdigit()]
        if not words or len(words) != len(numbers) or not any(word in ISOTOPES for word in words):
            continue
        first = 0
        for k, number in enumerate(numbers):
            if words[k] in ISOTOPES:
                words[k], mass = ISOTOPES[words[k]]
                masses |= dict.fromkeys(range(first, first + number), mass)
            first += number
        lines[row] = " ".join(words)
    return _Frame("\n".join(lines) + "\n", masses)


def refuse_shared_sites(atoms: ase.Atoms, label: str) -> None:
    """ASE puts the first element on a site that several share, and the rest into atoms.info["occupancy"]."""
    shares = atoms.info.get("occupancy")
    if not isinstance(shares, Mapping):
        return
    kinds = atoms.arrays.get("spacegroup_kinds")
    partial = {
        str(kind): share
        for kind, share in shares.items()
        if isinstance(share, Mapping) and (len(share) > 1 or abs(sum(share.values()) - 1.0) > 1e-3)
    }
    if not partial:
        return
    sites = "; ".join(
        " and ".join(f"{symbol} {value:g}" for symbol, value in share.items())
        + ("" if kinds is None else f" on atom {[str(k) for k in kinds].index(kind)}")
        for kind, share in list(partial.items())[:4]
        if kinds is None or kind in {str(k) for k in kinds}
    )
    raise StructureError(
        f"{label}: expected sites that one element occupies fully, got {sites}; make an ordered cell of it "
        '(and take out atoms.info["occupancy"])'
    )
