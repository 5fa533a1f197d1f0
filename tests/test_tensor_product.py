"""The architecture "tensor-product": symmetries, the product against e3nn's, training, files, gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from e3nn import o3
from numpy.typing import NDArray
from rich.console import Console

from mlh.model.model import load_model
from mlh.network import gradient
from mlh.network.architectures import build_network, read_network_config
from mlh.network.blocks import Blocks, blocks_from_data, data_from_blocks
from mlh.network.contract import prepare
from mlh.network.edge_frames.harmonics import rotation_matrices
from mlh.network.gradient import network_gradient
from mlh.network.graph import GraphInput, build_graph
from mlh.network.orbitals import ORBITAL_ORDER, OrbitalSet
from mlh.network.sphere import harmonics
from mlh.network.tensor_product.config import PAPER_FEATURES, TensorProductConfig
from mlh.network.tensor_product.network import TensorProductNetwork
from mlh.network.tensor_product.parts import pair_parts
from mlh.network.tensor_product.product import EdgeProduct, join_irreps, split_irreps
from mlh.training.config import ConfigError, load_config
from mlh.training.run import train
from model_helpers import ORBITALS, blocks, sample, structure, write_dataset
from model_helpers import network as edge_frames_network

TOLERANCE = 1e-10
SMALL = TensorProductConfig(
    features="4x0e+2x0o+3x1o+2x1e+2x2e+1x2o+1x3o+1x3e+1x4e",
    layers=2,
    edge_lmax=3,
    message_cutoff=5.5,
    n_radial=6,
    radial_width=5,
    n_knots=8,
)
Array = NDArray[np.float64]


def network(
    seed: int = 0, config: TensorProductConfig = SMALL, orbitals: dict[int, OrbitalSet] = ORBITALS
) -> TensorProductNetwork:
    """FP64, random weights, nothing fitted at its start."""
    torch.manual_seed(seed)
    net = build_network(list(orbitals.values()), config).double().eval()
    assert isinstance(net, TensorProductNetwork)
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            if name.endswith(("mean", "scale", "log_scale")):
                buffer.copy_(0.5 + 0.2 * torch.randn_like(buffer))
        for name, parameter in net.named_parameters():
            parameter.mul_(10.0 if "last.weights" in name else 1.0)
            if name.endswith("bias"):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def predict(net: TensorProductNetwork, graph: GraphInput, keep_frames: bool = True) -> Array:
    """Flat dH."""
    with torch.no_grad():
        topology, geometry = prepare(net, graph, torch.float64, keep_frames)
        return np.asarray(data_from_blocks(topology, net(topology, geometry), net.orbitals).numpy())


def orbital_turn(orbitals: OrbitalSet, q: Array) -> Array:
    """What an orthogonal matrix does to the orbitals of an atom."""
    turns = rotation_matrices(max(orbitals.shells), q)
    out = np.zeros((orbitals.size, orbitals.size))
    for l, start in zip(orbitals.shells, orbitals.starts):
        order = list(ORBITAL_ORDER[l])
        out[start : start + 2 * l + 1, start : start + 2 * l + 1] = turns[l][order][:, order]
    return out


@pytest.mark.parametrize("improper", [False, True])
def test_rotation_inversion_and_both_directions(improper: bool) -> None:
    numbers, positions, cell = structure(1)
    q, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    q = q * (np.sign(np.linalg.det(q)) * (-1 if improper else 1))
    net = network(0)
    one = build_graph(numbers, positions, cell, ORBITALS)
    two = build_graph(numbers, positions @ q.T, cell @ q.T, ORBITALS)
    before, after = blocks(one, predict(net, one)), blocks(two, predict(net, two))
    turn = {z: orbital_turn(o, q) for z, o in ORBITALS.items()}
    scale = max(np.abs(b).max() for b in before)
    assert scale > 0.1
    for p in range(one.n_pairs):
        left, right = turn[int(numbers[one.atom_i[p]])], turn[int(numbers[one.atom_j[p]])]
        assert np.abs(after[p] - left @ before[p] @ right.T).max() < TOLERANCE * scale
        assert np.array_equal(before[p], before[one.reverse[p]].T)


def test_the_order_of_atoms_and_the_origin_do_not_matter() -> None:
    """Also of atoms of one element: both directions of their pairs count alike."""
    numbers, positions, cell = structure(2)
    net = network(1)
    graph = build_graph(numbers, positions, cell, ORBITALS)
    before = blocks(graph, predict(net, graph))
    order = np.array([3, 0, 4, 2, 1])
    other = build_graph(numbers[order], positions[order] + np.array([0.3, -2.0, 5.0]), cell, ORBITALS)
    after = blocks(other, predict(net, other))
    where = {
        (int(order[i]), int(order[j]), *c): p
        for p, (i, j, c) in enumerate(zip(other.atom_i, other.atom_j, other.pair_cell.tolist()))
    }
    for p in range(graph.n_pairs):
        q = where[(int(graph.atom_i[p]), int(graph.atom_j[p]), *graph.pair_cell[p].tolist())]
        assert np.abs(before[p] - after[q]).max() < TOLERANCE


def test_the_product_is_that_of_e3nn() -> None:
    given, wanted = o3.Irreps("3x0e+2x0o+2x1o+1x1e+2x2e"), o3.Irreps("1x0e+1x1o+1x1e+1x2e+1x2o+1x3o")
    edge = o3.Irreps.spherical_harmonics(2)
    torch.manual_seed(0)
    x = torch.randn(7, given.dim, dtype=torch.float64)
    y = torch.randn(7, edge.dim, dtype=torch.float64)
    product = EdgeProduct(given, 2, wanted)
    weights = torch.randn(7, product.n_weights, dtype=torch.float64)
    ends, instructions, parts = [], [], []
    weight = 0
    for piece in product.pieces:
        mul = given[piece.term].mul
        for l2 in piece.l2s:
            instructions.append((piece.term, l2, len(ends), "uvu", True))
            ends.append((mul, product.targets[piece.out]))
            parts.append(weights[:, weight : weight + mul])
            weight += mul
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        theirs = o3.TensorProduct(
            given, edge, o3.Irreps(ends), instructions, shared_weights=False, internal_weights=False
        )
    finally:
        torch.set_default_dtype(default)
    columns_first = [
        part.reshape(7, mul, ir.dim) for part, (mul, ir) in zip(split_plain(x, given), given, strict=True)
    ]
    ours = join_irreps([part.mT for part in columns_first])
    (found,) = product(product.kernels(y), [ours], [weights])
    expected = theirs(x, y, torch.cat(parts, dim=1))
    by_end: list[list[torch.Tensor]] = [[] for _ in product.targets]
    for (mul, ir), part in zip(o3.Irreps(ends), split_plain(expected, o3.Irreps(ends)), strict=True):
        by_end[product.targets.index(ir)].append(part.reshape(7, mul, ir.dim).mT)
    for ours_end, theirs_end in zip(found, by_end, strict=True):
        assert torch.allclose(ours_end, torch.cat(theirs_end, dim=2), atol=1e-12)
    # the other direction, by its sign of the path
    odd = torch.cat([part * (-1) ** l for l, part in enumerate(split_plain(y, edge))], dim=1)
    (turned,) = product(product.kernels(odd), [ours], [weights])
    _, reverse = product(product.kernels(y), [ours, ours], [weights, weights])
    assert all(torch.allclose(p, q, atol=1e-12) for p, q in zip(turned, reverse, strict=True))


def split_plain(x: torch.Tensor, irreps: o3.Irreps) -> list[torch.Tensor]:
    """Columns of each irrep, as e3nn has them."""
    return [x[:, s] for s in irreps.slices()]


def test_irreps_of_off_site_blocks() -> None:
    """Those of s2p2d1 of the literature; the map is orthogonal and turns as its irreps say."""
    a = OrbitalSet(14, (0, 0, 1, 1, 2), 4.0)
    parts = pair_parts(a, a)
    counts = {str(ir): mul for mul, ir in parts.irreps}
    expected = "9x0e+12x1o+5x1e+4x2o+9x2e+4x3o+1x3e+1x4e"
    assert counts == {str(ir): mul for mul, ir in o3.Irreps(expected)}
    flat = parts.basis.reshape(len(parts.basis), -1)
    assert flat.shape == (169, 169)
    assert np.allclose(flat @ flat.T, np.eye(169), atol=1e-12)
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn = orbital_turn(a, q)
    turns = rotation_matrices(4, q)
    moved = np.einsum("ab,pbc,dc->pad", turn, parts.basis, turn).reshape(169, -1) @ flat.T
    for (mul, ir), rows in zip(parts.irreps, parts.irreps.slices()):
        sign = np.linalg.det(q) if ir.p != (-1) ** ir.l else 1.0
        assert np.abs(moved[rows, rows] - sign * np.kron(turns[ir.l].T, np.eye(mul))).max() < 1e-12


def test_chunks_and_what_is_made_again_do_not_change_the_result() -> None:
    graph = build_graph(*structure(5), ORBITALS)
    whole = predict(network(5), graph)
    config = TensorProductConfig(**{**SMALL.model_dump(), "chunk": 7, "recompute": True})
    assert np.abs(predict(network(5, config), graph, keep_frames=False) - whole).max() < TOLERANCE
    # of a few pairs only, as in training
    net = network(5)
    topology, geometry = prepare(net, graph, torch.float64, True)
    rows = [torch.arange(0, g.count, 2) for g in topology.groups]
    with torch.no_grad():
        some, every = net(topology, geometry, rows), net(topology, geometry)
    for part, full, chosen in zip(some.pairs, every.pairs, rows, strict=True):
        assert torch.allclose(part, full[chosen], atol=TOLERANCE)


def test_blocks_and_messages_end_smoothly() -> None:
    net = network(4)

    def graph(r: float) -> GraphInput:
        positions = np.array([[0, 0, 0], [r, 0, 0], [1.5, 2.0, 0.3]])
        return build_graph(np.array([14, 8, 8]), positions, np.eye(3) * 60, ORBITALS)

    def off_site(r: float) -> float:
        g = graph(r)
        chosen = [p for p in range(g.n_pairs) if g.atom_i[p] == 0 and g.atom_j[p] == 1]
        return float(np.abs(blocks(g, predict(net, g))[chosen[0]]).max()) if chosen else 0.0

    end = ORBITALS[14].cutoff + ORBITALS[8].cutoff
    assert off_site(end + 1e-6) == 0.0
    assert off_site(end - 1e-3) < 1e-8 < off_site(end - 1.0)
    assert SMALL.message_cutoff is not None and SMALL.message_cutoff < end
    h = 1e-4
    near = [graph(SMALL.message_cutoff + k * h) for k in (-1, 0, 1)]
    values = [blocks(g, predict(net, g))[0][0, 0] for g in near]
    assert abs(values[2] - 2 * values[1] + values[0]) / h < 1e-3


@pytest.mark.parametrize("kept", [True, False])
def test_gradients_of_atoms_and_strain_are_those_of_differences(
    kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything kept, and in chunks that are made again."""
    monkeypatch.setattr(gradient, "KEPT_PAIRS", 10**6 if kept else 0)
    graph = build_graph(*structure(7, n=3), ORBITALS)
    net = network(7)
    dh = predict(net, graph)
    rng = np.random.default_rng(1)
    topology = net.topology(graph)
    noise = blocks_from_data(topology, torch.from_numpy(rng.normal(size=graph.nnz)), net.orbitals)
    symmetric = Blocks([b + b.mT for b in noise.sites], noise.pairs)
    Z = data_from_blocks(topology, symmetric, net.orbitals).numpy() / np.abs(dh).max()
    atoms, strain = network_gradient(net, graph, Z)
    step = 1e-5

    def trace(moved: GraphInput) -> float:
        return float(Z @ predict(net, moved, keep_frames=False))

    for atom, axis in ((0, 0), (1, 2), (2, 1)):
        shift = np.zeros_like(graph.positions)
        shift[atom, axis] = step
        ends = [trace(replace(graph, positions=graph.positions + s * shift)) for s in (1, -1)]
        assert atoms[atom, axis] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-6)
    eps = np.array([[0.3, 0.1, 0], [0.1, 0, 0.2], [0, 0.2, -0.4]])
    stretched = [np.eye(3) + s * step * eps for s in (1, -1)]
    ends = [trace(replace(graph, positions=graph.positions @ t, cell=graph.cell @ t)) for t in stretched]
    assert np.sum(strain * eps) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-6)


