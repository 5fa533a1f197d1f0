"""Exact symmetries of the predicted blocks, in FP64, with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import factorial, lpmv

from mlh.network.contract import prepare
from mlh.network.edge_frames.config import EdgeFramesConfig
from mlh.network.edge_frames.harmonics import (
    edge_frames,
    rotation_matrices,
    sphere_quadrature,
    spherical_harmonics,
)
from mlh.network.edge_frames.network import EdgeFramesNetwork
from mlh.network.edge_frames.parts import (
    ORBITAL_ORDER,
    OrbitalSet,
    orbital_frames,
    pair_parts,
    to_edge_frame,
    to_lab,
)
from mlh.network.graph import GraphInput, build_graph
from mlh.network.layers import SMALL as START
from mlh.network.site_blocks import gaunt_coupling, site_parts
from model_helpers import ORBITALS, SMALL, blocks, network, predict, structure

TOLERANCE = 1e-10


def orthogonal(seed: int, improper: bool = False) -> np.ndarray:
    """A random orthogonal matrix of determinant +1 or -1."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q)) * (-1.0 if improper else 1.0)


def orbital_rotation(orbitals: OrbitalSet, q: np.ndarray) -> np.ndarray:
    """Matrix of an orthogonal transformation in the package's orbital order, block diagonal."""
    d = rotation_matrices(3, q)
    out = np.zeros((orbitals.size, orbitals.size))
    for l, start in zip(orbitals.shells, orbitals.starts):
        index = list(ORBITAL_ORDER[l])
        out[start : start + 2 * l + 1, start : start + 2 * l + 1] = d[l][np.ix_(index, index)]
    return out


def test_orbital_order_of_p_and_d() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    x, y, z = vectors.T
    harmonics = spherical_harmonics(2, vectors)
    p = np.sqrt(3 / (4 * np.pi)) * np.stack([x, y, z], axis=1)
    c = np.sqrt(15 / (4 * np.pi))
    d = c * np.stack([(3 * z * z - 1) / (2 * np.sqrt(3)), (x * x - y * y) / 2, x * y, x * z, y * z], axis=1)
    assert np.allclose(harmonics[:, 1:4][:, list(ORBITAL_ORDER[1])], p, atol=1e-14)
    assert np.allclose(harmonics[:, 4:9][:, list(ORBITAL_ORDER[2])], d, atol=1e-14)


def test_harmonics_agree_with_legendre_functions() -> None:
    vectors = np.random.default_rng(1).normal(size=(10, 3))
    x, y, z = vectors.T / np.linalg.norm(vectors, axis=1)
    phi, ours = np.arctan2(y, x), spherical_harmonics(6, vectors)
    for l in range(7):
        for m in range(-l, l + 1):
            k = abs(m)
            norm = (2 * l + 1) / (4 * np.pi) * factorial(l - k) / factorial(l + k) * (2 if m else 1)
            turn = np.sin(k * phi) if m < 0 else np.cos(k * phi)
            theirs = np.sqrt(norm) * (-1) ** k * lpmv(k, l, z) * turn  # scipy has the Condon-Shortley phase
            assert np.allclose(ours[:, l * l + l + m], theirs, atol=1e-12)


def test_couplings_are_the_integrals_of_three_harmonics() -> None:
    points, weights = sphere_quadrature(12)
    y = [spherical_harmonics(6, points)[:, l * l : (l + 1) ** 2] for l in range(7)]
    for l1, l2, l in ((0, 2, 2), (1, 1, 2), (2, 1, 3), (2, 2, 0), (2, 2, 2), (3, 2, 1), (3, 3, 6)):
        integral = np.einsum("p,pm,pa,pb->mab", weights, y[l], y[l1], y[l2])
        coupling = gaunt_coupling(l1, l2, l)
        ratio = np.linalg.norm(integral) / np.linalg.norm(coupling)
        assert np.allclose(coupling * ratio, integral, atol=1e-13)


