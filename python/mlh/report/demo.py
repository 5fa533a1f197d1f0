"""The table of the demonstration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mlh.defects.formation import CONVENTION
from mlh.defects.record import entries_of


def demo_table(content: Mapping[str, Any]) -> RenderableType:
    """MLH against DFT, from the content of demo.json."""
    points = Table(
        "geometry",
        "H MAE meV",
        "aligned",
        "energy meV/atom",
        "force MAE meV/A",
        "model s",
        "DFT s",
        title="the same geometry by both",
    )
    for point in content["same_geometry"]["points"]:
        hamiltonian = point["hamiltonian"]
        points.add_row(
            point["label"],
            f"{hamiltonian['mae_mev']:.2f}",
            f"{hamiltonian['aligned_mae_mev']:.2f}",
            _milli(point["energy_error_per_atom"], 2),
            _milli(point["force_mae"], 1),
            f"{point['seconds_model']:.2f}",
            f"{point['seconds_dft']:.2f}",
        )
    return Group(points, _relaxed(content), Text(_notes(content), style="dim"))


def _relaxed(content: Mapping[str, Any]) -> Table:
    table = Table("relaxed", "model", "DFT", "difference", title=f"relaxed to {content['fmax']:g} eV/A")
    row, energies = content["relaxed"], content["formation_energy"]
    model, dft = content["model"], content["dft"]
    table.add_row("status of the host", model["host"]["status"], dft["host"]["status"], "")
    table.add_row("status of the vacancy", entries_of(model)[0]["status"], entries_of(dft)[0]["status"], "")
    table.add_row(
        "formation energy (eV)",
        _value(energies["model"]),
        _value(energies["dft_relaxed"]),
        _difference(energies["model"], energies["dft_relaxed"]),
    )
    table.add_row(
        "  DFT at the model's geometries",
        _value(energies["model"]),
        _value(energies["dft_at_model_geometry"]),
        _difference(energies["model"], energies["dft_at_model_geometry"]),
    )
    for vacancy in entries_of(model)[1:]:
        label = f"  of {vacancy['folder']}, {vacancy['status']}"
        table.add_row(label, _value(vacancy["formation_energy"]), "", "")
    table.add_row("energy of the vacancy", "", "", f"{_milli(row['energy_error_per_atom'], 2)} meV/atom")
    table.add_row("energy of the host", "", "", f"{_milli(row['host_energy_error_per_atom'], 2)} meV/atom")
    table.add_row("dQ of the vacancy", "", "", f"{row['dQ']:.3f} sqrt(amu) A")
    table.add_row("dQ of the host", "", "", f"{row['host_dQ']:.3f} sqrt(amu) A")
    for radius, value in row["coordinate_mae"].items():
        shown = "-" if value is None else f"{value:.4f} A"
        table.add_row(f"coordinate MAE within {radius} A", "", "", shown)
    times = content["seconds_per_step"]
    table.add_row("wall time of a step (s)", f"{times['model']:.2f}", f"{times['dft']:.2f}", "")
    return table


def _notes(content: Mapping[str, Any]) -> str:
    return (
        f"{CONVENTION}. DFT relaxations start from the model's minima. "
        f"Everything measured in this run of {content['seconds'] / 60:.1f} minutes."
    )


def _milli(value: float, digits: int) -> str:
    return f"{1000.0 * value:.{digits}f}"


def _value(value: float | None) -> str:
    return "not converged" if value is None else f"{value:.4f}"


def _difference(first: float | None, second: float | None) -> str:
    return "-" if first is None or second is None else f"{1000.0 * (first - second):.1f} meV"
