"""`load_openmx_basis`: species from the ``.pao`` and ``.vps`` files of an OpenMX database."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import ArrayLike

from mlh.basis.species import (
    MAX_ANGULAR_MOMENTUM,
    SHELL_LETTERS,
    Basis,
    Projector,
    RadialFunction,
    Species,
    TruncatedFunction,
    WaveTable,
)
from mlh.openmx.neutral import NeutralAtom, neutral_atom
from mlh.openmx.pao import PAO, read_pao
from mlh.openmx.radial import catmull_rom, hermite
from mlh.openmx.text import Array, OpenMXFormatError
from mlh.openmx.transforms import wave_table
from mlh.openmx.vps import VPS, read_vps

DATA_VARIABLE = "MLH_OPENMX_DATA"
"""Environment variable with the default database folder."""

DATABASES = ("DFT_DATA19", "DFT_DATA13")

TABLES_VERSION = 3
"""Version of how files become tables; part of the fingerprint."""

PROJECTOR_STEP, TABLE_STEP, NEUTRAL_STEP = 0.0025, 1.25e-4, 5e-5
"""Mesh steps in Bohr. OpenMX's interpolants have kinks in the second derivative at their nodes, so that the
value of a spline through samples converges as the square of the step and its slope as the step alone: at
0.0025 the forces of quartz differ by 2e-5 Hartree/Bohr. Projectors are used through their transforms only.
V_NA is the steepest function: on the grid it leaves 1.4e-6 Hartree/Bohr in H2O at the step of the others."""


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenMXSpecies(Species):
    """A species of an OpenMX database, with the files it comes from.

    The tables of `Species` are samples of OpenMX's own interpolants; `pao`, `vps` and `neutral` hold the
    numbers of the files for whatever follows OpenMX term by term.
    """

    pao: PAO
    vps: VPS
    neutral: NeutralAtom
    definition: tuple[str, str]
    """Names as in OpenMX's Definition.of.Atomic.Species, such as ("Si7.0-s2p2d1", "Si_PBE19")."""

    @property
    def xc_kind(self) -> str | None:
        """As the .vps file says."""
        return self.vps.xc_kind

    def wave_table(self) -> WaveTable:
        """Bessel transforms by OpenMX's quadratures."""
        return self._wave_table

    @cached_property
    def _wave_table(self) -> WaveTable:
        _, counts = parse_orbitals(self.definition[0])
        return wave_table(self.pao, self.vps, self.neutral, counts)

    norm_tolerance: ClassVar[float] = 1e-2
    """The files' functions are normalised on a mesh that ends beyond the cutoff (s4 of Si7.0: 4e-4)."""
    charge_tolerance: ClassVar[float] = 1e-4
    """OpenMX normalises the sum over the nodes of the file, not the integral of its interpolant (1e-6)."""


def load_openmx_basis(
    data_dir: str | os.PathLike[str] | None,
    species: Mapping[str, tuple[str, str]],
    database: str | None = None,
) -> Basis:
    """Species from OpenMX files, as {"Si": ("Si7.0-s2p2d1", "Si_PBE19"), ...}.

    data_dir: an OpenMX database (the folder with PAO/ and VPS/), or a folder that holds DFT_DATA19 or
    DFT_DATA13; None: the folder named by the environment variable MLH_OPENMX_DATA. species: for each
    chemical symbol the orbitals (file and number of radial functions per l) and the pseudopotential.
    database: name of the database's folder; default: the first that is found.
    """
    if not species:
        raise ValueError("species: expected at least one, got none")
    root = data_folder(data_dir, database)
    loaded = [_load(root, symbol, *definition) for symbol, definition in species.items()]
    return Basis(loaded, f"openmx {root.name}")


def parse_orbitals(definition: str) -> tuple[str, tuple[int, ...]]:
    """("Si7.0", (2, 2, 1)) of "Si7.0-s2p2d1": the file and the number of radial functions per l."""
    name, dash, shells = definition.rpartition("-")
    if ">" in shells:
        raise ValueError(
            f"orbitals {definition!r}: expected primitive functions such as Si7.0-s2p2d1; "
            "contracted ones (s2>1) are not supported"
        )
    parts = re.findall(r"([spdfgh])([0-9]{1,2})", shells)
    letters = [letter for letter, _ in parts]
    complete = "".join(letter + count for letter, count in parts) == shells
    if not (dash and parts and complete) or not re.fullmatch(r"[A-Z][A-Za-z0-9.+_-]*", name):
        raise ValueError(f"orbitals: expected a form such as 'Si7.0-s2p2d1', got {definition!r}")
    counts = {SHELL_LETTERS.find(letter): int(count) for letter, count in parts}
    if -1 in counts or len(counts) < len(letters):
        allowed = ", ".join(SHELL_LETTERS)
        raise ValueError(f"orbitals {definition!r}: expected each of {allowed} at most once")
    if not any(counts.values()):
        raise ValueError(f"orbitals {definition!r}: expected at least one radial function, got none")
    return name, tuple(counts.get(l, 0) for l in range(max(counts) + 1))


