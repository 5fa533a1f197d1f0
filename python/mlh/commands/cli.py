"""The `mlh` command: an explicit list of subcommands, and errors in words instead of tracebacks."""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from typing import Annotated

import typer
import typer.main

from mlh.commands import (
    accuracy,
    amorphous,
    bands,
    ccd,
    charges,
    compare,
    dataset,
    defect,
    demo,
    density,
    dos,
    evaluate,
    export,
    info,
    md,
    modes,
    neb,
    openmx,
    orbitals,
    relax,
    report,
    scf,
    train,
    vacancies,
)
from mlh.commands.advice import in_options, log_in_options, names_of
from mlh.commands.failures import KNOWN, message_of, status_of
from mlh.common.terminal import activity_shown, forgive_encoding, warnings_in_lines
from mlh.common.version import VERSION as __version__

app = typer.Typer(
    name="mlh",
    help="Energies, forces and electronic structure from a machine-learned Kohn-Sham Hamiltonian.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for command in (
    *(scf, relax, md, neb, modes, amorphous, vacancies, defect, ccd, dataset),
    *(train, evaluate, accuracy, compare, demo, info),
    *(bands, dos, charges, density, orbitals, report, export, openmx),
):
    command.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlh {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of the core; default: OMP_NUM_THREADS or all cores."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every subcommand."""
    if threads is not None:
        import mlh._core as _core

        _core.set_num_threads(threads)


def main() -> None:
    """Entry point. Wrong input ends with its message and status 2, a calculation that failed with status 1,
    with --json also as an object on standard output. MLH_TRACEBACK=1 shows the traceback."""
    forgive_encoding()
    names = cache(lambda: names_of(typer.main.get_command(app), sys.argv[1:]))
    log_in_options(names)
    try:
        with activity_shown(), warnings_in_lines(lambda text: in_options(text, names())):
            app()
    except KNOWN as error:
        if os.environ.get("MLH_TRACEBACK"):
            raise
        message, status = in_options(message_of(error), names()), status_of(error)
        if status == 1 and "--json" in sys.argv:
            typer.echo(json.dumps({"converged": False, "error": message}))
        typer.secho(f"mlh: {message}", fg="red", err=True)
        sys.exit(status)


if __name__ == "__main__":
    main()
