"""The picture of a protocol: errors and times against size, relaxed structures, formation energies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter

from mlh.report.accuracy import PAPER_RELAXED, RADII
from mlh.report.figure import Figure

_HOST, _VACANCY, _DFT = "#1f4e79", "#c1440e", "0.35"
_SIZES = ("#1f4e79", "#c1440e", "#5a8f29", "#7b4fa3", "#8c6d1f")
_PAPER_ENERGY, _PAPER_FORCE = 1.2, 25.0  # meV/atom, meV/A: the dashed lines of its Fig. 3c


def protocol_figure(content: Mapping[str, Any], paper: bool = False) -> Figure:
    """Six panels of the content of a protocol's accuracy.json; paper: numbers of arXiv 2604.07197 beside."""
    points, runs = list(content["points"].values()), list(content["relaxations"].values())
    steps = min((k for p in points for k in p["model"]), key=int)
    figure = Figure(figsize=(13.0, 7.6), layout="constrained")
    axes = figure.subplots(2, 3)
    _against_size(axes[0][0], points, steps, paper)
    _forces_against_size(axes[0][1], points, steps, paper)
    _times(axes[0][2], points, steps)
    for axis, panel in zip(axes[1], (_distances, _radii, _formation), strict=True):
        if runs:
            panel(axis, runs, paper)
        else:
            axis.set_axis_off()
    figure.suptitle(f"{content['model']}: {content['protocol']}", fontsize=11)
    return figure


def _size_axis(axis: Axes, sizes: Iterable[int]) -> None:
    """Logarithmic, labelled where there are points and room between them."""
    shown: list[int] = []
    for size in sorted(set(sizes)):
        if not shown or size > 1.2 * shown[-1]:
            shown.append(size)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(shown))
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("atoms")


def _scatter(axis: Axes, points: Sequence[Mapping[str, Any]], values: Sequence[float]) -> None:
    """Hosts and vacancies in their colours."""
    for kind, color, marker in (("host", _HOST, "s"), ("vacancy", _VACANCY, "o")):
        chosen = [(p["n_atoms"], v) for p, v in zip(points, values, strict=True) if p["kind"] == kind]
        if chosen:
            sizes, shown = zip(*chosen, strict=True)
            axis.scatter(sizes, shown, s=18, alpha=0.7, color=color, marker=marker, label=kind)


