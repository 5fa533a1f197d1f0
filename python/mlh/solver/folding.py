"""Between dense matrices at k points and the blocks of a Pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPoints

FloatArray = NDArray[np.float64]


def at_k(matrix: BlockMatrix, k: FloatArray, spin: int = 0) -> NDArray[Any]:
    """M(k) of one spin, (norb, norb); real at Gamma and wherever all phases are."""
    return matrix.to_dense(k if k.any() else None, spin)


def blocks_of(
    dense: NDArray[Any], k: FloatArray, flat: NDArray[np.int64], pair: NDArray[np.int64], cells: NDArray[Any]
) -> FloatArray:
    """Re[conj(P(k))_ij exp(2 pi i k.R)] for every stored element."""
    values = dense.ravel()[flat]
    if not k.any():
        return np.asarray(values.real, dtype=np.float64)
    phase = np.exp(2j * np.pi * (cells @ k))[pair]
    return np.asarray((values.conj() * phase).real, dtype=np.float64)


def symmetrised(matrix: BlockMatrix, kpts: KPoints) -> BlockMatrix:
    """What a sum over irreducible points becomes for the whole mesh."""
    return matrix if kpts.symmetry is None else kpts.symmetry.matrix(matrix)
