"""`mlh --log FILE`: what a command says and finds, with the time of every line, added to a file.

Words and tables of the terminal, results on standard output, messages of the library too small for a terminal
(level INFO), warnings, errors and tracebacks. What moves on a terminal (bars, spinners) is not in it.
"""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from mlh.common.version import VERSION

_open: list[RunLog] = []


class RunLog:
    """A file that lines are added to; each is there when the next one is written, whatever happens then."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = Path(path).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115, until the process ends
        self._partial = ""

    def say(self, text: str) -> None:
        """Whole lines, each with the time."""
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        for line in text.splitlines():
            self._file.write(f"{now}  {line}".rstrip() + "\n")

    def add(self, text: str) -> None:
        """A piece of what a stream is written: said when its line ends."""
        *lines, self._partial = (self._partial + text).split("\n")
        self.say("\n".join(lines))

    def close(self) -> None:
        """The end, with what has no end of line yet."""
        self.say(self._partial)
        self._file.close()


class _Both:
    """A standard stream, with everything that is written to it in the log too.

    Consoles of rich write to what is below (`rich_proxied_file` is their name for it): what they print is
    mirrored by the console of `terminal`, without bars and colours.
    """

    def __init__(self, stream: TextIO, log: RunLog, past_consoles: bool) -> None:
        self._stream, self._log = stream, log
        if past_consoles:
            self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """To both."""
        self._log.add(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(logging.Handler):
    """Messages of the library that the terminal does not show."""

    def emit(self, record: logging.LogRecord) -> None:
        """One message; warnings are said on the terminal, and mirrored from there."""
        if record.levelno < logging.WARNING:
            log_text(self.format(record))


def start_log(path: str | os.PathLike[str], words: Sequence[str]) -> None:
    """Begin to keep a log. words: the command line."""
    log = RunLog(path)
    _open.append(log)
    log.say(f"mlh {VERSION}, Python {platform.python_version()}, {platform.node()}, {Path.cwd()}")
    log.say(f"$ {shlex.join(words)}")
    sys.stdout = _Both(sys.stdout, log, past_consoles=False)
    sys.stderr = _Both(sys.stderr, log, past_consoles=True)
    library = logging.getLogger("mlh")
    library.addHandler(_Handler(logging.INFO))
    library.setLevel(logging.INFO)


def log_text(text: str) -> None:
    """Into the log, where one is kept."""
    for log in _open:
        log.say(text)


def is_logged() -> bool:
    """Whether a log is kept."""
    return bool(_open)


def end_log(status: str) -> None:
    """The last line of the log, and the standard streams as they were."""
    while _open:
        log = _open.pop()
        log.say(status)
        log.close()
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, _Both):
                setattr(sys, name, stream._stream)
    library = logging.getLogger("mlh")
    for handler in [h for h in library.handlers if isinstance(h, _Handler)]:
        library.removeHandler(handler)
        library.setLevel(logging.NOTSET)