def test_irreps_of_an_on_site_block() -> None:
    parts = site_parts(OrbitalSet(14, (0, 1, 2), 4.0))
    assert str(parts.irreps) == "3x0e+2x1o+3x2e+1x3o+1x4e"
    assert parts.irreps.dim == len(parts.basis)
    assert parts.irreps.num_irreps == sum(parts.counts)


def test_edge_frames_turn_z_to_the_edge() -> None:
    vectors = np.vstack(
        [np.random.default_rng(2).normal(size=(6, 3)), [[0, 0, 2.0], [0, 0, -1.0], [1.0, 0, 0]]]
    )
    frames = edge_frames(torch.from_numpy(vectors), 6)
    harmonics = spherical_harmonics(6, vectors)
    for l, d in enumerate(frames):
        column = np.sqrt((2 * l + 1) / (4 * np.pi)) * d[:, :, l].numpy()
        assert np.allclose(column, harmonics[:, l * l : (l + 1) ** 2], atol=1e-13)
        assert torch.allclose(d @ d.mT, torch.eye(2 * l + 1, dtype=torch.float64).expand_as(d), atol=1e-12)


def test_parts_are_orthonormal_and_restore_blocks_of_a_local_potential() -> None:
    """<phi_i|V|phi_j> of an arbitrary V has no part outside the basis, and the round trip is exact."""
    a, b = OrbitalSet(14, (0, 1, 1, 2), 4.0), OrbitalSet(8, (0, 1, 2, 3), 4.0)
    rng = np.random.default_rng(3)
    points = rng.normal(size=(400, 3)) * 2
    centre = np.array([0.7, -1.1, 1.9])
    potential = rng.normal(size=400)

    def orbitals(kind: OrbitalSet, d: np.ndarray) -> np.ndarray:
        y = spherical_harmonics(3, d)
        r = np.linalg.norm(d, axis=1)
        columns = [
            np.exp(-(0.5 + 0.1 * k) * r)[:, None] * y[:, l * l : (l + 1) ** 2]
            for k, l in enumerate(kind.shells)
        ]
        return np.concatenate(columns, axis=1)[:, kind.order]

    first, second = orbitals(a, points), orbitals(b, points - centre)
    block = torch.from_numpy(first.T @ (potential[:, None] * second))[None]
    frames = edge_frames(torch.from_numpy(centre[None]), 3)
    left, right = orbital_frames(a, frames), orbital_frames(b, frames)
    parts = pair_parts(a, b)
    basis = torch.from_numpy(parts.basis.reshape(len(parts.basis), -1))
    assert torch.allclose(basis @ basis.T, torch.eye(len(basis), dtype=torch.float64), atol=1e-13)
    assert len(parts.basis) == parts.counts[0] + 2 * sum(parts.counts[1:]) == len(parts.part)
    components = to_edge_frame(block, left, right).flatten(1) @ basis.T
    restored = to_lab((components @ basis).reshape(1, a.size, b.size), left, right)
    assert torch.allclose(restored, block, atol=1e-12)

    site = first.T @ (potential[:, None] * first)
    own = site_parts(a)
    flat = own.basis.reshape(len(own.basis), -1)
    assert np.allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-13)
    radial = np.repeat(np.linspace(0.5, 3, 40), len(sphere_quadrature(14)[1]))
    directions, weights = sphere_quadrature(14)
    shell_points = radial[:, None] * np.tile(directions, (40, 1))
    smooth = np.cos(shell_points @ np.array([0.3, 0.8, -0.5])) + shell_points[:, 0]
    values = orbitals(a, shell_points)
    site = values.T @ ((np.tile(weights, 40) * smooth)[:, None] * values)
    assert np.abs((site.ravel() @ flat.T) @ flat - site.ravel()).max() < 1e-3 * np.abs(site).max()


