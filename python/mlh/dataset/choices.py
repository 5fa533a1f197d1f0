"""Names in the files of data sets and in the settings that make and divide them."""

from __future__ import annotations

from typing import Literal

Compression = Literal["gzip", "lzf", "none"]
SplitBy = Literal["group", "trajectory", "random"]
Part = Literal["train", "validation", "test"]
