"""Text files of the OpenMX database: keyword lines and ``<tag ... tag>`` tables, read with checked places.

Every failure is an `OpenMXFormatError` that names the file and the line. Nothing is allocated by a number
found in a file: tables grow with the lines that are really there.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlh.structures.openmx_dat import OpenMXFormatError as OpenMXFormatError

Array = NDArray[np.float64]

_LARGEST_FILE = 1 << 26
"""Bytes; the largest file of the 2013 and 2019 databases has 3 MB."""


class TextFile:
    """The lines of one file; `keyword`s and tables are found by name, the first one counts."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.stat().st_size > _LARGEST_FILE:
            raise OpenMXFormatError(f"{self.path}: expected at most {_LARGEST_FILE} bytes, got more")
        content = self.path.read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._lines = content.decode("latin-1").splitlines()
        self._keywords: dict[str, tuple[int, str]] = {}
        for number, line in enumerate(self._lines):
            words = line.split(maxsplit=2)
            if len(words) >= 2:
                self._keywords.setdefault(words[0].lower(), (number, words[1]))

    def error(self, message: str, line: int | None = None) -> OpenMXFormatError:
        """The exception for a finding at a line (0-based; None: the end of the file)."""
        number = len(self._lines) if line is None else line + 1
        place = f"line {number}" if line is not None else f"end of file (line {number})"
        return OpenMXFormatError(f"{self.path}, {place}: {message}")

    def word(self, keyword: str, default: str | None = None) -> str:
        """The word after the first occurrence of a keyword."""
        found = self._keywords.get(keyword.lower())
        if found is not None:
            return found[1]
        if default is None:
            raise self.error(f"expected the keyword {keyword!r}, found none")
        return default

    def number(self, keyword: str) -> float:
        """The finite number after a keyword."""
        word = self.word(keyword)
        try:
            value = float(word)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            line = self._keywords[keyword.lower()][0]
            raise self.error(f"{keyword}: expected a number, got {word!r}", line)
        return value

    def integer(self, keyword: str, low: int, high: int) -> int:
        """The integer after a keyword, low <= value <= high."""
        value = self.number(keyword)
        if value != int(value) or not low <= value <= high:
            line = self._keywords[keyword.lower()][0]
            raise self.error(f"{keyword}: expected an integer from {low} to {high}, got {value:g}", line)
        return int(value)

    def switch(self, keyword: str, default: bool) -> bool:
        """The value of an on/off keyword."""
        word = self.word(keyword, "on" if default else "off").lower()
        if word not in ("on", "off"):
            line = self._keywords[keyword.lower()][0]
            raise self.error(f"{keyword}: expected on or off, got {word!r}", line)
        return word == "on"

    def table(self, tag: str) -> tuple[int, list[list[float]]]:
        """First line number and the rows of the block ``<tag ... tag>``, all finite numbers."""
        begin = next((n for n, line in enumerate(self._lines) if line.split()[:1] == [f"<{tag}"]), None)
        if begin is None:
            raise self.error(f"expected the block <{tag}, found none")
        rows: list[list[float]] = []
        for number in range(begin + 1, len(self._lines)):
            words = self._lines[number].split()
            if words[:1] == [f"{tag}>"]:
                return begin + 1, rows
            try:
                row = [float(word) for word in words]
            except ValueError:
                raise self.error(
                    f"<{tag}: expected numbers, got {self._lines[number][:60]!r}", number
                ) from None
            if not np.all(np.isfinite(row)):
                raise self.error(f"<{tag}: expected finite numbers", number)
            rows.append(row)
        raise self.error(f"<{tag}: the file ends inside this block ({len(rows)} rows)")

    def radial_table(self, tag: str, columns: int) -> tuple[Array, Array]:
        """Radii (n,) and values (columns, n) of a block with rows ``ln(r) r f_1 ... f_columns``."""
        begin, rows = self.table(tag)
        for k, row in enumerate(rows):
            if len(row) != columns + 2:
                raise self.error(f"<{tag}: expected {columns + 2} numbers, got {len(row)}", begin + k)
            x, r = row[0], row[1]
            if not r > 0.0 or abs(np.log(r) - x) > 1e-5:
                raise self.error(f"<{tag}: expected ln(r) and r > 0, got {x:g} and {r:g}", begin + k)
            if k > 0 and not r > rows[k - 1][1]:
                raise self.error(f"<{tag}: expected increasing radii, got {r:g}", begin + k)
        if len(rows) < 16:
            raise self.error(f"<{tag}: expected at least 16 rows, got {len(rows)}", begin)
        table = np.array(rows, dtype=np.float64)
        steps = np.diff(table[:, 0])
        if np.max(np.abs(steps - np.mean(steps))) > 1e-6:
            raise self.error(f"<{tag}: expected radii uniform in ln(r)", begin)
        return np.ascontiguousarray(table[:, 1]), np.ascontiguousarray(table[:, 2:].T)

    def end_of(self, tag: str) -> int:
        """Line number of the opening of a block that was read before, for messages."""
        return next(n for n, line in enumerate(self._lines) if line.split()[:1] == [f"<{tag}"])
