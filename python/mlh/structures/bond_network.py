"""Networks of bonds to start from: crystals, structures, random points.

The network itself: cpp/include/mlh/glass/network.hpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import ase
import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.neighborlist import neighbor_list
from ase.units import kg, m
from numpy.typing import NDArray

import mlh._core as _core
from mlh.common.units import ANGSTROM
from mlh.structures.crystals import CRYSTALS, crystal
from mlh.structures.recipe import NetworkElements

Shape = Literal["cubic", "crystal"]

# Longest bond over the shortest one in a structure from which bonds are read. In silica the next atoms
# are 1.6 bond lengths away, in silicon 1.63.
_BOND_RATIO = 1.25


@dataclass(frozen=True)
class NetworkStructure:
    """Atoms and their bonds in both directions, CSR by atom: `neighbors` (n, 4) holds the other atom and
    the lattice translation (3) to it, `start` (natoms + 1) where each atom's rows begin."""

    atoms: ase.Atoms
    start: NDArray[np.int32]
    neighbors: NDArray[np.int32]

    def core_structure(self, elements: NetworkElements) -> _core.Structure:
        """Cell and positions in Bohr, species by their place in the recipe."""
        symbols = self.atoms.get_chemical_symbols()
        species = np.array([elements.symbols.index(symbol) for symbol in symbols], dtype=np.int32)
        cell = np.ascontiguousarray(self.atoms.cell[:] * ANGSTROM)
        return _core.Structure(cell, np.ascontiguousarray(self.atoms.positions * ANGSTROM), species)

    def core_network(self, elements: NetworkElements) -> _core.Network:
        """The bonds, checked: every bond both ways, bridges between formers, no edge sharing."""
        is_former = np.asarray(self.atoms.get_chemical_symbols()) == elements.former
        return _core.Network(np.ascontiguousarray(is_former), self.start, self.neighbors)


def crystal_network(
    elements: NetworkElements, n_atoms: int, density: float | None = None, shape: Shape = "cubic"
) -> NetworkStructure:
    """Supercell of the crystal of the recipe, of all with `n_atoms` the one that is closest to a cube, at
    `density` (g/cm^3; default: that of the recipe); with shape "cubic" strained into a cube, which the
    melt makes forget."""
    data = CRYSTALS[elements.start]
    cells, rest = divmod(n_atoms, data.n_atoms)
    if rest or cells < 1:
        low = max(n_atoms // data.n_atoms, 1) * data.n_atoms
        raise ValueError(
            f"atoms: expected a multiple of {data.n_atoms} ({elements.start}), for example {low} or "
            f"{low + data.n_atoms}, or a random start; got {n_atoms}"
        )
    lengths = np.asarray(crystal(elements.start).cell.lengths())
    repeats = [t for t in product(range(1, cells + 1), repeat=3) if np.prod(t) == cells]
    repeat = min(repeats, key=lambda t: (float(np.ptp(np.log(lengths * t))), t))
    atoms = crystal(elements.start, (repeat[0], repeat[1], repeat[2]))
    formers = np.asarray(atoms.get_chemical_symbols()) == "Si"
    atoms.symbols[np.flatnonzero(formers)] = elements.former
    if elements.bridge is not None:
        atoms.symbols[np.flatnonzero(~formers)] = elements.bridge
    return structure_network(atoms, elements, density or elements.density, shape)


def structure_network(
    atoms: ase.Atoms, elements: NetworkElements, density: float | None = None, shape: Shape = "crystal"
) -> NetworkStructure:
    """The network of a structure, whose bonds are the pairs of former and bridge (or of two formers)
    within 1.25 times the shortest such distance; then scaled to `density` (g/cm^3; default: as it is)."""
    extra = set(atoms.get_chemical_symbols()) - set(elements.symbols)
    if extra:
        raise ValueError(f"start: expected only {elements.symbols}, got also {sorted(extra)}")
    pair = (elements.former, elements.bridge or elements.former)
    distances = neighbor_list("d", atoms, {pair: 5.0})
    if len(distances) == 0:
        raise ValueError(f"start: expected {pair[0]}-{pair[1]} pairs, got none within 5 A")
    cutoff = _BOND_RATIO * float(distances.min())
    i, j, shift = neighbor_list("ijS", atoms, {pair: cutoff})
    counts = np.bincount(i, minlength=len(atoms))
    wanted = np.where(np.asarray(atoms.get_chemical_symbols()) == elements.former, elements.coordination, 2)
    wrong = np.flatnonzero(counts != wanted)
    if len(wrong):
        index = int(wrong[0])
        raise ValueError(
            f"start: expected {wanted[index]} bonds below {cutoff:.2f} A at {atoms.symbols[index]} atom "
            f"{index}, got {counts[index]} ({len(wrong)} atoms in all)"
        )
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], j, i))
    rows = np.column_stack([j, shift])[order].astype(np.int32)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return NetworkStructure(_fitted(atoms, density, shape), start, np.ascontiguousarray(rows))


