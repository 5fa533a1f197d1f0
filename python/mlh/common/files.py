"""Files that are complete or absent: told once for every format."""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml


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


class DamagedFileError(ValueError):
    """A file whose content is not what it should be; the message is one line that begins with its name."""


@contextmanager
def intact(path: str | os.PathLike[str], advice: str = "") -> Iterator[None]:
    """Around the reading of one file: what its reader raises becomes one line with the file's name.

    advice: how to go on. A file that is absent or may not be read stays what it is, and so does a message
    that names the file.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (
        *(OSError, ValueError, KeyError, IndexError, TypeError, EOFError),
        *(zipfile.BadZipFile, zlib.error, struct.error),
    ) as error:
        if str(error).startswith(str(path)):
            raise
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        said = next(iter(text.splitlines()), "") or type(error).__name__
        if "pickle" in said:  # what numpy takes any other file for
            said = "no archive of arrays"
        missing = "no " if isinstance(error, KeyError) and " " not in said else ""
        way = f"; {advice}" if advice else ""
        raise DamagedFileError(f"{path}: damaged or another kind of file ({missing}{said}){way}") from error


def read_json(path: str | os.PathLike[str], advice: str = "") -> dict[str, Any]:
    """The object in a JSON file; DamagedFileError where there is none."""
    with intact(path, advice):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"expected an object, got {type(content).__name__}")
    return content


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """What a YAML file holds; DamagedFileError where it is none."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise DamagedFileError(f"{path}: not a readable YAML file ({said})") from error


def write_text(path: str | os.PathLike[str], text: str, encoding: str = "utf-8") -> None:
    """A text file in one move."""
    with complete_or_absent(path) as temporary:
        temporary.write_text(text, encoding=encoding)


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """A JSON file in one move; NaN and infinity are refused, since JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def refuse_existing(paths: Iterable[str | os.PathLike[str] | None], overwrite: bool = False) -> None:
    """FileExistsError for a file that is there, unless it may be overwritten: before the work, not after.

    Also what cannot be a file is said then: a folder of that name, a place where no folder can be made, one
    name for two files.
    """
    files = [Path(path) for path in paths if path is not None]
    for number, path in enumerate(files):
        if path.is_dir():
            raise IsADirectoryError(f"{path}: expected the name of a file, got a folder")
        if not overwrite and path.exists():
            raise FileExistsError(f"{path}: exists; choose another name or overwrite it")
        if path in files[:number]:
            raise ValueError(f"{path}: expected another name for every file, got it twice")
        require_place(path.parent)


def require_place(folder: Path) -> None:
    """An error where the folder is not there and cannot be made, or cannot be written to."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder, got the file {there}")
    if not os.access(there, os.W_OK):
        raise PermissionError(f"{folder}: expected a folder that can be written, got {there}, which cannot")


PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".eps", ".ps")


def refuse_picture(path: str | os.PathLike[str] | None, overwrite: bool = False) -> None:
    """As `refuse_existing`, for a picture, whose kind is the ending of its name."""
    if path is not None and Path(path).suffix.lower() not in ("", *PICTURES):
        raise ValueError(f"{path}: expected a picture (.png, .pdf, .svg, .jpg, ...)")
    refuse_existing([path], overwrite)
