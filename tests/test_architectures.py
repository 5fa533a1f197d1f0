"""Networks by name: another architecture is one file, from the configuration of a training to predictions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from mlh.model.card import SHIPPED, ModelCard, ModelError, read_model
from mlh.model.model import load_model
from mlh.network import architectures
from mlh.network.architectures import (
    Architecture,
    build_network,
    read_network_config,
    register_architecture,
)
from mlh.network.blocks import Blocks
from mlh.network.config import NetworkConfig
from mlh.network.contract import HamiltonianNetwork, Prepared
from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.gradient import network_gradient
from mlh.network.graph import build_graph
from mlh.network.orbitals import OrbitalSet
from mlh.network.topology import Geometry, Topology, pair_vectors
from mlh.training.config import ConfigError, load_config
from mlh.training.run import train
from model_helpers import ORBITALS, basis_record, structure, write_dataset


class ToyConfig(NetworkConfig):
    """One setting of its own."""

    architecture: Literal["toy"] = "toy"
    width: float = 4.0


class ToyNetwork(HamiltonianNetwork):
    """On-site: the mean block of the element plus a learned one; off-site: a Gaussian of the distance."""

    def __init__(self, orbitals: Sequence[OrbitalSet], config: ToyConfig) -> None:
        super().__init__()
        self.orbitals, self._config = tuple(sorted(orbitals, key=lambda o: o.number)), config
        sizes = [o.size for o in self.orbitals]
        self.learned = nn.ParameterList([nn.Parameter(torch.zeros(n, n)) for n in sizes])
        self.strength = nn.Parameter(torch.zeros(()))
        for k, n in enumerate(sizes):
            self.register_buffer(f"mean_{k}", torch.zeros(n, n))

    @property
    def config(self) -> ToyConfig:
        return self._config

    def geometry(
        self,
        topology: Topology,
        positions: torch.Tensor,
        keep_frames: bool,
        stretch: torch.Tensor | None = None,
    ) -> Geometry:
        vectors = pair_vectors(topology, positions, stretch)
        return Geometry(vectors, torch.linalg.vector_norm(vectors, dim=1))

    def forward(
        self, topology: Topology, geometry: Geometry, rows: Sequence[torch.Tensor] | None = None
    ) -> Blocks:
        means = self.mean_blocks(topology, geometry)
        sites = [mean + x + x.T for mean, x in zip(means.sites, self.learned)]
        pairs = []
        for k, (group, block) in enumerate(zip(topology.groups, means.pairs)):
            r = geometry.r[group.start : group.start + group.count]
            whole = block + self.strength * torch.exp(-((r / self.config.width) ** 2))[:, None, None]
            pairs.append(whole if rows is None else whole[rows[k]])
        return Blocks(sites, pairs)

    def fit(self, samples: Sequence[Prepared]) -> None:
        for k in range(len(self.orbitals)):
            self.get_buffer(f"mean_{k}").copy_(torch.cat([b.sites[k] for _, _, b in samples]).mean(dim=0))

    def mean_blocks(self, topology: Topology, geometry: Geometry) -> Blocks:
        means = [self.get_buffer(f"mean_{k}") for k in range(len(self.orbitals))]
        sites = [mean.expand(n, -1, -1) for mean, n in zip(means, topology.counts)]
        shapes = [(g.count, self.orbitals[g.a].size, self.orbitals[g.b].size) for g in topology.groups]
        return Blocks(sites, [means[0].new_zeros(shape) for shape in shapes])


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Architecture:
    monkeypatch.setattr(architectures, "_registered", dict(architectures._registered))
    architecture = Architecture("toy", ToyConfig, ToyNetwork)
    register_architecture(architecture)
    return architecture


def test_a_toy_architecture_is_trained_saved_and_predicts(toy: Architecture, tmp_path: Path) -> None:
    data, config = write_dataset(tmp_path / "data.h5"), tmp_path / "train.yaml"
    config.write_text(
        f"dataset: {data}\noutput: {tmp_path / 'run'}\nsteps: 6\nevaluate_every_steps: 3\n"
        "precision: float64\nnetwork: {architecture: toy, width: 3.0}\nloss: {far_fraction: 0.5}\n"
        "optimizer: {warmup_steps: 0}\n"
    )
    result = train(load_config(config), Console(quiet=True))
    model = load_model(result.model)
    assert isinstance(model.network, ToyNetwork)
    assert model.card.network == ToyConfig(width=3.0)
    assert load_config(tmp_path / "run" / "config.yaml").network == ToyConfig(width=3.0)
    graph = build_graph(*structure(0), ORBITALS)
    dh = model.predict_graph(graph).dh
    assert dh.shape == (graph.nnz,) and np.abs(dh).max() > 0
    assert float(model.network.strength.detach()) != 0.0  # learned, not only fitted
    Z = np.abs(dh) + 0.1  # symmetric, as dH is
    atoms, _ = network_gradient(model.network, graph, Z)
    step = np.zeros_like(graph.positions)
    step[1, 2] = 1e-4
    ends = [model.predict_graph(replace(graph, positions=graph.positions + s * step)).dh for s in (1, -1)]
    assert atoms[1, 2] == pytest.approx(Z @ (ends[0] - ends[1]) / 2e-4, rel=1e-5)  # so forces are exact


def test_settings_belong_to_an_architecture(toy: Architecture, tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("dataset: a.h5\noutput: run\nnetwork: {channels: 8, layers: -1}\n")
    with pytest.raises(ConfigError, match=r"network\.layers: Input should be greater than or equal to 0"):
        load_config(path)
    with pytest.raises(ConfigError, match=r"network\.channels: Extra inputs are not permitted"):
        load_config(path, ["network.architecture=toy"])
    with pytest.raises(ConfigError, match="expected one of edge-frames, tensor-product, toy, got 'tory'"):
        load_config(path, ["network.architecture=tory"])
    with pytest.raises(ValueError, match="a name other than edge-frames, tensor-product, toy"):
        register_architecture(toy)


def test_what_names_no_architecture_means_the_first_one() -> None:
    assert read_network_config({}) == EdgeFramesConfig()
    with np.load(SHIPPED / "sio2-vo.npz") as archive:
        text = archive["card"].tobytes().decode()
    assert '"architecture"' not in text  # made before there were several
    assert isinstance(ModelCard.from_json(text).network, EdgeFramesConfig)
    assert isinstance(read_model("sio2-vo")[0].config, EdgeFramesConfig)


def test_features_are_those_that_the_network_has() -> None:
    """Blocks with d orbitals need l = 4, whatever was asked for; the card says so."""
    network = build_network(list(ORBITALS.values()), EdgeFramesConfig(channels=2, lmax=1, layers=0))
    assert isinstance(network.config, EdgeFramesConfig)
    assert network.config.features == "2x0e+2x1o+2x2e+2x3o+2x4e"


def test_settings_and_commands_are_read_without_torch_and_e3nn(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("dataset: a.h5\noutput: run\nnetwork: {features: 4x0e+4x1o}\n")
    program = (
        "import sys, mlh, mlh.commands.cli\n"
        "from mlh.training.config import load_config\n"
        f"assert load_config({str(path)!r}).network.lmax == 1\n"
        "print(sorted({'torch', 'e3nn'} & set(sys.modules)))\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"


def test_a_card_with_an_unknown_architecture_is_refused(toy: Architecture) -> None:
    card = ModelCard(ToyConfig(), basis_record(), {"xc": "PBE"}, "data")
    assert ModelCard.from_json(card.as_json()).network == ToyConfig()
    with pytest.raises(ModelError, match="expected one of edge-frames, tensor-product, toy, got 'lost'"):
        ModelCard.from_json(card.as_json().replace('"toy"', '"lost"'))
