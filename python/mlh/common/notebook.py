"""A part of the output of a notebook cell that is replaced: bars, and what is being done now.

A terminal moves its cursor, a notebook does not, and rich has bars there by ipywidgets only; this needs
IPython, which every kernel has.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this; a terminal with IPython is none."""
    if "IPython" not in sys.modules:
        return False
    shell = import_module("IPython").get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


class OutputArea:
    """One place in the output of the cell that runs now."""

    def __init__(self) -> None:
        self._display: Any = import_module("IPython.display")
        self._handle = self._display.display(self._display.HTML(""), display_id=True)

    def show(self, html: str) -> None:
        """In place of what was there."""
        self._handle.update(self._display.HTML(html))


class Ticker:
    """Draws HTML again and again into an output area, until it is stopped. transient: nothing stays."""

    def __init__(
        self,
        draw: Callable[[], str],
        area: OutputArea | None = None,
        transient: bool = True,
        interval: float = 0.3,
    ) -> None:
        self._draw, self._area, self._transient, self._interval = draw, area, transient, interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin; the area is made here, in the thread of the cell."""
        if self._area is None:
            self._area = OutputArea()
        self._thread.start()

    def stop(self) -> None:
        """The last picture, or nothing."""
        self._done.set()
        self._thread.join()
        if self._area is not None:
            self._area.show("" if self._transient else self._draw())

    def _run(self) -> None:
        assert self._area is not None
        shown = ""
        while not self._done.is_set():
            html = self._draw()
            if html != shown:
                self._area.show(html)
            shown = html
            self._done.wait(self._interval)
