"""Words and tables on a terminal, told once: text stays as it is, and any terminal can show it.

Names of files and structures are text of the user: rich would read `run[old]` as a style, `:o:` as a picture.
"""

from __future__ import annotations

import codecs
import re
import sys
import threading
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from io import StringIO
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from mlh.common.activity import watched
from mlh.common.notebook import OutputArea, Ticker, in_notebook
from mlh.common.runlog import is_logged, log_text

_PLAIN = {
    **{"Å": "A", "°": " deg", "±": "+-", "·": "*", "×": "x", "ψ": "psi", "−": "-", "–": "-", "—": "-"},
    **{"…": "...", "’": "'", "⁻": "-", "→": "->"},
}
"""What an ASCII terminal shows in place of the characters of tables and labels."""


PATIENCE_IN_NOTEBOOKS = 0.5
"""Seconds until a phase is shown in a notebook, where nothing else tells that something is done."""

_NOTEBOOK_WIDTH = 100
_PRE = '<pre style="margin: 0; line-height: 1.3; white-space: pre;">{code}</pre>'

_LOG_WIDTH = 120

_shown: list[Console] = []
"""The console on which activity is shown, which everything else must be printed with."""


class _LoggedConsole(Console):
    """A console whose words and tables are in the log too."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich does; what only moves the cursor is no word."""
        super().print(*objects, **options)
        if is_logged() and any(_is_content(item) for item in objects):
            text = StringIO()
            Console(file=text, width=_LOG_WIDTH, markup=False, emoji=False, no_color=True).print(
                *objects, **options
            )
            log_text(text.getvalue())


def _is_content(item: object) -> bool:
    return type(item).__name__ != "Control"


def terminal(stderr: bool = True) -> Console:
    """A console that prints text as it is; words go to standard error, results (`stderr=False`) do not."""
    if stderr and _shown:
        return _shown[-1]
    if in_notebook():  # lines of text in the output of the cell, which is wide
        return Console(file=sys.stdout, markup=False, emoji=False, force_jupyter=False, width=110)
    kind = _LoggedConsole if stderr else Console  # standard output is mirrored whole
    return kind(stderr=stderr, markup=False, emoji=False)


class Activity:
    """A line at the foot of a terminal that says what is being done, once it takes `patience` seconds.

    It is there only inside the phases of `mlh.common.activity`, never together with a bar or another spinner.
    area: in a notebook, where the line is shown.
    """

    def __init__(self, console: Console, patience: float = 2.0, area: OutputArea | None = None) -> None:
        self._console, self._patience, self._area = console, patience, area
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._live: Live | Ticker | None = None
        self._text, self._since, self._paused = "", 0.0, 0

    def __call__(self, text: str) -> None:
        """What is done now; "" for nothing."""
        if not text:
            self._end()
        with self._lock:
            began, self._text = bool(text) and not self._text, text
            if began:
                self._since = time.monotonic()
                self._timer = threading.Timer(self._patience, self._begin)
                self._timer.daemon = True
                self._timer.start()

    def _begin(self) -> None:
        with self._lock:
            if self._timer is not None and self._live is None and not self._paused:
                self._live = self._new_live()
                self._live.start()

    def _new_live(self) -> Live | Ticker:
        if self._area is not None:
            return Ticker(lambda: _html(self), self._area)
        return Live(self, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            live, self._timer, self._live = self._live, None, None
        if live is not None:
            live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is shown inside."""
        self._paused += 1
        self._end()
        try:
            yield
        finally:
            self._paused -= 1

    def __rich__(self) -> Text:
        return Text(f"  {self._text}, {time.monotonic() - self._since:.0f} s", style="dim")


_activity: list[Activity] = []


def _html(renderable: RenderableType) -> str:
    """What would be drawn on a terminal, with its colours, for a notebook."""
    console = Console(
        file=StringIO(), record=True, width=_NOTEBOOK_WIDTH, markup=False, emoji=False,
        force_terminal=True, force_jupyter=False, color_system="truecolor",
    )  # fmt: skip
    console.print(renderable)
    return console.export_html(inline_styles=True, code_format=_PRE)


@contextmanager
def activity_shown() -> Iterator[None]:
    """Show what long calculations inside are doing: phase and seconds, in a line that goes away again.

    On a terminal and in a notebook (`with mlh.progress(): ...`); elsewhere nothing is shown. Lines that
    relaxations and trainings print are not changed by it.
    """
    console, notebook = terminal(), in_notebook()
    if not (console.is_terminal or notebook):
        yield
        return
    activity = Activity(console, PATIENCE_IN_NOTEBOOKS, OutputArea()) if notebook else Activity(console)
    _shown.append(console)
    _activity.append(activity)
    try:
        with watched(activity):
            yield
    finally:
        activity("")
        _activity.pop()
        _shown.pop()


progress = activity_shown
"""The same under its public name, `mlh.progress`."""


def _alone() -> AbstractContextManager[None]:
    """Only one thing moves on a terminal at a time."""
    return _activity[-1].paused() if _activity else nullcontext()


def say(console: Console, text: str, style: str = "") -> None:
    """One message as it is, never broken inside a name."""
    console.print(Text(text, style=style), soft_wrap=True)


@contextmanager
def warnings_in_lines(words: Callable[[str], str] = str) -> Iterator[None]:
    """Python's warnings in one line each, and one of a kind: numbers in it that change from step to step make
    it no other warning. words: what is done with their text."""
    told: set[tuple[type[Warning], str]] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = " ".join(str(message).split())
        kind = (category, re.sub(r"[\d.]+(e[-+]?\d+)?", "#", text))
        if kind not in told:
            told.add(kind)
            say(terminal(), f"warning: {words(text)}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def working(console: Console, text: str) -> Iterator[None]:
    """The text, with a spinner on a terminal, while a block runs; nothing where there is no terminal."""
    if not in_notebook():
        with _alone(), console.status(Text(text)):
            yield
        return
    ticker = Ticker(lambda: _html(Text(f"  {text}", style="dim")))
    with _alone():
        ticker.start()
        try:
            yield
        finally:
            ticker.stop()


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
    kind = _NotebookBar if in_notebook() else _Bar
    return kind(*columns, console=console, transient=transient, disable=disable)


class _Bar(Progress):
    """A progress bar that is alone while it is shown."""

    def start(self) -> None:
        """Begin to show it."""
        self._others = ExitStack()
        self._others.enter_context(_alone())
        super().start()

    def stop(self) -> None:
        """End."""
        super().stop()
        if hasattr(self, "_others"):
            self._others.close()


class _NotebookBar(Progress):
    """A progress bar in the output of a notebook cell."""

    def start(self) -> None:
        """Begin to show it."""
        if not self.disable:
            self._ticker = Ticker(lambda: _html(self.get_renderable()), transient=self.live.transient)
            self._ticker.start()

    def stop(self) -> None:
        """End."""
        if hasattr(self, "_ticker"):
            self._ticker.stop()
            del self._ticker

    def refresh(self) -> None:
        """The ticker draws."""


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
