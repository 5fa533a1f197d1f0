"""Structures that might be labelled: frames of files and of runs, sites of hosts; and what is already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.neighborlist import neighbor_list

from mlh.common.files import read_json
from mlh.common.units import BOHR_ANGSTROM
from mlh.structures import load_structures, select_sites, structure_hash, vacancies
from mlh.structures.cell import require_cell

CLOSEST = 0.7
"""Angstrom. Structures with atoms nearer than this are errors of whoever made them."""

TRAJECTORY = "trajectory.extxyz"
_SUMMARIES = ("relax.json", "md.json")

Sites = str | int | Sequence[int]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A structure with its charge (e). label: where it comes from; trajectory: equal for frames that follow
    each other; digest: of the structure; host: that of its host, or of the last frame beside it."""

    atoms: ase.Atoms
    charge: float
    label: str
    trajectory: str
    digest: str
    host: str

    @property
    def key(self) -> tuple[str, float]:
        """Equal for equal calculations."""
        return self.digest, self.charge


@dataclass(frozen=True)
class Known:
    """What is labelled, or chosen, already; hosts: the groups of a data set by the digests of their hosts;
    held: groups that a data set keeps for validation or test."""

    structures: tuple[tuple[ase.Atoms, float], ...] = ()
    keys: frozenset[tuple[str, float]] = frozenset()
    hosts: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)


def candidates_of(
    names: Sequence[str],
    *,
    charges: Sequence[float] = (),
    every: int = 1,
    species: str | None = None,
    sites: Sites = "all",
    seed: int = 0,
) -> list[Candidate]:
    """Files, shipped names, crystals, and folders of runs, whose trajectories are taken.

    charges: of all structures that do not say their own (default 0). every: of a trajectory the first frame
    and each n-th after it. species: not the structures but the vacancies of this element in them, in the last
    frame of each file, at `sites`. What occurs twice is taken once.
    """
    if every < 1:
        raise ValueError(f"every: expected at least 1, got {every}")
    found: dict[tuple[str, float], Candidate] = {}
    for path, own in _files(names):
        frames = load_structures(path)
        if species is None:
            listed = [(f"{path}:{n}", frames[n]) for n in range(0, len(frames), every)]
        else:
            chosen = select_sites(frames[-1], species, sites, seed)
            made = vacancies(frames[-1], chosen)
            listed = [(f"{path}:V_{species}{site}", v) for site, v in zip(chosen, made, strict=True)]
        last = structure_hash(frames[-1])
        for label, atoms in listed:
            require_cell(atoms, label)
            for charge in _charges(atoms, own, charges):
                candidate = _candidate(atoms, charge, label, path, last)
                found.setdefault(candidate.key, candidate)
    return list(found.values())


def closest(atoms: ase.Atoms) -> float | None:
    """Shortest distance of two atoms that are nearer than they can be, Angstrom; None where none are."""
    distances = neighbor_list("d", atoms, CLOSEST)
    return float(distances.min()) if len(distances) else None


def read_known(paths: Iterable[str]) -> Known:
    """Of data sets (HDF5), and of files with structures that were chosen before."""
    structures: list[tuple[ase.Atoms, float]] = []
    hosts: dict[str, str] = {}
    held: dict[str, str] = {}
    for path in paths:
        if Path(path).suffix in (".h5", ".hdf5"):
            structures += _labelled(path, hosts, held)
        else:
            structures += [(plain(a), float(a.info.get("charge", 0.0))) for a in load_structures(path)]
    keys = frozenset((structure_hash(atoms), charge) for atoms, charge in structures)
    return Known(tuple(structures), keys, hosts, held)


def plain(atoms: ase.Atoms) -> ase.Atoms:
    """Elements, positions and cell, periodic; notes on defect, host and group."""
    bare = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell[:], pbc=True)
    kept = ("defect_", "host", "group", "split")
    bare.info = {key: value for key, value in atoms.info.items() if key.startswith(kept)}
    return bare


def group_of(candidate: Candidate, known: Known) -> str:
    """What the host of a candidate is called where structures of it are labelled, else a name of its own."""
    named = candidate.atoms.info.get("group")
    if named is not None:
        return str(named)
    own = f"host-{candidate.host[:8]}"
    return known.hosts.get(candidate.host, known.hosts.get(candidate.digest, own))


def _files(names: Sequence[str]) -> list[tuple[str, float | None]]:
    """Files of the names, with the charge that a run says its cell has."""
    found: list[tuple[str, float | None]] = []
    for name in names:
        if not name or not Path(name).is_dir():
            found.append((name, _charge_of_run(Path(name))))
            continue
        inside = sorted(Path(name).rglob(TRAJECTORY))
        if not inside:
            raise FileNotFoundError(f"{name}: expected a folder of runs, there is no {TRAJECTORY} in it")
        found += [(str(path), _charge_of_run(path)) for path in inside]
    return found


def _charge_of_run(path: Path) -> float | None:
    """What is beside a trajectory says; None where nothing does."""
    if path.name != TRAJECTORY:
        return None
    for name in _SUMMARIES:
        if (path.parent / name).is_file():
            return float(read_json(path.parent / name).get("engine", {}).get("charge", 0.0))
    return None


def _charges(atoms: ase.Atoms, run: float | None, asked: Sequence[float]) -> Sequence[float]:
    if "charge" in atoms.info:
        return (float(atoms.info["charge"]),)
    return (run,) if run else tuple(asked) or (0.0,)


def _candidate(atoms: ase.Atoms, charge: float, label: str, path: str, last: str) -> Candidate:
    """last: the digest of the last frame of the file, which defects of a relaxed host call their host."""
    bare = plain(atoms)
    named = ("host_hash", "defect_site", "defect_places", "rattle_seed")
    parts = [path, *(str(atoms.info[key]) for key in named if key in atoms.info), f"{charge:+g}"]
    host = str(atoms.info.get("host_hash", last))
    return Candidate(bare, charge, label, "/".join(parts), structure_hash(bare), host)


def _labelled(path: str, hosts: dict[str, str], held: dict[str, str]) -> list[tuple[ase.Atoms, float]]:
    """Structures of a data set; its groups by the digests of what is in them go to `hosts`."""
    from mlh.dataset.store import Dataset  # late: it loads torch

    found = []
    with Dataset(path) as data:
        for k in range(len(data)):
            numbers, positions, cell = data.geometry(k)
            atoms = ase.Atoms(numbers, positions * BOHR_ANGSTROM, cell=cell * BOHR_ANGSTROM, pbc=True)
            record: dict[str, Any] = data.record(k)
            group, info = str(record["group"]), record["info"]
            for digest in (structure_hash(atoms), info.get("host_hash")):
                if digest:
                    hosts[str(digest)] = group
            if info.get("split") in ("validation", "test"):
                held[group] = str(info["split"])
            found.append((atoms, data.charge(k)))
    return found


def moved(one: ase.Atoms, other: ase.Atoms) -> float:
    """Largest displacement of an atom between two structures of the same atoms and cell, Angstrom."""
    shift = one.positions - other.positions
    cell = one.cell.array
    inside = np.linalg.solve(cell.T, shift.T).T
    return float(np.linalg.norm((inside - np.round(inside)) @ cell, axis=1).max(initial=0.0))
