"""Time and memory of one prediction against the number of atoms; beside it a network of e3nn tensor
products.

    PYTHONPATH=python .venv/bin/python bench/python/network_cost.py --copies 1 2 4 8 16 32 --e3nn
    PYTHONPATH=python .venv/bin/python bench/python/network_cost.py --structure asio2_48_a --copies 1 \
      --steps-of 1 --architecture tensor-product --message-cutoff 11 --far-fraction 1

Copies of a 96-atom glass with fresh weights (the cost does not depend on their values), FP32, two threads.
The time is that of Model.predict_graph: neighbour lists of the network, geometry, network, matrix in the
layout of the Pattern; the best of `--repeat`. Every size runs in a process of its own, so that its peak
memory is its own. One JSON line per size.

The e3nn network has the same width (the same channels of every l = 0..4, natural parity), the same edges
and pairs and the same number of layers, but tensor products with the harmonics of the edge in place of edge
frames: per layer one product with weights from the radial functions (one per path and channel, "uvu", or one
per path, input and output channel, "uvw") and one linear map, then one such product per pair and a linear map
to the irreps of its block. It leaves out everything else, so its time is a lower bound.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mlh.basis.families import load_basis
from mlh.dataset.sample import BasisRecord
from mlh.dft.system import System
from mlh.model.card import ModelCard
from mlh.model.model import Model
from mlh.network.architectures import architecture_names, build_network, read_network_config
from mlh.network.blocks import blocks_from_data
from mlh.network.config import NetworkConfig
from mlh.network.contract import prepare
from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.edge_frames.parts import pair_parts
from mlh.network.graph import GraphInput, graph_from_system, orbital_sets
from mlh.structures.files import load_structure
from mlh.training.batches import choose_pairs
from mlh.training.config import LossConfig
from mlh.training.loss import structure_loss

COPIES = {1: (1, 1, 1), 2: (2, 1, 1), 4: (2, 2, 1), 8: (2, 2, 2), 16: (4, 2, 2), 32: (4, 4, 2), 64: (4, 4, 4)}
EDGES_AT_ONCE = 512  # of the e3nn networks, whose weights are made per edge


def glass(copies: int, structure: str) -> tuple[System, GraphInput]:
    """System and graph of so many copies of a glass."""
    atoms = load_structure(structure).repeat(COPIES[copies])
    system = System(atoms, load_basis("gth-pbe", elements=["Si", "O"]), cutoff_ry=30.0)
    return system, graph_from_system(system)


def fresh_model(system: System, config: NetworkConfig) -> Model:
    """A model with random weights."""
    torch.manual_seed(0)
    sets = orbital_sets(system.basis)
    network = build_network(list(sets.values()), config).float().eval()
    card = ModelCard(config, BasisRecord.of(system.basis), {}, "", {}, {}, tuple(sorted(sets)))
    return Model(network, card)


class TensorProductNetwork(torch.nn.Module):
    """Two layers and a pair head of e3nn tensor products, mode "uvu" or "uvw"."""

    def __init__(self, config: EdgeFramesConfig, n_out: int, mode: str) -> None:
        super().__init__()
        from e3nn import o3

        c, lmax = config.channels, 4
        self.hidden = o3.Irreps([(c, (l, (-1) ** l)) for l in range(lmax + 1)])
        self.harmonics = o3.Irreps.spherical_harmonics(lmax)
        make = channelwise if mode == "uvu" else fully_connected
        made = [make(self.hidden, self.harmonics) for _ in range(config.layers + 1)]
        self.products = torch.nn.ModuleList([product for product, _ in made])
        n_weights, irreps = made[0][0].weight_numel, made[0][1]
        self.radial = torch.nn.ModuleList(
            [torch.nn.Linear(config.n_radial, n_weights) for _ in range(config.layers + 1)]
        )
        self.linear = torch.nn.ModuleList([o3.Linear(irreps, self.hidden) for _ in range(config.layers)])
        block = o3.Irreps([(n_out // 25, (l, (-1) ** l)) for l in range(lmax + 1)])
        self.head = o3.Linear(irreps, block)

    def forward(
        self,
        x: torch.Tensor,
        edges: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        pairs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> int:
        """x (n, 25 c); (i, j, vectors) of both directions of the edges, of one direction of the pairs."""
        from e3nn import o3

        for layer in range(len(self.linear)):
            total = torch.zeros_like(x)
            for i, j, v in _parts(edges):
                y = o3.spherical_harmonics(self.harmonics, v, normalize=True)
                product = self.products[layer](x[j], y, self.radial[layer](_radial(v, self.radial[layer])))
                total.index_add_(0, i, self.linear[layer](product))
            x = x + total
        written = 0
        for i, j, v in _parts(pairs):
            y = o3.spherical_harmonics(self.harmonics, v, normalize=True)
            product = self.products[-1](x[i] + x[j], y, self.radial[-1](_radial(v, self.radial[-1])))
            written += self.head(product).numel()
        return written


def channelwise(hidden: Any, harmonics: Any) -> tuple[torch.nn.Module, Any]:
    """All paths, one weight per path and channel (uvu); the product and its irreps."""
    from e3nn import o3

    found = [
        (i, j, (a.mul, out.ir))
        for i, a in enumerate(hidden)
        for j, b in enumerate(harmonics)
        for out in hidden
        if out.ir in a.ir * b.ir
    ]
    found.sort(key=lambda path: path[2][1].l)
    irreps = o3.Irreps([out for _, _, out in found])
    instructions = [(i, j, k, "uvu", True) for k, (i, j, _) in enumerate(found)]
    options = {"shared_weights": False, "internal_weights": False}
    return o3.TensorProduct(hidden, harmonics, irreps, instructions, **options), irreps.simplify()


def fully_connected(hidden: Any, harmonics: Any) -> tuple[torch.nn.Module, Any]:
    """All paths, one weight per path, input and output channel (uvw); the product and its irreps."""
    from e3nn import o3

    options = {"shared_weights": False, "internal_weights": False}
    return o3.FullyConnectedTensorProduct(hidden, harmonics, hidden, **options), hidden


def _parts(
    edges: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    i, j, v = (t.split(EDGES_AT_ONCE) for t in edges)
    return list(zip(i, j, v, strict=True))


def _radial(v: torch.Tensor, linear: torch.nn.Module) -> torch.Tensor:
    from mlh.network.neighbours import bessel_basis

    return bessel_basis(torch.linalg.vector_norm(v, dim=1), 14.0, linear.in_features)


def products_of(model: Model, graph: GraphInput, mode: str) -> Callable[[], Any]:
    """One evaluation of the e3nn network on the edges and pairs of a graph."""
    topology, geometry = prepare(model.network, graph, torch.float32, keep_frames=False)
    sets = list(model.network.orbitals)
    network = TensorProductNetwork(model.network.config, sum(pair_parts(sets[0], sets[1]).counts) * 2, mode)
    index = geometry.edges.index
    i, j, v = topology.i[index], topology.j[index], geometry.vectors[index]
    edges = (torch.cat([i, j]), torch.cat([j, i]), torch.cat([v, -v]))
    pairs = (topology.i, topology.j, geometry.vectors)
    x = torch.randn(len(graph.numbers), 25 * model.network.config.channels)
    return lambda: network(x, edges, pairs)


def training_step(model: Model, graph: GraphInput, far_fraction: float) -> Callable[[], Any]:
    """Loss, gradients and one step of the optimiser for one structure, frames stored."""
    network = model.network.train()
    topology, geometry = prepare(network, graph, torch.float32, keep_frames=True)
    reference = blocks_from_data(topology, torch.zeros(graph.nnz), network.orbitals)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6, fused=True)
    rng = np.random.default_rng(0)

    def step() -> None:
        optimizer.zero_grad()
        chosen = choose_pairs(topology, geometry, 7.0, far_fraction, rng)
        predicted = network(topology, geometry, None if chosen is None else chosen.rows)
        loss, _ = structure_loss(predicted, reference, LossConfig(), chosen)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

    return step


def measure(
    copies: int, structure: str, config: NetworkConfig, repeat: int, network: str, far_fraction: float
) -> dict[str, float | int | str]:
    """One size in this process."""
    system, graph = glass(copies, structure)
    model = fresh_model(system, config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if network == "mlh":
        run: Callable[[], Any] = lambda: model.predict_graph(graph)  # noqa: E731
    elif network == "step":
        run = training_step(model, graph, far_fraction)
    else:
        run = products_of(model, graph, network)
    times = []
    with torch.set_grad_enabled(network == "step"):
        for _ in range(repeat + 1):  # the first call of e3nn compiles
            start, cpu = time.perf_counter(), time.process_time()
            run()
            times.append((time.perf_counter() - start, time.process_time() - cpu))
    wall, cpu_seconds = min(t for t, _ in times), min(t for _, t in times)
    return {
        "what": {
            "mlh": f"{config.architecture}, prediction",
            "step": f"{config.architecture}, training step",
        }.get(network, f"e3nn, {network}"),
        "atoms": len(graph.numbers),
        "pairs": graph.n_pairs,
        "seconds": round(wall, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "cpu_ms_per_atom": round(1000 * cpu_seconds / len(graph.numbers), 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "mb_before": round(before / 1024),
    }


def main() -> None:
    """Measure every size in its own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--copies", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32], choices=sorted(COPIES))
    parser.add_argument("--structure", default="asio2_96_a", help="the glass")
    parser.add_argument("--architecture", default="edge-frames", choices=architecture_names())
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--message-cutoff", type=float, default=6.0)
    parser.add_argument("--density-cutoff", type=float, default=11.0)
    parser.add_argument("--far-fraction", type=float, default=0.15, help="of pairs beyond 7 Bohr, in steps")
    parser.add_argument("--steps-of", type=int, nargs="*", default=[], help="steps of so many copies")
    parser.add_argument("--e3nn", action="store_true", help="also the e3nn networks, for 96 atoms")
    parser.add_argument("--single", choices=["mlh", "step", "uvu", "uvw"], help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.single:
        torch.set_num_threads(a.threads)
        raw = {"architecture": a.architecture, "message_cutoff": a.message_cutoff}
        if a.architecture == "edge-frames":
            raw["density_cutoff"] = a.density_cutoff
        given = a.copies[0], a.structure, read_network_config(raw), a.repeat, a.single, a.far_fraction
        print(json.dumps(measure(*given)), flush=True)
        return
    cases = [("mlh", n) for n in a.copies] + ([("uvu", 1), ("uvw", 1)] if a.e3nn else [])
    cases += [("step", n) for n in a.steps_of]
    for network, n in cases:
        command = [sys.executable, __file__, "--single", network, "--copies", str(n)]
        command += ["--structure", a.structure, "--architecture", a.architecture]
        command += ["--repeat", str(a.repeat), "--threads", str(a.threads)]
        command += ["--far-fraction", str(a.far_fraction)]
        command += ["--message-cutoff", str(a.message_cutoff), "--density-cutoff", str(a.density_cutoff)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
