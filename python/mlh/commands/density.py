"""`mlh density`: electron density, spin density and differences as files and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlh.analysis.density import DensityKind
from mlh.commands import state_options as options
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index, prefix_of
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions
from mlh.common.files import refuse_existing
from mlh.common.terminal import terminal

if TYPE_CHECKING:
    from ase import Atoms

    from mlh.analysis.density import DensityField
    from mlh.dft.grid_function import GridFunction
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
    solver: SolverOptions,
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
    margin: Annotated[
        float, typer.Option(min=0.0, help="Space around the atoms of the plane, Angstrom.")
    ] = 3.0,
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
    from mlh.analysis.density import density_field, subtract
    from mlh.io import read_volumetric

    indices = atom_triple(plane, "--plane")
    prefix = prefix_of(structure, out, kind if kind == "spin" else "density")
    files = _Files(
        volume=options.beside(prefix, f".{format}") if format != "none" else None,
        plane=options.beside(prefix, "-plane.png") if indices is not None else None,
        curve=options.beside(prefix, f"-{axis}.png") if axis is not None else None,
        overwrite=overwrite,
    )
    refuse_existing(files.all, overwrite)
    other = read_volumetric(minus)[1] if minus is not None else None
    check = _check(kind, indices, margin, other)
    state = options.density_of(terminal(), structure, engine, theory, solver, index, check=check)
    field, name = density_field(state, kind), _KINDS[kind]
    if other is not None and minus is not None:
        field, name = subtract(field, other), f"{name} - {minus.name}"
    place = _Place(indices, margin, axis)
    _write(files, state.atoms, field.function, place, name, structure)
    summary = {"structure": structure, "what": name, **_numbers(field), "files": list(map(str, files.all))}
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        _print(summary)


@dataclass(frozen=True)
class _Files:
    """What is written, None for what is not: the density, its picture on a plane, its average."""

    volume: Path | None
    plane: Path | None
    curve: Path | None
    overwrite: bool

    @property
    def all(self) -> list[Path]:
        """In the order in which they are written."""
        return [file for file in (self.volume, self.plane, self.curve) if file is not None]


@dataclass(frozen=True)
class _Place:
    """Where pictures look: the plane of three atoms with a margin, the vector of the average."""

    atoms: tuple[int, int, int] | None
    margin: float
    axis: str | None


def _check(
    kind: DensityKind, indices: tuple[int, int, int] | None, margin: float, other: GridFunction | None
) -> Callable[[System, Atoms], None]:
    """What can be refused before the calculation."""
    from mlh.analysis.density import require_same_grid
    from mlh.analysis.slices import plane_through

    def check(system: System, atoms: Atoms) -> None:
        if indices is not None:
            plane_through(atoms, indices, margin)
        if kind == "spin" and system.nspin != 2:
            raise ValueError("--kind spin: expected two spin components, got one; with --dft use --spin")
        if other is not None:
            require_same_grid(tuple(system.grid.shape), system.cell, other)

    return check


def _write(files: _Files, atoms: Atoms, function: GridFunction, place: _Place, name: str, title: str) -> None:
    """The file of the density and the pictures."""
    from mlh.io import write_volumetric
    from mlh.report.volumetric import average_picture, plane_picture

    label = f"{name} (e/Bohr³)".replace("$", r"\$")  # no formula in a name
    if files.volume is not None:
        write_volumetric(files.volume, atoms, function, f"{name}, e/Bohr^3", files.overwrite)
    if files.plane is not None and place.atoms is not None:
        plane_picture(files.plane, atoms, function, place.atoms, place.margin, label, title)
    if files.curve is not None and place.axis is not None:
        average_picture(files.curve, function, place.axis, label, title)


def _numbers(field: DensityField) -> dict[str, Any]:
    """Integrals and extrema of a density."""
    values = field.function.values
    return {
        "unit": "electrons/Bohr^3",
        "grid": list(values.shape),
        "integral": field.integral,
        "electrons": field.electrons,
        "grid_error": field.integral - field.electrons,
        "absolute_integral": field.absolute_integral,
        "minimum": float(values.min()),
        "maximum": float(values.max()),
    }


def _print(summary: Mapping[str, Any]) -> None:
    n1, n2, n3 = summary["grid"]
    typer.echo(f"{summary['what']} on {n1} x {n2} x {n3} points, {summary['unit']}")
    typer.echo(
        f"integral {summary['integral']:.6f} electrons; from the orbitals {summary['electrons']:.6f}; "
        f"error of the grid {summary['grid_error']:.1e}"
    )
    typer.echo(
        f"integral of |f| {summary['absolute_integral']:.6f}; "
        f"from {summary['minimum']:.4e} to {summary['maximum']:.4e}"
    )
    typer.echo("files: " + (", ".join(summary["files"]) or "none"))


def atom_triple(text: str | None, option: str) -> tuple[int, int, int] | None:
    """Three atoms, "4,6,24"."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise typer.BadParameter(f"expected three atoms such as 4,6,24, got {text!r}", param_hint=option)
    return int(parts[0]), int(parts[1]), int(parts[2])
