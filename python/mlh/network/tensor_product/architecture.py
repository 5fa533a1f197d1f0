"""The entry of "tensor-product" among the architectures; PyTorch is imported when a network is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlh.network.architectures import Architecture
from mlh.network.orbitals import OrbitalSet
from mlh.network.tensor_product.config import TensorProductConfig

if TYPE_CHECKING:
    from mlh.network.contract import HamiltonianNetwork


def build(orbitals: Sequence[OrbitalSet], config: TensorProductConfig) -> HamiltonianNetwork:
    """Network with fresh weights."""
    from mlh.network.tensor_product.network import TensorProductNetwork

    return TensorProductNetwork(orbitals, config)


ARCHITECTURE = Architecture("tensor-product", TensorProductConfig, build)
