"""`mlh openmx-input` and `mlh dataset import-openmx`: from structures to OpenMX and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index
from mlh.commands.theory_options import KSpacing, MeshOptions
from mlh.common.terminal import Words, bar, say, terminal

_INPUT_EXAMPLE = "Example: mlh openmx-input alpha-quartz --kpts 2 2 2 -o quartz/quartz.dat"
IMPORT_EXAMPLE = "Example: mlh dataset import-openmx runs/host-1 runs/host-2 -o data.h5"

_DATA_HELP = "OpenMX database (folder with PAO and VPS); default: MLH_OPENMX_DATA."


def register(app: typer.Typer) -> None:
    """Add `openmx-input` to an application; `mlh.commands.dataset` adds the import to its group."""
    app.command("openmx-input", epilog=_INPUT_EXAMPLE)(expanded(input_command))


def input_command(
    structure: Annotated[str, typer.Argument(help="A file, or a crystal such as alpha-quartz:2x2x1.")],
    index: Index = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Input file to write.")] = Path("openmx.dat"),
    species: Annotated[
        list[str] | None,
        typer.Option(help="ELEMENT=ORBITALS,POTENTIAL, as Si=Si7.0-s2p2d1,Si_PBE19; repeat."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help=_DATA_HELP)] = None,
    cutoff: Annotated[float, typer.Option(help="Grid cutoff, Ry.")] = 200.0,
    kpts: Annotated[tuple[int, int, int] | None, typer.Option(help="k mesh; default: 1 1 1.")] = None,
    kspacing: KSpacing = None,
    temperature: Annotated[float, typer.Option(help="Of the electrons, Kelvin.")] = 300.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Write an OpenMX 3.9 input for STRUCTURE whose result `mlh dataset import-openmx` can read."""
    from mlh.matrix.kpoints import with_cell
    from mlh.openmx.family import chosen_species
    from mlh.openmx.writeinput import openmx_input, write_openmx_input
    from mlh.structures import load_structure

    atoms = load_structure(structure, index)
    chosen = chosen_species(atoms, species or [], data)
    mesh = with_cell(MeshOptions(kpts, kspacing).mesh() or (1, 1, 1), atoms.cell.array, atoms.pbc)
    assert isinstance(mesh, tuple)  # what OpenMX makes its own mesh of
    text = openmx_input(atoms, chosen, out.stem, data, cutoff, mesh, temperature)
    write_openmx_input(out, text, overwrite)
    used = ", ".join(" ".join(chosen[s]) for s in dict.fromkeys(atoms.get_chemical_symbols()))
    typer.echo(f"{out}: {atoms.get_chemical_formula()}, {used}")


def import_command(
    runs: Annotated[list[Path], typer.Argument(help="Folders with finished runs, or .scfout files.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="HDF5 file to write.")],
    data: Annotated[Path | None, typer.Option(help=_DATA_HELP)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Turn finished OpenMX 3.9 calculations (.scfout and .out) into a data set.

    All runs below one argument are one group, never divided between training and test. Runs that cannot be
    labels are set aside with the reason: the data set of the others is written, and the exit status is 1.
    """
    from mlh.labelling.openmx_import import Run, find_runs, import_runs  # late: it loads torch

    console = terminal()
    found = find_runs(runs)
    columns = (Words(lambda task: task.description), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with bar(console, *columns, transient=False) as progress:
        task = progress.add_task("import", total=len(found))

        def show(index: int, run: Run) -> None:
            progress.update(task, completed=index, description=run.scfout.stem)

        report = import_runs(found, out, data, overwrite, show)
        progress.update(task, completed=len(found))
    for file, reason in report.set_aside.items():
        say(console, f"set aside {file}: {reason}", style="yellow")
    say(console, f"{report.samples} samples in {out}, {len(report.set_aside)} set aside")
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2))
    if report.set_aside:
        raise typer.Exit(1)
