"""The quality report of a disordered structure as text."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mlh.analysis.glass import GlassReport


def glass_table(report: GlassReport) -> RenderableType:
    """Coordination, bonds, angles and rings; measured values with their sources below."""
    table = Table("quantity", "mean", "std", "measured", title=f"{report.formula}, {report.n_atoms} atoms")
    table.add_row("density (g/cm³)", f"{report.density:.3f}", "", _measured(report, "density"))
    for pair, lengths in report.bonds.items():
        name = f"bond {pair}"
        table.add_row(f"{name} (Å)", f"{lengths.mean():.4f}", f"{lengths.std():.4f}", _measured(report, name))
    for kind, angles in report.angles.items():
        name = f"angle {kind}"
        table.add_row(
            f"{name} (°)",
            f"{angles.degrees.mean():.2f}",
            f"{angles.degrees.std():.2f}",
            _measured(report, name),
        )
        name = f"distance {kind}"
        table.add_row(
            f"{name} (Å)", f"{angles.ends.mean():.3f}", f"{angles.ends.std():.3f}", _measured(report, name)
        )
    lines = [
        f"{element}: " + ", ".join(f"{atoms} with {number} bonds" for number, atoms in counts.items())
        for element, counts in report.coordination.items()
    ]
    rings = ", ".join(f"{size}: {count}" for size, count in report.rings.items() if count and size > 2)
    lines.append(f"shortest-path rings per cell: {rings or 'none'}; edge sharing: {report.rings.get(2, 0)}")
    lines += [f"measured {entry.quantity} {entry.value:g}: {entry.source}" for entry in report.experiment]
    return Group(table, Text("\n".join(lines)))


def _measured(report: GlassReport, name: str) -> str:
    """All measured values of a quantity, whatever the order of the elements in its name."""
    values = [
        f"{entry.value:g}" + (f" ± {entry.spread:g}" if entry.spread is not None else "")
        for entry in report.experiment
        if _same(entry.quantity, name)
    ]
    return ", ".join(values)


def _same(a: str, b: str) -> bool:
    (kind_a, _, species_a), (kind_b, _, species_b) = a.partition(" "), b.partition(" ")
    forwards = species_a.split("-")
    return kind_a == kind_b and species_b.split("-") in (forwards, forwards[::-1])
