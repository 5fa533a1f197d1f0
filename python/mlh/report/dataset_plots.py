"""Pictures of what is in a data set, from the plain values of `dataset_report`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mlh.report.figure import Figure
from mlh.report.plots import DFT_COLOR, MODEL_COLOR


def dataset_figure(report: Mapping[str, Any]) -> Figure:
    """Distributions of energies, forces and |dH|, |dH| by kind of block, samples by source, neighbors."""
    figure = Figure(figsize=(12.0, 6.8), layout="constrained")
    axes = figure.subplots(2, 3)
    distributions = report["distributions"]
    energies = distributions["energy per atom - mean of its composition (eV)"]
    _histogram(axes[0, 0], energies, "energy per atom − mean of its composition (eV)", "samples")
    forces = distributions["force on an atom (eV/A)"]
    _histogram(axes[0, 1], forces, "force on an atom (eV/Å)", "atoms")
    axes[0, 1].set_xscale("log")
    axes[0, 1].set_xlim(0.5 * max(forces["min"], 1e-4), 2.0 * max(forces["max"], 1e-3))
    _histogram(axes[0, 2], distributions["mean |dH| (meV)"], "mean |dH| of a sample (meV)", "samples")
    block_panel(axes[1, 0], report["dh_by_block"])
    source_panel(axes[1, 1], report["sources"])
    neighbor_panel(axes[1, 2], report["neighbors"])
    figure.suptitle(f"{report['path']}: {report['samples']} samples")
    return figure


def _histogram(axis: Axes, distribution: Mapping[str, Any], name: str, what: str) -> None:
    edges, counts = distribution["histogram"]["edges"], distribution["histogram"]["counts"]
    axis.stairs(counts, edges, fill=True, color=DFT_COLOR, alpha=0.75)
    axis.axvline(distribution["median"], color=MODEL_COLOR, linewidth=1.0, label="median")
    axis.set_xlabel(name)
    axis.set_ylabel(what)
    axis.legend(frameon=False)


def block_panel(axis: Axes, blocks: Mapping[str, Mapping[str, float]]) -> None:
    """Mean, root mean square and largest |dH| by kind of block, logarithmic."""
    x = np.arange(len(blocks))
    for key, marker, color in (("mean", "o", DFT_COLOR), ("rms", "s", "#5f8f3a"), ("max", "^", MODEL_COLOR)):
        axis.semilogy(x, [block[key] for block in blocks.values()], marker, color=color, label=key)
    axis.set_xticks(x, labels=list(blocks), rotation=30, ha="right")
    axis.set_ylabel("|dH| (meV)")
    axis.legend(frameon=False)


def source_panel(axis: Axes, sources: list[Mapping[str, Any]]) -> None:
    """Samples of every source."""
    y = np.arange(len(sources))
    bars = axis.barh(y, [source["samples"] for source in sources], color=DFT_COLOR, alpha=0.75)
    axis.bar_label(bars, fontsize=8)
    axis.set_yticks(y, labels=[source["source"] for source in sources], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("samples")


def neighbor_panel(axis: Axes, neighbors: Mapping[str, Mapping[str, float]]) -> None:
    """Mean number of pairs of an atom by element, with the range."""
    x = np.arange(len(neighbors))
    mean = np.array([entry["mean"] for entry in neighbors.values()])
    low = mean - np.array([entry["min"] for entry in neighbors.values()])
    high = np.array([entry["max"] for entry in neighbors.values()]) - mean
    axis.bar(x, mean, 0.6, color=DFT_COLOR, alpha=0.75, yerr=np.array([low, high]), capsize=4)
    axis.set_xticks(x, labels=list(neighbors))
    axis.set_ylabel("pairs of an atom within the cutoffs")
