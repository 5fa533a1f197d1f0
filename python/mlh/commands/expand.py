"""Option objects: a command takes one value per subject, and its command line shows the fields.

    @dataclass(frozen=True)
    class SolverOptions:
        method: Annotated[str, typer.Option(help="...")] = "dense"

    def relax_command(structure: ..., solver: SolverOptions) -> None: ...

    app.command("relax")(expanded(relax_command))     # --method, told once for all commands

typer reads the signature of what it is given: `expanded` gives it one in which the fields stand in the place
of the object, and packs what comes back. Every command is registered so: numbers are finite.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints


def expanded(function: Callable[..., None]) -> Callable[..., None]:
    """The function with every parameter whose type is a dataclass replaced by its fields, as keywords."""
    hints = get_type_hints(function, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind) and isinstance(kind, type)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            parameters += _fields_of(groups[name])
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints[name], kind=kind))
    names = [p.name for p in parameters]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TypeError(f"{function.__name__}: expected every option once, got {', '.join(twice)} again")

    options = {p.name: _option(p) for p in parameters}

    @functools.wraps(function)
    def command(**given: Any) -> None:
        for name, value in given.items():
            _require_finite(options[name], value)
        values = {
            name: kind(**{f.name: given.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()
        }
        function(**given, **values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    del command.__wrapped__  # inspect would follow it to the other signature
    return command


def _option(parameter: inspect.Parameter) -> str:
    """As it is written on a command line."""
    (info, *_) = getattr(parameter.annotation, "__metadata__", (None,))
    written = [getattr(info, "default", ""), *(getattr(info, "param_decls", None) or ())]
    names = [str(name) for name in written if str(name).startswith("--")]
    return next(iter(names), "--" + parameter.name.replace("_", "-"))


def _require_finite(option: str, value: Any) -> None:
    """No option of any command means anything with a number that is none."""
    for number in value if isinstance(value, tuple | list) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{option}: expected finite numbers, got {number}")


def _fields_of(kind: type) -> list[inspect.Parameter]:
    """The fields of an option object as keyword parameters, in the panel of that object.

    A field that another object inherits stands in another panel there: what typer reads is copied.
    """
    hints = get_type_hints(kind, include_extras=True)
    for f in fields(kind):
        told, *infos = get_args(hints[f.name])
        infos = [copy.copy(info) for info in infos]
        for info in infos:
            info.rich_help_panel = getattr(kind, "panel", None)
        hints[f.name] = Annotated[told, *infos]
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if f.default is MISSING else f.default,
            annotation=hints[f.name],
        )
        for f in fields(kind)
    ]
