"""Files that are complete or absent: told once for every format."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def complete_or_absent(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path` to write to, moved there when the block ends without an error.

    The name holds the process id, so that processes that write the same file do not meet; the content is on
    the disk before the move. Folders are made. After an error or an interruption nothing is left.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str, encoding: str = "utf-8") -> None:
    """A text file in one move."""
    with complete_or_absent(path) as temporary:
        temporary.write_text(text, encoding=encoding)


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """A JSON file in one move; NaN and infinity are refused, since JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def refuse_existing(paths: Iterable[str | os.PathLike[str] | None], overwrite: bool = False) -> None:
    """FileExistsError for a file that is there, unless it may be overwritten: before the work, not after."""
    for path in paths:
        if path is not None and not overwrite and Path(path).exists():
            raise FileExistsError(f"{path}: exists; choose another name or overwrite it")
