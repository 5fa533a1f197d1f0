"""Architectures of the network by name: `network.architecture` of a training, kept in the card of a model.

An architecture is one module that holds an `ARCHITECTURE`, and one line of `_MODULES`, or one call of
`register_architecture`. Settings are read without PyTorch; a network is built when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlh.network.config import NetworkConfig
from mlh.network.orbitals import OrbitalSet

if TYPE_CHECKING:
    from mlh.network.contract import HamiltonianNetwork


@dataclass(frozen=True)
class Architecture:
    """A kind of network: its settings and how it is built with fresh weights."""

    name: str
    config: type[NetworkConfig]
    build: Callable[[Sequence[OrbitalSet], Any], HamiltonianNetwork]
    """(elements, settings of the type `config`) -> network."""


DEFAULT_ARCHITECTURE = "edge-frames"
"""What configurations and model files mean that name none."""

_MODULES = {
    "edge-frames": "mlh.network.edge_frames.architecture",
    "tensor-product": "mlh.network.tensor_product.architecture",
}

_registered: dict[str, Architecture] = {}


def register_architecture(architecture: Architecture) -> None:
    """Make an architecture known by name; the name must be free."""
    if architecture.name in architecture_names():
        raise ValueError(
            f"architecture: expected a name other than {', '.join(architecture_names())}, "
            f"got {architecture.name}"
        )
    _registered[architecture.name] = architecture


def architecture_names() -> tuple[str, ...]:
    """Names of all architectures."""
    return (*_MODULES, *(name for name in _registered if name not in _MODULES))


def architecture_named(name: str) -> Architecture:
    """The architecture of that name; ValueError lists what there is."""
    if name not in architecture_names():
        raise ValueError(f"architecture: expected one of {', '.join(architecture_names())}, got {name!r}")
    if name not in _registered:
        _registered[name] = import_module(_MODULES[name]).ARCHITECTURE
    return _registered[name]


def read_network_config(raw: Mapping[str, Any]) -> NetworkConfig:
    """Settings from plain values; the key `architecture` says of which network."""
    return architecture_named(raw.get("architecture", DEFAULT_ARCHITECTURE)).config(**raw)


def build_network(orbitals: Sequence[OrbitalSet], config: NetworkConfig) -> HamiltonianNetwork:
    """Network of the elements `orbitals` with fresh weights."""
    return architecture_named(config.architecture).build(orbitals, config)
