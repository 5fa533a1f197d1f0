"""A relaxation on the terminal: one line per geometry."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import ase
import numpy as np
from rich.console import Console
from rich.text import Text

from mlh.common.terminal import say
from mlh.relaxation.loop import RelaxResult, RelaxSettings, RelaxStep


class StepPrinter:
    """Callback of a relaxation: prints step, energy, change, largest force, residual and times.

    `label` marks every line, for relaxations that print at the same time. The time left is estimated from how
    fast the largest force has fallen so far.
    """

    def __init__(
        self,
        console: Console,
        title: str = "",
        fmax: float | None = None,
        label: str = "",
        settings: RelaxSettings | None = None,
    ) -> None:
        self._console = console
        self._start = time.perf_counter()
        self._last: float | None = None
        self._goal = fmax
        self._label = f"{label:<8s} " if label else ""
        self._settings = settings or RelaxSettings(cell="full")
        self._forces: list[float] = []
        self._seconds: list[float] = []
        if title:
            console.print(Text(title, style="bold"))

    def _header(self) -> None:
        """The goal and the heading of the steps: stages without steps, such as single points, have none."""
        if self._goal is not None:
            goal = f"until the largest force is below {self._goal:g} eV/A"
            say(self._console, f"{self._label}{goal}", style="dim")
        say(
            self._console,
            f"{'':{len(self._label)}s}{'step':>4s} {'energy eV':>14s} {'change meV':>10s} {'fmax eV/A':>9s} "
            f"{'residual':>9s} {'s/step':>6s} {'elapsed':>8s} {'left':>6s}",
            style="dim",
        )

    def __call__(self, step: RelaxStep, atoms: ase.Atoms) -> None:
        """Print one line, the first with a heading."""
        if self._last is None:
            self._header()
        change = "" if self._last is None else f"{1000.0 * (step.energy - self._last):.2f}"
        residual = "" if step.residual is None else f"{step.residual:.2e}"
        elapsed = time.perf_counter() - self._start
        self._forces.append(step.fmax)
        self._seconds.append(step.seconds)
        stress = (
            ""
            if step.stress is None
            else f"  {_stress_name(self._settings)} {step.stress_left(self._settings):.3f} GPa"
        )
        say(
            self._console,
            f"{self._label}{step.step:>4d} {step.energy:>14.5f} {change:>10s} {step.fmax:>9.4f} "
            f"{residual:>9s} {step.seconds:>6.2f} {elapsed:>7.1f}s {self._left():>6s}{stress}"
            + ("  FIRE" if step.optimizer == "fire" else ""),
        )
        self._last = step.energy

    def _left(self) -> str:
        """Time until the target force, if the force goes on falling as it has; empty when it rises."""
        if self._goal is None or len(self._forces) < 5:
            return ""
        steps = steps_left(self._forces, self._goal)
        return "" if steps is None else f"{steps * sum(self._seconds) / len(self._seconds):.0f}s"


def steps_left(forces: Sequence[float], goal: float) -> float | None:
    """Steps until `goal` by the slope of log(fmax) over all steps (least squares); None when it is rising."""
    y = np.log(np.maximum(np.asarray(forces, dtype=float), 1e-12))
    slope, start = (float(c) for c in np.polyfit(np.arange(len(y)), y, 1))
    if slope >= 0.0:
        return None
    now = min(start + slope * (len(y) - 1), float(y[-1]))
    return max(0.0, (math.log(goal) - now) / slope)


def outcome(result: RelaxResult) -> str:
    """One sentence on how a relaxation ended."""
    steps = len(result.steps) - 1
    if result.converged:
        return (
            f"converged in {steps} steps and {result.seconds:.1f} s: energy {result.energy:.6f} eV, "
            f"fmax {result.fmax:.4f} eV/A"
        )
    stress = result.steps[-1].stress_left(result.settings)
    return (
        f"NOT converged after {steps} steps: fmax {result.fmax:.4f} eV/A, "
        f"expected at most {result.settings.fmax:g}"
        + (
            ""
            if math.isnan(stress)
            else f"; {_stress_name(result.settings)} {stress:.3f} GPa, target {result.settings.smax:g}"
        )
    )


def cell_change(start: ase.Atoms, result: RelaxResult) -> str:
    """Lengths, angles and volume of the cell before and after."""
    a, b = start.cell, result.atoms.cell
    before, after = ", ".join(f"{x:.4f}" for x in a.cellpar()), ", ".join(f"{x:.4f}" for x in b.cellpar())
    return (
        f"cell (A, degrees): {before} -> {after}; volume {a.volume:.3f} -> {b.volume:.3f} A^3 "
        f"({100.0 * (b.volume / a.volume - 1.0):+.2f} %); {_stress_at_the_end(result)}"
    )


def _stress_name(settings: RelaxSettings) -> str:
    """What the criterion of the stress is called: with one factor of the cell, only the trace can vanish."""
    name = "hydrostatic stress" if settings.cell == "volume" else "stress"
    return f"{name} + pressure" if settings.pressure else name


def _stress_at_the_end(result: RelaxResult) -> str:
    last, settings = result.steps[-1], result.settings
    words = f"{_stress_name(settings)} {last.stress_left(settings):.3f} GPa"
    if settings.cell == "volume":
        largest = "largest component of the stress, which only a full relaxation lowers"
        words += f" ({largest}: {last.stress_gpa:.3f} GPa)"
    return words
