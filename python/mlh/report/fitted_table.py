"""A table that never cuts a number off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table

NO_VALUE = "-"


def value_text(value: float | None, digits: int, factor: float = 1.0) -> str:
    """A number times `factor`, or that there is none."""
    return NO_VALUE if value is None else f"{value * factor:.{digits}f}"


@dataclass(frozen=True)
class FittedTable:
    """Rows under headers; on its side, in as many pieces as it takes, where the terminal is too narrow.

    Columns in which no row has a value are left out.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [
            column
            for column in zip(self.headers, *self.rows, strict=True)
            if any(cell != NO_VALUE for cell in column[1:])
        ]
        upright = _table(self.title, [header for header, *_ in columns], list(zip(*columns, strict=True))[1:])
        if _fits(upright, console, options):
            yield upright
            return
        for size in range(len(self.rows), 0, -1):
            pieces = [self._turned(columns, first, size) for first in range(0, len(self.rows), size)]
            if size == 1 or all(_fits(piece, console, options) for piece in pieces):
                yield from pieces
                return

    def _turned(self, columns: Sequence[Sequence[str]], first: int, size: int) -> Table:
        """Some of the rows as columns."""
        (corner, *names), *others = [(header, *cells[first : first + size]) for header, *cells in columns]
        return _table(self.title, [corner, *names], others)


def _table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*headers, title=title)
    for row in rows:
        table.add_row(*row)
    return table


def _fits(table: Table, console: Console, options: ConsoleOptions) -> bool:
    wide = options.update(max_width=10_000)
    return Measurement.get(console, wide, table).maximum <= options.max_width
