"""Table of what calculations of one structure will need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlh.calculators.estimate import GB, Estimate
from mlh.report.fitted_table import FittedTable


def estimate_row(
    name: str, solver: str, found: Estimate, there: float | None, threads: int
) -> dict[str, Any]:
    """Numbers of one calculation; bytes in GB."""
    return {
        "engine": name,
        "solver": solver,
        "memory_gb": found.memory / GB,
        "fits": there is None or found.memory <= there,
        "processor_seconds": found.seconds,
        "seconds": found.wall(threads),
    }


def estimate_table(
    structure: str, counts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], machine: Mapping[str, Any]
) -> FittedTable:
    """Energy and forces of one geometry by each way."""
    there = machine["memory_gb"]
    here = "" if there is None else f"; this machine has {there:.0f} GB"
    title = (
        f"{structure}: {counts['atoms']} atoms, {counts['orbitals']} orbitals, {counts['points']} points, "
        f"k points: {counts['kpoints']}. Energy and forces once{here}"
    )
    headers = ("engine", "solver", "memory, GB", "processor time", f"on {machine['threads']} idle threads")
    return FittedTable(headers, [_cells(row) for row in rows], title)


def _cells(row: Mapping[str, Any]) -> list[str]:
    memory = f"{row['memory_gb']:.1f}" + ("" if row["fits"] else ", does not fit")
    return [
        row["engine"],
        row["solver"],
        memory,
        duration(row["processor_seconds"]),
        duration(row["seconds"]),
    ]


def duration(seconds: float) -> str:
    """Two digits in a unit that people use."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2.0 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
