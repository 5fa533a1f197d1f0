"""`mlh demo`: oxygen vacancies in an unseen glass by the shipped model, one checked against DFT."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from mlh.calculators.engines import ModelEngine
from mlh.commands.demo_run import DEFAULT_MODEL, PICTURE, SUMMARY, DemoSettings, run_demo
from mlh.commands.expand import expanded
from mlh.commands.memory import require_memory
from mlh.commands.theory_options import SolverOptions
from mlh.common.terminal import say, terminal
from mlh.report.demo import demo_table
from mlh.report.steps import StepPrinter
from mlh.structures import load_structure

_EXAMPLE = "Example: mlh demo --out demo"
_DEFAULTS = DemoSettings()


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("demo", epilog=_EXAMPLE)(expanded(demo_command))


def demo_command(
    solver: SolverOptions,
    out: Annotated[
        Path | None, typer.Option(help="Folder for all files; default: demo, or the next free demo-2, ...")
    ] = None,
    model: Annotated[str, typer.Option(help="Model file or shipped name.")] = DEFAULT_MODEL,
    host: Annotated[str, typer.Option(help="Host: shipped name, file or crystal.")] = _DEFAULTS.host,
    site: Annotated[
        list[int] | None,
        typer.Option(
            help="Index of an oxygen to remove; repeatable. DFT verifies the first. Default: two drawn."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the sites when none are given.")] = _DEFAULTS.seed,
    refine: Annotated[
        int, typer.Option(help="Self-consistency steps after each prediction.")
    ] = _DEFAULTS.refine,
    fmax: Annotated[float, typer.Option(help="Largest force at the end, eV/Angstrom.")] = _DEFAULTS.fmax,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print demo.json.")] = False,
) -> None:
    """Relax a glass and two vacancies in it with a model, and measure the errors of one against DFT.

    Prints the table of the README and writes report.html, demo.json, demo.png and all trajectories.
    """
    console = terminal(stderr=as_json)
    folder, unfinished = (out, False) if out is not None else _free_folder()
    start = time.perf_counter()

    def announce(title: str) -> StepPrinter:
        elapsed = (time.perf_counter() - start) / 60.0
        return StepPrinter(console, f"[{elapsed:4.1f} min] {title}", fmax)

    settings = DemoSettings(
        model=model,
        host=host,
        sites=tuple(site) if site else _DEFAULTS.sites,
        seed=seed,
        refine=refine,
        fmax=fmax,
        solver=solver.solver(),
        resume=(resume or unfinished) and not overwrite,
        overwrite=overwrite,
    )
    engine = ModelEngine(model, refine, solver=settings.solver)
    require_memory(load_structure(host), engine, solver.beyond_memory)
    try:
        result = run_demo(folder, settings, announce)
    except KeyboardInterrupt:
        say(console, f"interrupted; the steps so far are in {folder}: the same command goes on from there")
        raise typer.Exit(130) from None
    console.print(demo_table(result.content))
    for name, reason in result.not_drawn.items():
        say(console, f"no levels and pictures of {name}: {reason}")
    from mlh.report.html import write_report  # late: it loads matplotlib

    report = write_report(folder, folder / "report.html", overwrite=True)
    say(console, f"written: {report}, {folder / SUMMARY}, {folder / PICTURE}, trajectories beside them")
    if as_json:
        typer.echo(json.dumps(result.content, indent=2))
    if not (result.model.converged and result.dft.converged):
        say(console, "at least one relaxation did not reach the target force", style="red")
        raise typer.Exit(1)


def _free_folder() -> tuple[Path, bool]:
    """First of demo, demo-2, ... without a finished demonstration, and whether it holds an unfinished one."""
    number = 1
    while True:
        folder = Path("demo" if number == 1 else f"demo-{number}")
        if not (folder / SUMMARY).exists():
            return folder, folder.exists()
        number += 1
