"""The `mlh` command: the commands of the catalog, and errors in words instead of tracebacks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main

from mlh.commands.advice import in_options, log_in_options, names_of
from mlh.commands.catalog import COMMANDS
from mlh.commands.failures import KNOWN, message_of, status_of
from mlh.common.terminal import activity_shown, forgive_encoding, warnings_in_lines
from mlh.common.version import VERSION as __version__

if TYPE_CHECKING:
    app: typer.Typer


def __getattr__(name: str) -> Any:
    """`app`: all commands, imported when somebody asks for it."""
    if name == "app":
        return _whole()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _whole() -> typer.Typer:
    return app_of(*COMMANDS)


def app_of(*names: str) -> typer.Typer:
    """`mlh` with these commands; the others are there by name and help only."""
    root = typer.Typer(
        name="mlh",
        help="Energies, forces and electronic structure from a machine-learned Kohn-Sham Hamiltonian.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    root.callback()(options)
    for name, (module, text) in COMMANDS.items():
        if name in names:
            import_module(f"mlh.commands.{module}").register(root)
        elif len(names) < len(COMMANDS):
            root.command(name, help=text)(_not_imported)
    return root


def _not_imported() -> None:
    """A command of the list; `named_command` finds those that are called."""
    raise RuntimeError("this command was not imported")


def named_command(words: Sequence[str]) -> str | None:
    """The command that a command line calls: the first word that is neither an option nor its value."""
    values = iter(words)
    for word in values:
        if word in COMMANDS:
            return word
        if word == "--threads":
            next(values, None)
        elif not word.startswith("-"):
            return None
    return None


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlh {__version__}")
        raise typer.Exit()


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
    called = named_command(sys.argv[1:])
    app = app_of(*([called] if called else []))
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
