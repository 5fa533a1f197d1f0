"""A path over a saddle point on the terminal and as a picture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from mlh.common.terminal import clock_text, say
from mlh.dynamics.neb_files import NEBResult, NEBStep
from mlh.report.fitted_table import FittedTable, value_text

if TYPE_CHECKING:
    from mlh.report.figure import Figure


class NEBPrinter:
    """Prints every step of a band."""

    def __init__(self, console: Console, title: str, fmax: float) -> None:
        self._console, self._start = console, time.perf_counter()
        self._began = False
        console.print(Text(title, style="bold"))
        say(console, f"until the largest force on the band is below {fmax:g} eV/A", style="dim")

    def __call__(self, step: NEBStep) -> None:
        """One line."""
        if not self._began:
            say(
                self._console,
                f"{'step':>4s} {'fmax eV/A':>10s} {'barrier eV':>11s} {'elapsed':>9s}",
                style="dim",
            )
        self._began = True
        elapsed = clock_text(time.perf_counter() - self._start)
        climbing = "  climbing" if step.climbing else ""
        say(
            self._console, f"{step.step:>4d} {step.fmax:>10.4f} {step.barrier:>11.4f} {elapsed:>9s}{climbing}"
        )


def neb_table(rows: list[dict[str, Any]], title: str) -> FittedTable:
    """One row per image."""
    cells = [
        (
            str(row["image"]),
            value_text(row["coordinate"], 3),
            value_text(round(row["energy"], 4) + 0.0, 4),
            value_text(row["fmax"], 3),
            value_text(row["fmax_band"], 3),
        )
        for row in rows
    ]
    return FittedTable(("image", "path A", "energy eV", "fmax eV/A", "on the band eV/A"), cells, title)


def neb_outcome(content: Mapping[str, Any]) -> str:
    """One sentence on a path."""
    done = content["fmax"] <= content["fmax_target"]
    state = (
        f"converged in {content['steps']} steps" if done else f"NOT converged after {content['steps']} steps"
    )
    difference = round(content["energy_difference"], 4) + 0.0  # no -0.0000
    return (
        f"{state}, force on the band {content['fmax']:.4f} eV/A: barrier {content['barrier']:.4f} eV, "
        f"back {content['barrier_back']:.4f} eV, end - start {difference:.4f} eV"
    )


def neb_figure(result: NEBResult) -> Figure:
    """Energies of the images along the path, with a line through them by their slopes."""
    from mlh.report.figure import Figure
    from mlh.report.plots import DFT_COLOR, MODEL_COLOR

    band = result.band
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(*band.curve(), color=DFT_COLOR, linewidth=1.2)
    x, energies = band.coordinate(), band.energies - band.energies[0]
    axis.plot(x, energies, "o", color=MODEL_COLOR, markersize=4.5)
    axis.set_xlabel("length of the path (Å)")
    axis.set_ylabel("energy above the start (eV)")
    axis.margins(y=0.15)
    if 0 < band.highest < len(x) - 1:
        top = float(energies[band.highest])
        axis.annotate(
            f"{top:.3f} eV", (x[band.highest], top), xytext=(0, 6), textcoords="offset points", ha="center"
        )
    return figure
