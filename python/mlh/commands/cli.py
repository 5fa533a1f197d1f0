"""The `mlh` command: the commands of the catalog, and errors in words instead of tracebacks."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main

from mlh.commands.advice import in_options, log_in_options, names_of
from mlh.commands.catalog import COMMANDS
from mlh.commands.failures import KNOWN, message_of, status_of
from mlh.common.runlog import end_log, log_text, start_log
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
        if word in ("--threads", "--log"):
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
    log: Annotated[
        Path | None,
        typer.Option(help="Add everything that is said and found to this file, with the time of every line."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every subcommand."""
    if log is not None:
        start_log(log, sys.argv)
    if threads is not None:
        import mlh._core as _core

        _core.set_num_threads(threads)


def _words() -> list[str]:
    """The words of the command line: those that are to be completed where a shell asks for completions."""
    if "_MLH_COMPLETE" not in os.environ:
        return sys.argv[1:]
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    return line.split()[1:]


def main() -> None:
    """Entry point. Wrong input ends with its message and status 2, a calculation that failed with status 1,
    with --json also as an object on standard output. MLH_TRACEBACK=1 shows the traceback."""
    forgive_encoding()
    called = named_command(_words())
    app = app_of(*([called] if called else []))
    names = cache(lambda: names_of(typer.main.get_command(app), sys.argv[1:]))
    log_in_options(names)
    ended = "ended by a traceback"
    try:
        with activity_shown(), warnings_in_lines(lambda text: in_options(text, names())):
            app(prog_name="mlh")
    except KNOWN as error:
        message, status = in_options(message_of(error), names()), status_of(error)
        if status == 1:
            log_text(traceback.format_exc())
        if os.environ.get("MLH_TRACEBACK"):
            raise
        if status == 1 and "--json" in sys.argv:
            typer.echo(json.dumps({"converged": False, "error": message}))
        typer.secho(f"mlh: {message}", fg="red", err=True)
        ended = f"ended with status {status}"
        sys.exit(status)
    except SystemExit as end:
        ended = f"ended with status {end.code or 0}"
        raise
    except BaseException:
        log_text(traceback.format_exc())
        raise
    finally:
        end_log(ended)


if __name__ == "__main__":
    main()
