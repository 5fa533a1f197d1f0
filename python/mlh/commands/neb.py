"""`mlh neb`: the path of lowest energy between two relaxed structures, and its barrier."""

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
from mlh.dynamics.neb import NEBSettings
from mlh.dynamics.neb_files import PICTURE, run_neb, summary
from mlh.report.neb import NEBPrinter, neb_figure, neb_outcome, neb_table
from mlh.structures import load_structure

_EXAMPLE = "Example: mlh neb dimer.extxyz puckered.extxyz --model sio2-vo --images 5 --out path"
_DEFAULTS = NEBSettings()


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("neb", epilog=_EXAMPLE)(expanded(neb_command))


def neb_command(
    start: Annotated[str, typer.Argument(help="Relaxed structure at one end.")],
    end: Annotated[str, typer.Argument(help="The same atoms, in the same order and cell, at the other.")],
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    end_index: Annotated[int | None, typer.Option(help="Frame of the other end, as --index.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: NAME-neb here.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Images between the ends.")] = _DEFAULTS.images,
    fmax: Annotated[
        float, typer.Option(help="Largest force on the band at the end, eV/Angstrom.")
    ] = _DEFAULTS.fmax,
    max_steps: options.MaxSteps = _DEFAULTS.max_steps,
    spring: Annotated[float, typer.Option(help="Between images, eV/Angstrom^2.")] = _DEFAULTS.spring,
    no_climb: Annotated[
        bool, typer.Option("--no-climb", help="The highest image stays where the springs hold it.")
    ] = False,
    any_order: Annotated[
        bool, typer.Option("--any-order", help="Equal atoms change places, and are meant to.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="Images at the same time, which share the threads.")
    ] = 1,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """The path of lowest energy from START to END (nudged elastic band, climbing image), and its barrier.

    Writes path.extxyz, neb.json, neb.png and band.npz into a folder. Ctrl-C leaves usable files; --resume
    goes on, and loses at most the images in work. Exit status 0 only when the band is at rest.
    """
    console = terminal()
    settings = NEBSettings(images, fmax, max_steps, spring, not no_climb)
    last = load_structure(end, end_index)
    begin = run_start(start, index, engine, theory, solver)
    first = begin.atoms
    if last.cell.rank == 0:
        last.set_cell(first.cell)
    folder = prefix_of(start, out, "neb")
    title = f"{start} -> {end}: {first.get_chemical_formula()}, {begin.engine.kind}, {images} images"
    try:
        result = run_neb(
            *(first, last, begin.engine, folder, settings),
            any_order=any_order,
            processes=processes,
            resume=resume,
            overwrite=overwrite,
            on_step=NEBPrinter(console, title, fmax),
        )
    except KeyboardInterrupt:
        say(console, f"interrupted; the path so far is in {folder}: go on with --resume")
        raise typer.Exit(130) from None
    from mlh.report.plots import save_figure

    save_figure(neb_figure(result), folder / PICTURE)
    content = summary(result)
    say(console, f"{neb_outcome(content)}; files in {folder}")
    for note in content["notes"]:
        say(console, f"note: {note}", style="yellow")
    if not as_json:
        terminal(stderr=False).print(neb_table(result.band.table(), f"{start} -> {end}"))
    else:
        shown = {"folder": str(folder), "converged": result.converged, **content, "path": result.band.table()}
        typer.echo(json.dumps(shown, indent=2))
    if not result.converged:
        raise typer.Exit(1)
