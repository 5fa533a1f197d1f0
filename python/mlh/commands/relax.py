"""`mlh relax`: move the atoms of a structure to zero force with a model or with DFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mlh.commands import relax_options as options
from mlh.commands.expand import expanded
from mlh.commands.job_options import JobOptions
from mlh.commands.relax_many import relax_many
from mlh.commands.several import Start, starts_of
from mlh.commands.structure_options import Index, prefix_of
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions
from mlh.common.terminal import say, terminal
from mlh.relaxation.files import run_relaxation, summary
from mlh.relaxation.jobs import held_grid
from mlh.relaxation.loop import CellChange, OptimizerName, RelaxSettings
from mlh.report.steps import StepPrinter, cell_change, outcome

_EXAMPLE = "Example: mlh relax host.xyz --model sio2-vo --fmax 0.02 --out host-relaxed"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("relax", epilog=_EXAMPLE)(expanded(relax_command))


def relax_command(
    structures: Annotated[
        list[str], typer.Argument(help="Structure files, or crystals such as alpha-quartz:2x2x1.")
    ],
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    jobs: JobOptions,
    index: Index = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder; default: NAME-relax here, of several: relaxed.")
    ] = None,
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
    """Relax the atoms of a structure, and with --cell its cell; of several each in a folder of its own.

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
    starts = starts_of(structures, index, engine, theory, solver, min(jobs.here, len(structures)))
    if len(starts) > 1 or jobs.dask is not None:
        target = out or Path("relaxed")
        content, converged = relax_many(console, starts, target, settings, jobs, resume, overwrite)
    else:
        folder = prefix_of(structures[0], out, "relax")
        content, converged = _relax_one(
            console, structures[0], starts[0], folder, settings, resume, overwrite
        )
    if as_json:
        typer.echo(json.dumps(content, indent=2))
    if not converged:
        raise typer.Exit(1)


def _relax_one(
    console: Console,
    name: str,
    start: Start,
    folder: Path,
    settings: RelaxSettings,
    resume: bool,
    overwrite: bool,
) -> tuple[dict[str, Any], bool]:
    """Its summary, and whether it converged."""
    calculator = start.engine.calculator()
    description = start.engine.describe()
    if settings.cell != "fixed":
        description |= held_grid(calculator, start.atoms)
    printer = StepPrinter(
        console,
        f"{name}: {start.atoms.get_chemical_formula()}, {start.engine.kind}",
        settings.fmax,
        settings=settings,
    )
    try:
        result = run_relaxation(
            start.atoms,
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
        say(console, cell_change(start.atoms, result))
    return {"folder": str(folder), **summary(result)}, result.converged
