"""Ctrl-C and SIGTERM end a training after the step that is running."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from mlh.common.terminal import say


@contextmanager
def stop_signals(console: Console, alone: bool) -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM has come; alone: a second one interrupts at once (torchrun sends two).

    Signals can only be set in the main thread; elsewhere the answer stays no.
    """
    came: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        if came and alone:
            raise KeyboardInterrupt
        came.append(number)
        say(console, "stopping after this step; a checkpoint is written")

    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
