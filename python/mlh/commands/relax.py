"""`mlh relax`: move the atoms of a structure to zero force with a model or with DFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlh.commands import relax_options as options
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index, prefix_of
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions, engine_of
from mlh.common.terminal import say, terminal
from mlh.dft.mesh import as_mesh
from mlh.relaxation.files import run_relaxation, summary
from mlh.relaxation.loop import CellChange, OptimizerName, RelaxSettings
from mlh.report.steps import StepPrinter, cell_change, outcome
from mlh.structures import load_structure

_EXAMPLE = "Example: mlh relax host.xyz --model sio2-vo --fmax 0.02 --out host-relaxed"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("relax", epilog=_EXAMPLE)(expanded(relax_command))


def relax_command(
    structure: Annotated[
        str, typer.Argument(help="Structure file, or a crystal such as alpha-quartz:2x2x1.")
    ],
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: NAME-relax here.")] = None,
    fmax: options.FMax = 0.02,
    max_steps: options.MaxSteps = 300,
    optimizer: Annotated[OptimizerName, typer.Option(help="LBFGS (FIRE when it stalls), or FIRE.")] = "lbfgs",
    cell: Annotated[
        CellChange, typer.Option(help="volume: one factor; full: all six components of the strain.")
    ] = "fixed",
    smax: Annotated[
        float,
        typer.Option(help="Largest stress at the end, GPa (with --cell; of volume: trace / 3)."),
    ] = 0.1,
    pressure: Annotated[float, typer.Option(help="Pressure from outside, GPa (with --cell).")] = 0.0,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Relax the atoms of STRUCTURE, and with --cell its cell.

    Writes trajectory.extxyz, relaxed.extxyz and relax.json into a folder. Ctrl-C leaves usable files;
    --resume goes on without repeating a step. Exit status 0 only when the forces (and the stress) are below
    the target. The grid of the first cell is held while the cell changes.
    """
    console = terminal()
    settings = RelaxSettings(
        fmax=fmax,
        max_steps=max_steps,
        optimizer=optimizer,
        cell=cell,
        smax=smax,
        pressure=pressure,
    )
    atoms = load_structure(structure, index)
    chosen = engine_of(engine, theory, atoms, solver)
    calculator = chosen.calculator()
    description = chosen.describe()
    if settings.cell != "fixed":
        description["grid"] = as_mesh(calculator.hold_grid(atoms)).describe()
    folder = prefix_of(structure, out, "relax")
    printer = StepPrinter(
        console, f"{structure}: {atoms.get_chemical_formula()}, {chosen.kind}", fmax, settings=settings
    )
    try:
        result = run_relaxation(
            atoms,
            calculator,
            folder,
            settings,
            engine=description,
            resume=resume,
            overwrite=overwrite,
            on_step=printer,
        )
    except KeyboardInterrupt:
        say(console, f"interrupted; the steps so far are in {folder}: go on with --resume")
        raise typer.Exit(130) from None
    say(console, f"{outcome(result)}; files in {folder}")
    if settings.cell != "fixed":
        say(console, cell_change(atoms, result))
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **summary(result)}, indent=2))
    if not result.converged:
        raise typer.Exit(1)
