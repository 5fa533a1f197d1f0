"""Dense solver: H(k) C = S(k) C e at every k point, and the density matrices made from C.

Density matrix of the states f_i, c_i at k (f includes the spin degeneracy), with the phases of BlockMatrix:

    D_ij(R) = sum_k w_k Re[ conj(P_ij(k)) exp(2 pi i k.R) ],   P(k) = C f C^+,
    W likewise with f e in place of f (energy-weighted), so that Tr D S = N_el and Tr D H = Tr W S.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, lapack, solve_triangular

from mlh.common.activity import counted
from mlh.common.blas import blas_threads_for
from mlh.matrix.block_matrix import BlockMatrix, Pattern, pattern_index
from mlh.matrix.kpoints import KPoints, KPointsSpec, as_kpoints
from mlh.solver.contract import Filling
from mlh.solver.dense_response import response_of_states
from mlh.solver.dense_second import second_response_of_states
from mlh.solver.folding import at_k, blocks_of, symmetrised
from mlh.solver.occupations import Occupations, Smearing, filled_bands, occupy
from mlh.solver.state import Response, State

FloatArray = NDArray[np.float64]

MIN_RECIPROCAL_CONDITION = 1e-13
"""Below this reciprocal condition number (1-norm) of S the eigenvalues lose all digits that matter."""


@dataclass(frozen=True, slots=True, eq=False)
class OverlapFactor:
    """Cholesky factors S(k) = L L^+ of the overlap, made once per geometry and reused by every step."""

    pattern: Pattern
    kpts: KPoints
    lower: tuple[NDArray[Any], ...]
    reciprocal_condition: float

    @classmethod
    def of(cls, S: BlockMatrix, kpts: KPointsSpec = None) -> OverlapFactor:
        """Factorise S at every k point; an indefinite or ill-conditioned S is an error."""
        points = as_kpoints(kpts)
        factors, conditions = [], []
        with blas_threads_for(int(np.sum(S.pattern.n_orbitals))):
            for k in points.points:
                lower, rcond = _cholesky(at_k(S, k), k)
                factors.append(lower)
                conditions.append(rcond)
        return cls(S.pattern, points, tuple(factors), min(conditions))

    def occupied(self, H: BlockMatrix, filling: Filling) -> Solution:
        """Eigenstates of H at the k points, filled."""
        f = filling
        return diagonalise(H, self, f.n_electrons, smearing=f.smearing, width=f.width, spin_moment=f.moment)


@dataclass(frozen=True, slots=True)
class Dense:
    """Diagonalisation by LAPACK: everything there is to know, at a cost cubic in the atoms."""

    name: ClassVar[str] = "dense"

    def describe(self) -> dict[str, Any]:
        """Nothing: there are no settings, and the solver is the default."""
        return {}

    def check(self, kpts: KPointsSpec, smearing: Smearing) -> None:
        """Any k points and occupations."""

    def prepare(self, S: BlockMatrix, kpts: KPointsSpec = None) -> OverlapFactor:
        """Cholesky factors of S at the k points."""
        return OverlapFactor.of(S, kpts)


def _cholesky(S: NDArray[Any], k: FloatArray) -> tuple[NDArray[Any], float]:
    """Lower Cholesky factor and reciprocal condition number (LAPACK potrf, pocon)."""
    where = f"the overlap matrix at k = {np.array2string(k, precision=4)}"
    potrf, pocon = (lapack.dpotrf, lapack.dpocon) if np.isrealobj(S) else (lapack.zpotrf, lapack.zpocon)
    lower, info = potrf(S, lower=1, clean=1)
    if info > 0:
        raise ValueError(
            f"S: {where} is not positive definite (leading minor {info}): "
            "atoms too close to each other, or linearly dependent orbitals"
        )
    rcond, _ = pocon(lower, float(np.linalg.norm(S, 1)), uplo="L")
    if rcond < MIN_RECIPROCAL_CONDITION:
        raise ValueError(
            f"S: {where} is ill-conditioned: expected a reciprocal condition number above "
            f"{MIN_RECIPROCAL_CONDITION:.0e}, got {rcond:.1e}; use fewer or less extended orbitals"
        )
    return lower, float(rcond)


@dataclass(frozen=True, eq=False)
class Solution(State):
    """Eigenstates, occupations and density matrices.

    D: BlockMatrix (nspin). eigenvalues, occupations: (nspin, nk, norb), Hartree; occupations run to 2
    (unpolarised) or 1. fermi_levels: (nspin,), Hartree. entropy_energy: -T S, Hartree.
    `coefficients[spin][k]`: (norb, norb), columns c_i with C^+ S C = 1.
    """

    D: BlockMatrix
    kpts: KPoints
    eigenvalues: FloatArray
    occupations: FloatArray
    fermi_levels: FloatArray
    entropy_energy: float
    coefficients: tuple[tuple[NDArray[Any], ...], ...]
    filling: Filling
    first_band: tuple[int, ...] = ()
    """Of a few states next to the gap: the number of the first of them among all, for each spin."""

    def band_number(self, spin: int, band: int) -> int:
        """Among all states of the spin."""
        return band + (self.first_band[spin] if self.first_band else 0)

    @cached_property
    def _energy_weighted(self) -> BlockMatrix:
        weighted = self.occupations * self.eigenvalues
        return _density_matrix(self.D.pattern, self.kpts, self.coefficients, self.occupations, weighted)

    @property
    def W(self) -> BlockMatrix:
        """sum_i f e c c^+, Hartree."""
        return self._energy_weighted

    @property
    def integer_occupations(self) -> bool:
        """True when every state is full or empty."""
        return bool(np.isin(self.occupations, (0.0, float(self.degeneracy))).all())

    @property
    def fermi_level(self) -> float:
        """Fermi level (the higher one when a fixed moment gives two), Hartree."""
        return float(self.fermi_levels.max())

    @cached_property
    def filled_bands(self) -> NDArray[np.int64] | None:
        """Full bands of each spin, (nspin,), by counting (`mlh.solver.occupations.filled_bands`); None: a
        metal."""
        electrons = np.einsum("skb,k->s", self.occupations, self.kpts.weights)
        return filled_bands(self.eigenvalues, electrons, bool(np.ptp(self.fermi_levels) == 0.0))

    @cached_property
    def _edges(self) -> tuple[float, float]:
        """Highest full and lowest empty level; in a metal with smearing the Fermi level twice."""
        counts = self.filled_bands
        bands = np.arange(self.eigenvalues.shape[2])
        if counts is not None:
            full = np.broadcast_to(bands < counts[:, None, None], self.eigenvalues.shape)
        elif self.integer_occupations:
            full = self.occupations > 0.5 * self.degeneracy
        else:
            return self.fermi_level, self.fermi_level
        return (
            float(self.eigenvalues[full].max(initial=-np.inf)),
            float(self.eigenvalues[~full].min(initial=np.inf)),
        )

    @property
    def homo(self) -> float:
        """Highest level of the full bands, Hartree; in a metal the Fermi level."""
        return self._edges[0]

    @property
    def lumo(self) -> float:
        """Lowest level of the empty bands, Hartree (infinite when every level is full); in a metal the Fermi
        level."""
        return self._edges[1]

    @property
    def magnetic_moment(self) -> float:
        """N_up - N_down per cell; 0 for an unpolarised calculation."""
        if self.nspin == 1:
            return 0.0
        electrons = np.einsum("skb,k->s", self.occupations, self.kpts.weights)
        return float(electrons[0] - electrons[1])

    @property
    def band_energy(self) -> float:
        """sum_k w_k f e = Tr D H_in = Tr W S, Hartree."""
        return float(np.einsum("skb,skb,k->", self.occupations, self.eigenvalues, self.kpts.weights))

    def projected_w(self, H: BlockMatrix) -> BlockMatrix:
        """C sqrt(f) (C^+ H C) sqrt(f) C^+."""
        return _projected_w(self, H)

    def residual_energy(self, residual: BlockMatrix) -> float:
        """The sum over pairs of states."""
        return _residual_energy(self, residual)

    def response(self, R: BlockMatrix) -> Response:
        """The sums over pairs of states."""
        return response_of_states(self, R)

    def second_response(self, R: BlockMatrix) -> Response:
        """By second-order perturbation theory; ValueError where states are partly filled."""
        if not self.integer_occupations:
            raise ValueError("R: the second-order change is there for full and empty states only, got others")
        return second_response_of_states(self, R)


def diagonalise(
    H: BlockMatrix,
    S: BlockMatrix | OverlapFactor,
    n_electrons: float,
    kpts: KPointsSpec = None,
    smearing: Smearing = "none",
    width: float = 0.0,
    spin_moment: float | None = None,
) -> Solution:
    """Solve H C = S C e and fill the states; arguments as in `mlh.solve`."""
    factor = S if isinstance(S, OverlapFactor) else OverlapFactor.of(S, kpts)
    points = factor.kpts
    if isinstance(S, OverlapFactor) and kpts is not None:
        asked = as_kpoints(kpts)
        if not np.array_equal(asked.points, points.points):
            raise ValueError("kpts: expected the k points of the OverlapFactor, got others")
    levels, states = [], []
    with blas_threads_for(len(factor.lower[0])):
        for spin in range(H.nspin):
            pairs = [
                _eigenstates(at_k(H, k, spin), lower)
                for k, lower in counted("k point", list(zip(points.points, factor.lower)))
            ]
            levels.append([e for e, _ in pairs])
            states.append(tuple(c for _, c in pairs))
    eigenvalues = np.array(levels)
    filled: Occupations = occupy(eigenvalues, points.weights, n_electrons, smearing, width, spin_moment)
    coefficients = tuple(states)
    pattern = H.pattern
    f = filled.values
    return Solution(
        D=_density_matrix(pattern, points, coefficients, f),
        kpts=points,
        eigenvalues=eigenvalues,
        occupations=f,
        fermi_levels=filled.fermi_levels,
        entropy_energy=filled.entropy_energy,
        coefficients=coefficients,
        filling=Filling(n_electrons, smearing, width, spin_moment),
    )


def _eigenstates(H: NDArray[Any], lower: NDArray[Any]) -> tuple[FloatArray, NDArray[Any]]:
    """Reduce with S = L L^+ to L^-1 H L^-+ z = e z; c = L^-+ z. Complex when either matrix is."""
    complex_path = np.iscomplexobj(H) or np.iscomplexobj(lower)
    if complex_path:
        reduced, info = lapack.zhegst(H.astype(complex), lower.astype(complex), itype=1, lower=1)
    else:
        reduced, info = lapack.dsygst(H, lower, itype=1, lower=1)
    if info != 0:
        raise RuntimeError(f"LAPACK sygst/hegst failed with info = {info}")
    values, z = eigh(reduced, lower=True, driver="evd", overwrite_a=True, check_finite=True)
    return values, solve_triangular(lower, z, trans=2 if complex_path else 1, lower=True, check_finite=False)


def _density_matrix(
    pattern: Pattern,
    kpts: KPoints,
    coefficients: tuple[tuple[NDArray[Any], ...], ...],
    occupations: FloatArray,
    factors: FloatArray | None = None,
) -> BlockMatrix:
    """sum_i x_i c_i c_i^+ in blocks, x = factors (default: the occupations); empty states are skipped."""
    index = pattern_index(pattern)
    x_all = occupations if factors is None else factors
    cells = np.asarray(pattern.cell)
    data = np.zeros((len(coefficients), pattern.nnz))
    for spin, per_k in enumerate(coefficients):
        for k, (point, weight) in enumerate(zip(kpts.points, kpts.weights)):
            used = occupations[spin, k] > 0.0
            c = per_k[k][:, used]
            dense = (c * (weight * x_all[spin, k, used])) @ c.conj().T
            data[spin] += blocks_of(dense, point, index.flat, index.pair, cells)
    return symmetrised(BlockMatrix(pattern, data), kpts)


def _projected_w(solution: Solution, H: BlockMatrix) -> BlockMatrix:
    pattern = H.pattern
    index = pattern_index(pattern)
    cells = np.asarray(pattern.cell)
    data = np.zeros((solution.nspin, pattern.nnz))
    for spin in range(solution.nspin):
        for k, (point, weight) in enumerate(zip(solution.kpts.points, solution.kpts.weights)):
            f = solution.occupations[spin, k]
            used = f > 0.0
            c = solution.coefficients[spin][k][:, used]
            projected = c.conj().T @ at_k(H, point, spin) @ c
            c = c * np.sqrt(weight * f[used])
            data[spin] += blocks_of(c @ projected @ c.conj().T, point, index.flat, index.pair, cells)
    return symmetrised(BlockMatrix(pattern, data), solution.kpts)


def _residual_energy(solution: Solution, residual: BlockMatrix) -> float:
    total = 0.0
    for spin in range(solution.nspin):
        for k, (point, weight) in enumerate(zip(solution.kpts.points, solution.kpts.weights)):
            c = solution.coefficients[spin][k]
            e, f = solution.eigenvalues[spin, k], solution.occupations[spin, k]
            occupied = f > 1e-12
            squared = np.abs(c[:, occupied].conj().T @ at_k(residual, point, spin) @ c) ** 2
            df = f[occupied][:, None] - f[None, :]
            de = e[None, :] - e[occupied][:, None]
            # Each pair once: from the state that holds more; pairs of equal filling do not respond.
            pairs = (df > 1e-12) & (np.abs(de) > 1e-12)
            total += float(weight * np.sum(squared[pairs] * df[pairs] / de[pairs]))
    return total
