"""Curves of the report: a relaxation step by step, formation energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from mlh.defects.record import entries_of, entry_title
from mlh.relaxation.loop import RelaxStep
from mlh.report.figure import Figure
from mlh.report.plots import DFT_COLOR, MODEL_COLOR


def relaxation_figure(steps: Sequence[RelaxStep], target: float | None) -> Figure:
    """Energy above the last, largest force and residual against the step."""
    residuals = [step.residual for step in steps]
    known = all(value is not None for value in residuals)
    panels = 3 if known else 2
    figure = Figure(figsize=(3.4 * panels, 2.6), layout="constrained")
    axes = figure.subplots(1, panels)
    x = np.arange(len(steps))
    energies = np.array([step.energy for step in steps])
    style = {"marker": "o", "markersize": 2.5, "linewidth": 1.2, "color": MODEL_COLOR}
    axes[0].plot(x, energies - energies.min(), **style)
    axes[0].set_yscale("symlog", linthresh=1e-3)
    axes[0].set_ylim(bottom=0.0)
    axes[0].set_ylabel("energy above lowest (eV)")
    axes[1].semilogy(x, [step.fmax for step in steps], **style)
    axes[1].set_ylabel("largest force (eV/Å)")
    if target is not None:
        axes[1].axhline(target, color="0.5", linewidth=0.8, linestyle="--")
    if known:
        axes[2].plot(x, [1000.0 * float(value or 0.0) for value in residuals], **style)
        axes[2].set_ylim(bottom=0.0)
        axes[2].set_ylabel("max |H[D] − H| (meV)")
    for axis in axes:
        axis.set_xlabel("step")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def formation_figure(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """Formation energies per site as points, and their histogram when there are many."""
    colors = [MODEL_COLOR, DFT_COLOR]
    values = [[(entry_title(e), e["formation_energy"]) for e in entries_of(run)] for run in runs]
    known = [[pair for pair in pairs if pair[1] is not None] for pairs in values]
    many = max(len(pairs) for pairs in known) >= 5
    figure = Figure(figsize=(7.2 if many else 4.2, 2.8), layout="constrained")
    axes = figure.subplots(1, 2 if many else 1, squeeze=False)[0]
    sites = list(dict.fromkeys(site for pairs in known for site, _ in pairs))
    for run, pairs, color in zip(runs, known, colors, strict=False):
        axes[0].scatter(
            [sites.index(site) for site, _ in pairs],
            [e for _, e in pairs],
            s=22,
            color=color,
            label=run["title"],
        )
    axes[0].set_xticks(range(len(sites)), sites, fontsize=8, rotation=90 if len(sites) > 6 else 0)
    axes[0].set_xlim(-0.6, len(sites) - 0.4)
    axes[0].set_xlabel("defect")
    axes[0].set_ylabel("formation energy (eV)")
    axes[0].legend(frameon=False, fontsize=8)
    if many:
        for pairs, color in zip(known, colors, strict=False):
            axes[1].hist([e for _, e in pairs], bins="auto", color=color, alpha=0.6)
        axes[1].set_xlabel("formation energy (eV)")
        axes[1].set_ylabel("defects")
    return figure
