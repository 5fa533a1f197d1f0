"""What a long calculation is doing at the moment, for whoever wants to show it.

    with doing("eigenstates"):                 # phases nest: "step 3: eigenstates, k point 5 of 64"
        for k in counted("k point", points): ...

Nothing is printed here, and without a watcher nothing happens. Only the thread that calculates is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Watcher = Callable[[str], None]
"""Is told what is done now, "" at the end of the outermost phase."""

_watchers: list[Watcher] = []
_phases: list[str] = []


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell the watcher of every phase that begins or ends inside."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


@contextmanager
def doing(phase: str) -> Iterator[None]:
    """A phase of the calculation."""
    _phases.append(phase)
    _tell()
    try:
        yield
    finally:
        _phases.pop()
        _tell()


def counted(what: str, items: Sequence[Item]) -> Iterator[Item]:
    """The items one by one, each as a phase: "k point 5 of 64"; one alone needs no number."""
    for number, item in enumerate(items, start=1):
        if len(items) == 1:
            yield item
            continue
        with doing(f"{what} {number} of {len(items)}"):
            yield item


def _tell() -> None:
    for watcher in _watchers:
        watcher(", ".join(_phases))