def data_folder(data_dir: str | os.PathLike[str] | None = None, database: str | None = None) -> Path:
    """The folder of a database with PAO/ and VPS/: `data_dir` (default: MLH_OPENMX_DATA) or one in it."""
    given = os.environ.get(DATA_VARIABLE) if data_dir is None else data_dir
    if not given:
        raise ValueError(
            f"data_dir: expected an OpenMX database folder, got none (set {DATA_VARIABLE} or name it)"
        )
    root = Path(given)
    for folder in (root, *(root / name for name in ((database,) if database else DATABASES))):
        named = database is None or folder.name == database
        if named and (folder / "PAO").is_dir() and (folder / "VPS").is_dir():
            return folder
    wanted = f"the database {database}" if database else "a folder with PAO and VPS"
    raise FileNotFoundError(f"data_dir: expected {wanted}, got {root}")


def _load(root: Path, symbol: str, orbitals: str, potential: str) -> OpenMXSpecies:
    name, counts = parse_orbitals(orbitals)
    if not re.fullmatch(r"[A-Z][A-Za-z0-9.+_-]*", potential):
        raise ValueError(f"potential: expected a name such as 'Si_PBE19', got {potential!r}")
    pao = _pao(_stamp(root / "PAO" / f"{name}.pao"))
    vps = _vps(_stamp(root / "VPS" / f"{potential}.vps"))
    _check_pair(symbol, counts, pao, vps)
    return _species(symbol, counts, pao, vps, (orbitals, potential))


def _check_pair(symbol: str, counts: tuple[int, ...], pao: PAO, vps: VPS) -> None:
    for file in (pao, vps):
        if atomic_numbers.get(symbol) != file.atomic_number:
            message = (
                f"expected AtomSpecies {atomic_numbers.get(symbol)} ({symbol}), got {file.atomic_number}"
            )
            raise OpenMXFormatError(f"{file.path}: {message}")
    # Atoms are solved with fractions of an electron more or less than the pseudopotential's charge to
    # shape the orbitals (C6.0, Si7.0); another core shows as at least two electrons, or one for hydrogen.
    if abs(pao.valence_electrons - vps.valence_electrons) >= 1.0:
        raise OpenMXFormatError(
            f"{pao.path}: made for {pao.valence_electrons:g} valence electrons, "
            f"expected {vps.valence_electrons:g} as in {vps.path}"
        )
    for l, count in enumerate(counts):
        held = len(pao.orbitals[l]) if l < len(pao.orbitals) else 0
        if count > held:
            letter = SHELL_LETTERS[l]
            raise ValueError(f"{pao.path}: expected at most {held} {letter} functions, got {letter}{count}")
    for part in vps.projectors:
        if part.l > MAX_ANGULAR_MOMENTUM:
            limit = f"expected projectors with l <= {MAX_ANGULAR_MOMENTUM}"
            raise ValueError(f"{vps.path}: {limit}, got l = {part.l}")


def _species(
    symbol: str, counts: tuple[int, ...], pao: PAO, vps: VPS, definition: tuple[str, str]
) -> OpenMXSpecies:
    neutral = _neutral(pao, vps)

    def table(l: int, function: Callable[[ArrayLike], Array], step: float = TABLE_STEP) -> RadialFunction:
        return _tabulate(l, function, pao.cutoff, step)

    core = vps.core_density
    return OpenMXSpecies(
        symbol=symbol,
        valence=vps.valence,
        orbitals=[
            table(l, hermite(pao.r, pao.orbitals[l][n])) for l, m in enumerate(counts) for n in range(m)
        ],
        projectors=[
            # To r_c although most vanish before: OpenMX's centres are the atoms within r_c,i + r_c,k, and its
            # transforms end at k = 60, so that <phi|beta> does not (1e-8 Hartree in the energy of H2O).
            Projector(table(p.l, hermite(vps.r, p.beta), PROJECTOR_STEP), p.energy)
            for p in vps.projectors
        ],
        neutral_potential=table(0, hermite(vps.r, neutral.potential), NEUTRAL_STEP),
        density=table(0, catmull_rom(pao.r, neutral.density)),
        core_density=None if core is None else table(0, catmull_rom(vps.r, core)),
        local_potential=hermite(vps.r, vps.local),
        recipe=f"openmx:{TABLES_VERSION}:{definition[0]}:{pao.sha256}:{vps.sha256}",
        pao=pao,
        vps=vps,
        neutral=neutral,
        definition=definition,
    )


def _tabulate(l: int, function: Callable[[ArrayLike], Array], cutoff: float, step: float) -> RadialFunction:
    """g = f / r^l on the uniform mesh, up to the first mesh point at or beyond the cutoff."""
    n = int(np.ceil(cutoff / step - 1e-9)) + 1
    r = step * np.arange(n)
    g = np.empty(n)
    g[1:] = function(r[1:]) / r[1:] ** l
    # g is even: the parabola in r^2 through its next two points.
    g[0] = (4.0 * g[1] - g[2]) / 3.0
    inside = r[-1] - 1e-4 * np.arange(3)
    values = np.asarray(function(inside)) / inside**l
    return TruncatedFunction(l, g, step, end_slope=(3.0 * values[0] - 4.0 * values[1] + values[2]) / 2e-4)


def _stamp(path: Path) -> tuple[Path, int, int]:
    """A file and what shows that it has changed."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    stat = path.stat()
    return path, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=64)
def _pao(stamp: tuple[Path, int, int]) -> PAO:
    return read_pao(stamp[0])


@lru_cache(maxsize=64)
def _vps(stamp: tuple[Path, int, int]) -> VPS:
    return read_vps(stamp[0])


@lru_cache(maxsize=64)
def _neutral(pao: PAO, vps: VPS) -> NeutralAtom:
    return neutral_atom(pao, vps)
