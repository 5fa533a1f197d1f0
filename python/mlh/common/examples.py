"""The configurations that come with the package, under the names that the documentation has."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

FOLDER = "examples"


def shipped_examples() -> dict[str, Path]:
    """Files by name: train_sio2.yaml."""
    folder = Path(str(files("mlh") / "data" / FOLDER))
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}


def example(path: str | os.PathLike[str]) -> Path:
    """The file; where there is none, the shipped example of that name ("examples/train_sio2.yaml")."""
    given = Path(path)
    if not given.exists() and given.parent in (Path(), Path(FOLDER)):
        return shipped_examples().get(given.name, given)
    return given
