"""Molecular dynamics on the terminal and as a picture."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.text import Text

from mlh.common.terminal import clock_text, say
from mlh.dynamics.md import MDSettings, MDStep, conserved, drift

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mlh.report.figure import Figure

    Array = NDArray[np.float64]


class MDPrinter:
    """Prints a step: energies, temperature, what is conserved, times. At most one line in `pause` seconds."""

    def __init__(
        self, console: Console, title: str, n_atoms: int, settings: MDSettings, pause: float = 1.0
    ) -> None:
        self._console, self._n_atoms, self._settings, self._pause = console, n_atoms, settings, pause
        self._steps: list[MDStep] = []
        self._start = time.perf_counter()
        self._said = -math.inf
        console.print(Text(title, style="bold"))
        if settings.thermostat == "none":
            kept = "constant energy: change of E_pot + E_kin, and drift of what the integrator conserves"
        else:
            kept = "constant temperature (Langevin); no conserved quantity is known to it"
        say(console, kept, style="dim")

    def __call__(self, step: MDStep) -> None:
        """One step; the first with a heading, the last always."""
        now = time.perf_counter()
        if not self._steps:
            self._header()
        self._steps.append(step)
        if now - self._said < self._pause and step.step != self._settings.steps:
            return
        self._said = now
        say(self._console, self._line(step, now - self._start))

    def _header(self) -> None:
        changes = f"{'change':>9s} {'drift':>12s}" if self._settings.thermostat == "none" else ""
        units = f"{'meV/atom':>9s} {'meV/atom/ps':>12s}" if changes else ""
        say(
            self._console,
            f"{'step':>6s} {'time':>8s} {'E_pot':>14s} {'T':>7s} {changes} {'s/step':>6s} {'left':>8s}\n"
            f"{'':6s} {'fs':>8s} {'eV':>14s} {'K':>7s} {units}",
            style="dim",
        )

    def _line(self, step: MDStep, elapsed: float) -> str:
        changes = ""
        if self._settings.thermostat == "none":
            change = 1000.0 * (step.total - self._steps[0].total) / self._n_atoms
            slope = drift(self._steps, self._n_atoms)
            changes = f"{change:>9.4f} " + ("" if math.isnan(slope) else f"{slope:.4f}").rjust(12)
        done = len(self._steps) - 1
        left = self._settings.steps - step.step
        rest = clock_text(elapsed / done * left) if done and left else ""
        return (
            f"{step.step:>6d} {step.time:>8.1f} {step.potential:>14.5f} {step.temperature:>7.1f} {changes} "
            f"{step.seconds:>6.2f} {rest:>8s}"
        )


def md_figure(steps: Sequence[MDStep], n_atoms: int, settings: MDSettings) -> Figure:
    """Energies and temperature against the time, without a thermostat also what is conserved."""
    from mlh.report.figure import Figure
    from mlh.report.plots import DFT_COLOR, MODEL_COLOR

    conserving = settings.thermostat == "none"
    panels = 3 if conserving else 2
    figure = Figure(figsize=(3.6 * panels, 2.8), layout="constrained")
    axes = figure.subplots(1, panels)
    x = np.array([step.time for step in steps])
    scale = 1000.0 / n_atoms
    potential = scale * np.array([step.potential - steps[0].potential for step in steps])
    kinetic = scale * np.array([step.kinetic for step in steps])
    axes[0].plot(x, potential, color=DFT_COLOR, linewidth=1.0, label="potential, above the first")
    axes[0].plot(x, kinetic, color=MODEL_COLOR, linewidth=1.0, label="kinetic")
    axes[0].set_ylabel("energy (meV/atom)")
    axes[0].margins(y=0.25)
    axes[0].legend(frameon=False, fontsize=8, loc="upper right")
    axes[1].plot(x, [step.temperature for step in steps], color=MODEL_COLOR, linewidth=1.0)
    mean = float(np.mean([step.temperature for step in steps]))
    axes[1].axhline(mean, color="0.5", linewidth=0.8, linestyle="--")
    axes[1].set_ylabel(f"temperature (K), mean {mean:.0f}")
    if conserving:
        _conserved_panel(
            axes[2], x, scale * np.array([s.total - steps[0].total for s in steps]), steps, n_atoms
        )
    for axis in axes:
        axis.set_xlabel("time (fs)")
    return figure


def _conserved_panel(axis: Axes, x: Array, change: Array, steps: Sequence[MDStep], n_atoms: int) -> None:
    """E_pot + E_kin, and without the oscillation of the integrator."""
    from mlh.report.plots import DFT_COLOR, MODEL_COLOR

    axis.plot(x, change, color=DFT_COLOR, linewidth=1.0, label="potential + kinetic")
    slope = drift(steps, n_atoms)
    axis.set_ylabel("change (meV/atom)")
    if math.isfinite(slope):
        kept = 1000.0 * conserved(steps) / n_atoms
        axis.plot(x[1:-1], kept, color=MODEL_COLOR, linewidth=1.4, label="without Verlet's oscillation")
        axis.set_title(f"drift {slope:.3f} meV/atom/ps", fontsize=10)
    axis.margins(y=0.3)
    axis.legend(frameon=False, fontsize=8, loc="upper right")


def md_outcome(summary: dict[str, object]) -> str:
    """One sentence on a run."""
    words = (
        f"{summary['steps']} steps, {summary['time']:.1f} fs in {summary['seconds']:.1f} s: mean temperature "
        f"{summary['temperature_mean']:.0f} +- {summary['temperature_spread']:.0f} K"
    )
    if summary["drift"] is not None:
        words += (
            f", drift {summary['drift']:.4f} meV/atom/ps, largest change "
            f"{summary['largest_change']:.4f} meV/atom"
        )
    return words
