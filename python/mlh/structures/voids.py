"""Places for interstitials: points of a structure that are as far as possible from all atoms."""

from __future__ import annotations

from itertools import product

import ase
import numpy as np
import spglib
from numpy.typing import NDArray
from scipy.spatial import Voronoi

from mlh.structures.cell import require_cell

MIN_DISTANCE = 1.2  # Angstrom, of a void to every atom unless another one is asked for
_SAME = 0.3  # Angstrom; closer candidates are one void


def void_positions(
    atoms: ase.Atoms,
    selection: str | int = "all",
    min_distance: float = MIN_DISTANCE,
    seed: int = 0,
    symprec: float = 1e-3,
) -> NDArray[np.float64]:
    """Cartesian positions (n, 3), Angstrom, of the voids at least `min_distance` from every atom, the widest
    first: vertices of the periodic Voronoi diagram, which are the local maxima of the distance to the atoms
    and the saddles between them; of those within 0.3 A only the widest.

    `selection` as in `select_sites`: "all", "inequivalent" (one per symmetry orbit of the structure), or a
    number drawn without replacement with `seed`.
    """
    positions = voids_of(atoms, min_distance)
    if selection == "all":
        return positions
    if selection == "inequivalent":
        return positions[_first_of_orbits(atoms, positions, symprec)]
    if isinstance(selection, str):
        raise ValueError(f"sites: expected 'all', 'inequivalent' or a number, got {selection!r}")
    if not 1 <= selection <= len(positions):
        raise ValueError(
            f"sites: expected 1 to {len(positions)} voids at least {min_distance} A from every atom, "
            f"got {selection}"
        )
    chosen = np.random.default_rng(seed).choice(len(positions), size=selection, replace=False)
    return positions[np.sort(chosen)]


def voids_of(atoms: ase.Atoms, min_distance: float = MIN_DISTANCE) -> NDArray[np.float64]:
    """All of them."""
    require_cell(atoms, "voids")
    fractional = atoms.get_scaled_positions()
    images = np.concatenate([fractional + shift for shift in product((-1, 0, 1), repeat=3)])
    diagram = Voronoi(images @ atoms.cell[:])
    vertices = np.linalg.solve(atoms.cell[:].T, diagram.vertices.T).T
    inside = np.flatnonzero(((vertices > -1e-6) & (vertices < 1.0 - 1e-6)).all(axis=1))
    # A vertex is equally far from all atoms whose regions meet in it: any of them gives the distance.
    nearest = np.full(len(vertices), -1)
    for point, region in enumerate(diagram.point_region):
        corners = [corner for corner in diagram.regions[region] if corner >= 0]
        nearest[corners] = point
    radii = np.linalg.norm(diagram.vertices[inside] - diagram.points[nearest[inside]], axis=1)
    ranked = np.argsort(-np.round(radii, 6), kind="stable")
    wide = inside[ranked[radii[ranked] >= min_distance]]
    kept: list[NDArray[np.float64]] = []
    for vertex in vertices[wide]:
        difference = np.reshape(kept, (-1, 3)) - vertex
        difference -= np.round(difference)
        if (np.linalg.norm(difference @ atoms.cell[:], axis=1) > _SAME).all():
            kept.append(vertex)
    return np.asarray(np.reshape(kept, (-1, 3)) @ atoms.cell[:], dtype=float)


def _first_of_orbits(atoms: ase.Atoms, positions: NDArray[np.float64], symprec: float) -> list[int]:
    """Index of the first position of every orbit under the space group of the structure."""
    cell = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    symmetry = spglib.get_symmetry(cell, symprec=symprec)
    fractional = np.linalg.solve(atoms.cell[:].T, positions.T).T
    first: list[int] = []
    for index, point in enumerate(fractional):
        images = symmetry["rotations"] @ point + symmetry["translations"]
        difference = images[:, None] - fractional[None, first]
        difference -= np.round(difference)
        if not (np.linalg.norm(difference @ atoms.cell[:], axis=2) < _SAME).any():
            first.append(index)
    return first
