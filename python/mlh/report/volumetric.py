"""Pictures of functions on the grid: cut, draw, save."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from mlh.analysis.slices import atoms_near, axis_average, on_plane, plane_through
from mlh.dft.grid_function import GridFunction
from mlh.report.electronic import average_figure, plane_figure
from mlh.report.plots import save_figure


def plane_picture(
    path: Path,
    atoms: Atoms,
    function: GridFunction,
    indices: tuple[int, int, int],
    margin: float,
    label: str,
    title: str = "",
) -> None:
    """The plane through three atoms."""
    plane = plane_through(atoms, indices, margin)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(plane_figure(plane, on_plane(function, plane), atoms_near(atoms, plane), label, title), path)


def average_picture(path: Path, function: GridFunction, axis: str, label: str, title: str = "") -> None:
    """The planar average along the cell vector a, b or c."""
    heights, values = axis_average(function, "abc".index(axis))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(average_figure(heights, values, axis, label, title), path)
