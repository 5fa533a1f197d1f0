"""Comparison of structures: configuration coordinate, coordinate errors, quality of a glass."""

from __future__ import annotations

from mlh.analysis.coordinates import (
    DEFAULT_RADII,
    configuration_coordinate,
    coordinate_mae,
    displacements,
)
from mlh.analysis.glass import GlassReport, glass_report
from mlh.analysis.quality import NetworkStatistics, network_statistics

__all__ = [
    "DEFAULT_RADII",
    "GlassReport",
    "NetworkStatistics",
    "configuration_coordinate",
    "coordinate_mae",
    "displacements",
    "glass_report",
    "network_statistics",
]
