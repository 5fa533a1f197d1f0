"""Charge and moment in the network: weights over sites, symmetries, size of the cell, derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mlh.network.blocks import data_from_blocks
from mlh.network.contract import prepare
from mlh.network.edge_frames.charge import site_weights
from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.edge_frames.network import EdgeFramesNetwork
from mlh.network.gradient import network_gradient
from mlh.network.graph import GraphInput, build_graph
from mlh.network.orbitals import OrbitalSet
from model_helpers import ORBITALS, SMALL, blocks, network, predict, structure
from test_model_network import orbital_rotation, orthogonal

CHARGED = SMALL.model_copy(update={"charge_channels": 2})
LOCAL = SMALL.model_copy(update={"long_range_channels": 0, "message_cutoff": 3.2, "density_cutoff": 3.2})

Array = NDArray[np.float64]


def both(net: EdgeFramesNetwork, graph: GraphInput, charge: float, moment: float) -> tuple[Array, Array]:
    """dH of the mean of both spins, and half of up minus down (zero without)."""
    with torch.no_grad():
        topology, geometry = prepare(
            net, replace(graph, charge=charge, moment=moment), torch.float64, keep_frames=True
        )
        found = net(topology, geometry)
        mean = data_from_blocks(topology, found, net.orbitals).numpy()
        if found.spin is None:
            return mean, np.zeros_like(mean)
        return mean, data_from_blocks(topology, found.spin, net.orbitals).numpy()


def test_weights_add_up_to_one_and_end_exactly() -> None:
    s = torch.tensor([[0.0, 3.0], [0.1, -2.0], [-9.0, 2.5], [0.05, -2.0]], dtype=torch.float64)
    w = site_weights(s)
    assert torch.allclose(w.sum(dim=0), torch.ones(2, dtype=torch.float64), atol=1e-14)
    assert w[2, 0] == 0.0 and w[1, 1] == 0.0 and (w >= 0.0).all()
    larger = torch.cat([s, torch.full((40, 2), -5.0, dtype=torch.float64)])
    assert torch.equal(site_weights(larger)[:4], w)
    even = site_weights(torch.zeros(7, 1, dtype=torch.float64))
    assert torch.allclose(even, torch.full_like(even, 1.0 / 7.0))
    given = (torch.randn(6, 3, dtype=torch.float64) * 2.0).requires_grad_()
    assert torch.autograd.gradcheck(site_weights, (given,))


def test_a_neutral_network_has_nothing_of_it() -> None:
    """The same weights from the same seed, the same settings in its files, and a charge is refused."""
    graph = build_graph(*structure(1), ORBITALS)
    neutral = network(3)
    assert "charge_channels" not in SMALL.model_dump() and CHARGED.model_dump()["charge_channels"] == 2
    assert EdgeFramesConfig(**CHARGED.model_dump()) == CHARGED
    assert not neutral.charged and not any("cell_state" in name for name in neutral.state_dict())
    with pytest.raises(ValueError, match="the network is neutral and spin-unpolarised"):
        predict(neutral, replace(graph, charge=1.0))
    local = SMALL.model_copy(update={"long_range_channels": 0})
    plain = network(3, local)
    charged = network(4, local.model_copy(update={"charge_channels": 2}))
    missing, unexpected = charged.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(name.startswith(("cell_state", "spin_")) for name in missing)
    np.testing.assert_array_equal(predict(charged, graph), predict(plain, graph))
    assert np.abs(both(charged, graph, 1.0, 0.0)[0] - predict(plain, graph)).max() > 1e-4


@pytest.mark.parametrize("improper", [False, True])
def test_charged_blocks_turn_with_the_structure(improper: bool) -> None:
    numbers, positions, cell = structure(2)
    net, q = network(5, CHARGED), orthogonal(1, improper)
    first = build_graph(numbers, positions, cell, ORBITALS)
    turned = build_graph(numbers, positions @ q.T, cell @ q.T, ORBITALS)
    rotation = {z: orbital_rotation(o, q) for z, o in ORBITALS.items()}
    for one, other in zip(both(net, first, 2.0, 1.0), both(net, turned, 2.0, 1.0), strict=True):
        assert np.abs(one).max() > 1e-3
        for p, (a, b) in enumerate(zip(blocks(first, one), blocks(turned, other), strict=True)):
            left = rotation[int(first.numbers[first.atom_i[p]])]
            right = rotation[int(first.numbers[first.atom_j[p]])]
            np.testing.assert_allclose(left @ a @ right.T, b, rtol=0.0, atol=1e-10)


def test_the_other_direction_of_the_moment_exchanges_the_spins() -> None:
    graph, net = build_graph(*structure(3), ORBITALS), network(6, CHARGED)
    (mean, spin), (again, other) = both(net, graph, 1.0, 1.0), both(net, graph, 1.0, -1.0)
    np.testing.assert_array_equal(mean, again)
    np.testing.assert_array_equal(spin, -other)
    assert np.abs(both(net, graph, 1.0, 0.0)[1]).max() == 0.0
    assert np.abs(both(net, graph, 1.0, 0.0)[0] - mean).max() > 1e-5  # the mean knows that there is one
    with torch.no_grad():
        topology, geometry = prepare(net, replace(graph, charge=2.0, moment=1.0), torch.float64, True)
        _, state = net.node_features(topology, geometry)
    assert state is not None
    np.testing.assert_allclose(state.charges.sum(dim=0), 2.0, atol=1e-12)
    np.testing.assert_allclose(state.moments.sum(dim=0), 1.0, atol=1e-12)


SHORT = {z: OrbitalSet(z, o.shells, 2.6) for z, o in ORBITALS.items()}
SPACING = 2.5


def chain(n: int) -> GraphInput:
    """So many atoms in a row, one missing at the origin and its neighbours moved."""
    numbers = np.where(np.arange(1, n) % 2, 14, 8)
    positions = np.array([[SPACING * k, 0.1 * (-1) ** k, 0.0] for k in range(1, n)])
    positions[0, 0] -= 0.4
    positions[-1, 0] += 0.3
    return build_graph(numbers, positions, np.diag([SPACING * n, 7.0, 7.4]), SHORT)


def localised(net: EdgeFramesNetwork, graph: GraphInput) -> None:
    """Affinities, drawn until the atoms in the middle of the chain, far from the defect, carry nothing."""
    assert net.cell_state is not None
    rows = net.cell_state.affinity.weight.data
    topology, geometry = prepare(net, replace(graph, charge=1.0, moment=1.0), torch.float64, True)
    middle = len(graph.numbers) // 2
    places = torch.isin(topology.order, torch.tensor([middle - 1, middle, middle + 1]))
    for _ in range(200):
        with torch.no_grad():
            _, state = net.node_features(topology, geometry)
        assert state is not None
        carried = torch.cat([state.charges, state.moments], dim=1)[places].sum(dim=0) > 0.0
        if not carried.any():
            return
        rows[carried] = 300.0 * torch.randn_like(rows[carried])
    raise AssertionError("no affinities found")


def test_atoms_do_not_see_the_size_of_the_cell() -> None:
    """A chain of 14 and one of 26 atoms with the same defect: equal blocks around it, and blocks of the
    neutral chain far away."""
    net = network(7, LOCAL.model_copy(update={"charge_channels": 2}), SHORT)
    small, large = chain(14), chain(26)
    localised(net, small)
    found = {}
    for name, graph in (("small", small), ("large", large)):
        data, neutral = both(net, graph, 1.0, 1.0), both(net, graph, 0.0, 0.0)[0]
        n = len(graph.numbers)
        near, far = [], []
        for p in range(graph.n_pairs):
            i, j = int(graph.atom_i[p]), int(graph.atom_j[p])
            start, stop = graph.offset[p], graph.offset[p + 1]
            if max(i, j) < 4 and not graph.pair_cell[p].any():
                near.append(np.concatenate([part[start:stop] for part in data]))
            if 8 <= i < n - 8 and 8 <= j < n - 8:
                far.append(np.abs(data[0][start:stop] - neutral[start:stop]).max())
                far.append(np.abs(data[1][start:stop]).max())
        found[name] = np.concatenate(near)
        assert max(far, default=0.0) < 1e-12
    assert far  # of the large one
    assert np.abs(found["small"]).max() > 1e-3
    np.testing.assert_allclose(found["small"], found["large"], rtol=0.0, atol=1e-10)


def test_gradient_of_a_charged_prediction() -> None:
    numbers, positions, cell = structure(4)
    net = network(8, CHARGED)
    graph = replace(build_graph(numbers, positions, cell, ORBITALS), charge=1.0)
    rng = np.random.default_rng(0)
    random = rng.normal(size=graph.nnz)
    Z = random.copy()
    for p, q in enumerate(graph.reverse):
        shape = (ORBITALS[int(numbers[graph.atom_i[p]])].size, ORBITALS[int(numbers[graph.atom_j[p]])].size)
        a = random[graph.offset[p] : graph.offset[p + 1]].reshape(shape)
        b = random[graph.offset[q] : graph.offset[q + 1]].reshape(shape[::-1])
        Z[graph.offset[p] : graph.offset[p + 1]] = (0.5 * (a + b.T)).ravel()
    atoms, _ = network_gradient(net, graph, Z)
    direction = rng.normal(size=positions.shape)
    h = 1e-5

    def trace(sign: float) -> float:
        moved = replace(graph, positions=positions + sign * h * direction)
        return float(predict(net, moved) @ Z)

    assert float((atoms * direction).sum()) == pytest.approx((trace(1.0) - trace(-1.0)) / (2.0 * h), rel=1e-6)
