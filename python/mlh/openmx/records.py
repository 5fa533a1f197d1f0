"""Binary files as a sequence of arrays, each compared with what is left of the file before it is read."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mlh.openmx.text import OpenMXFormatError


class Records:
    """Reads little-endian arrays one after the other; errors name the file, the array and the byte."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path = path
        self._file = file
        self._size = file.seek(0, 2)
        file.seek(0)

    @property
    def left(self) -> int:
        """Bytes behind the present place."""
        return self._size - self._file.tell()

    def error(self, message: str) -> OpenMXFormatError:
        """The exception for a finding before the present place."""
        return OpenMXFormatError(f"{self.path}, byte {self._file.tell()}: {message}")

    def ints(self, count: int, name: str) -> NDArray[np.int64]:
        """`count` int32 as int64."""
        return self._take(np.dtype("<i4"), count, name).astype(np.int64)

    def doubles(self, count: int, name: str) -> NDArray[np.float64]:
        """`count` float64, all finite."""
        values = self._take(np.dtype("<f8"), count, name).astype(np.float64, copy=False)
        finite = np.isfinite(values)
        if not finite.all():
            raise self.error(f"{name}: expected finite numbers, got {int(np.count_nonzero(~finite))} others")
        return values

    def text(self, count: int, width: int, name: str) -> tuple[str, ...]:
        """`count` null-terminated lines of `width` bytes each."""
        raw = self._take(np.dtype("u1"), count * width, name).tobytes()
        lines = (raw[k * width : (k + 1) * width] for k in range(count))
        return tuple(line.split(b"\0", 1)[0].decode("latin-1").rstrip("\n") for line in lines)

    def skip(self, bytes_: int, name: str) -> None:
        """Pass over an array."""
        self._check(bytes_, name)
        self._file.seek(bytes_, 1)

    def _check(self, bytes_: int, name: str) -> None:
        if bytes_ > self.left:
            raise self.error(
                f"{name}: expected {bytes_} bytes, got {self.left} (the file is truncated or damaged before)"
            )

    def _take(self, dtype: np.dtype[np.generic], count: int, name: str) -> NDArray[np.generic]:
        self._check(count * dtype.itemsize, name)
        values = np.fromfile(self._file, dtype, count)
        if len(values) != count:
            raise self.error(f"{name}: the file became shorter while it was read")
        return values
