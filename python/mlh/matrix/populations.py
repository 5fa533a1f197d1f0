"""Mulliken populations: q_a = sum_b D_ab S_ab, whose sum is the number of electrons.

(R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955).)
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mlh.matrix.block_matrix import BlockMatrix, pattern_index

FloatArray = NDArray[np.float64]


def orbital_populations(D: BlockMatrix, S: BlockMatrix) -> FloatArray:
    """q_a per spin, (nspin, norb)."""
    index = pattern_index(D.pattern)
    row = index.flat // index.n_orbitals
    products = D.data * S.data[0]
    return np.stack([np.bincount(row, weights=p, minlength=index.n_orbitals) for p in products])


def atom_populations(D: BlockMatrix, S: BlockMatrix) -> FloatArray:
    """Electrons of each atom per spin, (nspin, natoms)."""
    pattern = D.pattern
    # The elements of an atom's rows are consecutive; no product of the whole matrices, no index of it.
    start = np.asarray(pattern.offset)[np.asarray(pattern.row_start)]
    rows = [slice(first, last) for first, last in pairwise(start.tolist())]
    return np.array([[np.einsum("p,p->", d[r], S.data[0, r]) for r in rows] for d in D.data])


def atom_moments(D: BlockMatrix, S: BlockMatrix) -> FloatArray:
    """N_up - N_down of each atom, (natoms,); zeros without spin."""
    populations = atom_populations(D, S)
    if len(populations) == 1:
        return np.zeros(populations.shape[1])
    return np.asarray(populations[0] - populations[1])
