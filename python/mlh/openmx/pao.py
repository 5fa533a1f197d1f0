"""Pseudo-atomic orbitals: one ``.pao`` file as in the 2019 database (that of 2013 has not been tried)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlh.openmx.text import Array, TextFile

_MAX_L, _MAX_MULTIPLICITY = 8, 60


@dataclass(frozen=True, eq=False)
class PAO:
    """What a ``.pao`` file holds, on its own mesh r (n,), uniform in ln r, Bohr. Arrays are read-only.

    cutoff: radius of the confinement; the orbitals vanish there. valence_electrons: of the atom that
    was solved. density: its valence density (n,), electrons/Bohr^3, not normalised to the valence.
    orbitals[l]: R(r) of shape (multiplicity, n) with int R^2 r^2 dr = 1.
    """

    path: Path
    sha256: str
    atomic_number: int
    valence_electrons: float
    cutoff: float
    r: Array
    density: Array
    orbitals: tuple[Array, ...]


def read_pao(path: str | os.PathLike[str]) -> PAO:
    """Read a ``.pao`` file; OpenMXFormatError names the file and the line of what is wrong."""
    text = TextFile(path)
    lmax = text.integer("PAO.Lmax", 0, _MAX_L)
    multiplicity = text.integer("PAO.Mul", 1, _MAX_MULTIPLICITY)
    n = text.integer("grid.num.output", 16, 1_000_000)
    cutoff = text.number("radial.cutoff.pao")
    tags = ["valence.charge.density", *(f"pseudo.atomic.orbitals.L={l}" for l in range(lmax + 1))]
    tables = [text.radial_table(tag, 1 if k == 0 else multiplicity) for k, tag in enumerate(tags)]
    r = tables[0][0]
    for tag, (mesh, values) in zip(tags, tables):
        if len(mesh) != n or np.max(np.abs(mesh / r - 1.0)) > 1e-9:
            line = text.end_of(tag)
            raise text.error(f"<{tag}: expected the {n} radii of the other blocks, got {len(mesh)}", line)
        values.setflags(write=False)
    if not 0.5 <= cutoff <= r[-1]:
        raise text.error(f"radial.cutoff.pao: expected 0.5 to {r[-1]:g} Bohr, got {cutoff:g}")
    density = tables[0][1][0]
    if np.any(density < -1e-6):
        raise text.error("<valence.charge.density: expected no negative density", text.end_of(tags[0]))
    orbitals = tuple(values for _, values in tables[1:])
    for l, values in enumerate(orbitals):
        _check_norms(text, tags[l + 1], r, values)
    r.setflags(write=False)
    return PAO(
        path=text.path,
        sha256=text.sha256,
        atomic_number=text.integer("AtomSpecies", 1, 118),
        valence_electrons=text.number("valence.electron"),
        cutoff=cutoff,
        r=r,
        density=density,
        orbitals=orbitals,
    )


def _check_norms(text: TextFile, tag: str, r: Array, values: Array) -> None:
    """The files hold normalised functions to 1e-4 on their mesh: a damaged number shows here."""
    norms = np.sum(values**2 * r**3, axis=1) * (np.log(r[-1] / r[0]) / (len(r) - 1))
    bad = np.flatnonzero(np.abs(norms - 1.0) > 1e-2)
    if bad.size:
        message = f"<{tag}: expected norm 1 of column {bad[0] + 3}, got {norms[bad[0]]:.6f}"
        raise text.error(message, text.end_of(tag))
