"""The entry of "edge-frames" among the architectures; PyTorch is imported when a network is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlh.network.architectures import Architecture
from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.orbitals import OrbitalSet

if TYPE_CHECKING:
    from mlh.network.contract import HamiltonianNetwork


def build(orbitals: Sequence[OrbitalSet], config: EdgeFramesConfig) -> HamiltonianNetwork:
    """Network with fresh weights."""
    from mlh.network.edge_frames.network import EdgeFramesNetwork

    return EdgeFramesNetwork(orbitals, config)


ARCHITECTURE = Architecture("edge-frames", EdgeFramesConfig, build)
