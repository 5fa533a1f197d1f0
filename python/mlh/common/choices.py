"""Names to choose from: each list is one `Literal`, read by type checkers, settings files and commands."""

from __future__ import annotations

from typing import Any, Literal, get_args

Precision = Literal["float32", "float64"]


def check_choice(name: str, value: object, kind: Any) -> None:
    """Raise ValueError unless `value` is one of the names of `kind`, a Literal; name: of the argument."""
    names = get_args(kind)
    if value not in names:
        *first, last = [repr(known) for known in names]
        expected = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
