"""The `mlh` command: an explicit list of subcommands, and errors in words instead of tracebacks."""

from __future__ import annotations

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
    charges,
    compare,
    dataset,
    defect,
    demo,
    density,
    dos,
    evaluate,
    info,
    openmx,
    orbitals,
    relax,
    report,
    scf,
    train,
    vacancies,
)
from mlh.commands.advice import in_options, log_in_options, names_of
from mlh.common.terminal import forgive_encoding
from mlh.common.version import VERSION as __version__

app = typer.Typer(
    name="mlh",
    help="Energies, forces and electronic structure from a machine-learned Kohn-Sham Hamiltonian.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for command in (
    *(scf, relax, amorphous, vacancies, defect, dataset, train, evaluate, accuracy, compare, demo, info),
    *(bands, dos, charges, density, orbitals, report, openmx),
):
    command.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlh {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    threads: Annotated[
        int | None, typer.Option(help="Threads of the compiled core; default: OMP_NUM_THREADS or all cores.")
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
    """Entry point. Wrong input ends with its message and status 2; MLH_TRACEBACK=1 shows the traceback."""
    forgive_encoding()
    names = cache(lambda: names_of(typer.main.get_command(app), sys.argv[1:]))
    log_in_options(names)
    try:
        app()
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        if os.environ.get("MLH_TRACEBACK"):
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        typer.secho(f"mlh: {in_options(str(message), names())}", fg="red", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
