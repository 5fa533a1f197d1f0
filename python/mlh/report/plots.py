"""Pictures of a model against DFT: energies along relaxations, forces, formation energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray

from mlh.common.files import complete_or_absent
from mlh.report.figure import Figure

MODEL_COLOR, DFT_COLOR = "#c1440e", "#1f4e79"


@dataclass(frozen=True)
class EnergyPath:
    """Energies (eV) of one relaxation; `offset` is the step at which it starts in the picture."""

    label: str
    color: str
    energies: Sequence[float]
    n_atoms: int
    offset: int = 0


def comparison_figure(
    panels: Mapping[str, Sequence[EnergyPath]],
    forces_model: NDArray[np.float64],
    forces_dft: NDArray[np.float64],
    title: str,
) -> Figure:
    """One panel per relaxed structure and one with the forces of both engines at the same geometries."""
    count = len(panels) + 1
    figure = Figure(figsize=(4.2 * count, 3.6), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for axis, (name, paths) in zip(axes, panels.items(), strict=False):
        energy_panel(axis, name, paths)
    force_panel(axes[-1], forces_model, forces_dft)
    figure.suptitle(title)
    return figure


def energy_panel(axis: Axes, name: str, paths: Sequence[EnergyPath]) -> None:
    """Energy per atom over the lowest energy of all paths (meV) against the step."""
    zero = min(min(path.energies) / path.n_atoms for path in paths)
    for path in paths:
        values = 1000.0 * (np.asarray(path.energies) / path.n_atoms - zero)
        steps = path.offset + np.arange(len(values))
        axis.plot(
            steps, values, color=path.color, label=path.label, marker="o", markersize=2.5, linewidth=1.2
        )
    axis.set_yscale("symlog", linthresh=1.0)
    axis.set_ylim(bottom=-0.1)
    axis.set_xlabel("relaxation step")
    axis.set_ylabel("energy above lowest (meV/atom)")
    axis.set_title(name)
    axis.legend(frameon=False)


def force_panel(axis: Axes, model: NDArray[np.float64], dft: NDArray[np.float64]) -> None:
    """Force components of the model against DFT (eV/Angstrom)."""
    x, y = np.asarray(dft).ravel(), np.asarray(model).ravel()
    if x.shape != y.shape or x.size == 0:
        raise ValueError(f"forces: expected equal, non-empty arrays, got shapes {x.shape} and {y.shape}")
    limit = 1.05 * max(float(np.abs(x).max()), float(np.abs(y).max()), 1e-3)
    axis.plot([-limit, limit], [-limit, limit], color="0.6", linewidth=0.8)
    axis.scatter(x, y, s=6, color=MODEL_COLOR, alpha=0.6, linewidths=0)
    axis.set_xlim(-limit, limit)
    axis.set_ylim(-limit, limit)
    axis.set_aspect("equal")
    axis.set_xlabel("DFT force (eV/Å)")
    axis.set_ylabel("model force (eV/Å)")
    axis.set_title(f"forces at the same geometry, MAE {1000 * np.abs(x - y).mean():.1f} meV/Å", fontsize=10)


def save_figure(figure: Figure, path: Path, dpi: int = 160) -> None:
    """Write a picture in one move."""
    FigureCanvasAgg(figure)
    titles = [axis.title for axis in figure.axes]
    for title in [*titles, *figure.texts]:
        title.set_parse_math(False)  # names of files: two dollars are no formula
    with complete_or_absent(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format=path.suffix.lstrip(".") or "png")
