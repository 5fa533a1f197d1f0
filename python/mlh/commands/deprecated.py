"""Options that are still accepted but will go, and with them everything that is."""

from __future__ import annotations

from mlh.common.deprecation import CHANNELS, Deprecated

GAMMA = Deprecated("--gamma", "0.2", "0.4", "every mesh contains Gamma, leave it out")
ALL = (GAMMA, CHANNELS)
