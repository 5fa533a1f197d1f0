"""Mulliken populations: q_a = sum_b D_ab S_ab, whose sum is the number of electrons.

(R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955).)
"""

from __future__ import annotations

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
    q = orbital_populations(D, S)
    return np.add.reduceat(q, pattern_index(D.pattern).atom_start[:-1], axis=1)


def atom_moments(D: BlockMatrix, S: BlockMatrix) -> FloatArray:
    """N_up - N_down of each atom, (natoms,); zeros without spin."""
    populations = atom_populations(D, S)
    if len(populations) == 1:
        return np.zeros(populations.shape[1])
    return np.asarray(populations[0] - populations[1])