def test_training_goes_on_from_the_fitted_means() -> None:
    torch.manual_seed(2)
    features = "8x0e+4x0o+8x1o+4x1e+6x2e+2x2o+4x3o+2x3e+3x4e"
    config = SMALL.model_copy(update={"features": features})
    net = build_network(list(ORBITALS.values()), config).double()
    s = sample(0, edge_frames_network(9))
    topology, geometry = prepare(net, s.graph, torch.float64, True)
    target = blocks_from_data(topology, torch.from_numpy(np.ravel(s.dh)), net.orbitals)
    with torch.no_grad():
        net.fit([(topology, geometry, target)])

    def error(found: Blocks) -> torch.Tensor:
        both = zip([*found.sites, *found.pairs], [*target.sites, *target.pairs], strict=True)
        return torch.stack([(p - q).abs().sum() for p, q in both]).sum()

    means = float(error(net.mean_blocks(topology, geometry)).detach())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(18):
        optimizer.zero_grad()
        loss = error(net(topology, geometry))
        loss.backward()
        optimizer.step()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert float(error(net(topology, geometry)).detach()) < 0.75 * means


def test_a_run_and_its_model_file(tmp_path: Path) -> None:
    data, config = write_dataset(tmp_path / "data.h5"), tmp_path / "train.yaml"
    config.write_text(
        f"dataset: {data}\noutput: {tmp_path / 'run'}\nsteps: 3\nevaluate_every_steps: 3\nthreads: 1\n"
        "precision: float64\nloss: {far_fraction: 0.5}\nnetwork: {architecture: tensor-product, layers: 1,\n"
        "  features: 4x0e+2x1o, edge_lmax: 2, n_radial: 6, radial_width: 4, n_knots: 8}\n"
    )
    model = load_model(train(load_config(config), Console(quiet=True)).model)
    net = model.network
    assert isinstance(net, TensorProductNetwork)
    assert model.card.network == net.config
    # what the blocks need is there, though the configuration left it out
    assert net.config.features == "4x0e+2x1o+2x1e+2x2e+2x2o+2x3e+2x3o+2x4e"
    graph = build_graph(*structure(0), ORBITALS)
    assert np.abs(model.predict_graph(graph).dh - predict(net, graph)).max() < 1e-12


