"""Derivative of a predicted dH by back-propagation: d Tr[Z dH] of atoms and strain at fixed Z."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.network.blocks import blocks_from_data
from mlh.network.contract import HamiltonianNetwork
from mlh.network.graph import GraphInput
from mlh.network.memory import frozen

Array = NDArray[np.float64]

KEPT_PAIRS = 20_000
"""Up to this many pairs everything is kept for the way back, which is faster and takes up to 2 GB."""


def network_gradient(network: HamiltonianNetwork, graph: GraphInput, Z: Array) -> tuple[Array, Array]:
    """(natoms, 3) Hartree/Bohr, and (3, 3) Hartree, symmetric, for r -> (1 + eps) r of atoms and cell.

    Z: (nnz,) in the layout of the graph, symmetric. The waves of the long-range part are those of the cell at
    hand. Memory beyond KEPT_PAIRS is about that of a prediction.
    """
    weight = next(network.parameters())
    topology = network.topology(graph).to(weight.device)
    positions = torch.tensor(graph.positions).to(weight.device).requires_grad_()
    strain = torch.zeros(3, 3).to(positions).requires_grad_()
    stretch = torch.eye(3).to(positions) + 0.5 * (strain + strain.mT)
    seeds = blocks_from_data(topology, torch.tensor(Z).to(positions), network.orbitals)
    with torch.enable_grad(), frozen(network):
        geometry = network.geometry(topology, positions, len(topology.pair) <= KEPT_PAIRS, stretch)
        blocks = network(topology, geometry.to(weight.dtype))
        trace = sum((b.double() * z).sum() for b, z in zip(blocks.sites, seeds.sites, strict=True))
        # Of every pair one direction is there; the other is its transpose, in dH as in Z.
        trace = trace + 2.0 * sum(
            (b.double() * z).sum() for b, z in zip(blocks.pairs, seeds.pairs, strict=True)
        )
        atoms, eps = torch.autograd.grad(trace, (positions, strain))
    return atoms.cpu().numpy(), eps.cpu().numpy()