@pytest.mark.parametrize("improper", [False, True])
def test_rotation_and_inversion(improper: bool) -> None:
    numbers, positions, cell = structure(1)
    q = orthogonal(4, improper)
    net = network(0)
    before_graph = build_graph(numbers, positions, cell, ORBITALS)
    after_graph = build_graph(numbers, positions @ q.T, cell @ q.T, ORBITALS)
    assert np.array_equal(before_graph.atom_j, after_graph.atom_j)
    before = blocks(before_graph, predict(net, before_graph))
    after = blocks(after_graph, predict(net, after_graph))
    turn = {z: orbital_rotation(o, q) for z, o in ORBITALS.items()}
    scale = max(np.abs(b).max() for b in before)
    assert scale > 0.1
    for p in range(before_graph.n_pairs):
        left = turn[int(numbers[before_graph.atom_i[p]])]
        right = turn[int(numbers[before_graph.atom_j[p]])]
        assert np.abs(after[p] - left @ before[p] @ right.T).max() < TOLERANCE * scale


def test_translation_permutation_and_hermiticity() -> None:
    numbers, positions, cell = structure(2)
    net = network(1)
    graph = build_graph(numbers, positions, cell, ORBITALS)
    data = predict(net, graph)
    before = blocks(graph, data)
    for p in range(graph.n_pairs):
        assert np.array_equal(before[p], before[graph.reverse[p]].T)
    order = np.array([3, 0, 4, 2, 1])
    shift = np.array([0.3, -2.0, 5.0])
    other = build_graph(numbers[order], positions[order] + shift, cell, ORBITALS)
    after = blocks(other, predict(net, other))
    where = {
        (int(order[i]), int(order[j]), *c): p
        for p, (i, j, c) in enumerate(zip(other.atom_i, other.atom_j, other.pair_cell.tolist()))
    }
    for p in range(graph.n_pairs):
        q = where[(int(graph.atom_i[p]), int(graph.atom_j[p]), *graph.pair_cell[p].tolist())]
        assert np.abs(before[p] - after[q]).max() < TOLERANCE


def test_supercell_repeats_the_blocks_of_the_primitive_cell() -> None:
    numbers, positions, cell = structure(3, n=3)
    net = network(2)
    graph = build_graph(numbers, positions, cell, ORBITALS)
    primitive = blocks(graph, predict(net, graph))
    lookup = {
        (int(i), int(j), *c): p
        for p, (i, j, c) in enumerate(zip(graph.atom_i, graph.atom_j, graph.pair_cell.tolist()))
    }
    double = build_graph(
        np.tile(numbers, 2), np.vstack([positions, positions + cell[0]]), np.diag([2, 1, 1]) @ cell, ORBITALS
    )
    repeated = blocks(double, predict(net, double))
    assert double.n_pairs == 2 * graph.n_pairs
    for p in range(double.n_pairs):
        i, j, c = int(double.atom_i[p]), int(double.atom_j[p]), double.pair_cell[p] * [2, 1, 1]
        c[0] += j // 3 - i // 3
        assert np.abs(repeated[p] - primitive[lookup[(i % 3, j % 3, *c.tolist())]]).max() < TOLERANCE


def test_two_far_copies_do_not_see_each_other() -> None:
    numbers = np.array([14, 8, 8])
    molecule = np.array([[0.0, 0, 0], [2.9, 0.4, 0], [-1.0, 2.6, 0.5]])
    net = network(3, EdgeFramesConfig(**{**SMALL.model_dump(), "long_range_channels": 0}))
    one = build_graph(numbers, molecule, np.eye(3) * 60, ORBITALS)
    two = build_graph(
        np.tile(numbers, 2),
        np.vstack([molecule, molecule + np.array([30.0, 1.0, 2.0])]),
        np.eye(3) * 60,
        ORBITALS,
    )
    single, both = predict(net, one), predict(net, two)
    assert two.nnz == 2 * one.nnz
    assert np.abs(both[: one.nnz] - single).max() < TOLERANCE
    assert np.abs(both[one.nnz :] - single).max() < TOLERANCE


