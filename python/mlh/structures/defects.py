"""Point defects with provenance: vacancies, substitutions and interstitials through one function.

A defect structure carries in `atoms.info`: defect_kind, defect_removed, defect_added, defect_site
(index in the host, -1 for an interstitial), defect_position (Angstrom, of the site in the host),
host and host_hash; and in the array "host_index" the index in the host of every atom (-1: added). Rattled
structures also carry rattle (Angstrom) and rattle_seed. Constraints, tags, initial moments and notes of the
host stay as far as they still mean something (`mlh.structures.carried`).
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from ase.data import atomic_numbers
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray

from mlh.structures.carried import carried, replaced, without_atom
from mlh.structures.crystals import inequivalent_sites
from mlh.structures.files import structure_hash
from mlh.structures.rattle import rattle

_MIN_DISTANCE = 0.5  # Angstrom; closer than any bond, so an interstitial there is an input error


def point_defect(
    host: ase.Atoms,
    *,
    site: int | None = None,
    position: ArrayLike | None = None,
    element: str | None = None,
) -> ase.Atoms:
    """One point defect in `host`: `site` alone a vacancy, `site` and `element` a substitution,
    `position` (Cartesian, Angstrom) and `element` an interstitial. The host is not changed."""
    if (site is None) == (position is None):
        raise ValueError("point_defect: expected exactly one of site and position")
    if element is not None and element not in atomic_numbers:
        raise ValueError(f"element: expected a chemical symbol, got {element!r}")
    if site is not None:
        _check_site(host, site)
        return _substitution(host, site, element) if element is not None else _vacancy(host, site)
    if element is None or position is None:
        raise ValueError("point_defect: expected element together with position, got position alone")
    return _interstitial(host, np.asarray(position, dtype=float), element)


def point_defects(
    host: ase.Atoms,
    *,
    sites: Sequence[int] = (),
    positions: ArrayLike = (),
    element: str | None = None,
    rattle_amplitude: float = 0.0,
    copies: int = 1,
    seed: int = 0,
) -> list[ase.Atoms]:
    """Point defects of one kind, one after the other: vacancies at `sites`, substitutions there by `element`,
    or interstitials of `element` at `positions` ((n, 3), Angstrom).

    Each comes `copies` times, rattled by `rattle_amplitude` (Angstrom, standard deviation per component). The
    random numbers of a copy depend on `seed` and on its place in the list only.
    """
    places = np.reshape(np.asarray(positions, dtype=float), (-1, 3))
    if bool(len(sites)) == bool(len(places)):
        raise ValueError(
            f"point_defects: expected either sites or positions, got {len(sites)} and {len(places)}"
        )
    defects = [point_defect(host, site=int(site), element=element) for site in sites]
    defects += [point_defect(host, position=place, element=element) for place in places]
    return rattled_copies(defects, rattle_amplitude, copies, seed)


def rattled_copies(
    defects: Sequence[ase.Atoms], rattle_amplitude: float = 0.0, copies: int = 1, seed: int = 0
) -> list[ase.Atoms]:
    """Each structure `copies` times with random displacements, as `point_defects` says."""
    if copies < 1 or (copies > 1 and rattle_amplitude == 0.0):
        raise ValueError(f"copies: expected 1, or more with a rattle above 0, got {copies}")
    if rattle_amplitude == 0.0:
        return list(defects)
    rattled = []
    for number, defect in enumerate(defect for defect in defects for _ in range(copies)):
        moved = rattle(defect, rattle_amplitude, np.random.default_rng([seed, number]))
        moved.info.update({"rattle": rattle_amplitude, "rattle_seed": f"{seed}.{number}"})
        rattled.append(moved)
    return rattled


def vacancies(host: ase.Atoms, sites: Sequence[int]) -> list[ase.Atoms]:
    """One structure per site, each with the atom of that site removed."""
    return point_defects(host, sites=sites) if len(sites) else []


def select_sites(
    host: ase.Atoms,
    species: str,
    selection: str | int | Sequence[int] = "all",
    seed: int = 0,
    symprec: float = 1e-3,
) -> tuple[int, ...]:
    """Sites of one element: "all", "inequivalent" (one per symmetry orbit), a number of sites drawn
    without replacement with `seed`, or a list of indices (checked). Sorted."""
    candidates = [int(index) for index in np.flatnonzero(np.asarray(host.get_chemical_symbols()) == species)]
    if not candidates:
        raise ValueError(f"species: expected an element of {host.get_chemical_formula()}, got {species!r}")
    if selection == "all":
        return tuple(candidates)
    if selection == "inequivalent":
        return tuple(int(index) for index in inequivalent_sites(host, species, symprec)[0])
    if isinstance(selection, str):
        raise ValueError(f"sites: expected 'all', 'inequivalent', a number or indices, got {selection!r}")
    if isinstance(selection, int):
        if not 1 <= selection <= len(candidates):
            raise ValueError(f"sites: expected 1 to {len(candidates)} sites of {species}, got {selection}")
        chosen = np.random.default_rng(seed).choice(candidates, size=selection, replace=False)
        return tuple(sorted(int(index) for index in chosen))
    wrong = [index for index in selection if index not in candidates]
    if wrong:
        raise ValueError(f"sites: expected indices of {species} atoms, got {wrong}")
    return tuple(sorted(int(index) for index in selection))


def host_to_defect_index(defect: ase.Atoms) -> NDArray[np.int64]:
    """The array "host_index": index in the host of every atom, -1 where an atom was added."""
    if "host_index" not in defect.arrays:
        raise ValueError("defect: expected the array host_index (written by point_defect), got none")
    return np.asarray(defect.arrays["host_index"], dtype=np.int64)


def _check_site(host: ase.Atoms, site: int) -> None:
    if not 0 <= site < len(host):
        raise ValueError(f"site: expected 0 to {len(host) - 1}, got {site}")


def _start(host: ase.Atoms) -> ase.Atoms:
    """Copy of the host with what still holds in another structure, and host_index 0..n-1."""
    atoms = carried(host)
    atoms.set_array("host_index", np.arange(len(host), dtype=np.int64))
    return atoms


def _provenance(
    host: ase.Atoms, kind: str, site: int, position: NDArray[np.float64], removed: str, added: str
) -> dict[str, object]:
    return {
        "defect_kind": kind,
        "defect_site": site,
        "defect_position": np.array(position, dtype=float),
        "defect_removed": removed,
        "defect_added": added,
        "host": str(host.info.get("source", host.get_chemical_formula())),
        "host_hash": structure_hash(host),
    }


def _vacancy(host: ase.Atoms, site: int) -> ase.Atoms:
    atoms = without_atom(_start(host), site)
    symbol, position = host.symbols[site], host.positions[site]
    atoms.info.update(_provenance(host, "vacancy", site, position, symbol, "none"))
    return atoms


def _substitution(host: ase.Atoms, site: int, element: str) -> ase.Atoms:
    symbol, position = host.symbols[site], host.positions[site]
    if symbol == element:
        raise ValueError(f"element: expected another element than {symbol} at site {site}")
    atoms = replaced(_start(host), site, element)
    atoms.info.update(_provenance(host, "substitution", site, position, symbol, element))
    return atoms


def _interstitial(host: ase.Atoms, position: NDArray[np.float64], element: str) -> ase.Atoms:
    if position.shape != (3,) or not np.isfinite(position).all():
        raise ValueError(f"position: expected three finite numbers (Angstrom), got {position}")
    _, distances = find_mic(host.positions - position, host.cell, host.pbc)
    if distances.min() < _MIN_DISTANCE:
        raise ValueError(
            f"position: expected at least {_MIN_DISTANCE} A to every atom, got {distances.min():.3f} A "
            f"to atom {int(distances.argmin())}"
        )
    atoms = _start(host)
    atoms.append(ase.Atom(element, position))
    atoms.arrays["host_index"][-1] = -1
    atoms.info.update(_provenance(host, "interstitial", -1, position, "none", element))
    return atoms
