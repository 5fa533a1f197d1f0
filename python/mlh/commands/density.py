"""`mlh density`: electron density, spin density and differences as files and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlh.analysis.density import DensityKind
from mlh.commands import state_options as options
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index
from mlh.commands.theory_options import EngineOptions, TheoryOptions
from mlh.common.files import refuse_existing
from mlh.common.terminal import terminal

if TYPE_CHECKING:
    from ase import Atoms

    from mlh.dft.system import System

_EXAMPLE = "Example: mlh density glass.xyz --model sio2-vo --kind difference --plane 4,6,24"
_KINDS: dict[DensityKind, str] = {
    "total": "electron density",
    "spin": "spin density (up - down)",
    "difference": "density - neutral atoms",
}


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("density", epilog=_EXAMPLE)(expanded(density_command))


def density_command(
    structure: options.Structure,
    engine: EngineOptions,
    theory: TheoryOptions,
    index: Index = None,
    kind: Annotated[
        DensityKind, typer.Option(help="difference: minus the neutral atoms; spin: up minus down.")
    ] = "total",
    minus: Annotated[
        Path | None, typer.Option(help="Subtract the density in this cube or xsf file (another run).")
    ] = None,
    format: options.Format = "cube",
    plane: Annotated[
        str | None, typer.Option(help="Picture of the plane through three atoms: 4,6,24.")
    ] = None,
    margin: Annotated[float, typer.Option(help="Space around the atoms of the plane, Angstrom.")] = 3.0,
    axis: Annotated[
        Literal["a", "b", "c"] | None, typer.Option(help="Picture of the average along this vector.")
    ] = None,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Density of STRUCTURE on the uniform grid (electrons/Bohr^3): PREFIX.cube, PREFIX-plane.png, ...

    The sum over the grid and the number of electrons from the orbitals are printed; their difference is the
    error of the grid.
    """
    from mlh.analysis.density import density_field, require_same_grid, subtract
    from mlh.analysis.slices import plane_through
    from mlh.io import read_volumetric, write_volumetric
    from mlh.report.volumetric import average_picture, plane_picture

    console = terminal()
    indices = atom_triple(plane, "--plane")
    prefix = options.prefix_of(structure, out, kind if kind == "spin" else "density")
    volume = options.beside(prefix, f".{format}") if format != "none" else None
    picture = options.beside(prefix, "-plane.png") if indices is not None else None
    curve = options.beside(prefix, f"-{axis}.png") if axis is not None else None
    files = [file for file in (volume, picture, curve) if file is not None]
    refuse_existing(files, overwrite)
    other = read_volumetric(minus)[1] if minus is not None else None

    def check(system: System, atoms: Atoms) -> None:
        if indices is not None:
            plane_through(atoms, indices, margin)
        if kind == "spin" and system.nspin != 2:
            raise ValueError("--kind spin: expected two spin components, got one; with --dft use --spin")
        if other is not None:
            require_same_grid(tuple(system.grid.shape), system.cell, other)

    state = options.state_of(console, structure, engine, theory, index, check=check)
    field = density_field(state, kind)
    name = _KINDS[kind]
    if other is not None and minus is not None:
        field, name = subtract(field, other), f"{name} - {minus.name}"
    label = f"{name} (e/Bohr³)"
    if volume is not None:
        write_volumetric(volume, state.atoms, field.function, f"{name}, e/Bohr^3", overwrite)
    if picture is not None and indices is not None:
        plane_picture(picture, state.atoms, field.function, indices, margin, label, structure)
    if curve is not None and axis is not None:
        average_picture(curve, field.function, axis, label, structure)
    summary = {
        "structure": structure,
        "what": name,
        "unit": "electrons/Bohr^3",
        "grid": list(field.function.values.shape),
        "integral": field.integral,
        "electrons": field.electrons,
        "grid_error": field.integral - field.electrons,
        "absolute_integral": field.absolute_integral,
        "minimum": float(field.function.values.min()),
        "maximum": float(field.function.values.max()),
        "files": [str(file) for file in files],
    }
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    n1, n2, n3 = field.function.values.shape
    typer.echo(f"{name} on {n1} x {n2} x {n3} points, electrons/Bohr^3")
    typer.echo(
        f"integral {field.integral:.6f} electrons; from the orbitals {field.electrons:.6f}; "
        f"error of the grid {field.integral - field.electrons:.1e}"
    )
    low, high = summary["minimum"], summary["maximum"]
    typer.echo(f"integral of |f| {field.absolute_integral:.6f}; from {low:.4e} to {high:.4e}")
    typer.echo("files: " + (", ".join(map(str, files)) or "none"))


def atom_triple(text: str | None, option: str) -> tuple[int, int, int] | None:
    """Three atoms, "4,6,24"."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise typer.BadParameter(f"expected three atoms such as 4,6,24, got {text!r}", param_hint=option)
    return int(parts[0]), int(parts[1]), int(parts[2])
