"""The option that every command has beside a structure, and how its files are named without another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Index = Annotated[
    int | None,
    typer.Option(help="Frame of a file with several, from 0 (or -1, ... from the end); default: the last."),
]


def prefix_of(structure: str, out: Path | None, suffix: str) -> Path:
    """Of files or of a folder: as given, or the name of the structure with a suffix, here."""
    return out if out is not None else Path(f"{Path(structure.replace(':', '-')).stem}-{suffix}")
