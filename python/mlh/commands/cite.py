"""`mlh cite`: BibTeX of what a run, a model or a matrix file used."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from mlh.commands.expand import expanded

_EXAMPLE = "Example: mlh cite vo > vo.bib; mlh cite sio2-vo; mlh cite quartz.h5 --json"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("cite", epilog=_EXAMPLE)(expanded(cite_command))


def cite_command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Run folders, their summaries (JSON), matrix files, data sets, models; default: the package."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Keys, reasons and entries as JSON.")] = False,
) -> None:
    """BibTeX entries of what SOURCES used, each under its reason: functional, basis, dispersion, network, ...

    A run is known by the engine that its summary names: a level of theory, or a model with that of its
    labels.
    """
    from mlh.report.citations import bibtex, cite

    found = cite(*(sources or []))
    if as_json:
        typer.echo(json.dumps([asdict(citation) for citation in found], indent=2))
    else:
        typer.echo(bibtex(found), nl=False)
