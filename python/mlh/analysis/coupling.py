"""States of two geometries of one cell: their overlaps, and what a displacement couples.

    S_ab(Q0, Q) = <phi_a(Q0) | phi_b(Q)>,   <psi_i(Q0) | psi_f(Q)> = c_i(Q0)^+ S(Q0, Q) c_f(Q)

The orbitals move with the atoms, so that the derivative of psi_f has a part in its coefficients and one in
its orbitals. By first-order perturbation in the moving basis, with everything on the right at Q0,

    <psi_i | d psi_f/dQ> = c_i^+ (dH/dQ - e_f dS/dQ) c_f / (e_f - e_i) + c_i^+ (dS(Q0, Q)/dQ) c_f .
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mlh._core as _core
from mlh.analysis.state import ElectronicState, dense_at
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix, Pattern

FloatArray = NDArray[np.float64]


def cross_overlap(first: System, second: System, k: Sequence[float] | FloatArray = (0.0, 0.0, 0.0)) -> Any:
    """<phi_a of the first | phi_b of the second>, (norb, norb), at a fractional k point; real at Gamma.

    Both hold the same atoms in the same cell and basis; a place is not wrapped, the first of every atom
    belongs to the second's.
    """
    same = first.symbols == second.symbols and np.allclose(first.cell, second.cell, rtol=0.0, atol=1e-8)
    if not same or first.basis.fingerprint != second.basis.fingerprint:
        raise ValueError("second: expected the atoms, cell and basis of the first, got others")
    # The orbitals of both in one cell: the overlaps of one half with the other are wanted.
    places = np.concatenate([first.positions, second.positions])
    species = np.array([first.basis.index(s) for s in first.symbols * 2], dtype=np.int32)
    structure = _core.Structure(first.cell, places, species)
    pattern = Pattern(structure, first.basis.to_core(), nearest=0.0)
    both = BlockMatrix(pattern, first.discretisation.tables.overlap(structure, pattern))
    n = first.n_orbitals
    return dense_at(both, np.asarray(k, dtype=np.float64))[:n, n:]


def state_overlaps(
    start: ElectronicState, moved: ElectronicState, spin: int, k: int, band: int
) -> tuple[NDArray[Any], int]:
    """(<psi_i(start) | psi_f(moved)> of all bands i, (nbands,); number of f among the moved bands).

    f: the moved state that is most like `band` of the start, its phase such that the overlap of the two is
    positive.
    """
    overlap = cross_overlap(start.system, moved.system, start.kpts.points[k])
    left = start.solution.coefficients[spin][k].conj().T @ overlap
    there = moved.solution.coefficients[spin][k]
    likeness = left[band] @ there
    best = int(np.argmax(np.abs(likeness)))
    phase = likeness[best] / np.abs(likeness[best])
    return np.asarray(left @ (there[:, best] * np.conj(phase))), best


def derivative_couplings(
    start: ElectronicState,
    below: ElectronicState,
    above: ElectronicState,
    distance: float,
    spin: int,
    k: int,
    band: int,
) -> NDArray[Any]:
    """(e_f - e_i) <psi_i | d psi_f/dQ> of all bands i at the start, by the formula above, Hartree per unit of
    distance; f = band, for which it is 0.

    below, above: states `distance` apart, the start in the middle.
    """
    point = start.kpts.points[k]
    H = [dense_at(s.H, point, min(spin, s.H.nspin - 1)) for s in (below, above)]
    S = [s.overlap_at(k) for s in (below, above)]
    moving = [cross_overlap(start.system, s.system, point) for s in (below, above)]
    energies = start.solution.eigenvalues[spin, k]
    coefficients = start.solution.coefficients[spin][k]
    c = coefficients[:, band]
    change = (H[1] - H[0] - energies[band] * (S[1] - S[0])) @ c / distance
    orbitals = (moving[1] - moving[0]) @ c / distance
    left = coefficients.conj().T
    found = np.asarray(left @ change + (energies[band] - energies) * (left @ orbitals))
    found[band] = 0.0
    return found
