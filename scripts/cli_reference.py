"""Write docs/cli.md from the commands themselves: PYTHONPATH=python .venv/bin/python scripts/cli_reference.py

tests/test_documentation.py fails when the page is not what this script writes. Only signatures are read, so
that the page does not depend on the version of typer.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from mlh.commands.cli import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """# Command line

Made from the commands by `scripts/cli_reference.py`; `mlh COMMAND --help` says the same. Options of every
command: `mlh --threads N COMMAND` (threads of the compiled core; default: `OMP_NUM_THREADS` or all cores),
`mlh --log FILE COMMAND` (all that is said and found is added to the file, with the time of every line),
`mlh --version`, `mlh --install-completion` (the shell completes commands, options and their values).
Exit status: 0 done, 1 something did not converge or failed, 2 wrong input, 130 interrupted.
"""


Option = tuple[str, str, str, str]
"""Names, default, help, group."""


def reference() -> str:
    """The whole page."""
    shared: dict[str, list[Option]] = {}
    sections = list(_sections(app, "mlh", shared))
    return "\n".join([HEAD, *(line for name in shared for line in _group(name, shared[name])), *sections])


def _group(name: str, options: list[Option]) -> Iterator[str]:
    """The options that several commands share, told once."""
    yield f"## {name}\n"
    yield from _list(options)
    yield ""


def _list(options: list[Option]) -> Iterator[str]:
    """No table: its rows could not be broken, and help texts are long."""
    for names, default, help_text, _ in options:
        yield _item(f"`{names}`" + f" (default {default})" * bool(default) + f": {help_text}")


def _item(text: str) -> str:
    """Of a list, in lines of at most 120 columns."""
    return textwrap.fill(
        text, 120, initial_indent="* ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _sections(group: typer.Typer, prefix: str, shared: dict[str, list[Option]]) -> Iterator[str]:
    """One section per command in alphabetical order; groups after them."""
    for command in sorted(group.registered_commands, key=lambda c: str(c.name)):
        assert command.callback is not None
        yield from _section(command.callback, f"{prefix} {command.name}", command.epilog or "", shared)
    for child in group.registered_groups:
        assert child.typer_instance is not None
        name = f"{prefix} {child.name or child.typer_instance.info.name}"
        own = child.typer_instance.registered_callback
        if own is not None and own.callback is not None:
            yield from _section(own.callback, name, child.typer_instance.info.epilog or "", shared)
        yield from _sections(child.typer_instance, name, shared)


def _section(
    function: Callable[..., Any], name: str, epilog: str, shared: dict[str, list[Option]]
) -> Iterator[str]:
    arguments, options = _parameters(function)
    words = [f"{word.upper()}{'...' if many else ''}" for word, many, _ in arguments]
    yield f"## {name}\n\n    {' '.join([name, *words, *(['[OPTIONS]'] if options else [])])}\n"
    yield inspect.cleandoc(function.__doc__ or "") + "\n"
    for word, _, help_text in arguments:
        yield _item(f"`{word.upper()}`: {help_text}")
    if arguments:
        yield ""
    panels = list(dict.fromkeys(panel for *_, panel in options if panel))
    for panel in panels:
        shared.setdefault(panel, [option for option in options if option[3] == panel])
    own = [option for option in options if not option[3]]
    if own:
        yield from _list(own)
        yield ""
    if panels:
        links = ", ".join(f"[{panel}](#{panel.lower().replace(' ', '-')})" for panel in panels)
        yield _wrapped(f"Further options: {links}.")
    if epilog:
        yield "\n".join(_wrapped(line).rstrip() for line in epilog.split(";  ")) + "\n"


def _wrapped(text: str) -> str:
    """Lines of at most 120 columns."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def _parameters(
    function: Callable[..., Any],
) -> tuple[list[tuple[str, bool, str]], list[Option]]:
    """Arguments (name, several, help) and options (names, default, help, group)."""
    hints = typing.get_type_hints(function, include_extras=True)
    arguments: list[tuple[str, bool, str]] = []
    options: list[Option] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if hints[name] is typer.Context:
            continue
        kind, info = typing.get_args(hints[name])[:2]
        help_text = " ".join((info.help or "").split())
        if isinstance(info, ArgumentInfo):
            arguments.append((name, typing.get_origin(kind) is list, help_text))
        elif isinstance(info, OptionInfo) and not info.hidden:
            # In Annotated the first name comes in the place of the default.
            given = [d for d in (info.default, *(info.param_decls or ())) if str(d).startswith("-")]
            names = ", ".join(given or ["--" + name.replace("_", "-")])
            required = parameter.default is inspect.Parameter.empty
            options.append(
                (
                    f"{names}{_values(kind)}",
                    _default(parameter.default),
                    help_text + " Required." * required,
                    info.rich_help_panel or "",
                )
            )
    return arguments, options


def _values(kind: Any) -> str:
    """What follows the name of an option: nothing for a switch, one letter per number of a tuple, choices."""
    members = [k for k in typing.get_args(kind) if k is not type(None)]
    if kind is bool:
        return ""
    if typing.get_origin(kind) is typing.Literal:
        return " " + "|".join(members)
    if typing.get_origin(kind) is tuple:
        return " " + " ".join("XYZ"[: len(members)])
    if members:
        return _values(members[0]) + (" ..." if typing.get_origin(kind) is list else "")
    return {str: " TEXT", int: " N", float: " X", Path: " PATH"}[kind]


def _default(value: Any) -> str:
    if value is None or value is False or value is inspect.Parameter.empty:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: {len(reference().splitlines())} lines\n")
