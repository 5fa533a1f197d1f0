"""The diagram of charged defects: formation energy against the Fermi level, one panel per defect.

Every place is a thin line of its lowest charge, with dots where charges change; the lowest place of a defect
is thick, with its charges written along it. Strokes at the bottom: the transition levels of all places.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlh.defects.ccd import HBAR_OMEGA
from mlh.defects.charged import diagram_of
from mlh.defects.diagram import Diagram, TransitionLevel, envelope, stable_charge, transition_levels
from mlh.report.defect_tables import uncorrected
from mlh.report.plots import DFT_COLOR, MODEL_COLOR, save_figure
from mlh.structures.defect_names import charge_text

PICTURE = "diagram.png"
_COLUMNS = 3
_EDGE_COLOR = "0.85"


def diagram_figure(content: Mapping[str, Any]) -> Figure:
    """Of the values of `describe_charged`."""
    diagram = diagram_of(content)
    defects = list(dict.fromkeys(state.defect for state in diagram.states))
    columns = min(len(defects), _COLUMNS)
    rows = -(-len(defects) // columns)
    figure = Figure(figsize=(4.6 * columns + 0.4, 4.2 * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for panel, defect in zip(panels, defects, strict=False):
        _lines(panel, diagram, defect)
    for panel in panels[len(defects) :]:
        panel.set_axis_off()
    words = uncorrected(content)
    if words:
        figure.suptitle(words.lstrip(", "), color="firebrick", fontsize=10)
    return figure


def write_diagram(folder: Path, content: Mapping[str, Any]) -> Path:
    """FOLDER/diagram.png; returns its path."""
    save_figure(diagram_figure(content), folder / PICTURE)
    return folder / PICTURE


def _lines(axes: Axes, diagram: Diagram, defect: str) -> None:
    places = [place for place in diagram.places if diagram.charges(place)[0].defect == defect]
    levels = [level for level in transition_levels(diagram) if level.defect == defect and level.stable]
    _draw_edges(axes, diagram)
    corners = {place: np.array(envelope(diagram.charges(place), 0.0, diagram.gap)) for place in places}
    lowest = min(places, key=lambda place: float(corners[place][:, 1].mean()))
    for place in places:
        thick = place == lowest
        axes.plot(
            *corners[place].T,
            color=MODEL_COLOR,
            linewidth=2.0 if thick else 0.9,
            alpha=1.0 if thick or len(places) == 1 else 0.45,
            marker="o",
            markersize=4.0 if thick else 2.5,
            markevery=slice(1, len(corners[place]) - 1),
        )
    _write_charges(axes, diagram, lowest, corners[lowest])
    _mark_levels(axes, levels, diagram.gap)
    heights = np.concatenate([c[:, 1] for c in corners.values()])
    low, high = float(heights.min()), float(heights.max())
    margin = 0.12 * max(high - low, 0.5)
    axes.set_xlim(-0.04 * diagram.gap, 1.04 * diagram.gap)
    axes.set_ylim(low - margin, high + 1.6 * margin)
    axes.set_title(defect if len(places) == 1 else f"{defect}, {len(places)} places", fontsize=10)
    axes.set_xlabel("Fermi level above the valence edge (eV)")
    axes.set_ylabel("formation energy (eV)")


def _draw_edges(axes: Axes, diagram: Diagram) -> None:
    """Bands, and inside them where states of a glass are localised."""
    low, high = diagram.mobility_edges
    for start, end in ((-diagram.gap, 0.0), (diagram.gap, 2.0 * diagram.gap)):
        axes.axvspan(start, end, color=_EDGE_COLOR, linewidth=0)
    for edge in (low, high):
        if edge is not None and not -1e-3 < edge < diagram.gap + 1e-3:
            axes.axvline(edge, color="0.5", linewidth=0.8, linestyle=":")


def _write_charges(axes: Axes, diagram: Diagram, place: str, corners: Any) -> None:
    states = diagram.charges(place)
    for (x0, y0), (x1, y1) in pairwise(corners):
        if x1 - x0 < 0.04 * diagram.gap:
            continue
        charge = stable_charge(states, 0.5 * (x0 + x1))
        text = charge_text(charge)
        axes.annotate(
            text,
            (0.5 * (x0 + x1), 0.5 * (y0 + y1)),
            xytext=(0 if charge == 0 else 5 if charge > 0 else -5, -11),  # below: other places are above
            textcoords="offset points",
            ha="center" if charge == 0 else "left" if charge > 0 else "right",
            fontsize=9,
            color=MODEL_COLOR,
        )


def _mark_levels(axes: Axes, levels: list[TransitionLevel], gap: float) -> None:
    """The levels of all places as strokes above the axis."""
    inside = [level.level for level in levels if 0.0 <= level.level <= gap]
    if inside:
        axes.vlines(inside, 0.0, 0.03, transform=axes.get_xaxis_transform(), color=MODEL_COLOR, linewidth=1.2)


def write_ccd(folder: Path, content: Mapping[str, Any]) -> Path:
    """FOLDER/ccd.png: both charge states over the configuration coordinate; returns its path."""
    figure = Figure(figsize=(5.2, 4.0), layout="constrained")
    axes = figure.subplots()
    q = np.array(content["Q"])
    for name, color in (("initial", DFT_COLOR), ("final", MODEL_COLOR)):
        curve = content[name]
        energies = np.array(curve["energies"]) - min(curve["energies"])
        axes.plot(
            q, energies, "o", color=color, markersize=4.5, label=f"charge {charge_text(curve['charge'])}"
        )
        if curve["hbar_omega"] is not None:
            fine = np.linspace(q.min(), q.max(), 200)
            place = curve["minimum_of_the_fit"] * content["dQ"]
            parabola = 0.5 * (curve["hbar_omega"] / HBAR_OMEGA) ** 2 * (fine - place) ** 2
            axes.plot(fine, parabola, color=color, linewidth=1.0, alpha=0.6)
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])
    axes.set_xlabel("Q (√amu Å)")
    axes.set_ylabel("energy above the own minimum (eV)")
    axes.legend(frameon=False, fontsize=9)
    save_figure(figure, folder / "ccd.png")
    return folder / "ccd.png"
