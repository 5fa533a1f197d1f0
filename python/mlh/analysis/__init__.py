"""Comparison of structures: configuration coordinate, coordinate errors, quality of a glass."""

from __future__ import annotations

from mlh.analysis.coordinates import (
    DEFAULT_RADII,
    cell_strain,
    configuration_coordinate,
    coordinate_mae,
    displacements,
    in_cell_of,
)
from mlh.analysis.glass import GlassReport, glass_report
from mlh.analysis.quality import NetworkStatistics, network_statistics

__all__ = [
    "DEFAULT_RADII",
    "GlassReport",
    "NetworkStatistics",
    "cell_strain",
    "configuration_coordinate",
    "coordinate_mae",
    "displacements",
    "glass_report",
    "in_cell_of",
    "network_statistics",
]
