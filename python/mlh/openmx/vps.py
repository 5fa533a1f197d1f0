"""Pseudopotentials: one ``.vps`` file as in the 2019 database (that of 2013 has not been tried)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlh.openmx.text import Array, TextFile

_MAX_L = 4


@dataclass(frozen=True, eq=False)
class SeparablePart:
    """|beta> energy <beta| summed over m; beta(r) on the file's mesh, energy in Hartree."""

    l: int
    energy: float
    beta: Array


@dataclass(frozen=True, eq=False)
class VPS:
    """What a ``.vps`` file holds, on its own mesh r (n,), uniform in ln r, Bohr. Arrays are read-only.

    valence: charge Z of the pseudopotential (V_loc -> -Z/r). local: V_loc(r), Hartree. projectors:
    j-averaged where the file is j-dependent. core_density: partial core, None without one. xc_kind: "LDA" or
    "GGA", of the functional that it was made with; None where the file does not say.
    """

    path: Path
    sha256: str
    atomic_number: int
    valence: float
    valence_electrons: float
    r: Array
    local: Array
    projectors: tuple[SeparablePart, ...]
    core_density: Array | None
    xc_kind: str | None = None


def read_vps(path: str | os.PathLike[str]) -> VPS:
    """Read a ``.vps`` file; OpenMXFormatError names the file and the line of what is wrong.

    The two columns of a j-dependent projector are averaged without spin-orbit coupling,
    X = [(l+1) X(j=l+1/2) + l X(j=l-1/2)] / (2l+1), for the energy and for beta(r) apart.
    """
    text = TextFile(path)
    atomic_number = text.integer("AtomSpecies", 1, 118)
    valence_electrons = text.number("valence.electron")
    valence = valence_electrons + atomic_number - text.number("total.electron")
    if not 0.0 < valence <= atomic_number:
        raise text.error(f"valence.electron: expected a charge from 0 to {atomic_number}, got {valence:g}")
    per_projector = 2 if text.switch("j.dependent.pseudo.potentials", default=False) else 1
    energies = _read_energies(text, per_projector)
    r, columns = text.radial_table("Pseudo.Potentials", 1 + per_projector * len(energies))
    n = text.integer("grid.num.output", 16, 1_000_000)
    if len(r) != n:
        line = text.end_of("Pseudo.Potentials")
        raise text.error(f"<Pseudo.Potentials: expected {n} rows, got {len(r)}", line)
    projectors = []
    for k, (l, pair) in enumerate(energies):
        upper = columns[1 + per_projector * k]
        lower = columns[per_projector * (k + 1)]
        w = (l + 1) / (2 * l + 1)
        beta = w * upper + (1.0 - w) * lower
        beta.setflags(write=False)
        projectors.append(SeparablePart(l, w * pair[0] + (1.0 - w) * pair[-1], beta))
    core = _read_core(text, r) if text.switch("charge.pcc.calc", default=False) else None
    tail = columns[0][-1] * r[-1]
    if abs(tail + valence) > 1e-3 * valence:
        line = text.end_of("Pseudo.Potentials")
        raise text.error(f"<Pseudo.Potentials: expected V_loc = -{valence:g}/r, got {tail:g}/r", line)
    for array in (r, columns):
        array.setflags(write=False)
    return VPS(
        path=text.path,
        sha256=text.sha256,
        atomic_number=atomic_number,
        valence=valence,
        valence_electrons=valence_electrons,
        r=r,
        local=columns[0],
        projectors=tuple(projectors),
        core_density=core,
        xc_kind=_xc_kind(text),
    )


def _xc_kind(text: TextFile) -> str | None:
    word = text.word("xc.type", "unknown").upper()
    return {"LDA": "LDA", "LSDA": "LDA", "GGA": "GGA"}.get(word)


def _read_energies(text: TextFile, per_projector: int) -> list[tuple[int, list[float]]]:
    """(l, energies) of every projector; the first row of the block is their number."""
    tag = "project.energies"
    begin, rows = text.table(tag)
    if not rows or len(rows[0]) != 1 or rows[0][0] != len(rows) - 1:
        got = f"{rows[0][0]:g} and {len(rows) - 1} rows" if rows and rows[0] else "none"
        raise text.error(f"<{tag}: expected the number of projectors, then as many rows, got {got}", begin)
    energies = []
    for k, row in enumerate(rows[1:]):
        if len(row) != 1 + per_projector or row[0] not in range(_MAX_L + 1):
            message = f"<{tag}: expected l <= {_MAX_L} and {per_projector} energies, got {row}"
            raise text.error(message, begin + 1 + k)
        energies.append((int(row[0]), row[1:]))
    return energies


def _read_core(text: TextFile, r: Array) -> Array:
    tag = "density.PCC"
    mesh, values = text.radial_table(tag, 1)
    if len(mesh) != len(r) or np.max(np.abs(mesh / r - 1.0)) > 1e-9:
        message = f"<{tag}: expected the {len(r)} radii of <Pseudo.Potentials, got {len(mesh)}"
        raise text.error(message, text.end_of(tag))
    values.setflags(write=False)
    density: Array = values[0]
    return density
