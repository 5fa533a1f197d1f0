"""Pictures of electronic structure: bands, densities of states, planes, averages, defect levels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm, TwoSlopeNorm
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from mlh.analysis.bands import BandEdges, Bands
from mlh.analysis.defect_levels import DefectLevel, DefectLevels
from mlh.analysis.dos import DensityOfStates
from mlh.analysis.slices import Plane, PlaneAtom
from mlh.report.figure import Figure

FloatArray = NDArray[np.float64]

UP_COLOR, DOWN_COLOR, DEFECT_COLOR = "#1f4e79", "#c1440e", "#c1440e"
_PART_COLORS = (
    "#c1440e",
    "#1f4e79",
    "#3a7d44",
    "#8e5ea2",
    "#d4a017",
    "#4aa3a2",
    "#7f7f7f",
    "#e377c2",
    "#000000",
)


def reference_name(edges: BandEdges) -> str:
    """What zero of the energy axis is."""
    return "Fermi level" if edges.metallic else "valence top"


def band_figure(bands: Bands, window: tuple[float, float] = (-13.0, 8.0), title: str = "") -> Figure:
    """Bands against the path, energies relative to the reference; the edges marked."""
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    axis = figure.add_subplot()
    x, ticks, labels = bands.structure.get_labels()
    names = [label.replace("G", "Γ") for label in labels]
    energies = bands.energies
    for spin, color in zip(range(len(energies)), (UP_COLOR, DOWN_COLOR)):
        for start, stop in _segments(x):
            lines = axis.plot(x[start:stop], energies[spin, start:stop], color=color, linewidth=1.1)
            if len(energies) == 2 and start == 0:
                lines[0].set_label(("spin up", "spin down")[spin])
    edges = bands.edges
    for edge in (edges.valence, edges.conduction):
        if edge is not None:
            axis.plot(
                x[edge.k_index], edge.energy - edges.reference, "o", color="black", markersize=4, zorder=3
            )
    for tick in ticks:
        axis.axvline(tick, color="0.75", linewidth=0.7, zorder=0)
    axis.axhline(0.0, color="0.5", linewidth=0.8, linestyle="--", zorder=0)
    axis.set_xticks(*_merged(ticks, names))
    axis.set_xlim(x[0], x[-1])
    axis.set_ylim(*window)
    axis.set_ylabel(f"energy − {reference_name(edges)} (eV)")
    gap = (
        "metal"
        if edges.metallic
        else f"gap {edges.gap:.2f} eV, {'direct' if edges.is_direct else 'indirect'}"
    )
    axis.set_title(f"{title}: {gap}" if title else gap, fontsize=10)
    if len(energies) == 2:
        axis.legend(frameon=False, loc="upper right")
    return figure


def _segments(x: FloatArray) -> list[tuple[int, int]]:
    """Pieces of the path between jumps, where two points have the same abscissa."""
    cuts = [0, *(int(i) + 1 for i in np.flatnonzero(np.diff(x) < 1e-9)), len(x)]
    return list(pairwise(cuts))


def _merged(ticks: Sequence[float], names: Sequence[str]) -> tuple[list[float], list[str]]:
    """Labels of a jump share one tick: "U|K"."""
    places: list[float] = []
    texts: list[str] = []
    for tick, name in zip(ticks, names, strict=True):
        if places and abs(tick - places[-1]) < 1e-9:
            texts[-1] = f"{texts[-1]}|{name}"
        else:
            places.append(float(tick))
            texts.append(name)
    return places, texts


def dos_figure(dos: DensityOfStates, window: tuple[float, float] | None = None, title: str = "") -> Figure:
    """Total and projected densities of states; the second spin downwards. Default window: up to 12 eV above
    the reference, where levels of a small basis still mean something."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.add_subplot()
    x = dos.energies - dos.edges.reference
    low, high = (float(x[0]), min(float(x[-1]), 12.0)) if window is None else window
    shown = slice(*np.searchsorted(x, (low, high)))
    if shown.stop - shown.start < 2:
        raise ValueError(f"window: expected one inside {x[0]:.2f} to {x[-1]:.2f} eV, got {low} to {high}")
    signs = (1.0,) if len(dos.total) == 1 else (1.0, -1.0)
    for sign, total in zip(signs, dos.total):
        axis.fill_between(x[shown], sign * total[shown], color="0.85", linewidth=0.0)
        axis.plot(
            x[shown], sign * total[shown], color="0.35", linewidth=1.0, label="total" if sign > 0 else None
        )
    for color, (name, values) in zip(_PART_COLORS, dos.parts.items()):
        for sign, part in zip(signs, values):
            axis.plot(
                x[shown], sign * part[shown], color=color, linewidth=1.1, label=name if sign > 0 else None
            )
    axis.axvline(0.0, color="0.5", linewidth=0.8, linestyle="--")
    axis.set_xlim(x[shown][0], x[shown][-1])
    if len(signs) == 1:
        axis.set_ylim(bottom=0.0)
    axis.set_xlabel(f"energy − {reference_name(dos.edges)} (eV)")
    axis.set_ylabel("states / eV" + ("" if len(signs) == 1 else " (spin down negative)"))
    axis.legend(frameon=False, fontsize=9)
    if title:
        axis.set_title(title, fontsize=10)
    return figure


