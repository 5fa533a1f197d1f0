"""`mlh report`: one HTML file of a finished or running folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlh.commands.expand import expanded
from mlh.common.terminal import say, terminal

_EXAMPLE = "Example: mlh report defects --out defects.html"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("report", epilog=_EXAMPLE)(expanded(report_command))


def report_command(
    run: Annotated[Path, typer.Argument(help="Folder of mlh relax, defect or demo.")],
    out: Annotated[Path | None, typer.Option(help="HTML file; default: report.html in the folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Structures, relaxation curves, formation energies, errors, settings and versions in one file that
    needs no network.
    """
    from mlh.report.html import write_report  # late: it loads matplotlib

    path = write_report(run, out if out is not None else run / "report.html", overwrite)
    say(terminal(), f"written: {path}")
