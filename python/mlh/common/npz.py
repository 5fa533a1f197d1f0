"""Arrays in one .npz file, written complete or not at all, without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlh.common.files import complete_or_absent


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write beside the target, flush to disk, then rename: a reader never sees half a file."""
    with complete_or_absent(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
