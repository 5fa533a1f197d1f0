"""Tables for the terminal, from the plain values that the JSON files hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mlh.defects.formation import CONVENTION
from mlh.defects.record import entries_of, entry_title
from mlh.report.fitted_table import NO_VALUE, FittedTable, value_text


def dataset_table(report: Mapping[str, Any]) -> RenderableType:
    """What `dataset_report` found: sources, labels, blocks of dH, neighbors, splits."""
    head = f"{report['path']}: {report['samples']} samples, {report['bytes'] / 1e6:.1f} MB"
    if not report["samples"]:
        return Text(head)
    sources = Table("source", "split", "samples", "trajectories", "atoms", "kinds", title=head)
    for row in report["sources"]:
        counts = (str(row["samples"]), str(row["trajectories"]), _range(row["atoms"]))
        sources.add_row(row["source"], row["split"], *counts, ", ".join(row["kinds"]))
    labels = Table("label", "smallest", "median", "mean", "largest", title="labels")
    for name, values in report["distributions"].items():
        labels.add_row(name, *(f"{values[key]:.4f}" for key in ("min", "median", "mean", "max")))
    blocks = Table("block", "mean |dH| meV", "rms", "largest", title="dH = H - H_Harris")
    for name, values in report["dh_by_block"].items():
        blocks.add_row(name, *(f"{values[key]:.2f}" for key in ("mean", "rms", "max")))
    neighbors = Table("element", "fewest", "mean", "most", title="pairs of an atom within the cutoffs")
    for name, values in report["neighbors"].items():
        neighbors.add_row(name, *(f"{values[key]:.1f}" for key in ("min", "mean", "max")))
    parts: list[RenderableType] = [
        sources,
        _compositions(report["composition_matrix"]),
        labels,
        blocks,
        neighbors,
    ]
    if report["outliers"]:
        unusual = Table("sample", "origin", "quantity", "value", "median", "deviations", title="outliers")
        for row in report["outliers"]:
            numbers = (f"{row['value']:.4f}", f"{row['median']:.4f}", f"{row['deviations']:+.1f}")
            unusual.add_row(str(row["sample"]), row["origin"], row["quantity"], *numbers)
        parts.append(unusual)
    lines = [f"basis {report['basis']} {report['basis_fingerprint'][:12]}, data {report['fingerprint'][:12]}"]
    for by, split in report["splits"].items():
        sizes = split.get("error") or f"{split['train']} / {split['validation']} / {split['test']}, seed 0"
        lines.append(f"split by {by}: {sizes} {split.get('hash', '')[:12]}".rstrip())
    return Group(*parts, Text("\n".join(lines)))


def _compositions(matrix: Mapping[str, Any]) -> Table:
    """The composition matrix with its rank."""
    elements = matrix["elements"]
    table = Table(
        "samples", *elements, title=f"compositions, rank {matrix['rank']} for {len(elements)} elements"
    )
    for samples, row in zip(matrix["samples"], matrix["rows"], strict=True):
        table.add_row(str(samples), *(str(count) for count in row))
    return table


def defect_table(run: Mapping[str, Any], title: str) -> RenderableType:
    """Formation energies of one run (`describe_run`)."""
    other = ("corrected", "uncorrected")
    head = (
        "defect",
        "E_f eV",
        *(f"{n} eV" for n in other),
        "energy eV",
        "fmax eV/A",
        "steps",
        "time s",
        "status",
    )
    rows = [("host", *[NO_VALUE] * 3, *_relaxation(run["host"]))]
    for entry in entries_of(run):
        values = [entry["formation_energy"], *(entry.get(f"formation_energy_{n}") for n in other)]
        texts = (value_text(value, 3) for value in values)
        rows.append((entry_title(entry), *texts, *_relaxation(entry)))
    table = FittedTable(head, rows, title)
    failed = [
        Text(f"{f.get('defect', f['site'])} failed: {f['reason']}", style="red") for f in run["failures"]
    ]
    return Group(table, *failed, Text(CONVENTION, style="dim"))


def comparison_table(rows: Sequence[Mapping[str, Any]], title: str) -> RenderableType:
    """Differences of a model from DFT (`compare`), one row per defect."""
    radii = list(rows[0]["coordinate_mae"]) if rows else []
    headers = (
        "defect",
        "E_f eV",
        "DFT eV",
        "error meV",
        "energy meV/atom",
        "dQ",
        *(f"MAE({r} A)" for r in radii),
    )
    cells = [
        (
            str(row.get("defect", row["site"])),
            value_text(row["formation_energy"], 3),
            value_text(row["formation_energy_reference"], 3),
            value_text(row["formation_energy_error"], 1, 1000.0),
            value_text(row["energy_error_per_atom"], 2, 1000.0),
            value_text(row["dQ"], 3),
            *(value_text(row["coordinate_mae"][radius], 4) for radius in radii),
        )
        for row in rows
    ]
    table = FittedTable(headers, cells, title)
    note = "dQ in sqrt(amu) A, MAE of coordinates in A around the vacancy, both without rigid translation"
    return Group(table, Text(note, style="dim"))


def runs_table(title: str, content: Mapping[str, Any]) -> RenderableType:
    """Differences of two runs (`compare_runs`), one row per relaxation."""
    headers = (
        *("relaxation", "energy meV/atom", "E_f eV", "reference eV", "error meV", "dQ", "MAE(3 A)", "MAE A"),
        *("volume A^3", "volume %", "strain %", "steps", "time s", "status"),
    )
    cells = [
        (
            row["name"],
            value_text(row["energy_difference_per_atom"], 3, 1000.0),
            value_text(row["formation_energy"][0], 3),
            value_text(row["formation_energy"][1], 3),
            value_text(row["formation_energy_difference"], 1, 1000.0),
            value_text(row["dQ"], 3),
            value_text((row["coordinate_mae_around_site"] or {}).get("3"), 4),
            value_text(row["coordinate_mae"], 4),
            *_cell_cells(row),
            *(" / ".join(f"{v:.0f}" for v in row[name]) for name in ("steps", "seconds")),
            " / ".join(row["status"]),
        )
        for row in content["relaxations"]
    ]
    table = FittedTable(headers, cells, title)
    lines = [Text("dQ in sqrt(amu) A, MAE of coordinates in A, both without rigid translation", style="dim")]
    if any(row.get("cell_strain") for row in content["relaxations"]):
        note = (
            "cells differ: dQ and MAE of fractional coordinates in the second cell; strain: largest principal"
        )
        lines.append(Text(note, style="dim"))
    if content["only_in_one"]:
        lines.append(Text("only in one of them: " + ", ".join(content["only_in_one"]), style="dim"))
    return Group(table, *lines)


def _cell_cells(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Volumes and strain where the cells of both differ."""
    if not row.get("cell_strain"):
        return NO_VALUE, NO_VALUE, NO_VALUE
    volumes = " / ".join(f"{v:.3f}" for v in row["volume"])
    return volumes, f"{100 * row['volume_difference']:+.3f}", f"{100 * row['cell_strain']:.4f}"


def two_column_table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Names and values."""
    table = Table("quantity", "value", title=title)
    for name, value in rows:
        table.add_row(name, value)
    return table


def _relaxation(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{entry['energy']:.4f}",
        f"{entry['fmax']:.4f}",
        str(entry["steps"]),
        f"{entry['seconds']:.1f}",
        str(entry["status"]),
    )


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if values[0] == values[-1] else f"{values[0]}-{values[-1]}"
