"""Small structures, random networks and made-up labels for the tests of mlh.model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mlh.dataset.sample import BasisRecord, Sample, SpeciesRecord, unique_elements
from mlh.dataset.store import DatasetWriter
from mlh.network.blocks import data_from_blocks
from mlh.network.contract import prepare
from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.edge_frames.network import EdgeFramesNetwork
from mlh.network.graph import GraphInput, build_graph
from mlh.network.orbitals import OrbitalSet

ORBITALS = {14: OrbitalSet(14, (0, 1, 1, 2), 3.6), 8: OrbitalSet(8, (0, 0, 1), 3.0)}
SMALL = EdgeFramesConfig(
    channels=4,
    n_radial=3,
    layers=1,
    message_cutoff=5.5,
    density_cutoff=6.2,
    message_m_max=2,
    long_range_channels=2,
    long_range_sigma=1.5,
    pair_widths=(12, 8, 6, 4, 4),
    n_knots=8,
)


def structure(
    seed: int = 0, n: int = 5
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Numbers, positions, cell (Bohr) of a random triclinic crystal with no atoms closer than 1.2 Bohr."""
    rng = np.random.default_rng(seed)
    cell = np.diag([7.0, 7.6, 8.1]) + rng.normal(0, 0.4, (3, 3))
    numbers = np.array([14, 8, 8, 14, 8, 8, 14][:n])
    while True:
        positions = rng.uniform(0, 1, (n, 3)) @ cell
        graph = build_graph(numbers, positions, cell, ORBITALS)
        r = np.linalg.norm(graph.vectors, axis=1)
        if r[r > 0].min() > 1.2:
            return numbers, positions, cell


def network(
    seed: int = 0, config: EdgeFramesConfig = SMALL, orbitals: dict[int, OrbitalSet] = ORBITALS
) -> EdgeFramesNetwork:
    """FP64 network with random weights and non-trivial fitted buffers."""
    torch.manual_seed(seed)
    net = EdgeFramesNetwork(list(orbitals.values()), config).double().eval()
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            if name.endswith(("mean", "scale", "log_scale")):
                buffer.copy_(0.5 + 0.2 * torch.randn_like(buffer))
        for parameter in net.parameters():
            parameter.mul_(1.0 + 0.1 * torch.rand_like(parameter))
        for head in [*net.site_heads, *net.pair_heads.values()]:
            for name, parameter in head.named_parameters():
                if name.startswith(("last", "weights")):
                    parameter.mul_(10.0)
    return net


def predict(net: EdgeFramesNetwork, graph: GraphInput, keep_frames: bool = True) -> NDArray[np.float64]:
    """Flat dH."""
    with torch.no_grad():
        topology, geometry = prepare(net, graph, torch.float64, keep_frames)
        return data_from_blocks(topology, net(topology, geometry), net.orbitals).numpy()


def blocks(
    graph: GraphInput, data: NDArray[np.float64], orbitals: dict[int, OrbitalSet] = ORBITALS
) -> list[NDArray[np.float64]]:
    """The block of every pair."""
    size = [orbitals[int(z)].size for z in graph.numbers]
    return [
        data[graph.offset[p] : graph.offset[p + 1]].reshape(size[graph.atom_i[p]], size[graph.atom_j[p]])
        for p in range(graph.n_pairs)
    ]


def basis_record() -> BasisRecord:
    """A record of the test orbitals that no real basis has."""
    symbols = {14: "Si", 8: "O"}
    species = {symbols[z]: SpeciesRecord(z, o.shells, o.cutoff, f"digest-{z}") for z, o in ORBITALS.items()}
    return BasisRecord("test", "fingerprint", species)


def sample(seed: int, teacher: EdgeFramesNetwork, group: str = "", element: int | None = None) -> Sample:
    """A structure labelled by a random network: a function that a network can learn."""
    numbers, positions, cell = structure(seed)
    numbers = numbers if element is None else np.full_like(numbers, element)
    graph = build_graph(numbers, positions, cell, ORBITALS)
    dh = 0.02 * predict(teacher, graph)
    return Sample(
        graph,
        dh,
        {"kinetic": 1.5, "xc": -0.5},
        np.zeros((len(graph.numbers), 3)),
        f"seed-{seed}",
        group or f"group-{seed % 4}",
    )


def write_dataset(path: Path, n: int = 8, dtype: str = "float64", pure: int = 0) -> Path:
    """Data set of n samples, the last `pure` of them of silicon alone."""
    teacher = network(9)
    writer = DatasetWriter(path, basis_record(), {"xc": "PBE", "cutoff_ry": 200.0}, dtype)  # type: ignore[arg-type]
    for seed in range(n):
        writer.append(sample(seed, teacher, element=14 if seed >= n - pure else None))
    return path


def is_unique_half(graph: GraphInput) -> bool:
    """Every element is reached once: as stored or as a transpose."""
    own, transposed = unique_elements(graph)
    return set(own.tolist()) | set(transposed.tolist()) == set(range(graph.nnz))
