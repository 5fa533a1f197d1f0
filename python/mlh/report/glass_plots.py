"""Pictures of a disordered structure and of the run that made it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from mlh.analysis.glass import GlassReport
from mlh.common.units import HARTREE_EV, KELVIN
from mlh.report.figure import Figure

_COLORS = ("#c1440e", "#1f4e79", "#5f8f3a", "#8a5aa0", "#b08a1e", "#444444")
_EXPERIMENT = "0.35"


def glass_figure(report: GlassReport, title: str = "") -> Figure:
    """Partial g(r), bond angles, coordination and rings; dashed lines and bands are measured values."""
    figure = Figure(figsize=(10.0, 7.2), layout="constrained")
    axes = figure.subplots(2, 2)
    pair_panel(axes[0, 0], report)
    angle_panel(axes[0, 1], report)
    coordination_panel(axes[1, 0], report)
    ring_panel(axes[1, 1], report)
    figure.suptitle(title or f"{report.formula}, {report.density:.3f} g/cm³")
    return figure


def pair_panel(axis: Axes, report: GlassReport) -> None:
    """Partial pair distributions; measured bond lengths as dashed lines."""
    for color, (pair, distribution) in zip(_COLORS, report.pairs.items(), strict=False):
        axis.plot(distribution.r, distribution.g, color=color, label=pair, linewidth=1.3)
    top = axis.get_ylim()[1]
    for entry in report.experiment:
        if entry.quantity.split()[0] in ("bond", "distance"):
            axis.axvline(entry.value, color=_EXPERIMENT, linestyle="--", linewidth=0.8)
    # The first peak is several times higher than all others, which a linear axis would flatten.
    axis.set_yscale("symlog", linthresh=5.0)
    axis.set_yticks([0, 1, 2, 3, 4, 5, 10, 20, 40], labels=["0", "1", "2", "3", "4", "5", "10", "20", "40"])
    axis.minorticks_off()
    axis.set_ylim(0.0, 1.1 * top)
    axis.set_xlim(1.0, float(max(d.r[-1] for d in report.pairs.values())))
    axis.axhline(1.0, color="0.8", linewidth=0.6, zorder=0)
    axis.set_xlabel("r (Å)")
    axis.set_ylabel("g(r), logarithmic above 5")
    axis.legend(frameon=False)


def angle_panel(axis: Axes, report: GlassReport) -> None:
    """Bond-angle distributions; measured means dashed, their standard deviations as bands."""
    bins = np.arange(60.0, 180.1, 3.0).tolist()
    for color, (kind, angles) in zip(_COLORS, report.angles.items(), strict=False):
        mean, std = angles.degrees.mean(), angles.degrees.std()
        axis.hist(
            angles.degrees,
            bins=bins,
            density=True,
            histtype="stepfilled",
            color=color,
            alpha=0.45,
            label=f"{kind} {mean:.1f} ± {std:.1f}°",
        )
    for entry in report.experiment:
        if entry.quantity.startswith("angle"):
            axis.axvline(entry.value, color=_EXPERIMENT, linestyle="--", linewidth=0.9)
            if entry.spread is not None:
                axis.axvspan(
                    entry.value - entry.spread, entry.value + entry.spread, color="0.5", alpha=0.12, lw=0
                )
    axis.set_xlim(80.0, 180.0)
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])  # room for the legend
    axis.set_xlabel("angle (degrees)")
    axis.set_ylabel("probability per degree")
    axis.legend(frameon=False, loc="upper center", ncols=2)


def coordination_panel(axis: Axes, report: GlassReport) -> None:
    """Share of the atoms of each element by their number of bonds."""
    width = 0.8 / max(len(report.coordination), 1)
    for index, (element, counts) in enumerate(report.coordination.items()):
        total = sum(counts.values())
        x = np.array(list(counts)) + (index - 0.5 * (len(report.coordination) - 1)) * width
        bars = axis.bar(
            x, [100.0 * n / total for n in counts.values()], width, color=_COLORS[index % 6], label=element
        )
        axis.bar_label(bars, labels=[str(n) for n in counts.values()], fontsize=8)
    axis.set_ylim(0.0, 112.0)
    axis.set_xlim(0.0, 7.0)
    axis.set_xlabel("bonds per atom")
    axis.set_ylabel("share of the element (%)")
    axis.legend(frameon=False)


def ring_panel(axis: Axes, report: GlassReport) -> None:
    """Shortest-path rings by the number of their nodes."""
    if not report.rings:
        axis.text(0.5, 0.5, "no rings", ha="center", va="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    bars = axis.bar(list(report.rings), list(report.rings.values()), 0.75, color=_COLORS[1])
    axis.bar_label(bars, fontsize=8)
    axis.set_xticks(list(report.rings))
    axis.set_xlabel("nodes in the ring (2: edge sharing)")
    axis.set_ylabel("shortest-path rings per cell")


def run_figure(
    energies: NDArray[np.float64],
    accepted: NDArray[np.bool_],
    temperatures: NDArray[np.float64],
    n_atoms: int,
    title: str = "",
) -> Figure:
    """Energy (eV/atom), temperature and acceptance of a bond-switching run against the move."""
    figure = Figure(figsize=(8.0, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    moves = np.arange(1, len(energies) + 1)
    top.plot(moves, energies / n_atoms, color=_COLORS[1], linewidth=0.8)
    top.set_ylabel("energy (eV/atom)")
    warm = top.twinx()
    warm.plot(moves, temperatures[: len(moves)] * KELVIN * HARTREE_EV, color=_COLORS[0], linewidth=1.0)
    warm.set_ylabel("kT (eV)", color=_COLORS[0])
    warm.set_ylim(bottom=0.0)
    block = max(len(moves) // 60, 1)
    rate = np.add.reduceat(accepted.astype(float), np.arange(0, len(moves), block))
    sizes = np.diff(np.append(np.arange(0, len(moves), block), len(moves)))
    bottom.step(moves[::block], 100.0 * rate / sizes, where="post", color=_COLORS[2])
    bottom.set_ylabel("accepted (%)")
    bottom.set_xlabel("move")
    bottom.set_ylim(bottom=0.0)
    figure.suptitle(title)
    return figure
