"""`mlh md`: molecular dynamics of a structure with a model or with DFT."""

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
from mlh.dynamics.md import MDSettings, Thermostat, Velocities
from mlh.dynamics.md_files import PICTURE, MDResult, read_md, run_md, summary
from mlh.report.md import MDPrinter, md_figure, md_outcome

_EXAMPLE = (
    "Example: mlh md host-relaxed/relaxed.extxyz --model sio2-vo --temperature 600 --steps 500 --out nve"
)
_DEFAULTS = MDSettings()


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("md", epilog=_EXAMPLE)(expanded(md_command))


def md_command(
    structure: Annotated[
        str, typer.Argument(help="Structure file, or a crystal such as alpha-quartz:2x2x1.")
    ],
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default: NAME-md here.")] = None,
    steps: Annotated[
        int, typer.Option(min=0, help="Of the whole run, also with --resume.")
    ] = _DEFAULTS.steps,
    time_step: Annotated[float, typer.Option(min=0.0, help="fs.")] = _DEFAULTS.time_step,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Of the first velocities, and of the thermostat, K.")
    ] = _DEFAULTS.temperature,
    thermostat: Annotated[
        Thermostat, typer.Option(help="none: constant energy (velocity Verlet).")
    ] = _DEFAULTS.thermostat,
    friction: Annotated[
        float, typer.Option(min=0.0, help="Of the Langevin thermostat, 1/fs.")
    ] = _DEFAULTS.friction,
    velocities: Annotated[
        Velocities, typer.Option(help="drawn: of Maxwell and Boltzmann; kept: those of STRUCTURE.")
    ] = _DEFAULTS.velocities,
    seed: Annotated[int, typer.Option(min=0, help="Draws velocities and noise.")] = _DEFAULTS.seed,
    every: Annotated[int, typer.Option(min=1, help="Steps between two frames of the trajectory.")] = 1,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Molecular dynamics of STRUCTURE at constant energy, or at constant temperature, in a fixed cell.

    Writes trajectory.extxyz (with momenta), md.csv, md.json, md.png and state.npz into a folder. Ctrl-C
    leaves usable files; --resume goes on from the last step as if the run had not been stopped, also to
    more --steps. Atoms at rest in a minimum give half of their kinetic energy away: draw velocities at twice
    the temperature that is wanted.
    """
    console = terminal()
    settings = MDSettings(steps, time_step, temperature, thermostat, friction, velocities, seed)
    start = run_start(structure, index, engine, theory, solver)
    atoms, folder = start.atoms, prefix_of(structure, out, "md")
    title = (
        f"{structure}: {atoms.get_chemical_formula()}, {start.engine.kind}, {steps} steps of {time_step:g} fs"
    )
    printer = MDPrinter(console, title, len(atoms), settings)
    try:
        result = run_md(
            atoms,
            start.calculator,
            folder,
            settings,
            every=every,
            engine=start.engine.describe(),
            resume=resume,
            overwrite=overwrite,
            on_step=printer,
        )
    except KeyboardInterrupt:
        _draw(folder, MDResult(read_md(folder), atoms, settings))
        say(console, f"interrupted; the steps so far are in {folder}: go on with --resume")
        raise typer.Exit(130) from None
    content = summary(result)
    _draw(folder, result)
    say(console, f"{md_outcome(content)}; files in {folder}")
    if content["note"]:
        say(console, f"note: {content['note']}", style="yellow")
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **content}, indent=2))


def _draw(folder: Path, result: MDResult) -> None:
    from mlh.report.plots import save_figure

    if result.steps:
        save_figure(md_figure(result.steps, len(result.atoms), result.settings), folder / PICTURE)
