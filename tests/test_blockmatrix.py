"""BlockMatrix: layout, Bloch sums, transposition, transfer to another pattern."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import self_identity, toy_pattern
from mlh.matrix.block_matrix import BlockMatrix, transfer


def loop_dense(matrix: BlockMatrix, k: np.ndarray, spin: int = 0) -> np.ndarray:
    """M(k) written as the sum of its definition, pair by pair."""
    pattern = matrix.pattern
    start = np.concatenate([[0], np.cumsum(pattern.n_orbitals)])
    dense = np.zeros((start[-1], start[-1]), dtype=complex)
    for p in range(pattern.n_pairs):
        i, j = pattern.atom_i[p], pattern.atom_j[p]
        phase = np.exp(2j * np.pi * np.dot(k, pattern.cell[p]))
        dense[start[i] : start[i + 1], start[j] : start[j + 1]] += phase * matrix.block(p, spin)
    return dense


@pytest.mark.parametrize("k", [(0.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.1, -0.3, 0.25)])
@pytest.mark.parametrize("spin", [0, 1])
def test_to_dense_is_the_bloch_sum(pattern, random_matrix, k, spin):
    matrix = random_matrix(pattern, 1, nspin=2)
    dense = matrix.to_dense(k, spin)
    np.testing.assert_allclose(dense, loop_dense(matrix, np.array(k), spin), atol=1e-12)
    np.testing.assert_allclose(dense, dense.conj().T, atol=1e-12)
    assert np.isrealobj(dense) == (k != (0.1, -0.3, 0.25))


def test_pattern_has_several_images_of_a_pair(pattern):
    pairs = list(zip(pattern.atom_i.tolist(), pattern.atom_j.tolist()))
    assert len(pairs) > 2 * len(set(pairs))


def test_from_dense_gamma_gives_every_image_the_same_block(pattern):
    n = int(pattern.n_orbitals.sum())
    dense = np.random.default_rng(0).normal(size=(2, n, n))
    matrix = BlockMatrix.from_dense_gamma(pattern, dense)
    start = np.concatenate([[0], np.cumsum(pattern.n_orbitals)])
    for p in range(pattern.n_pairs):
        i, j = pattern.atom_i[p], pattern.atom_j[p]
        for spin in range(2):
            expected = dense[spin, start[i] : start[i + 1], start[j] : start[j + 1]]
            np.testing.assert_array_equal(matrix.block(p, spin), expected)


def test_dot_is_the_trace(pattern, random_matrix):
    a, b = random_matrix(pattern, 1), random_matrix(pattern, 2)
    expected = sum(np.sum(a.block(p) * b.block(p)) for p in range(pattern.n_pairs))
    assert a.dot(b) == pytest.approx(expected, abs=1e-12)
    two = random_matrix(pattern, 3, nspin=2)
    assert two.dot(a) == pytest.approx(two.spin(0).dot(a) + two.spin(1).dot(a), abs=1e-12)


def test_transpose_and_symmetry_error(pattern):
    matrix = BlockMatrix(pattern, np.random.default_rng(5).normal(size=(1, pattern.nnz)))
    transposed = matrix.transpose()
    for p in range(pattern.n_pairs):
        np.testing.assert_array_equal(transposed.block(p), matrix.block(int(pattern.reverse[p])).T)
    assert matrix.symmetry_error() > 0.1
    assert matrix.symmetrised().symmetry_error() < 1e-15


def test_arithmetic_and_immutability(pattern, random_matrix):
    a, b = random_matrix(pattern, 1), random_matrix(pattern, 2, nspin=2)
    np.testing.assert_allclose((2.0 * a + b - a).data, a.data + b.data, atol=1e-14)
    assert (a + b).nspin == 2
    with pytest.raises(ValueError):
        a.data[0, 0] = 1.0
    with pytest.raises(ValueError):
        a.block(0)[0, 0] = 1.0


def test_wrong_data_is_an_error_that_says_what(pattern):
    with pytest.raises(ValueError, match=rf"data: expected .*{pattern.nnz}.*got float64 of shape \(1, 3\)"):
        BlockMatrix(pattern, np.zeros((1, 3)))
    with pytest.raises(ValueError, match="got float32"):
        BlockMatrix(pattern, np.zeros((1, pattern.nnz), dtype=np.float32))
    other = toy_pattern(6.0, np.zeros((1, 3)), [0])
    with pytest.raises(ValueError, match="same pattern"):
        BlockMatrix.zeros(pattern) + BlockMatrix.zeros(other)


def test_transfer_copies_common_blocks_and_zeros_new_ones(random_matrix):
    positions = np.array([[0.0, 0, 0], [3.9, 0, 0], [0.2, 3.5, 0.0]])
    old = toy_pattern(9.0, positions, [0, 1, 0])
    new = toy_pattern(9.0, positions + np.array([[0, 0, 0], [0.0, 0.9, 0.0], [0, 0, 0.8]]), [0, 1, 0])
    assert old.n_pairs != new.n_pairs
    matrix = random_matrix(old, 7, nspin=2)
    moved = transfer(matrix, new)
    common = 0
    for p in range(new.n_pairs):
        q = old.find(int(new.atom_i[p]), int(new.atom_j[p]), tuple(new.cell[p].tolist()))
        for spin in range(2):
            expected = matrix.block(q, spin) if q >= 0 else np.zeros_like(moved.block(p, spin))
            np.testing.assert_array_equal(moved.block(p, spin), expected)
        common += q >= 0
    assert 0 < common < max(new.n_pairs, old.n_pairs)


def test_self_identity_is_the_unit_matrix_at_every_k(pattern):
    unit = self_identity(pattern).to_dense((0.2, 0.3, 0.4))
    np.testing.assert_allclose(unit, np.eye(len(unit)), atol=1e-15)
