"""First-order change of the density matrices of eigenstates: sums over pairs of states (`Response`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlh.common.blas import blas_threads_for
from mlh.matrix.block_matrix import BlockMatrix, pattern_index
from mlh.solver.folding import at_k, blocks_of, symmetrised
from mlh.solver.occupations import occupation_slope
from mlh.solver.state import Response

if TYPE_CHECKING:
    from mlh.solver.dense import Solution

FloatArray = NDArray[np.float64]

DEGENERATE = 1e-5
"""Levels nearer than this part of the smearing width have the slope of the occupation as their difference
quotient: there the quotient has lost as many digits to rounding as the slope is wrong in."""


def response_of_states(solution: Solution, R: BlockMatrix) -> Response:
    """Changes of D and W of all spins and k points along R (nspin of the solution)."""
    kpts, pattern, filling = solution.kpts, solution.D.pattern, solution.filling
    index, cells = pattern_index(pattern), np.asarray(pattern.cell)
    slopes = _slopes(solution)
    spins = range(solution.nspin)
    with blas_threads_for(index.n_orbitals):
        rotated = [[_rotated(solution, R, s, k) for k in range(len(kpts.points))] for s in spins]
        shifts = _fermi_shifts(solution, slopes, rotated)
        data = np.zeros((2, solution.nspin, pattern.nnz))
        for s in spins:
            for k, (point, weight) in enumerate(zip(kpts.points, kpts.weights)):
                e, f, C = solution.eigenvalues[s, k], solution.occupations[s, k], solution.coefficients[s][k]
                pairs = _pairs(e, f, slopes[s, k], rotated[s][k], shifts[s], filling.width)
                for matrix, part in zip(data, pairs, strict=True):
                    half = C[:, f > 0.0] @ ((weight * part) @ C.conj().T)
                    matrix[s] += blocks_of(half + half.conj().T, point, index.flat, index.pair, cells)
    return Response(*(symmetrised(BlockMatrix(pattern, matrix), kpts) for matrix in data))


def _rotated(solution: Solution, R: BlockMatrix, spin: int, k: int) -> NDArray[Any]:
    """C^+ R C between the states that hold electrons and all states, (occupied, norb)."""
    C = solution.coefficients[spin][k]
    out: NDArray[Any] = C[:, solution.occupations[spin, k] > 0.0].conj().T @ at_k(
        R, solution.kpts.points[k], spin
    )
    return np.asarray(out @ C)


def _slopes(solution: Solution) -> FloatArray:
    """df/de of all states, (nspin, nk, norb)."""
    filling = solution.filling
    return np.stack(
        [
            solution.degeneracy * occupation_slope(levels, float(fermi), filling.smearing, filling.width)
            for levels, fermi in zip(solution.eigenvalues, solution.fermi_levels, strict=True)
        ]
    )


def _fermi_shifts(solution: Solution, slopes: FloatArray, rotated: list[list[NDArray[Any]]]) -> FloatArray:
    """Change of the Fermi level of each spin that keeps the number of electrons, (nspin,).

    The states without electrons have no slope, to rounding.
    """
    moved, total = np.zeros(solution.nspin), np.zeros(solution.nspin)
    for s, per_k in enumerate(rotated):
        for k, weight in enumerate(solution.kpts.weights):
            held = solution.occupations[s, k] > 0.0
            diagonal = np.diagonal(per_k[k][:, held]).real
            moved[s] += weight * float(slopes[s, k, held] @ diagonal)
            total[s] += weight * float(slopes[s, k, held].sum())
    if solution.filling.moment is None:
        moved[:], total[:] = moved.sum(), total.sum()
    return np.divide(moved, total, out=np.zeros_like(moved), where=total < 0.0)


def _pairs(
    e: FloatArray, f: FloatArray, slope: FloatArray, R: NDArray[Any], shift: float, width: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Elements of dD and dW (occupied, norb) such that C_occ x C^+ and its adjoint add up to the whole.

    W_ij = R_ij [(f_i + f_j)/2 + (e_i + e_j)/2 (f_i - f_j)/(e_i - e_j)].
    """
    held = f > 0.0
    e_i, f_i = e[held][:, None], f[held][:, None]
    difference = e_i - e
    near = np.abs(difference) <= DEGENERATE * width
    quotient = np.where(
        near, 0.5 * (slope[held][:, None] + slope), (f_i - f) / np.where(near, 1.0, difference)
    )
    dD = quotient * R
    rows, columns = np.arange(int(held.sum())), np.flatnonzero(held)
    dD[rows, columns] -= slope[held] * shift
    dW = 0.5 * (f_i + f) * R + 0.5 * (e_i + e) * dD
    # Pairs of two states with electrons are met from both sides.
    dD[:, held] *= 0.5
    dW[:, held] *= 0.5
    return dD, dW
