"""The family "files": pseudopotential files of a folder and orbitals made for them, "files FOLDER".

orbitals: {"O": "precise"}, {"O": "6.0-s2p2d1 O-sp.upf"}: a size, then the name of the file where the folder
has several of the element. A FOLDER that is not there is looked for by its last name in MLH_PSEUDO_PATH.
Species are cached as those of gth-pbe are, and identified by the content of the file, the size and the rules.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from mlh.basis.families import BasisFamily
from mlh.basis.files.reading import SUFFIXES, element_of, read_pseudopotential
from mlh.basis.files.rules import RULES_VERSION, recipe_by_rules
from mlh.basis.files.tabulated import TabulatedPotential
from mlh.basis.gth.library import Array, cache_folder, keep, kept
from mlh.basis.gth.orbitals import GENERATOR_VERSION, SIZES, OrbitalSize, make_species
from mlh.basis.lazy import LazyBasis
from mlh.basis.pseudopotential import tabulated_core
from mlh.basis.resolution import SPHERES, fitting_sphere
from mlh.basis.species import Basis, RadialFunction, Species, SphereParameters
from mlh.common.blas import blas_threads_for
from mlh.common.units import BOHR_ANGSTROM

NAME = "files"
DATA_VARIABLE = "MLH_PSEUDO_PATH"
"""Environment variable with the folder in which folders of files are looked for."""

DEFAULT_SIZE = "standard"

_lock = threading.Lock()
_memory: dict[str, FileSpecies] = {}


@dataclass(frozen=True, eq=False, kw_only=True)
class FileSpecies(Species):
    """A species made of a file.

    size: as asked for; file: its name; functional: that of the pseudopotential.
    """

    size: str
    file: str
    functional: str

    @property
    def xc_kind(self) -> str | None:
        """ "GGA" or "LDA", of the functional that the pseudopotential was made with."""
        return "GGA" if self.functional == "PBE" else "LDA"


def load(name: str, orbitals: Mapping[str, str], elements: Sequence[str] | None) -> Basis:
    """The files of a folder, see the module; without `elements` a file is read when its species is wanted."""
    folder = data_folder(name.removeprefix(NAME).strip())
    offered = _files(folder)
    symbols = tuple(offered) if elements is None else tuple(dict.fromkeys(elements))
    unknown = sorted({*orbitals, *symbols} - set(offered))
    if unknown:
        raise KeyError(
            f"{folder}: expected elements with a file, {', '.join(offered) or 'none here'}, "
            f"got {', '.join(unknown)}"
        )
    chosen = {symbol: _choice(folder, offered, symbol, orbitals.get(symbol)) for symbol in orbitals}
    lazy = LazyBasis(symbols, partial(_lookup, folder, offered, chosen), f"{NAME} {folder}")
    return lazy if elements is None else Basis([lazy[symbol] for symbol in symbols], f"{NAME} {folder}")


def record(basis: Basis) -> dict[str, str]:
    """Size and file of every species."""
    return {s.symbol: f"{s.size} {s.file}" for s in basis.species if isinstance(s, FileSpecies)}


FAMILY = BasisFamily(NAME, load, record, integration="spheres")


def data_folder(text: str) -> Path:
    """The folder of a basis name, absolute."""
    folder = Path(text).expanduser()
    root = os.environ.get(DATA_VARIABLE)
    if text and folder.is_dir():
        return folder.resolve()
    if root and (Path(root) / folder.name).is_dir():
        return (Path(root) / folder.name).resolve()
    raise FileNotFoundError(
        f"basis: expected files FOLDER with a folder of pseudopotentials, here or in {DATA_VARIABLE}, "
        f"got {text or 'no folder'}"
    )


def load_file(path: str | os.PathLike[str], size: str = DEFAULT_SIZE) -> FileSpecies:
    """The species of one file: from memory, from the cache, or made.

    size: one of SIZES, or as "7.0-s2p2d1".
    """
    if size not in SIZES:
        try:
            OrbitalSize.parse(size)
        except ValueError as error:
            raise ValueError(f"size: expected {', '.join(SIZES)}, or as 7.0-s2p2d1, got {size!r}") from error
    file = Path(path)
    potential = _potential(file, *_state(file))
    text = _text(potential, size)
    with _lock:
        if text not in _memory:
            cached = kept(cache_file(potential, size), partial(_restored, potential, size, file.name))
            made = cached if isinstance(cached, FileSpecies) else _made(potential, size, file.name)
            _memory[text] = made
        found = _memory[text]
    return found if found.file == file.name else replace(found, file=file.name)


def cache_file(potential: TabulatedPotential, size: str) -> Path:
    """Path of a cached species."""
    digest = hashlib.sha256(_text(potential, size).encode()).hexdigest()
    return cache_folder() / "basis" / f"{potential.symbol}-{digest[:20]}.npz"


def _state(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=128)
def _potential(file: Path, changed: int, length: int) -> TabulatedPotential:
    """The pseudopotential of a file as it is now."""
    return read_pseudopotential(file)


def _text(potential: TabulatedPotential, size: str) -> str:
    """What determines the species: its identity."""
    versions = f"{RULES_VERSION}.{GENERATOR_VERSION}"
    return f"mlh-file-orbitals-{versions}:{sorted(potential.identity().items())}:{size}"


def _made(potential: TabulatedPotential, size: str, file: str) -> FileSpecies:
    with blas_threads_for(1):
        species = make_species(recipe_by_rules(potential, size, potential.xc))
    values = {field.name: getattr(species, field.name) for field in fields(species)}
    values |= {"sphere": _sphere(species), "recipe": _text(potential, size)}
    made = FileSpecies(**values, size=size, file=file, functional=potential.xc)
    keep(made, cache_file(potential, size))
    return made


def _sphere(species: Species) -> SphereParameters | None:
    """The smallest sphere that will do, but none beyond the covalent radius, where it would hold the core of
    a neighbour; a run says which cutoff the rest needs.
    """
    largest = covalent_radii[atomic_numbers[species.symbol]] / BOHR_ANGSTROM
    allowed = [sphere for sphere in SPHERES if sphere.center <= max(largest, SPHERES[0].center)]
    try:
        found = fitting_sphere(species)
    except ValueError:
        return allowed[-1]
    return found if found is None or found in allowed else allowed[-1]


def _restored(
    potential: TabulatedPotential, size: str, file: str, arrays: Mapping[str, Array]
) -> FileSpecies:
    """The species of cached arrays; projectors and core come from the file."""
    rows = [
        arrays[key] for key in sorted(arrays, key=lambda key: (len(key), key)) if key.startswith("orbital")
    ]
    sphere = arrays.get("sphere", np.empty(0))
    return FileSpecies(
        symbol=potential.symbol,
        valence=potential.valence,
        orbitals=tuple(RadialFunction(int(row[0]), row[1:]) for row in rows),
        projectors=tuple(p.tabulate() for p in potential.projectors()),
        neutral_potential=RadialFunction(0, arrays["neutral_potential"]),
        density=RadialFunction(0, arrays["density"]),
        core_density=tabulated_core(potential),
        sphere=SphereParameters(*map(float, sphere)) if sphere.size else None,
        local_potential=potential.local,
        recipe=_text(potential, size),
        size=size,
        file=file,
        functional=potential.xc,
    )


def _files(folder: Path) -> dict[str, list[str]]:
    """Names of the files of every element of a folder, both sorted."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        symbol = element_of(path) if path.suffix.lower() in SUFFIXES and path.is_file() else None
        if symbol is not None:
            found.setdefault(symbol, []).append(path.name)
    return dict(sorted(found.items()))


def _choice(
    folder: Path, offered: Mapping[str, Sequence[str]], symbol: str, text: str | None
) -> tuple[str, str]:
    """Size and name of the file of an element."""
    size, _, file = (text or DEFAULT_SIZE).strip().partition(" ")
    if not file and size in offered[symbol]:
        size, file = DEFAULT_SIZE, size
    names = [file] if file in offered[symbol] else offered[symbol]
    if len(names) != 1 or (file and file not in names):
        raise ValueError(
            f"orbitals of {symbol}: expected the name of one of its files in {folder}, as "
            f"'{size} {offered[symbol][0]}', of {', '.join(offered[symbol])}, got {file or 'none'}"
        )
    return size, names[0]


def _lookup(
    folder: Path,
    offered: Mapping[str, Sequence[str]],
    chosen: Mapping[str, tuple[str, str]],
    symbol: str,
) -> Species:
    size, file = chosen.get(symbol) or _choice(folder, offered, symbol, None)
    return load_file(folder / file, size)
