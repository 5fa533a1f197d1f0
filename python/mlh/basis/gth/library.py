"""The embedded basis sets "gth-pbe" and "gth-nlcc-pbe", made on first use, cached in memory and on disk.

Cache files are named by the digest of the recipe and carry a checksum of their content; they are written
to a temporary name and renamed, so that parallel processes never see half a file. An unreadable file is
generated again. The folder is $MLH_CACHE_DIR, else $XDG_CACHE_HOME/mlh, else ~/.cache/mlh.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlh.basis.families import BasisFamily
from mlh.basis.gth.orbitals import ELEMENTS, SIZES, Recipe, available_elements, make_species, recipe_for
from mlh.basis.gth.table import GthPotential
from mlh.basis.lazy import LazyBasis
from mlh.basis.pseudopotential import tabulated_core
from mlh.basis.species import SHELL_LETTERS, Basis, Projector, RadialFunction, Species
from mlh.common.blas import blas_threads_for
from mlh.common.files import DamagedFileError, intact
from mlh.common.npz import write_npz

Array = NDArray[np.float64]

NAME = "gth-pbe"

_log = logging.getLogger("mlh.basis")
_lock = threading.Lock()
_memory: dict[str, Species] = {}


def load(name: str, orbitals: Mapping[str, str], elements: Sequence[str] | None) -> Basis:
    """The set, see `mlh.load_basis`; without `elements` a species is generated on its first lookup.

    name: of the family, and after it a size of the orbitals: "gth-nlcc-pbe precise".
    """
    family, size = _family_and_size(name)
    sizes = dict(orbitals)
    offered = available_elements(family)
    every = available_elements(family, size)
    symbols = every if elements is None else tuple(dict.fromkeys(elements))
    if unknown := sorted({*sizes, *symbols} - {*offered}):
        raise KeyError(f"{family}: expected elements among {', '.join(offered)}, got {', '.join(unknown)}")
    for symbol, text in sizes.items():
        recipe_for(symbol, text, family)  # a size that is not there is an error now
    if elements is None:
        return LazyBasis(every, partial(_lookup, family, size, sizes), name)
    return Basis([_lookup(family, size, sizes, symbol) for symbol in symbols], name)


def _family_and_size(name: str) -> tuple[str, str]:
    """gth-nlcc-pbe, precise."""
    family, *rest = name.split()
    if family not in ELEMENTS or len(rest) > 1 or (rest and rest[0] not in SIZES):
        raise ValueError(
            f"basis: expected {' or '.join(ELEMENTS)}, and after it none or one of {', '.join(SIZES)}, "
            f"got {name!r}"
        )
    return family, rest[0] if rest else "standard"


def _lookup(family: str, size: str, sizes: Mapping[str, str], symbol: str) -> Species:
    return load_species(recipe_for(symbol, sizes.get(symbol, size), family))


def record(basis: Basis) -> dict[str, str]:
    """The sizes of the species that are not those of the name."""
    family, size = _family_and_size(basis.name)
    changed = [s for s in basis.species if s.recipe != recipe_for(s.symbol, size, family).text]
    return {s.symbol: f"{s.cutoff:g}-{_counts(s)}" for s in changed}


def _counts(species: Species) -> str:
    numbers = [orbital.l for orbital in species.orbitals]
    return "".join(f"{SHELL_LETTERS[l]}{numbers.count(l)}" for l in sorted(set(numbers)))


FAMILY = BasisFamily(NAME, load, record, integration="spheres")


def load_species(recipe: Recipe) -> Species:
    """The species of a recipe: from memory, from the disk cache, or generated."""
    text = recipe.text
    with _lock:
        if text not in _memory:
            _memory[text] = _from_disk(recipe) or _generate(recipe)
            potential = recipe.potential
            if isinstance(potential, GthPotential) and potential.weakness:
                _log.warning("%s of %s: %s", potential.name, potential.symbol, potential.weakness)
        return _memory[text]


def cache_folder() -> Path:
    """Folder of the generated species."""
    if explicit := os.environ.get("MLH_CACHE_DIR"):
        return Path(explicit)
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "mlh"


def cache_file(recipe: Recipe) -> Path:
    """Path of one cached species."""
    digest = hashlib.sha256(recipe.text.encode()).hexdigest()
    return cache_folder() / "basis" / f"{recipe.potential.symbol}-{digest[:20]}.npz"


def _generate(recipe: Recipe) -> Species:
    with blas_threads_for(order=0):  # small matrices: on a busy machine twenty times faster
        species = make_species(recipe)
    keep(species, cache_file(recipe))
    return species


def _from_disk(recipe: Recipe) -> Species | None:
    return kept(cache_file(recipe), partial(_from_arrays, recipe))


def keep(species: Species, path: Path) -> None:
    """Write what was made of a species into the cache; a cache that cannot be written is no obstacle."""
    arrays = _to_arrays(species)
    try:
        write_npz(path, arrays | {"checksum": np.array(_checksum(arrays))})
    except OSError as error:
        _log.warning("basis cache %s: not written (%s)", cache_folder(), error)


def kept(path: Path, make: Callable[[Mapping[str, Array]], Species]) -> Species | None:
    """The species that `make` makes of the arrays in the cache; None where they are not there or damaged."""
    try:
        with intact(path, "generated again"), np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
            if str(arrays.pop("checksum", "")) != _checksum(arrays):
                raise ValueError("checksum mismatch")
            return make(arrays)
    except FileNotFoundError:
        return None
    except (OSError, DamagedFileError) as error:
        _log.warning("basis cache %s", error)
        return None


def _to_arrays(species: Species) -> dict[str, Array]:
    arrays = {"density": species.density.g, "neutral_potential": species.neutral_potential.g}
    if (sphere := species.sphere) is not None:
        arrays["sphere"] = np.array([sphere.center, sphere.sigma, sphere.radius])
    for k, orbital in enumerate(species.orbitals):
        arrays[f"orbital{k}"] = np.append(float(orbital.l), orbital.g)
    return arrays


def _from_arrays(recipe: Recipe, arrays: Mapping[str, Array]) -> Species:
    """The species of cached arrays; projectors and core are formulas and are tabulated again."""
    rows = [arrays[f"orbital{k}"] for k in range(sum(recipe.size.counts))]
    return Species(
        symbol=recipe.potential.symbol,
        valence=float(recipe.potential.valence),
        orbitals=tuple(RadialFunction(int(row[0]), row[1:]) for row in rows),
        projectors=tuple[Projector, ...](p.tabulate() for p in recipe.potential.projectors()),
        neutral_potential=RadialFunction(0, arrays["neutral_potential"]),
        density=RadialFunction(0, arrays["density"]),
        core_density=tabulated_core(recipe.potential),
        sphere=recipe.sphere,
        local_potential=recipe.potential.local,
        recipe=recipe.text,
    )


def _checksum(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(arrays[key], dtype="<f8").tobytes())
    return digest.hexdigest()
