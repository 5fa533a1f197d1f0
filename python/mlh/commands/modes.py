"""`mlh modes`: vibrations of a structure, or of the atoms around a defect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlh.commands import relax_options as options
from mlh.commands.expand import expanded
from mlh.commands.run_start import run_start
from mlh.commands.structure_options import Index, prefix_of
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions
from mlh.common.terminal import say, terminal
from mlh.dynamics.modes_files import PICTURE, run_modes, summary
from mlh.report.modes import ModesPrinter, modes_figure, modes_table

_EXAMPLE = "Example: mlh modes vacancy-relaxed/relaxed.extxyz --model sio2-vo --radius 4 --out modes"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("modes", epilog=_EXAMPLE)(expanded(modes_command))


def modes_command(
    structure: Annotated[str, typer.Argument(help="Relaxed structure.")],
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: NAME-modes here.")] = None,
    step: Annotated[float, typer.Option(min=0.0, help="Displacement, Angstrom.")] = 0.01,
    radius: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Only atoms this near to --center, or to the defect of STRUCTURE, Angstrom."
        ),
    ] = None,
    center: Annotated[tuple[float, float, float] | None, typer.Option(help="Of --radius, Angstrom.")] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Displacements at the same time, which share the threads.")
    ] = 1,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Frequencies and modes by central differences of the forces (at the centre of the Brillouin zone).

    Six calculations per atom; each is kept as it comes, and --resume does the others. Writes modes.json,
    modes.extxyz, modes.png, hessian.npz and displacements/ into a folder. Fixed atoms do not vibrate.
    """
    console = terminal()
    start = run_start(structure, index, engine, theory, solver)
    folder = prefix_of(structure, out, "modes")
    title = (
        f"{structure}: {start.atoms.get_chemical_formula()}, {start.engine.kind}, displacements of {step:g} A"
    )
    try:
        result = run_modes(
            *(start.atoms, start.engine, folder),
            step=step,
            center=center,
            radius=radius,
            processes=processes,
            resume=resume,
            overwrite=overwrite,
            on_step=ModesPrinter(console, title),
        )
    except KeyboardInterrupt:
        say(console, f"interrupted; the displacements so far are in {folder}: go on with --resume")
        raise typer.Exit(130) from None
    from mlh.report.plots import save_figure

    save_figure(modes_figure(result), folder / PICTURE)
    content = summary(result)
    for note in content["notes"]:
        say(console, f"note: {note}", style="yellow")
    say(console, f"files in {folder}")
    if not as_json:
        terminal(stderr=False).print(modes_table(result, f"vibrations of {structure}"))
    else:
        typer.echo(json.dumps({"folder": str(folder), **content}, indent=2))
