"""Magnetic moments at the start of self-consistency."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers, ground_state_magnetic_moments
from numpy.typing import NDArray

from mlh.matrix.block_matrix import BlockMatrix, pattern_index

FloatArray = NDArray[np.float64]

SPLITTING = 0.05
"""Ha per unit of moment: half the exchange splitting that an initial moment puts on its atom."""

ORDER = 1e-4
"""Ha from one orbital of an atom with a moment to its next: decides which of equal levels are filled, so
that an open shell lies along the axes, where symmetry lets nothing turn it."""


def default_moments(symbols: Sequence[str]) -> FloatArray:
    """1 for every atom whose free atom has unpaired electrons, 0 for the others and ghosts (natoms,).

    All parallel: what an exchange splitting of 2.7 eV can turn ends up in the high-spin state; closed shells
    with a wider gap stay closed.
    """
    numbers = [atomic_numbers.get(s, 0) for s in symbols]
    free = np.array([ground_state_magnetic_moments[z] for z in numbers], dtype=np.float64)
    return np.minimum(free, 1.0)


def checked_moments(
    moments: Sequence[float] | NDArray[np.float64], n_atoms: int, nspin: int
) -> NDArray[np.float64]:
    """The moments as an array; an error in words when they do not fit."""
    values = np.asarray(moments, dtype=np.float64)
    if nspin != 2:
        raise ValueError("initial_moments: expected None for an unpolarised system, got moments")
    if values.shape != (n_atoms,) or not np.isfinite(values).all():
        raise ValueError(f"initial_moments: expected {n_atoms} finite numbers, one per atom, got {moments}")
    return values


def split(H: BlockMatrix, S: BlockMatrix, moments: NDArray[np.float64]) -> BlockMatrix:
    """Spin up lowered and spin down raised by S_ij (b_i + b_j) / 2, b = SPLITTING * moment of the atom.

    Both spins get S_ab (c_a + c_b) / 2 as well, c = ORDER * place of the orbital in an atom with a moment.
    """
    index = pattern_index(H.pattern)
    counts = np.asarray(H.pattern.n_orbitals, dtype=np.int64)
    place = np.arange(index.n_orbitals) - np.repeat(index.atom_start[:-1], counts)
    order = ORDER * place * np.repeat(moments != 0.0, counts)
    row, column = np.divmod(index.flat, index.n_orbitals)
    b = np.repeat(SPLITTING * moments, counts)
    shift, common = (0.5 * S.data[0] * (x[row] + x[column]) for x in (b, order))
    return BlockMatrix(H.pattern, H.data + np.stack([common - shift, common + shift]))


def whole_moment(total: float, n_electrons: float) -> float:
    """The moment nearest to the sum of initial ones that whole electrons of both spins have: as odd or even
    as their number, the larger of two that are as near."""
    down = max(math.floor(0.5 * (n_electrons - total) + 0.5 - 1e-9), 0)
    return n_electrons - 2.0 * min(down, round(n_electrons))
