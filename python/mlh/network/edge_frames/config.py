"""Sizes of the network "edge-frames"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlh.network.config import NetworkConfig


class EdgeFramesConfig(NetworkConfig):
    """Sizes of the network. Lengths in Bohr."""

    architecture: Literal["edge-frames"] = "edge-frames"
    channels: int = Field(32, ge=1, description="channels per l of the node features")
    lmax: int = Field(
        4, ge=0, description="largest l of the node features (raised to what the on-site blocks need)"
    )
    layers: int = Field(2, ge=0, description="message-passing layers")
    message_cutoff: float = Field(11.0, gt=0, description="Bohr; neighbours that send messages")
    density_cutoff: float | None = Field(
        None,
        gt=0,
        description="Bohr; neighbours in the atomic densities; default: message_cutoff",
    )
    message_m_max: int = Field(2, ge=0, description="largest order |m| about the edge that messages carry")
    long_range_channels: int = Field(
        4, ge=0, description="fields of learned charges; 0: strictly local network"
    )
    long_range_sigma: float = Field(3.0, gt=0, description="Bohr; smearing of the learned charges")
    n_radial: int = Field(10, ge=1, description="radial functions of the neighbour densities and messages")
    pair_widths: tuple[int, ...] = Field(
        (128, 64, 48, 24, 16), description="hidden channels of M = 0, 1, .. of pairs"
    )
    n_knots: int = Field(32, ge=4, description="knots in the distance of the pair functions")
    chunk: int = Field(8192, ge=1, description="pairs or edges processed at once when no gradient is needed")

    @property
    def reach(self) -> tuple[float, float]:
        """Cutoffs of the neighbour densities and of the messages, Bohr."""
        return self.density_cutoff or self.message_cutoff, self.message_cutoff

    @property
    def sigma(self) -> float | None:
        """Smearing of the long-range part, None without one."""
        return self.long_range_sigma if self.long_range_channels else None