def random_network(
    elements: NetworkElements, n_atoms: int, density: float | None = None, seed: int = 0
) -> NetworkStructure:
    """Random formers in a cube, linked shortest distances first; formers left over are put into links
    nearby (the start of Barkema, Mousseau, Phys. Rev. B 62, 4985 (2000)); bridges at the midpoints."""
    bridged = elements.bridge is not None
    n_links_per_former = elements.coordination / 2
    n_formers = round(n_atoms / (1 + n_links_per_former)) if bridged else n_atoms
    n_links = n_formers * n_links_per_former
    total = n_formers + (n_links if bridged else 0)
    if n_links != int(n_links) or total != n_atoms or n_formers < 8:
        raise ValueError(
            f"atoms: expected a number that {elements.coordination}-coordinated {elements.former} allows, "
            f"at least 8 of it, got {n_atoms}"
        )
    rng = np.random.default_rng(seed)
    symbols = [elements.former] * n_formers + [elements.bridge or ""] * (n_atoms - n_formers)
    length = _volume(symbols, density or elements.density) ** (1 / 3)
    points = _spread_points(rng, n_formers, length)
    links = _random_links(points, length, elements.coordination)
    return _network_from_links(points, length, links, symbols, bridged)


def _volume(symbols: list[str], density: float) -> float:
    """Angstrom^3 of atoms at a density in g/cm^3."""
    masses = sum(float(atomic_masses[atomic_numbers[symbol]]) for symbol in symbols)
    return float(masses / (density * 1e3 * kg / m**3))


def _fitted(atoms: ase.Atoms, density: float | None, shape: Shape) -> ase.Atoms:
    """Copy at a density and shape, fractional coordinates kept."""
    symbols = atoms.get_chemical_symbols()
    volume = _volume(symbols, density) if density is not None else atoms.get_volume()
    cell = atoms.cell[:] * (volume / atoms.get_volume()) ** (1 / 3)
    if shape == "cubic":
        cell = np.eye(3) * volume ** (1 / 3)
    return ase.Atoms(symbols, scaled_positions=atoms.get_scaled_positions(wrap=False), cell=cell, pbc=True)


def _spread_points(rng: np.random.Generator, count: int, length: float) -> NDArray[np.float64]:
    """Random points in a periodic cube, no two closer than 0.7 of the spacing of a simple cubic lattice."""
    closest = 0.7 * length / count ** (1 / 3)
    points: list[NDArray[np.float64]] = []
    while len(points) < count:
        point = rng.uniform(0.0, length, size=3)
        difference = np.reshape(points, (-1, 3)) - point
        difference -= length * np.round(difference / length)
        if (np.linalg.norm(difference, axis=1) >= closest).all():
            points.append(point)
    return np.array(points)


def _random_links(points: NDArray[np.float64], length: float, coordination: int) -> list[tuple[int, int]]:
    """Pairs of points, each point in `coordination` of them, no pair twice."""
    difference = points[None] - points[:, None]
    difference -= length * np.round(difference / length)
    distance = np.linalg.norm(difference, axis=2)
    first, second = np.triu_indices(len(points), 1)
    order = np.argsort(distance[first, second], kind="stable")
    linked: list[set[int]] = [set() for _ in points]

    def join(a: int, b: int) -> None:
        linked[a].add(b)
        linked[b].add(a)

    for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if len(linked[a]) < coordination and len(linked[b]) < coordination:
            join(a, b)
    while missing := [a for a in range(len(points)) for _ in range(coordination - len(linked[a]))]:
        a, b = missing[0], missing[1]
        near = np.argsort(distance[a], kind="stable").tolist()
        x, y = next(
            (x, y)
            for x in near
            for y in sorted(linked[x], key=lambda y: distance[b, y])
            if not {x, y} & {a, b} and x not in linked[a] and y not in linked[b]
        )
        linked[x].remove(y)
        linked[y].remove(x)
        join(a, x)
        join(b, y)
    return [(a, b) for a in range(len(points)) for b in sorted(linked[a]) if a < b]


def _network_from_links(
    points: NDArray[np.float64],
    length: float,
    links: list[tuple[int, int]],
    symbols: list[str],
    bridged: bool,
) -> NetworkStructure:
    rows: list[list[tuple[int, ...]]] = [[] for _ in symbols]
    positions = list(points)
    for index, (a, b) in enumerate(links):
        shift = -np.round((points[b] - points[a]) / length).astype(int)
        forth, back = tuple(shift.tolist()), tuple((-shift).tolist())
        if not bridged:
            rows[a].append((b, *forth))
            rows[b].append((a, *back))
            continue
        bridge = len(points) + index
        positions.append(points[a] + 0.5 * (points[b] + shift * length - points[a]))
        rows[a].append((bridge, 0, 0, 0))
        rows[bridge] += [(a, 0, 0, 0), (b, *forth)]
        rows[b].append((bridge, *back))
    atoms = ase.Atoms(symbols, positions, cell=np.eye(3) * length, pbc=True)
    start = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32)
    return NetworkStructure(atoms, start, np.array([n for row in rows for n in row], dtype=np.int32))