def test_blocks_vanish_smoothly_at_the_cutoffs() -> None:
    """As an atom moves out, blocks go to zero at r_c,i + r_c,j every block is smooth across all cutoffs."""
    net = network(4)
    cell = np.eye(3) * 60

    def graph(r: float) -> GraphInput:
        return build_graph(
            np.array([14, 8, 8]), np.array([[0, 0, 0], [r, 0, 0], [1.5, 2.0, 0.3]]), cell, ORBITALS
        )

    def off_site(r: float) -> float:
        g = graph(r)
        chosen = [p for p in range(g.n_pairs) if g.atom_i[p] == 0 and g.atom_j[p] == 1]
        return float(np.abs(blocks(g, predict(net, g))[chosen[0]]).max()) if chosen else 0.0

    end = ORBITALS[14].cutoff + ORBITALS[8].cutoff
    assert off_site(end + 1e-6) == 0.0
    assert off_site(end - 1e-3) < 1e-8 < off_site(end - 1.0)

    def site(r: float) -> float:
        g = graph(r)
        return float(blocks(g, predict(net, g))[0][0, 0])

    for edge in (*SMALL.reach, end):
        h = 1e-4
        values = [site(edge + k * h) for k in (-2, -1, 0, 1, 2)]
        jump = abs((values[4] - values[2]) - (values[2] - values[0])) / (2 * h)
        assert jump < 1e-3


def test_chunks_do_not_change_the_result() -> None:
    graph = build_graph(*structure(5), ORBITALS)
    whole = predict(network(5), graph)
    config = EdgeFramesConfig(**{**SMALL.model_dump(), "chunk": 7})
    assert np.abs(predict(network(5, config), graph, keep_frames=False) - whole).max() < TOLERANCE


def test_an_element_may_be_absent() -> None:
    """A structure of one element, with a network of two."""
    numbers, positions, cell = structure(5)
    alone = np.full_like(numbers, numbers[0])
    assert set(numbers.tolist()) != set(alone.tolist())
    graph = build_graph(alone, positions, cell, ORBITALS)
    found = predict(network(5), graph)
    assert len(found) > 0 and np.isfinite(found).all()


def test_single_precision_agrees() -> None:
    graph = build_graph(*structure(6), ORBITALS)
    exact = predict(network(6), graph)
    net = network(6).float()
    topology, geometry = prepare(net, graph, torch.float32, True)
    with torch.no_grad():
        out = net(topology, geometry)
    from mlh.network.blocks import data_from_blocks

    single = data_from_blocks(topology, out, net.orbitals).double().numpy()
    assert 0 < np.abs(single - exact).max() < 1e-4 * np.abs(exact).max()


def test_gradient_with_respect_to_positions() -> None:
    """d(sum of squares of dH)/d(position) agrees with central differences (what exact forces will need)."""
    numbers, positions, cell = structure(7, n=3)
    net = network(7)
    graph = build_graph(numbers, positions, cell, ORBITALS)
    topology = net.topology(graph)

    def value(tau: torch.Tensor) -> torch.Tensor:
        out = net(topology, net.geometry(topology, tau, True))
        return sum((b**2).sum() for b in [*out.sites, *out.pairs])  # type: ignore[return-value]

    tau = torch.from_numpy(positions).requires_grad_()
    (gradient,) = torch.autograd.grad(value(tau), tau)
    for atom, axis in ((0, 0), (1, 2), (2, 1)):
        step = torch.zeros_like(tau)
        step[atom, axis] = 1e-5
        with torch.no_grad():
            numeric = (value(tau + step) - value(tau - step)) / 2e-5
        assert abs(float(numeric - gradient[atom, axis])) < 1e-6 * max(1.0, float(gradient.abs().max()))


def test_unknown_element_and_wrong_block_size_are_refused() -> None:
    graph = build_graph(*structure(8), ORBITALS)
    only_silicon = EdgeFramesNetwork([ORBITALS[14]], SMALL).double()
    with pytest.raises(ValueError, match=r"Z = \[8\]"):
        prepare(only_silicon, graph, torch.float64, True)
    other = {14: OrbitalSet(14, (0, 1), 3.6), 8: ORBITALS[8]}
    wrong = EdgeFramesNetwork(list(other.values()), SMALL).double()
    with pytest.raises(ValueError, match="blocks of the model's orbitals"):
        prepare(wrong, graph, torch.float64, True)
    assert START < 1
