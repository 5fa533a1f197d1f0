"""The option that every command has beside a structure."""

from __future__ import annotations

from typing import Annotated

import typer

Index = Annotated[
    int | None,
    typer.Option(help="Frame of a file with several, from 0 (or -1, ... from the end); default: the last."),
]
