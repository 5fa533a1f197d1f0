"""What is still accepted but will go: from which version, until which, and what to write instead.

docs/changes.md has the table; tests/test_deprecation.py holds the two together, and fails in the version in
which something is to be gone and is still here.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Deprecated:
    """One thing. since: first version that warns; gone: first version without it; instead: what to write."""

    name: str
    since: str
    gone: str
    instead: str

    def warn(self) -> None:
        """Say so, as a FutureWarning, which Python shows to users."""
        warnings.warn(
            f"{self.name}: deprecated since mlh {self.since}, gone in {self.gone}; {self.instead}",
            FutureWarning,
            stacklevel=3,
        )


CHANNELS = Deprecated(
    "network.channels and network.lmax of a training",
    "0.2",
    "0.4",
    "write the features as irreps, network.features: 32x0e+32x1o+32x2e",
)
