"""Shared fixtures: small patterns with matrices that have the symmetries of the real ones."""

from __future__ import annotations

import os

# Before NumPy loads its BLAS: its threads on small matrices only fight with those of the core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from mlh import _core
from mlh.matrix.block_matrix import BlockMatrix, Pattern, pattern_index


def radial(cutoff: float, decay: float) -> np.ndarray:
    """g(r) = exp(-decay r^2) (1 - (r/rc)^2)^3 on the mesh of the core."""
    r = _core.RADIAL_STEP * np.arange(round(cutoff / _core.RADIAL_STEP) + 1)
    return np.exp(-decay * r**2) * np.maximum(0.0, 1.0 - (r / cutoff) ** 2) ** 3


def toy_basis(cutoff: float = 4.0) -> _core.BasisData:
    """Two species, one with s and p, one with s only."""
    g = radial(cutoff, 0.5)
    density = radial(cutoff, 1.0)
    make = _core.SpeciesData
    return _core.BasisData(
        [
            make("A", 4.0, [(0, g), (1, g)], [], density, density),
            make("B", 1.0, [(0, g)], [], density, density),
        ]
    )


def toy_pattern(cell: float, positions: np.ndarray, species: list[int], cutoff: float = 4.0) -> Pattern:
    """Pattern of the toy basis in a cubic cell (Bohr)."""
    structure = _core.Structure(cell * np.eye(3), np.asarray(positions, float), np.array(species, np.int32))
    return Pattern(structure, toy_basis(cutoff))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads of the core; the old one is back after the test."""
    before = _core.get_num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


@pytest.fixture
def pattern() -> Pattern:
    """Three atoms in a cell smaller than the range of the orbitals: several images of each pair."""
    return toy_pattern(6.0, np.array([[0.0, 0, 0], [2.5, 0.4, 0.1], [0.3, 3.1, 2.2]]), [0, 1, 0])


@pytest.fixture
def random_matrix() -> Callable[..., BlockMatrix]:
    """Symmetric matrix with random blocks; `identity` is added to the self pairs."""

    def make(
        pattern: Pattern, seed: int, scale: float = 1.0, identity: float = 0.0, nspin: int = 1
    ) -> BlockMatrix:
        data = scale * np.random.default_rng(seed).normal(size=(nspin, pattern.nnz))
        matrix = BlockMatrix(pattern, data).symmetrised()
        return matrix + identity * self_identity(pattern)

    return make


def self_identity(pattern: Pattern) -> BlockMatrix:
    """1 on the diagonal of the self pairs (i, i, 0)."""
    index = pattern_index(pattern)
    own = (pattern.atom_i == pattern.atom_j) & (np.asarray(pattern.cell) == 0).all(axis=1)
    diagonal = index.flat // index.n_orbitals == index.flat % index.n_orbitals
    return BlockMatrix(pattern, (own[index.pair] & diagonal).astype(float))