def test_a_two_centre_function_is_its_own_mean() -> None:
    """Means are fitted to what depends on the distance and the direction alone, to the knots' resolution."""
    net = network(3)
    graphs = [build_graph(*structure(seed), ORBITALS) for seed in range(12)]
    samples = []
    for graph in graphs:
        topology, geometry = prepare(net, graph, torch.float64, True)
        with torch.no_grad():
            samples.append((topology, geometry, net.mean_blocks(topology, geometry)))
    other = network(8)
    with torch.no_grad():
        other.fit(samples)
        for topology, geometry, target in samples[:2]:
            found = other.mean_blocks(topology, geometry)
            both = zip([*found.sites, *found.pairs], [*target.sites, *target.pairs], strict=True)
            for ours, theirs in both:
                assert torch.allclose(ours, theirs, atol=2e-4 * float(theirs.abs().max()))


def test_what_it_cannot_do_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neutral and spin-unpolarised, got charge"):
        network(0).topology(replace(build_graph(*structure(1), ORBITALS), charge=1.0))
    path = tmp_path / "train.yaml"
    for key, words in (("charge_channels: 2", "neutral cells"), ("long_range_channels: 4", "strictly local")):
        path.write_text(f"dataset: a.h5\noutput: run\nnetwork: {{architecture: tensor-product, {key}}}\n")
        with pytest.raises(ConfigError, match=f"{words}.*edge-frames takes"):
            load_config(path)
    for wrong in ("4x1o", "4x0e+2x0e", "0x0e", "4x0e+three"):
        with pytest.raises(ValueError, match="expected irreps, each once, 0e among them"):
            TensorProductConfig(features=wrong)


def test_the_default_is_the_papers() -> None:
    config = read_network_config({"architecture": "tensor-product"})
    assert isinstance(config, TensorProductConfig)
    assert (config.features, config.layers, config.edge_lmax, config.n_radial) == (PAPER_FEATURES, 3, 4, 64)
    assert o3.Irreps(PAPER_FEATURES).dim == 763


def test_harmonics_are_of_natural_parity_and_split_round_trips() -> None:
    irreps = o3.Irreps("2x0e+3x1o")
    x = torch.randn(4, irreps.dim)
    assert torch.equal(join_irreps(split_irreps(x, irreps)), x)
    v = torch.randn(5, 3, dtype=torch.float64)
    signs = torch.cat([torch.full((2 * l + 1,), (-1.0) ** l) for l in range(5)])
    assert torch.allclose(harmonics(4, -v), harmonics(4, v) * signs, atol=1e-14)
