"""Vibrations on the terminal and as a picture."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from mlh.common.terminal import clock_text, say
from mlh.dynamics.modes_files import ModesResult, summary
from mlh.report.fitted_table import FittedTable, value_text

if TYPE_CHECKING:
    from mlh.report.figure import Figure

SHOWN = 12
"""Modes at each end of a long table."""

WIDTH = 12.0
"""1/cm, standard deviation of a line in the density of states."""


class ModesPrinter:
    """Prints displacements as they come, at most one line in `pause` seconds."""

    def __init__(self, console: Console, title: str, pause: float = 1.0) -> None:
        self._console, self._pause = console, pause
        self._start, self._said, self._first = time.perf_counter(), -math.inf, 0
        console.print(Text(title, style="bold"))

    def __call__(self, done: int, of: int, name: str, seconds: float) -> None:
        """One displacement."""
        now = time.perf_counter()
        self._first = self._first or done
        if now - self._said < self._pause and done != of:
            return
        self._said = now
        new = done - self._first
        left = clock_text((now - self._start) / (new + 1) * (of - done)) if of > done else ""
        say(self._console, f"{done:>5d} of {of}  {name:<10s} {seconds:>7.2f} s  left {left:>8s}")


def modes_table(result: ModesResult, title: str) -> RenderableType:
    """Frequencies, how many atoms take part, and which most; the middle of a long list is left out."""
    modes, symbols = result.modes, result.atoms.get_chemical_symbols()
    participation = modes.participation()
    rows = []
    for number, frequency in enumerate(modes.frequencies):
        if SHOWN <= number < len(modes.frequencies) - SHOWN:
            if number == SHOWN:
                rows.append(("...", "", "", "", ""))
            continue
        most = np.argsort(modes.weights[number])[::-1][:3]
        atoms = ", ".join(f"{symbols[modes.moving[k]]}{modes.moving[k]}" for k in most)
        kind = "rigid" if modes.rigid[number] >= 0.5 else "imaginary" if frequency < 0.0 else ""
        numbers = (value_text(frequency, 1), value_text(participation[number], 1))
        rows.append((str(number), *numbers, atoms, kind))
    table = FittedTable(("mode", "1/cm", "atoms in it", "most", ""), rows, title)
    content = summary(result)
    acoustic = "" if modes.acoustic is None else f", sum of a row at most {modes.acoustic:.2e}"
    lines = [
        f"zero-point energy {content['zero_point_energy']:.4f} eV; forces at rest {modes.fmax:.4f} eV/A",
        f"Hessian up to {content['largest_hessian']:.2f} eV/A^2: asymmetry at most {modes.asymmetry:.2e}"
        + acoustic,
    ]
    return Group(table, *(Text(line, style="dim") for line in lines))


def modes_figure(result: ModesResult) -> Figure:
    """Density of vibrational states, in all and by element; imaginary frequencies below zero."""
    from mlh.report.figure import Figure

    modes, symbols = result.modes, result.atoms.get_chemical_symbols()
    used = modes.vibrations
    frequencies = modes.frequencies[used]
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    axis = figure.subplots()
    imaginary = float(frequencies.min(initial=0.0))
    lowest = imaginary - 5.0 * WIDTH if imaginary < 0.0 else 0.0
    x = np.linspace(lowest, float(frequencies.max(initial=100.0)) + 5.0 * WIDTH, 1200)
    lines = np.exp(-0.5 * ((x[:, None] - frequencies) / WIDTH) ** 2) / (WIDTH * math.sqrt(2.0 * math.pi))
    axis.fill_between(x, lines.sum(axis=1), color="0.88", label="all")
    moving = [symbols[k] for k in modes.moving]
    for element in sorted(set(moving)):
        share = modes.weights[used][:, [symbol == element for symbol in moving]].sum(axis=1)
        axis.plot(x, lines @ share, linewidth=1.1, label=element)
    axis.plot(frequencies, np.zeros_like(frequencies), "|", color="0.3", markersize=5)
    axis.set_xlabel("frequency (1/cm)" + (", imaginary below 0" if lowest < 0.0 else ""))
    axis.set_ylabel("modes per 1/cm")
    axis.set_xlim(x[0], x[-1])
    axis.set_ylim(bottom=0.0)
    axis.legend(frameon=False, fontsize=8)
    return figure
