"""Structures by name or file, their fingerprint, and extended-xyz files that carry energies and forces."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path

import ase
import ase.io
import numpy as np
from numpy.typing import ArrayLike

from mlh.common.files import complete_or_absent, intact
from mlh.structures.carried import writable
from mlh.structures.crystals import CRYSTALS, crystal
from mlh.structures.reading import read_all, read_structure

_CRYSTAL_NAME = re.compile(r"^(?P<name>[a-z-]+)(?::(?P<repeat>\d+x\d+x\d+))?$")


def load_structure(source: str | os.PathLike[str], index: int | None = None) -> ase.Atoms:
    """A file (any format of ASE), a crystal ("alpha-quartz:2x2x1"), or a shipped structure.

    index: frame of a file with several; None: the last, with a warning. Directions that are not periodic may
    lack a cell vector (molecules): calculators put them into a box.
    """
    text = os.fspath(source)
    match = crystal_name(text)
    if match:
        if index is not None:
            raise ValueError(f"index: expected together with a file, got {index} with the crystal {text}")
        repeat = tuple(int(count) for count in (match["repeat"] or "1x1x1").split("x"))
        return crystal(match["name"], (repeat[0], repeat[1], repeat[2]))
    path = Path(text)
    shipped = shipped_structures()
    if not path.exists() and text in shipped:
        path = shipped[text]
    if not path.is_file():
        names = ", ".join([*sorted(CRYSTALS), *sorted(shipped)])
        raise FileNotFoundError(
            f"structure: expected a file or a crystal such as alpha-quartz:2x2x1 (known: {names}), "
            f"got {text!r}"
        )
    atoms = read_structure(path, index)
    _validate(atoms, str(path))
    atoms.info.setdefault("source", path.name)
    return atoms


def crystal_name(text: str) -> re.Match[str] | None:
    """The parts of the name of a crystal of the package; None for everything else."""
    match = _CRYSTAL_NAME.match(text)
    return match if match and match["name"] in CRYSTALS else None


def load_structures(source: str | os.PathLike[str]) -> list[ase.Atoms]:
    """As `load_structure`, all frames of a file; of a trajectory that was cut off, those before the cut."""
    text = os.fspath(source)
    path = Path(text)
    if crystal_name(text) or not path.is_file():
        return [load_structure(text)]
    frames = read_all(path)
    if not frames or not all(len(atoms) for atoms in frames):
        raise ValueError(f"structures {path}: expected at least one atom in every frame, got none")
    for number, atoms in enumerate(frames):
        _validate(atoms, f"{path}, frame {number}")
        atoms.info.setdefault("source", path.name)
    return frames


def shipped_structures() -> dict[str, Path]:
    """Names and files of the structures that come with the package."""
    folder = Path(__file__).parent.parent / "data" / "structures"
    return {path.stem: path for path in sorted(folder.glob("*.*xyz"))}


def _validate(atoms: ase.Atoms, label: str) -> None:
    """Refuse what no later step can use: a periodic direction without a vector, a flat cell, NaN."""
    if not np.isfinite(atoms.positions).all():
        raise ValueError(f"structure {label}: expected finite positions, got NaN or infinity")
    vectors = [vector for vector in atoms.cell[:] if vector.any()]
    if any(atoms.pbc[axis] and not atoms.cell[axis].any() for axis in range(3)):
        raise ValueError(
            f"structure {label}: expected a cell vector in every periodic direction, got {atoms.cell[:]} "
            f"with pbc {atoms.pbc}"
        )
    if vectors and np.linalg.svd(vectors, compute_uv=False).min() < 1e-3:
        raise ValueError(f"structure {label}: expected independent cell vectors, got {atoms.cell[:]}")


def structure_hash(atoms: ase.Atoms) -> str:
    """sha256 (16 hex digits) of elements, cell and positions, rounded to 1e-8 Angstrom.

    Extended xyz keeps eight decimals, so the fingerprint survives a file."""
    digest = hashlib.sha256()
    digest.update(np.asarray(atoms.numbers, dtype="<i4").tobytes())
    for lengths in (atoms.cell[:], atoms.positions):
        # + 0.0 turns -0.0 into 0.0, which compares equal but has other bytes.
        digest.update((np.round(np.asarray(lengths, dtype="<f8"), 8) + 0.0).tobytes())
    return digest.hexdigest()[:16]


def with_labels(
    atoms: ase.Atoms,
    energy: float | None = None,
    forces: ArrayLike | None = None,
    info: Mapping[str, object] | None = None,
) -> ase.Atoms:
    """Copy without calculator, with REF_energy (eV) and REF_forces (eV/Angstrom) for force-field trainers.

    Constraints stay (a file holds them as move_mask); the forces are those of all atoms.
    """
    frame = atoms.copy()
    frame.calc = None
    if energy is not None:
        frame.info["REF_energy"] = float(energy)
    if forces is not None:
        values = np.asarray(forces, dtype=float)
        if values.shape != (len(atoms), 3):
            raise ValueError(f"forces: expected shape ({len(atoms)}, 3), got {values.shape}")
        frame.set_array("REF_forces", values)
    frame.info.update(info or {})
    return frame


def write_structure(path: str | os.PathLike[str], frames: ase.Atoms | list[ase.Atoms]) -> None:
    """Write extended xyz in one move: the file is complete or absent, never half written."""
    listed = [frames] if isinstance(frames, ase.Atoms) else frames
    with complete_or_absent(path) as temporary:
        ase.io.write(temporary, [writable(frame) for frame in listed], format="extxyz")


def append_frame(path: str | os.PathLike[str], frame: ase.Atoms) -> None:
    """Append one frame to an extended-xyz trajectory and flush it to the disk."""
    with open(path, "a", encoding="utf-8") as stream:
        ase.io.write(stream, writable(frame), format="extxyz")
        stream.flush()
        os.fsync(stream.fileno())


def read_frames(path: str | os.PathLike[str]) -> list[ase.Atoms]:
    """The complete frames of an extended-xyz trajectory; a last frame cut off by a kill is left out.

    Each frame is "n", one comment line, n atom lines; counting lines finds the cut without guessing.
    """
    with intact(path):
        return _whole_frames(Path(path).read_text(encoding="utf-8"))


def _whole_frames(text: str) -> list[ase.Atoms]:
    lines = text.split("\n")
    complete_lines = lines[:-1]  # after the last newline: empty, or a line that was cut
    start = 0
    while start < len(complete_lines):
        stop = start + 2 + int(complete_lines[start])
        if stop > len(complete_lines):
            break
        start = stop
    if start == 0:
        return []
    frames = ase.io.read(io.StringIO("\n".join(complete_lines[:start]) + "\n"), index=":", format="extxyz")
    return list(frames) if isinstance(frames, list) else [frames]
