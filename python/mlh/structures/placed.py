"""Named defects at places of a host: which sites there are, and the structure with a defect in one of them.

A place is the index of an atom of the host, or for an interstitial the number of a void of the host as it was
given (`mlh.structures.voids`, the widest first). It stays the name of that place when the host relaxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ase
import numpy as np
from ase.geometry import find_mic
from numpy.typing import NDArray

from mlh.structures.defect_names import DefectName, PointDefect
from mlh.structures.defects import point_defect, select_sites
from mlh.structures.files import structure_hash
from mlh.structures.voids import MIN_DISTANCE, void_positions, voids_of

FloatArray = NDArray[np.float64]

_SHELL = 1.25  # atoms around a void: closer than this times the nearest one
_APART = 0.8  # Angstrom; an interstitial this near to another member of a complex is the same place


@dataclass(frozen=True, order=True)
class PlacedDefect:
    """A defect with the place of each member; str: V_O-12, V_O-12+H_i-3."""

    name: DefectName
    places: tuple[int, ...]

    def __str__(self) -> str:
        return "+".join(f"{m}-{place}" for m, place in zip(self.name.members, self.places, strict=True))

    @property
    def site(self) -> int:
        """The place of the first member, by which a defect is known in tables."""
        return self.places[0]


def vacancy_at(host: ase.Atoms, site: int) -> PlacedDefect:
    """The vacancy of the atom with this index."""
    return PlacedDefect(DefectName((PointDefect(None, str(host.symbols[site])),)), (int(site),))


def choose_places(
    host: ase.Atoms,
    name: DefectName,
    selection: str | int | Sequence[int] = "all",
    seed: int = 0,
    symprec: float = 1e-3,
) -> tuple[PlacedDefect, ...]:
    """Where the defect can be in the host: `selection` as in `select_sites`, of atoms or of voids, for the
    first member of a complex. The others are at the nearest place of their kind that is left."""
    voids = _voids_for(name, host)
    first = name.members[0]
    if first.site is None:
        chosen = _select_voids(host, voids, selection, seed, symprec)
    else:
        chosen = select_sites(host, first.site, selection, seed, symprec)
    return tuple(_completed(host, name, place, voids) for place in chosen)


def placed_defect(host: ase.Atoms, defect: PlacedDefect, given: ase.Atoms | None = None) -> ase.Atoms:
    """The structure. given: the host that the places were chosen in, where `host` is what it relaxed to: a
    void moves with the atoms around it.

    Of a complex "defect_site" and "defect_position" are those of the first member, "defect_kind" is the name.
    """
    voids = _voids_for(defect.name, host if given is None else given)
    atoms, first = host, dict[str, object]()
    # Removed atoms last and from the end, so that indices of the host hold until then.
    for member, place in sorted(
        zip(defect.name.members, defect.places, strict=True), key=lambda pair: _order(*pair)
    ):
        earlier = atoms.arrays.get("host_index") if atoms is not host else None
        if member.site is None:
            _require(0 <= place < len(voids), f"void 0 to {len(voids) - 1}", place)
            position = _moved(voids[place], given, host)
            atoms = point_defect(atoms, position=position, element=member.added)
        else:
            _require(0 <= place < len(host), f"site 0 to {len(host) - 1}", place)
            _require(str(host.symbols[place]) == member.site, f"an atom of {member.site}", place)
            atoms = point_defect(atoms, site=place, element=member.added)
        if earlier is not None:
            own = atoms.arrays["host_index"]
            atoms.arrays["host_index"] = np.where(own >= 0, earlier[own], -1)
        if (member, place) == (defect.name.members[0], defect.places[0]):
            first = {key: atoms.info[key] for key in ("defect_site", "defect_position")}
    return _labelled(atoms, host, defect, first)


def place_of(member: PointDefect, place: int, host: ase.Atoms, voids: FloatArray) -> FloatArray:
    """Where it is, Cartesian, Angstrom."""
    return np.asarray(voids[place] if member.site is None else host.positions[place], dtype=np.float64)


def _labelled(atoms: ase.Atoms, host: ase.Atoms, defect: PlacedDefect, first: dict[str, object]) -> ase.Atoms:
    """The provenance of the whole defect."""
    atoms.info["defect_name"] = str(defect.name)
    atoms.info["defect_places"] = list(defect.places)
    if len(defect.places) == 1:
        return atoms
    members = defect.name.members
    atoms.info.update(
        {
            **first,
            "host": str(host.info.get("source", host.get_chemical_formula())),
            "host_hash": structure_hash(host),
            "defect_kind": str(defect.name),
            "defect_removed": "+".join(m.site or "none" for m in members),
            "defect_added": "+".join(m.added or "none" for m in members),
        }
    )
    return atoms


def _order(member: PointDefect, place: int) -> tuple[int, int]:
    """Substitutions, then vacancies from the end; atoms are appended after them, and nothing moves them."""
    if member.site is None:
        return 2, place
    return (1, -place) if member.added is None else (0, place)


def _completed(host: ase.Atoms, name: DefectName, place: int, voids: FloatArray) -> PlacedDefect:
    """The other members at the nearest free places of their kinds."""
    members, places = name.members, [place]
    if len(members) == 1:
        return PlacedDefect(name, (place,))
    start = place_of(members[0], place, host, voids)
    for number, member in enumerate(members[1:], 1):
        candidates = (
            np.arange(len(voids))
            if member.site is None
            else np.flatnonzero(np.asarray(host.get_chemical_symbols()) == member.site)
        )
        spots = np.reshape([place_of(member, int(c), host, voids) for c in candidates], (-1, 3))
        distances = find_mic(spots - start, host.cell, host.pbc)[1] if len(spots) else np.zeros(0)
        taken = [place_of(m, p, host, voids) for m, p in zip(members[:number], places, strict=True)]
        free = [i for i in range(len(spots)) if _is_free(host, spots[i], taken)]
        if not free:
            raise ValueError(f"defect: expected a place for {member} of {name} in the host, got none")
        # Rounded, so that of equally near ones the first is taken on every machine.
        best = min(free, key=lambda i: (round(float(distances[i]), 4), i))
        places.append(int(candidates[best]))
    return PlacedDefect(name, tuple(places))


def _is_free(host: ase.Atoms, spot: FloatArray, taken: Sequence[FloatArray]) -> bool:
    _, distances = find_mic(np.reshape(taken, (-1, 3)) - spot, host.cell, host.pbc)
    return bool(np.min(distances) > _APART)


def _voids_for(name: DefectName, host: ase.Atoms) -> FloatArray:
    """The voids of the host, where a member needs them: a molecule without a cell has none."""
    needed = any(member.site is None for member in name.members)
    return voids_of(host) if needed else np.zeros((0, 3))


def _select_voids(
    host: ase.Atoms, voids: FloatArray, selection: str | int | Sequence[int], seed: int, symprec: float
) -> tuple[int, ...]:
    """Numbers of voids."""
    if not len(voids):
        raise ValueError(f"sites: expected a void at least {MIN_DISTANCE} A from every atom, got none")
    if not isinstance(selection, str | int):
        wrong = [index for index in selection if not 0 <= index < len(voids)]
        if wrong:
            raise ValueError(f"sites: expected voids 0 to {len(voids) - 1}, got {wrong}")
        return tuple(sorted(int(index) for index in selection))
    chosen = void_positions(host, selection, MIN_DISTANCE, seed, symprec)
    return tuple(int(np.flatnonzero((voids == spot).all(axis=1))[0]) for spot in chosen)


def _moved(spot: FloatArray, given: ase.Atoms | None, host: ase.Atoms) -> FloatArray:
    """A void after the atoms around it have moved: by their mean displacement."""
    if given is None:
        return spot
    _, distances = find_mic(given.positions - spot, given.cell, given.pbc)
    around = distances < _SHELL * distances.min()
    moves, _ = find_mic(host.positions - given.positions, host.cell, host.pbc)
    return np.asarray(spot + moves[around].mean(axis=0), dtype=np.float64)


def _require(condition: bool, expected: str, place: int) -> None:
    if not condition:
        raise ValueError(f"defect: expected {expected}, got {place}")
