"""`mlh amorphous`: a disordered network by bond-switching Monte Carlo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TimeRemainingColumn

from mlh.commands.expand import expanded
from mlh.common.files import refuse_existing
from mlh.common.terminal import Words, bar, say, terminal
from mlh.structures.bond_network import Shape

_EXAMPLE = "Example: mlh amorphous SiO2 --atoms 96 --density 2.20 --seed 1 --out host.xyz --report"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("amorphous", epilog=_EXAMPLE)(expanded(amorphous_command))


def amorphous_command(
    recipe: Annotated[str, typer.Argument(help="SiO2, GeO2, Si, or a TOML file of the same form.")] = "SiO2",
    atoms: Annotated[int, typer.Option(help="Number of atoms (with --start crystal or random).")] = 96,
    density: Annotated[
        float | None, typer.Option(help="g/cm^3; default: the recipe's, or that of the start file.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed; same seed, same structure.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Extended-xyz file.")] = Path("host.xyz"),
    start: Annotated[
        str, typer.Option(help="crystal, random, a crystal such as alpha-quartz:2x2x2, or a file.")
    ] = "crystal",
    shape: Annotated[Shape, typer.Option(help="Of the cell; crystal: that of the start.")] = "cubic",
    melt_moves: Annotated[int | None, typer.Option(help="Default: the recipe's.")] = None,
    quench_moves: Annotated[int | None, typer.Option(help="Default: the recipe's.")] = None,
    three_rings: Annotated[float | None, typer.Option(help="Penalty of a 3-ring, eV.")] = None,
    four_rings: Annotated[float | None, typer.Option(help="Penalty of a 4-ring, eV.")] = None,
    volume_interval: Annotated[
        int | None, typer.Option(help="Try another volume every so many moves; 0: fixed cell.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also write NAME.report.json, NAME.report.png, NAME.run.png.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Melt and quench a network of bonds: every former keeps its bonds, every bridge its two.

    Ctrl-C or a kill leaves OUT.checkpoint.npz; --resume goes on from it to exactly the structure that an
    uninterrupted run gives. The structure is relaxed with the network potential only.
    """
    from mlh.structures import write_structure
    from mlh.structures.amorphous import amorphous
    from mlh.structures.recipe import load_recipe

    checkpoint = out.with_name(f"{out.name}.checkpoint.npz")
    refuse_existing([out, *(_report_files(out) if report else ())], overwrite)
    if checkpoint.exists() and not resume and not overwrite:
        raise FileExistsError(f"{checkpoint}: an interrupted run; --resume goes on, --overwrite starts again")
    material = _changed(
        load_recipe(recipe),
        {
            "schedule": {"melt_moves": melt_moves, "quench_moves": quench_moves},
            "rings": {"three": three_rings, "four": four_rings},
            "volume": {"interval": volume_interval},
        },
    )
    console = terminal()
    try:
        with _Bar(console) as bar:
            run = amorphous(
                material,
                atoms=atoms,
                density=density,
                seed=seed,
                start=start,
                shape=shape,
                checkpoint=checkpoint,
                resume=resume,
                on_progress=bar,
            )
    except KeyboardInterrupt:
        say(console, f"interrupted; go on with --resume ({checkpoint})")
        raise typer.Exit(130) from None
    write_structure(out, run.atoms)
    checkpoint.unlink(missing_ok=True)
    summary = _finish(run, material.network, out, report, console)
    if as_json:
        typer.echo(json.dumps(summary, indent=2))


class _Bar:
    """Progress with energy and acceptance; one line per thousand moves where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = bar(
            console,
            Words(lambda task: task.description),
            BarColumn(),
            Words(lambda task: f"{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task("start", total=1)

    def __enter__(self) -> _Bar:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, step: Any) -> None:
        text = (
            f"{step.phase:6s} T {step.temperature:6.0f} K  E {step.energy_per_atom:.4f} eV/atom  "
            f"accepted {100 * step.acceptance:4.1f} %"
        )
        if self._console.is_terminal:
            self._progress.update(self._task, description=text, completed=step.moves, total=step.total_moves)
        elif step.moves % 1000 == 0 or step.moves == step.total_moves:
            say(self._console, f"{step.moves:6d}/{step.total_moves} {text} {step.seconds:6.0f} s")


def _changed(recipe: Any, changes: dict[str, dict[str, float | int | None]]) -> Any:
    """The recipe with the options that were given, validated like the file."""
    content = recipe.model_dump()
    for section, values in changes.items():
        content[section].update({name: value for name, value in values.items() if value is not None})
    return type(recipe).model_validate(content)


def _report_files(out: Path) -> tuple[Path, Path, Path]:
    """Table, picture of the structure, picture of the run."""
    return out.with_suffix(".report.json"), out.with_suffix(".report.png"), out.with_suffix(".run.png")


def _finish(run: Any, elements: Any, out: Path, report: bool, console: Console) -> dict[str, Any]:
    """Table, files of the report, and the summary for --json."""
    from mlh.analysis.glass import glass_report
    from mlh.report.glass_table import glass_table

    quality = glass_report(run.atoms)
    console.print(glass_table(quality))
    accepted = run.counters["accepted"]
    say(
        console,
        f"{run.counters['moves']} moves, {accepted} accepted; "
        f"energy {run.energy / len(run.atoms):.4f} eV/atom: {out}",
    )
    perfect = quality.is_network(elements)
    if not perfect:
        say(
            console,
            "warning: contacts of the relaxed atoms differ from the bonds of the network; "
            "see coordination and edge sharing above",
            style="yellow",
        )
    summary = {
        "file": str(out),
        "energy_ev": run.energy,
        "perfect_network": perfect,
        "counters": run.counters,
    }
    content = {**summary, **quality.to_dict()}
    if report:
        from mlh.common.files import write_json
        from mlh.report.glass_plots import glass_figure, run_figure
        from mlh.report.plots import save_figure

        table, picture, course = _report_files(out)
        write_json(table, content)
        save_figure(glass_figure(quality), picture)
        figure = run_figure(run.energies, run.accepted, run.temperatures, len(run.atoms), quality.formula)
        save_figure(figure, course)
    return {name: value for name, value in content.items() if name != "pair_distributions"}
