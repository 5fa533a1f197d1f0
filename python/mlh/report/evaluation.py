"""Pictures of `mlh evaluate`: matrix elements, energies and forces against the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from mlh.report.figure import Figure
from mlh.report.plots import DFT_COLOR, MODEL_COLOR, force_panel

if TYPE_CHECKING:
    from mlh.accuracy.physics import PhysicsCase

Array = NDArray[np.float64]


def evaluation_figure(reference: Array, predicted: Array, cases: Sequence[PhysicsCase], title: str) -> Figure:
    """Matrix elements (meV), and with `cases` also energies and forces, against the labels."""
    count = 3 if cases else 1
    figure = Figure(figsize=(4.2 * count, 3.8), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    element_panel(axes[0], reference, predicted)
    if cases:
        energy_panel(axes[1], cases)
        force_panel(
            axes[2],
            np.concatenate([c.forces.ravel() for c in cases]),
            np.concatenate([c.reference_forces.ravel() for c in cases]),
        )
    figure.suptitle(title)
    return figure


def element_panel(axis: Axes, reference: Array, predicted: Array) -> None:
    """Density of points of predicted against reference matrix elements, meV."""
    limit = 1.05 * float(max(np.abs(reference).max(), np.abs(predicted).max(), 1e-6))
    extent = (-limit, limit, -limit, limit)
    axis.hexbin(reference, predicted, gridsize=80, bins="log", cmap="viridis", mincnt=1, extent=extent)
    axis.plot([-limit, limit], [-limit, limit], color="0.6", linewidth=0.8)
    axis.set_xlim(-limit, limit)
    axis.set_ylim(-limit, limit)
    axis.set_aspect("equal")
    axis.set_xlabel("label dH (meV)")
    axis.set_ylabel("predicted dH (meV)")
    axis.set_title(
        f"{len(reference):,} elements, MAE {np.abs(predicted - reference).mean():.3f} meV", fontsize=10
    )


def energy_panel(axis: Axes, cases: Sequence[PhysicsCase]) -> None:
    """Error of the energy per atom against the error the model estimates for itself."""
    true = 1000.0 * np.array([c.energy_error / c.n_atoms for c in cases])
    estimate = 1000.0 * np.array([c.energy_estimate / c.n_atoms for c in cases])
    limit = 1.1 * max(float(true.max()), float(estimate.max()), 1e-3)
    axis.plot([0, limit], [0, limit], color="0.6", linewidth=0.8)
    axis.scatter(estimate, true, s=14, color=MODEL_COLOR, edgecolors=DFT_COLOR, linewidths=0.3)
    axis.set_xlim(0, limit)
    axis.set_ylim(min(0.0, 1.1 * float(true.min())), limit)
    axis.set_xlabel("estimated error (meV/atom)")
    axis.set_ylabel("energy error (meV/atom)")
    axis.set_title(f"energy of {len(cases)} structures, MAE {np.abs(true).mean():.2f} meV/atom", fontsize=10)
