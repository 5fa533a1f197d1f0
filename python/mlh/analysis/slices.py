"""Values of a periodic grid function on a plane and along an axis, for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from mlh.common.units import ANGSTROM
from mlh.dft.grid_function import GridFunction

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A rectangle in space: points `origin + x first + y second`, Angstrom; first, second: unit vectors,
    x and y (n,): coordinates of the points."""

    origin: FloatArray
    first: FloatArray
    second: FloatArray
    x: FloatArray
    y: FloatArray


@dataclass(frozen=True, slots=True)
class PlaneAtom:
    """An atom or an image of it: coordinates in the plane and distance from it (Angstrom)."""

    index: int
    symbol: str
    x: float
    y: float
    height: float


def plane_through(
    atoms: Atoms, indices: tuple[int, int, int], margin: float = 3.0, step: float = 0.05
) -> Plane:
    """The plane through three atoms (nearest images of the second and third to the first), as large as their
    extent plus `margin` on every side; the first two lie horizontally. Angstrom."""
    if len(set(indices)) != 3 or not all(0 <= i < len(atoms) for i in indices):
        raise ValueError(f"indices: expected three different atoms of 0 to {len(atoms) - 1}, got {indices}")
    if not (margin > 0.0 and step > 0.0):
        raise ValueError(f"margin, step: expected positive lengths in Angstrom, got {margin}, {step}")
    start = atoms.positions[indices[0]]
    (a, b), _ = find_mic(atoms.positions[list(indices[1:])] - start, atoms.cell, atoms.pbc)
    first = a / np.linalg.norm(a)
    across = b - (b @ first) * first
    if np.linalg.norm(across) < 1e-3:
        raise ValueError(f"indices: expected three atoms that span a plane, got {indices} on one line")
    second = across / np.linalg.norm(across)
    corners = np.array([[0.0, 0.0], [a @ first, 0.0], [b @ first, b @ second]])
    low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    x, y = (np.arange(low[d], high[d] + step, step) for d in (0, 1))
    return Plane(start, first, second, x, y)


def on_plane(function: GridFunction, plane: Plane) -> FloatArray:
    """Values at the points of the plane, (len(y), len(x)), by cubic interpolation of the periodic grid."""
    points = (
        plane.origin
        + plane.y[:, None, None] * plane.second[None, None, :]
        + plane.x[None, :, None] * plane.first[None, None, :]
    )
    fractions = points * ANGSTROM @ np.linalg.inv(function.cell)
    index = fractions * np.array(function.values.shape)
    values: FloatArray = map_coordinates(
        function.values, np.moveaxis(index, -1, 0), order=3, mode="grid-wrap", output=np.float64
    )
    return values


def atoms_near(atoms: Atoms, plane: Plane, thickness: float = 0.6) -> list[PlaneAtom]:
    """All images of atoms within `thickness` (Angstrom) of the plane and inside the rectangle."""
    normal = np.cross(plane.first, plane.second)
    corners = [
        plane.origin + x * plane.first + y * plane.second for x in plane.x[[0, -1]] for y in plane.y[[0, -1]]
    ]
    inverse = np.linalg.inv(atoms.cell.array)
    reach = thickness * np.linalg.norm(inverse, axis=0)
    spread = np.array(corners) @ inverse
    found = []
    for index, position in enumerate(atoms.positions):
        home = position @ inverse
        low = np.ceil(spread.min(axis=0) - reach - home).astype(int)
        high = np.floor(spread.max(axis=0) + reach - home).astype(int)
        for shift in np.ndindex(*np.maximum(high - low + 1, 0)):
            d = position + (low + np.array(shift)) @ atoms.cell.array - plane.origin
            x, y, height = float(d @ plane.first), float(d @ plane.second), float(d @ normal)
            inside = plane.x[0] <= x <= plane.x[-1] and plane.y[0] <= y <= plane.y[-1]
            if inside and abs(height) <= thickness:
                found.append(PlaneAtom(index, atoms.symbols[index], x, y, height))
    return found


def axis_average(function: GridFunction, axis: int) -> tuple[FloatArray, FloatArray]:
    """Average over the planes spanned by the two other cell vectors: heights along the normal of these planes
    (Angstrom, (n,)) and mean values (n,)."""
    if axis not in (0, 1, 2):
        raise ValueError(f"axis: expected 0, 1 or 2, got {axis}")
    others = tuple(d for d in range(3) if d != axis)
    normal = np.cross(function.cell[others[0]], function.cell[others[1]])
    thickness = abs(np.linalg.det(function.cell)) / np.linalg.norm(normal) / ANGSTROM
    n = function.values.shape[axis]
    return np.arange(n) * thickness / n, np.asarray(function.values.mean(axis=others))


def plane_of_site(atoms: Atoms, site: Sequence[int]) -> tuple[int, int, int] | None:
    """Three atoms that show a site: two of its own (its nearest neighbour for a site of one) and the atom
    nearest to both that is not on their line; None where there is no such atom."""
    if len(atoms) < 3:
        return None
    distances = atoms.get_all_distances(mic=True)
    first = int(site[0])
    second = int(site[1]) if len(site) > 1 else int(np.argsort(distances[first], kind="stable")[1])
    for third in np.argsort(distances[first] + distances[second], kind="stable"):
        if int(third) in (first, second):
            continue
        vectors, _ = find_mic(
            atoms.positions[[second, int(third)]] - atoms.positions[first], atoms.cell, atoms.pbc
        )
        sine = np.linalg.norm(np.cross(*vectors)) / np.prod(np.linalg.norm(vectors, axis=1))
        if sine > 0.2:
            return first, second, int(third)
    return None
