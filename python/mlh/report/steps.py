"""A relaxation on the terminal: one line per geometry."""

from __future__ import annotations

import time

import ase
from rich.console import Console
from rich.text import Text

from mlh.workflow.relax import RelaxResult, RelaxStep


class StepPrinter:
    """Callback of a relaxation: prints step, energy, change, largest force, residual and times."""

    def __init__(self, console: Console, title: str = "", fmax: float | None = None) -> None:
        self._console = console
        self._start = time.perf_counter()
        self._last: float | None = None
        goal = f", until the largest force is below {fmax:g} eV/A" if fmax is not None else ""
        if title:
            console.print(Text(title, style="bold"), Text(goal), sep="")

    def _header(self) -> None:
        self._console.print(
            f"{'step':>5s} {'energy eV':>16s} {'change meV':>12s} {'fmax eV/A':>10s} {'residual':>10s} "
            f"{'s/step':>7s} {'elapsed':>9s}",
            style="dim",
        )

    def __call__(self, step: RelaxStep, atoms: ase.Atoms) -> None:
        """Print one line, the first with a heading."""
        if self._last is None:
            self._header()
        change = "" if self._last is None else f"{1000.0 * (step.energy - self._last):.2f}"
        residual = "" if step.residual is None else f"{step.residual:.2e}"
        elapsed = time.perf_counter() - self._start
        self._console.print(
            f"{step.step:>5d} {step.energy:>16.6f} {change:>12s} {step.fmax:>10.4f} {residual:>10s} "
            f"{step.seconds:>7.2f} {elapsed:>8.1f}s" + ("  FIRE" if step.optimizer == "fire" else ""),
            highlight=False,
        )
        self._last = step.energy


def outcome(result: RelaxResult) -> str:
    """One sentence on how a relaxation ended."""
    steps = len(result.steps) - 1
    if result.converged:
        return (
            f"converged in {steps} steps and {result.seconds:.1f} s: energy {result.energy:.6f} eV, "
            f"fmax {result.fmax:.4f} eV/A"
        )
    return (
        f"NOT converged after {steps} steps: fmax {result.fmax:.4f} eV/A, "
        f"expected at most {result.settings.fmax:g}"
    )
