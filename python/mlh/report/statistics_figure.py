"""Distribution of formation energies over sites, hosts and sizes of cell, as table and picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mlh.report.figure import Figure
from mlh.report.fitted_table import FittedTable, value_text

_COLORS = ("#1f4e79", "#c1440e", "#5a8f29", "#7b4fa3")


def statistics_table(statistics: Mapping[str, Any]) -> FittedTable:
    """By defect and charge: every host, every size of cell where there are several, and all."""
    rows = []
    for name, found in statistics.items():
        parts = list(found["hosts"].items())
        if len(found["sizes"]) > 1:
            parts += [(f"{size} atoms", moments) for size, moments in found["sizes"].items()]
        parts += [("all", found["all"])]
        rows += [(name, part, *_cells(moments)) for part, moments in parts]
    headers = ("defect", "host", "sites", "mean eV", "spread eV", "error eV", "error from hosts eV")
    return FittedTable(headers, rows, "formation energies over sites and hosts")


def _cells(moments: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("mean", "spread", "error", "error_from_hosts")
    return str(moments["count"]), *(value_text(moments.get(name), 3) for name in names)


def live_line(name: str, found: Mapping[str, Any], left: int) -> str:
    """What is known after one more site."""
    count, mean, spread, error = _cells(found["all"])[:4]
    return f"{name}: {count} sites, mean {mean}, spread {spread}, error {error} eV; {left} to go"


def statistics_figure(statistics: Mapping[str, Any]) -> Figure:
    """Against the number of sites, against the size of the cell, and the values themselves; a row for every
    defect and charge."""
    figure = Figure(figsize=(12.6, 3.6 * len(statistics)), layout="constrained")
    axes = figure.subplots(len(statistics), 3, squeeze=False)
    for row, (name, found) in zip(axes, statistics.items(), strict=True):
        _against_sites(row[0], name, found["running"])
        _against_size(row[1], found)
        _values(row[2], found["values"])
    return figure


def _against_sites(axis: Axes, name: str, running: Sequence[Mapping[str, Any]]) -> None:
    """Mean with its error, and spread, after one site, two, ..."""
    count = np.array([m["count"] for m in running])
    mean = np.array([m["mean"] for m in running])
    error = np.array([m["error"] or np.nan for m in running])
    axis.plot(count, mean, color=_COLORS[0], label="mean")
    axis.fill_between(count, mean - error, mean + error, color=_COLORS[0], alpha=0.2, label="its error")
    axis.set_xlabel("sites, one of each host in turn")
    axis.set_ylabel(f"formation energy of {name} (eV)")
    other = axis.twinx()
    spread = [np.nan if m["spread"] is None else m["spread"] for m in running]
    other.plot(count, spread, color=_COLORS[1], linestyle="--", label="spread")
    other.set_ylabel("spread (eV)", color=_COLORS[1])
    other.set_ylim(bottom=0.0)
    axis.legend(loc="best", fontsize=8)


def _against_size(axis: Axes, found: Mapping[str, Any]) -> None:
    """Mean with its error, and spread as a thin line, by atoms of the host."""
    sizes = found["sizes"]
    atoms = np.array([int(size) for size in sizes])
    mean = np.array([m["mean"] for m in sizes.values()])
    spread = np.array([m["spread"] or 0.0 for m in sizes.values()])
    error = np.array([m["error"] or 0.0 for m in sizes.values()])
    axis.errorbar(atoms, mean, spread, fmt="none", ecolor=_COLORS[1], elinewidth=1, capsize=5, label="spread")
    axis.errorbar(atoms, mean, error, fmt="o", color=_COLORS[0], elinewidth=3, label="mean, its error")
    axis.set_xlabel("atoms of the host")
    axis.set_ylabel("formation energy (eV)")
    if len(atoms) > 1:
        axis.set_xscale("log")
    axis.set_xticks(atoms, [str(n) for n in atoms], minor=False)
    axis.set_xticks([], minor=True)
    axis.margins(x=0.2)
    axis.legend(loc="best", fontsize=8)


def _values(axis: Axes, values: Sequence[Mapping[str, Any]]) -> None:
    """Every value in its bin, the sizes of cells one on the other."""
    sizes = sorted({v["atoms"] for v in values})
    groups = [[v["energy"] for v in values if v["atoms"] == size] for size in sizes]
    edges = np.histogram_bin_edges([v["energy"] for v in values], bins="auto" if len(values) > 4 else 4)
    colors = [_COLORS[k % len(_COLORS)] for k in range(len(sizes))]
    axis.hist(
        groups, bins=edges.tolist(), stacked=True, color=colors, label=[f"{size} atoms" for size in sizes]
    )
    axis.set_xlabel("formation energy (eV)")
    axis.set_ylabel("sites")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="best", fontsize=8)
