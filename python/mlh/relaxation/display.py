"""What a notebook shows of a relaxation: how it ended, its steps, and two curves."""

from __future__ import annotations

from mlh.common.html import Section, curve
from mlh.relaxation.loop import RelaxResult, RelaxStep

_SHOWN = 6
"""Steps at either end that are shown; those between are left out."""


def relaxation_html(result: RelaxResult) -> str:
    """A table of the first and last steps, energy and largest force over the steps."""
    steps = result.steps
    few = len(steps) <= 2 * _SHOWN
    rows = [_row(step) for step in (steps if few else steps[:_SHOWN])]
    if not few:
        rows += [("...", "", "", ""), *(_row(step) for step in steps[-_SHOWN:])]
    table = Section(
        f"{result.atoms.get_chemical_formula()}: {outcome_text(result)}",
        rows,
        ("step", "energy, eV", "largest force, eV/A", "s"),
    )
    curves = (
        curve("energy above the last, eV", [step.energy - result.energy for step in steps])
        + curve("largest force, eV/A", [step.fmax for step in steps], log=True)
        if len(steps) > 2
        else ""
    )
    return f"<div>{table.as_html()}{curves}</div>"


def outcome_text(result: RelaxResult) -> str:
    """One line on how it ended."""
    steps = len(result.steps) - 1
    if result.converged:
        return f"converged in {steps} steps, {result.energy:.6f} eV"
    return f"NOT converged after {steps} steps, {result.fmax:.4f} of {result.settings.fmax:g} eV/A"


def _row(step: RelaxStep) -> tuple[str, str, str, str]:
    return str(step.step), f"{step.energy:.6f}", f"{step.fmax:.4f}", f"{step.seconds:.1f}"