def plane_figure(
    plane: Plane, values: FloatArray, atoms: Sequence[PlaneAtom], label: str, title: str = ""
) -> Figure:
    """A function on a plane with the atoms near it. Functions of both signs get a colour map around zero."""
    width, height = plane.x[-1] - plane.x[0], plane.y[-1] - plane.y[0]
    figure = Figure(figsize=(6.2, 6.2 * height / width * 0.86 + 0.4), layout="constrained")
    axis = figure.add_subplot()
    largest, norm = float(np.abs(values).max()), Normalize()
    signed = values.min() < -1e-3 * largest
    if signed:
        # A peak at one atom must not bleach everything else.
        top = max(float(np.quantile(np.abs(values), 0.995)), 1e-12)
        norm, levels = TwoSlopeNorm(0.0, -top, top), top * np.array([-0.5, -0.2, -0.05, 0.05, 0.2, 0.5])
    else:
        top = max(float(np.quantile(values, 0.995)), 1e-12)
        norm, levels = PowerNorm(0.5, 0.0, top), top * np.array([0.01, 0.05, 0.2, 0.5])
    extent = (plane.x[0], plane.x[-1], plane.y[0], plane.y[-1])
    image = axis.imshow(
        values,
        origin="lower",
        extent=extent,
        norm=norm,
        cmap="RdBu_r" if signed else "magma_r",
        aspect="equal",
    )
    axis.contour(plane.x, plane.y, values, levels=levels, colors="0.25", linewidths=0.5)
    for atom in atoms:
        axis.scatter(
            atom.x,
            atom.y,
            s=170.0 * covalent_radii[_number(atom.symbol)],
            color=[jmol_colors[_number(atom.symbol)]],
            edgecolor="black",
            linewidth=0.8,
            zorder=3,
        )
        axis.annotate(
            f"{atom.symbol}{atom.index}",
            (atom.x, atom.y),
            (6, 6),
            textcoords="offset points",
            fontsize=8,
            path_effects=[withStroke(linewidth=2.0, foreground="white")],
        )
    axis.set_xlim(extent[:2])
    axis.set_ylim(extent[2:])
    axis.set_xlabel("x (Å)")
    axis.set_ylabel("y (Å)")
    bar = figure.colorbar(image, ax=axis, shrink=0.85, extend="both" if signed else "max")
    bar.set_label(label)
    if title:
        axis.set_title(title, fontsize=10)
    return figure


def _number(symbol: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol])


def average_figure(
    heights: FloatArray, values: FloatArray, axis_name: str, label: str, title: str = ""
) -> Figure:
    """Planar average along an axis."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axis = figure.add_subplot()
    axis.plot(heights, values, color=UP_COLOR, linewidth=1.2)
    if values.min() < 0.0:
        axis.axhline(0.0, color="0.5", linewidth=0.8, linestyle="--")
    axis.set_xlim(heights[0], heights[-1])
    axis.set_xlabel(f"height along {axis_name} (Å)")
    axis.set_ylabel(label)
    if title:
        axis.set_title(title, fontsize=10)
    return figure


def defect_figure(result: DefectLevels, title: str = "") -> Figure:
    """Left: the levels between the bands. Right: participation ratio of every state against its energy."""
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 2.2), sharey=True)
    chosen = {result.occupied.index: result.occupied, result.empty.index: result.empty}
    low = min(level.energy for level in result.levels) - 0.3
    high = max(level.energy for level in result.levels) + 0.3
    _band_shading(left, low, high, result.gap)
    for level in sorted({*result.in_gap, *chosen.values()}, key=lambda level: level.energy):
        _level_line(left, level, level.index in chosen)
    left.set_xlim(0.0, 1.0)
    left.set_xticks([])
    left.set_ylabel("energy − valence edge (eV)")
    left.set_title("levels", fontsize=10)
    _band_shading(right, low, high, result.gap)
    x = [level.ipr for level in result.levels]
    y = [level.energy for level in result.levels]
    share = [max(level.site_share, 0.0) for level in result.levels]
    dots = right.scatter(x, y, c=share, cmap="viridis_r", vmin=0.0, vmax=max(share), s=26, zorder=3)
    for level, name in ((result.occupied, "occupied"), (result.empty, "empty")):
        beyond = level.ipr > 0.6 * max(x)  # the words on the side where there is room
        right.annotate(
            f"{name}: {100.0 * level.site_share:.0f} % on the site",
            (level.ipr, level.energy),
            (-8 if beyond else 8, 8),
            textcoords="offset points",
            ha="right" if beyond else "left",
            fontsize=8,
        )
    right.set_xlim(0.0, 1.25 * max(x))
    right.set_ylim(low, high)
    right.set_xlabel("inverse participation ratio")
    right.set_title("localisation", fontsize=10)
    figure.colorbar(dots, ax=right, label="weight on the atoms of the site")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _band_shading(axis: Axes, low: float, high: float, gap: float) -> None:
    axis.axhspan(low, 0.0, color="0.90", linewidth=0.0, zorder=0)
    axis.axhspan(gap, high, color="0.90", linewidth=0.0, zorder=0)


def _level_line(axis: Axes, level: DefectLevel, chosen: bool) -> None:
    color = DEFECT_COLOR if chosen else "0.4"
    axis.plot([0.2, 0.65], [level.energy] * 2, color=color, linewidth=2.0)
    if level.occupation > 0.5:
        for x in (0.36, 0.49) if level.occupation > 1.5 else (0.42,):
            axis.plot(x, level.energy, "o", color=color, markersize=5)
    axis.text(0.68, level.energy, f"{level.energy:.2f}", va="center", fontsize=8, color=color)
