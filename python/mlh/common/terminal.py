"""Words and tables on a terminal, told once: text stays as it is, and any terminal can show it.

Names of files and structures are text of the user: rich would read `run[old]` as a style, `:o:` as a picture.
"""

from __future__ import annotations

import codecs
import sys
import unicodedata
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TextIO

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

_PLAIN = {
    **{"Å": "A", "°": " deg", "±": "+-", "·": "*", "×": "x", "ψ": "psi", "−": "-", "–": "-", "—": "-"},
    **{"…": "...", "’": "'", "⁻": "-", "→": "->"},
}
"""What an ASCII terminal shows in place of the characters of tables and labels."""


def terminal(stderr: bool = True) -> Console:
    """A console that prints text as it is; words go to standard error, results (`stderr=False`) do not."""
    return Console(stderr=stderr, markup=False, emoji=False)


def say(console: Console, text: str, style: str = "") -> None:
    """One message as it is, never broken inside a name."""
    console.print(Text(text, style=style), soft_wrap=True)


def working(console: Console, text: str) -> AbstractContextManager[object]:
    """A spinner beside the text while a block runs; nothing where there is no terminal."""
    return console.status(Text(text))


class Words(ProgressColumn):
    """A column of a progress bar that shows a text of the task as it is."""

    def __init__(self, text: Callable[[Task], str], style: str = "") -> None:
        super().__init__()
        self._text, self._style = text, style

    def render(self, task: Task) -> Text:
        """The text now."""
        return Text(self._text(task), style=self._style)


def bar(
    console: Console, *columns: ProgressColumn, transient: bool = True, disable: bool = False
) -> Progress:
    """A progress bar of these columns."""
    return Progress(*columns, console=console, transient=transient, disable=disable)


def clock_text(seconds: float) -> str:
    """Hours, minutes and seconds; hours are not cut at a day: 27:46:40."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """What an encoding lacks, by its nearest ASCII; bytes of a file name stay what they were."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts = [_plain_character(c) for c in error.object[error.start : error.end]]
    return b"".join(parts), error.end


def _plain_character(character: str) -> bytes:
    if "\udc80" <= character <= "\udcff":  # a byte that no encoding explained, as os.fsdecode carries it
        return bytes([ord(character) - 0xDC00])
    simple = _PLAIN.get(character) or unicodedata.normalize("NFKD", character)
    return simple.encode("ascii", "ignore") or b"?"


codecs.register_error("mlh.plain", _plain)


def forgive_encoding(*streams: TextIO) -> None:
    """Let the streams (default: those of the process) write what their encoding lacks, instead of failing."""
    for stream in streams or (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="mlh.plain")