def _against_size(axis: Axes, points: Sequence[Mapping[str, Any]], steps: str, paper: bool) -> None:
    errors = [max(1000.0 * abs(p["model"][steps]["energy_error"]) / p["n_atoms"], 1e-3) for p in points]
    _scatter(axis, points, errors)
    axis.set_yscale("log")
    if paper:
        axis.axhline(_PAPER_ENERGY, color=_DFT, linestyle="--", linewidth=0.9, label="paper: 1.2")
    _size_axis(axis, (p["n_atoms"] for p in points))
    axis.set_ylabel("|E - E(DFT)| (meV/atom)")
    axis.set_title("energy at equal geometries", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _forces_against_size(axis: Axes, points: Sequence[Mapping[str, Any]], steps: str, paper: bool) -> None:
    _scatter(axis, points, [1000.0 * p["model"][steps]["force_mae"] for p in points])
    axis.set_yscale("log")
    if paper:
        axis.axhline(_PAPER_FORCE, color=_DFT, linestyle="--", linewidth=0.9, label="paper: 25")
    _size_axis(axis, (p["n_atoms"] for p in points))
    axis.set_ylabel("MAE of forces (meV/Å)")
    axis.set_title("forces at equal geometries", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _times(axis: Axes, points: Sequence[Mapping[str, Any]], steps: str) -> None:
    sizes = [p["n_atoms"] for p in points]
    model = [p["model"][steps]["seconds"] for p in points]
    dft = [p["dft"]["seconds"] for p in points]
    axis.scatter(sizes, dft, s=18, color=_DFT, marker="^", alpha=0.7, label="DFT from nothing")
    axis.scatter(sizes, model, s=18, color=_VACANCY, alpha=0.7, label="model")
    axis.set_yscale("log")
    _size_axis(axis, sizes)
    axis.set_ylabel("wall time of energy and forces (s)")
    axis.set_title("time", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _by_size(runs: Sequence[Mapping[str, Any]]) -> list[tuple[int, list[Mapping[str, Any]]]]:
    """Rows of vacancies by the atoms of their host."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for run in runs:
        found.setdefault(run["n_atoms"], []).extend(run["vacancies"])
    return sorted(found.items())


def _distances(axis: Axes, runs: Sequence[Mapping[str, Any]], paper: bool) -> None:
    """Distributions of dQ between structures relaxed by the model and by DFT."""
    hosts = [run["vacancies"][0]["host_dQ"] for run in runs if run["vacancies"]]
    rows = _by_size(runs)
    series = [("hosts", hosts, "#9aa5b1")]
    series += [
        (f"vacancies, {n - 1}", [r["dQ"] for r in found], _SIZES[k % 5]) for k, (n, found) in enumerate(rows)
    ]
    top = max((max(values) for _, values, _ in series if values), default=1.0)
    edges = np.linspace(0.0, 1.05 * top, 13)
    axis.hist(
        [values for _, values, _ in series],
        bins=edges.tolist(),
        stacked=True,
        color=[color for *_, color in series],
        label=[name for name, *_ in series],
        edgecolor="white",
        linewidth=0.5,
    )
    axis.set_xlabel("dQ (√amu Å)" + (", paper: below 2 at 96 atoms" if paper else ""))
    axis.set_ylabel("structures")
    axis.set_title("relaxed by the model and by DFT", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _radii(axis: Axes, runs: Sequence[Mapping[str, Any]], paper: bool) -> None:
    """MAE of coordinates within a radius around the vacancy, every vacancy a line."""
    for k, (atoms, rows) in enumerate(_by_size(runs)):
        for number, row in enumerate(rows):
            known = [(float(r), row["coordinate_mae"][r]) for r in RADII if row["coordinate_mae"].get(r)]
            label = f"{atoms - 1} atoms" if number == 0 else None
            axis.plot(*zip(*known, strict=True), color=_SIZES[k % 5], marker=".", linewidth=0.7, label=label)
    if paper:
        axis.axhline(0.01, color=_DFT, linestyle="--", linewidth=0.9, label="paper: mostly below 0.01")
    axis.set_yscale("log")
    axis.set_xlabel("radius around the vacancy (Å)")
    axis.set_ylabel("MAE of coordinates (Å)")
    axis.set_title("around the vacancy", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _formation(axis: Axes, runs: Sequence[Mapping[str, Any]], paper: bool) -> None:
    """Formation energies by the model against DFT."""
    values: list[float] = []
    for k, (atoms, rows) in enumerate(_by_size(runs)):
        known = [r for r in rows if r["formation_energy_error"] is not None]
        if not known:
            continue
        dft = [r["formation_energy_reference"] for r in known]
        model = [r["formation_energy"] for r in known]
        error = 1000.0 * float(np.mean([abs(r["formation_energy_error"]) for r in known]))
        beside = f" (paper {PAPER_RELAXED[atoms][4]})" if paper and atoms in PAPER_RELAXED else ""
        axis.scatter(dft, model, s=22, color=_SIZES[k % 5], label=f"{atoms - 1}: MAE {error:.1f} meV{beside}")
        values += dft + model
    if values:
        limits = (min(values) - 0.2, max(values) + 0.2)
        axis.plot(limits, limits, color="0.6", linewidth=0.8, zorder=0)
        axis.set_xlim(*limits)
        axis.set_ylim(*limits)
        axis.legend(frameon=False, fontsize=8)
    axis.set_xlabel("formation energy, DFT (eV)")
    axis.set_ylabel("formation energy, model (eV)")
    axis.set_title("relaxed vacancies", fontsize=10)
