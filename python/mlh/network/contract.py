"""What every architecture is to the rest: structure -> blocks of dH, with a part that is fitted, not learned.

The weights are parameters, what is fitted are buffers of the module; a model file keeps both. An architecture
is one folder (or file) with an `ARCHITECTURE`, see `mlh.network.architectures`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn

from mlh.network.blocks import Blocks
from mlh.network.config import NetworkConfig
from mlh.network.graph import GraphInput
from mlh.network.orbitals import OrbitalSet
from mlh.network.topology import Geometry, Topology, build_topology

Prepared = tuple[Topology, Geometry, Blocks]
"""A structure of the training set: the two sides of the input, and the blocks of its label."""


class HamiltonianNetwork(nn.Module, ABC):
    """dH = H - H_Harris of the elements `orbitals` (sorted by atomic number)."""

    orbitals: tuple[OrbitalSet, ...]

    @property
    @abstractmethod
    def config(self) -> NetworkConfig:
        """The settings it was built with."""

    @abstractmethod
    def geometry(
        self,
        topology: Topology,
        positions: torch.Tensor,
        keep_frames: bool,
        stretch: torch.Tensor | None = None,
    ) -> Geometry:
        """The positional part of the input; differentiable in `positions` (n, 3) Bohr, original atom order,
        and in `stretch` (3, 3), symmetric, which multiplies all of space: atoms and cell.

        keep_frames: keep what is costly to make again (training); otherwise memory stays small (prediction),
        with gradients too.
        """

    @abstractmethod
    def forward(
        self, topology: Topology, geometry: Geometry, rows: Sequence[torch.Tensor] | None = None
    ) -> Blocks:
        """dH of every on-site block and of the first direction of every pair; rows: of these pairs of each
        group only.
        """

    @abstractmethod
    def fit(self, samples: Sequence[Prepared]) -> None:
        """Set everything that is fitted in closed form before the training, from samples made with
        keep_frames.
        """

    @abstractmethod
    def mean_blocks(self, topology: Topology, geometry: Geometry) -> Blocks:
        """What `fit` alone predicts: the errors that training has to beat."""

    @property
    def charged(self) -> bool:
        """Whether it knows the charge and the moment of a cell; otherwise it is neutral, without spin."""
        return False

    def topology(self, graph: GraphInput) -> Topology:
        """The integer part of the input for this network; ValueError for a charge that it does not know."""
        if (graph.charge or graph.moment) and not self.charged:
            raise ValueError(
                f"charge: expected 0, without a moment, as the network is neutral and spin-unpolarised, "
                f"got charge {graph.charge:+g}, moment {graph.moment:g}"
            )
        return build_topology(graph, self.orbitals)


def prepare(
    network: HamiltonianNetwork, graph: GraphInput, dtype: torch.dtype, keep_frames: bool
) -> tuple[Topology, Geometry]:
    """Topology and geometry of one graph for this network, computed in FP64, stored in `dtype`."""
    topology = network.topology(graph)
    positions = torch.as_tensor(graph.positions, dtype=torch.float64)
    return topology, network.geometry(topology, positions, keep_frames).to(dtype)
