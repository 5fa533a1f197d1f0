"""Second-order change of the density matrices of full and empty eigenstates.

In the eigenstates, P the projector on the full ones (o; v: empty), U_ia = R_ia/(e_i - e_a), H + x R:

    P1 = U + U^+,   P2_oo = -U U^+,   P2_vv = U^+ U,   P2_ia = (U R_vv - R_oo U)_ia/(e_i - e_a)
    W = P H P:   W2 = P2 e P + P e P2 + P1 e P1 + P1 R P + P R P1

from P^2 = P and [H, P] = 0, order by order (McWeeny, Phys. Rev. 126, 1028 (1962)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlh.common.blas import blas_threads_for
from mlh.matrix.block_matrix import BlockMatrix, pattern_index
from mlh.solver.folding import at_k, blocks_of, symmetrised
from mlh.solver.state import Response

if TYPE_CHECKING:
    from mlh.solver.dense import Solution

FloatArray = NDArray[np.float64]


def second_response_of_states(solution: Solution, R: BlockMatrix) -> Response:
    """Terms of order x^2 of D and W at H + x R; full and empty states only."""
    kpts, pattern = solution.kpts, solution.D.pattern
    index, cells = pattern_index(pattern), np.asarray(pattern.cell)
    data = np.zeros((2, solution.nspin, pattern.nnz))
    with blas_threads_for(index.n_orbitals):
        for s in range(solution.nspin):
            for k, (point, weight) in enumerate(zip(kpts.points, kpts.weights)):
                C = solution.coefficients[s][k]
                full = solution.occupations[s, k] > 0.5 * solution.degeneracy
                pairs = _second(solution.eigenvalues[s, k], full, C.conj().T @ at_k(R, point, s) @ C)
                for matrix, part in zip(data, pairs, strict=True):
                    dense = (solution.degeneracy * weight) * (C @ part @ C.conj().T)
                    matrix[s] += blocks_of(dense, point, index.flat, index.pair, cells)
    return Response(*(symmetrised(BlockMatrix(pattern, matrix), kpts) for matrix in data))


def _second(e: FloatArray, full: NDArray[np.bool_], R: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """P2 and W2 of one spin and k point in the eigenstates, (norb, norb)."""
    o, v = np.flatnonzero(full), np.flatnonzero(~full)
    e_o, e_v = e[o], e[v]
    R_oo, R_ov, R_vv = R[np.ix_(o, o)], R[np.ix_(o, v)], R[np.ix_(v, v)]
    gaps = e_o[:, None] - e_v
    U = R_ov / gaps
    inside = R_oo @ U
    P_oo, P_vv, P_ov = -U @ U.conj().T, U.conj().T @ U, (U @ R_vv - inside) / gaps
    mixed = R_ov @ U.conj().T
    W_oo = P_oo * e_o + e_o[:, None] * P_oo + (U * e_v) @ U.conj().T + mixed + mixed.conj().T
    W_vv = (U.conj().T * e_o) @ U
    W_ov = e_o[:, None] * P_ov + inside
    return _whole(o, v, P_oo, P_ov, P_vv), _whole(o, v, W_oo, W_ov, W_vv)


def _whole(
    o: NDArray[np.int64], v: NDArray[np.int64], oo: NDArray[Any], ov: NDArray[Any], vv: NDArray[Any]
) -> NDArray[Any]:
    """The Hermitian matrix of the blocks."""
    out = np.empty((len(o) + len(v),) * 2, dtype=np.result_type(oo, ov))
    out[np.ix_(o, o)], out[np.ix_(v, v)] = oo, vv
    out[np.ix_(o, v)], out[np.ix_(v, o)] = ov, ov.conj().T
    return out
