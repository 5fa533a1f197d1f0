"""The diagram of charged defects: formation energy against the Fermi level, one panel per defect.

Every place is a thin line of its lowest charge, with dots where charges change; the lowest place of a defect
is thick, with its charges written along it. Strokes at the bottom: the transition levels of all places. In a
panel of their own the transition levels of the lowest places beside the levels of single electrons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mlh.defects.ccd import HBAR_OMEGA
from mlh.defects.charged import diagram_of
from mlh.defects.diagram import Diagram, TransitionLevel, envelope, stable_charge, transition_levels
from mlh.report.defect_tables import uncorrected
from mlh.report.figure import Figure
from mlh.report.plots import DFT_COLOR, MODEL_COLOR, save_figure
from mlh.structures.defect_names import charge_text

PICTURE = "diagram.png"
_COLUMNS = 3
_EDGE_COLOR = "0.85"


def diagram_figure(content: Mapping[str, Any]) -> Figure:
    """Of the values of `describe_charged`."""
    diagram = diagram_of(content)
    defects = list(dict.fromkeys(state.defect for state in diagram.states))
    count = len(defects) + 1
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.6 * columns + 0.4, 4.2 * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for panel, defect in zip(panels, defects, strict=False):
        _lines(panel, diagram, defect)
    _levels(panels[len(defects)], diagram, content, [_lowest(diagram, defect) for defect in defects])
    for panel in panels[count:]:
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
    places = _places(diagram, defect)
    levels = [level for level in transition_levels(diagram) if level.defect == defect and level.stable]
    _draw_edges(axes, diagram)
    corners = {place: np.array(envelope(diagram.charges(place), 0.0, diagram.gap)) for place in places}
    lowest = _lowest(diagram, defect)
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


def _places(diagram: Diagram, defect: str) -> list[str]:
    return [place for place in diagram.places if diagram.charges(place)[0].defect == defect]


def _lowest(diagram: Diagram, defect: str) -> str:
    """The place whose lowest formation energy in mid-gap is the smallest."""
    middle = 0.5 * diagram.gap
    return min(_places(diagram, defect), key=lambda place: min(s.at(middle) for s in diagram.charges(place)))


def _levels(axes: Axes, diagram: Diagram, content: Mapping[str, Any], places: list[str]) -> None:
    """Of the lowest place of every defect: thermodynamic levels, and beside them those of single electrons in
    every charge, filled and empty."""
    x, ticks = 0.0, []
    for place in places:
        stable = [v for v in transition_levels(diagram) if v.place == place and v.stable]
        inside = [v for v in stable if 0.0 <= v.level <= diagram.gap]
        axes.hlines([v.level for v in inside], x - 0.35, x + 0.35, color=MODEL_COLOR, linewidth=2.2)
        for level in inside:
            offset: dict[str, Any] = {
                "xytext": (0, 3),
                "textcoords": "offset points",
                "ha": "center",
                "fontsize": 8,
            }
            axes.annotate(level.name, (x, level.level), color=MODEL_COLOR, **offset)
        ticks.append((x, place))
        for state in sorted((s for s in content["states"] if s["place"] == place), key=lambda s: s["charge"]):
            x += 1.0
            _single_levels(axes, x, state.get("levels", ()))
            ticks.append((x, charge_text(state["charge"])))
        x += 1.4
    for start, end in ((-0.06 * diagram.gap, 0.0), (diagram.gap, 1.06 * diagram.gap)):
        axes.axhspan(start, end, color=_EDGE_COLOR, linewidth=0)
    axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks], fontsize=8)
    axes.set_xlim(-0.9, max(x - 0.7, 0.9))
    axes.set_ylim(-0.06 * diagram.gap, 1.06 * diagram.gap)
    axes.set_ylabel("above the valence edge (eV)")
    axes.set_title("transition levels; one-electron levels by charge", fontsize=10)


def _single_levels(axes: Axes, x: float, levels: Sequence[Mapping[str, Any]]) -> None:
    for level in levels:
        full = level["occupation"] > 0.5
        # Up on the left, down on the right where there are both.
        both = any(other["spin"] == 1 for other in levels)
        start, end = (x - 0.3, x + 0.3) if not both else (x - 0.3, x) if level["spin"] == 0 else (x, x + 0.3)
        axes.hlines(level["energy"], start, end, color=DFT_COLOR, linewidth=1.3)
        style: dict[str, Any] = {
            "color": DFT_COLOR,
            "markersize": 4.0,
            "markerfacecolor": DFT_COLOR if full else "white",
        }
        axes.plot(0.5 * (start + end), level["energy"], "o", **style)


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
