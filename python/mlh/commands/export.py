"""`mlh export doped` and `mlh export pydefect`: charged defects of a run for other codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlh.commands.expand import expanded
from mlh.common.terminal import say, terminal
from mlh.defects.exchange import ChargedFiles, export_doped, export_pydefect, read_charged

Run = Annotated[Path, typer.Argument(help="Folder of mlh defect with charges.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the files; default: a folder of the run.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the files.")]


def register(app: typer.Typer) -> None:
    """Add the group to an application."""
    group = typer.Typer(help="Charged defects of a run for other codes.", no_args_is_help=True)
    doped_example = "Example: mlh export doped charged --out entries"
    group.command("doped", epilog=doped_example)(expanded(doped_command))
    pydefect_example = "Example: mlh export pydefect charged --out pydefect"
    group.command("pydefect", epilog=pydefect_example)(expanded(pydefect_command))
    app.add_typer(group, name="export")


def doped_command(run: Run, out: Out = None, overwrite: Overwrite = False) -> None:
    """A DefectEntry of doped per defect and charge (DefectEntry.from_json), and chempots.json for its
    DefectThermodynamics; needs the extra doped of mlh.
    """
    files = read_charged(run)
    paths = export_doped(files, out or run / "doped", overwrite)
    _say(files, paths)


def pydefect_command(run: Run, out: Out = None, overwrite: Overwrite = False) -> None:
    """calc_results.json of pydefect for the host and every defect and charge, with the potentials at the
    atoms; needs pydefect, the extra defects of mlh.
    """
    files = read_charged(run)
    paths = export_pydefect(files, out or run / "pydefect", overwrite)
    _say(files, paths)


def _say(files: ChargedFiles, paths: list[Path]) -> None:
    console = terminal()
    for line in files.left_out:
        say(console, f"left out: {line}", style="red")
    say(console, f"written: {', '.join(map(str, paths))}")
