"""Linear-scaling density matrix of an insulator at Gamma by trace-correcting purification.

    G S G^T = 1 + delta,   F = G H G^T with delta corrected (`inverse_factor`)
    X_0 = (e_max - F)/(e_max - e_min);   X <- X^2 or 2 X - X^2, whichever has the trace nearer to N_occ (TC2)
    P = X,   Q = Z P Z, Z ~ (1 + delta)^(-1/2),   Q <- 3 Q M Q - 2 Q M Q M Q, M = 1 + delta     (McWeeny)
    D = g G^T Q G,   W = g G^T Q (G H G^T) Q G, on the pattern only

(Niklasson, PRB 66, 155115 (2002); McWeeny, Rev. Mod. Phys. 32, 335 (1960).) g = 2 electrons per state
unpolarised, 1 per spin. In an insulator every matrix decays exponentially with distance; blocks of atoms
below a threshold are dropped (`Truncation`). The McWeeny step has the metric of G, so that errors of G and of
the expansion enter idempotency to second order only, and the energy, which is variational in the occupied
space, likewise. It acts among nearly orthonormal orbitals: S^-1, and with it the noise of truncation, is 250
times larger among the orbitals of the basis.

Error control: number of electrons, idempotency and a lower bound of the gap come with every result and are
checked against limits; a metal is an error. There are no eigenstates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlh._core import BlockSparse, return_free_pages, sparse_combine, sparse_join
from mlh.common.activity import doing
from mlh.common.units import HARTREE_EV
from mlh.matrix.block_matrix import BlockMatrix, same_pattern
from mlh.matrix.kpoints import KPoints, KPointsSpec, as_kpoints
from mlh.solver.contract import Filling
from mlh.solver.inverse_factor import InverseFactor, PurificationError, Truncation
from mlh.solver.occupations import whole_states
from mlh.solver.purified_response import Expansion, changes
from mlh.solver.sparse import SparseSolver, SparseState, folded
from mlh.solver.spectrum import PurificationStep, gap_bounds, spectral_bounds
from mlh.solver.state import Response

THRESHOLD = 5e-5
"""Default threshold: errors of docs/theory.md, "Density matrix without eigenstates"."""

LAST_STEP = 0.03
"""Threshold of the McWeeny step as a part of the others: its own truncation is not corrected any more."""

ENERGIES = 4.0
"""Threshold of F, in Hartree, as a part of the others: divided by e_max - e_min it is a half of them."""

ATOMS_AT_A_TIME = 256
"""Rows of the McWeeny step at a time."""

MAX_STEPS = 80

MIN_GAP = 0.01
"""Ha. Below it the density matrix is too long-ranged, and levels may change places between steps."""

ELECTRON_TOLERANCE = 1e-5
"""Electrons per atom that Tr D S may be off."""

IDEMPOTENCY_TOLERANCE = 1e-3
"""Largest ||P - P^2||_F per square root of the number of orbitals."""


@dataclass(frozen=True, slots=True)
class PurificationReport:
    """Error control of one solution; the worse of two spins."""

    electron_error: float
    """Tr D S - N."""
    idempotency: float
    """||P - P^2||_F per square root of the number of orbitals, before the last McWeeny step."""
    factor_error: float
    """rms of G S G^T - 1 per orbital."""
    steps: int
    """Polynomials of the expansion."""
    blocks_per_atom: float
    """Blocks of P per atom."""


@dataclass(frozen=True, slots=True, eq=False)
class _Channel:
    """One spin: K = D/g on the pattern, how P came of F among orthonormal orbitals, the levels at the gap."""

    K: BlockSparse
    C: BlockSparse
    """K G^-1 in full range: K = C G."""
    expansion: Expansion
    homo: float
    lumo: float

    @property
    def P(self) -> BlockSparse:
        """The projector."""
        return self.expansion.P

    @property
    def F(self) -> BlockSparse:
        """The Hamiltonian."""
        return self.expansion.F


@dataclass(frozen=True, eq=False, kw_only=True)
class PurifiedState(SparseState[_Channel]):
    """Density matrices of the occupied space, without eigenstates.

    homo, lumo: bounds, so that `gap` is a lower bound of the gap; fermi_level: halfway between them.
    """

    method = "purification"

    factor: InverseFactor
    report: PurificationReport

    def projected_w(self, H: BlockMatrix) -> BlockMatrix:
        """g K H K on the pattern, K = D/g in full range."""
        cut = self.factor.truncation
        data = []
        for spin, channel in enumerate(self.channels):
            F = self.factor.transformed(folded(H, spin, self.factor.S), drop=ENERGIES)
            C, C_transposed = channel.C, channel.C.transpose()
            W = sparse_join(
                [
                    cut.multiply(cut.multiply(part, F), C_transposed, drop=0.0, pattern=H.pattern)
                    for part in _parts(C)
                ]
            )
            data.append(self.degeneracy * _symmetrised(W).unfold(H.pattern))
        return BlockMatrix(H.pattern, np.stack(data))

    def residual_energy(self, residual: BlockMatrix) -> float:
        """Upper bound of g sum_ia |R_ia|^2 / (e_a - e_i) from its first three moments and the gap.

        X = P R (1 - P) has m_0 = |X|^2 = sum |R_ia|^2; with L X = X F - F X, m_1 = <X, L X> and m_2 = |L X|^2
        carry the weights (e_a - e_i)^1 and ^2. The Gauss-Radau rule of these moments with a node at the
        smallest e_a - e_i bounds sum |R_ia|^2/(e_a - e_i) from above (Golub and Meurant, "Matrices, Moments
        and Quadrature", ch. 6).
        """
        return self._quadratic(
            residual, self.factor.S, lambda channel, R: _radau_bound(channel, R, self.factor)
        )

    def response(self, R: BlockMatrix) -> Response:
        """By the polynomials of the expansion, see `mlh.solver.purified_response`."""
        return self._response(R, 1)

    def second_response(self, R: BlockMatrix) -> Response:
        """Likewise, at second order."""
        return self._response(R, 2)

    def _response(self, R: BlockMatrix, order: int) -> Response:
        factor = self.factor
        return self._changes(
            R, factor.S, order, lambda c, part: changes(c.expansion, part, factor, R.pattern, order)
        )


@dataclass(frozen=True, slots=True)
class Purification(SparseSolver):
    """Trace-correcting purification: insulators at Gamma, at a cost linear in the atoms; no eigenstates.

    threshold: truncation of block-sparse matrices, which sets the error (docs/theory.md).
    """

    threshold: float = THRESHOLD
    name: ClassVar[str] = "purification"

    def prepare(self, S: BlockMatrix, kpts: KPointsSpec = None) -> PreparedPurification:
        """The inverse factor of S."""
        self.check(kpts, "none")
        return PreparedPurification(InverseFactor.of(S, self.threshold))


@dataclass(frozen=True, slots=True)
class PreparedPurification:
    """The inverse factor of the overlap of one geometry."""

    factor: InverseFactor

    @property
    def kpts(self) -> KPoints:
        """Gamma."""
        return as_kpoints(None)

    def occupied(self, H: BlockMatrix, filling: Filling) -> PurifiedState:
        """Density matrices of the lowest states."""
        if filling.smearing != "none":
            Purification(self.factor.truncation.threshold).check(None, filling.smearing)
        return purify(H, self.factor, filling.n_electrons, filling.moment)


def purify(
    H: BlockMatrix,
    S: BlockMatrix | InverseFactor,
    n_electrons: float,
    spin_moment: float | None = None,
    threshold: float = THRESHOLD,
) -> PurifiedState:
    """Density matrices of the `n_electrons` lowest states at Gamma; arguments as in `mlh.solve`."""
    factor = S if isinstance(S, InverseFactor) else InverseFactor.of(S, threshold)
    if not same_pattern(factor.pattern, H.pattern):
        raise ValueError("S: expected the overlap on the pattern of H, got one on another pattern")
    counts = whole_states(n_electrons, H.nspin, spin_moment, factor.S.n_orbitals, Purification.name)
    results = [_channel(folded(H, spin, factor.S), factor, n) for spin, n in enumerate(counts)]
    channels = tuple(channel for channel, _, _ in results)
    degeneracy = 3 - H.nspin
    data = np.stack([degeneracy * c.K.unfold(H.pattern) for c in channels])
    electrons = sum(degeneracy * c.K.dot(factor.S) for c in channels)
    report = PurificationReport(
        electron_error=electrons - n_electrons,
        idempotency=max(v for _, v, _ in results),
        factor_error=factor.error,
        steps=max(n for _, _, n in results),
        blocks_per_atom=max(c.P.n_blocks for c in channels) / factor.S.n_atoms,
    )
    _check(report, factor)
    moment = float(counts[0] - counts[1]) if H.nspin == 2 else 0.0
    D = BlockMatrix(H.pattern, data)
    return PurifiedState(
        D=D,
        H_in=H,
        channels=channels,
        moment=moment,
        kpts=as_kpoints(None),
        factor=factor,
        report=report,
    )


def _channel(H: BlockSparse, factor: InverseFactor, n_occupied: int) -> tuple[_Channel, float, int]:
    """One spin, the idempotency of P per orbital and the number of polynomials."""
    cut = factor.truncation
    F = factor.corrected(factor.transformed(H, drop=ENERGIES), drop=ENERGIES)
    low, high = spectral_bounds(F.apply, F.n_orbitals)
    P, steps = _expand(F, low, high, n_occupied, cut)
    homo, lumo = gap_bounds(steps, low, high)
    if lumo - homo < MIN_GAP:
        raise PurificationError(_small_gap(lumo - homo))
    K, C = _last_step(factor.corrected(P), factor)
    expansion = Expansion(F, P, low, high, tuple(step.squared for step in steps[:-1]))
    return _Channel(K, C, expansion, homo, lumo), steps[-1].idempotency / np.sqrt(F.n_orbitals), len(steps)


def _small_gap(gap: float) -> str:
    found = f"a gap of at most {max(gap, 0.0) * HARTREE_EV:.2f} eV"
    return (
        f"H: the purification solver is for insulators, expected a gap above {MIN_GAP * HARTREE_EV:.2f} eV, "
        f"could show {found} at this number of electrons; use the dense solver, with smearing for a metal"
    )


def _expand(
    F: BlockSparse, low: float, high: float, n_occupied: int, cut: Truncation
) -> tuple[BlockSparse, list[PurificationStep]]:
    """TC2 until idempotency has reached the floor that truncation sets."""
    width = high - low
    X = sparse_combine(-1.0 / width, F, 0.0, F, high / width, cut.threshold)
    steps: list[PurificationStep] = []
    while len(steps) < MAX_STEPS:
        with doing(f"purification, iteration {len(steps) + 1}"):
            square = cut.multiply(X, X, symmetric=True)
        trace, trace_square = X.trace(), square.trace()
        idempotency = _distance(X, square)
        squared = abs(trace_square - n_occupied) < abs(2.0 * trace - trace_square - n_occupied)
        steps.append(PurificationStep(squared, idempotency))
        if _converged(steps, abs(trace - n_occupied), F.n_orbitals):
            return X, steps
        X = square if squared else sparse_combine(2.0, X, -1.0, square, 0.0, cut.threshold)
        del square
    raise PurificationError(_small_gap(0.0))


def _distance(A: BlockSparse, B: BlockSparse) -> float:
    """||A - B||_F."""
    difference = sparse_combine(1.0, A, -1.0, B, 0.0, 0.0)
    return float(np.sqrt(difference.dot(difference)))


def _converged(steps: list[PurificationStep], electrons: float, n_orbitals: int) -> bool:
    """Exact, or no longer falling as a quadratically convergent iteration does.

    A pair of polynomials takes v to about v^2. Where truncation has taken over, v stays; and a level in the
    middle of the spectrum, which would also hold v, keeps the trace away from a whole number.
    """
    v = steps[-1].idempotency / np.sqrt(n_orbitals)
    if v < 1e-12:
        return True
    settled = len(steps) > 4 and steps[-1].idempotency > 0.3 * steps[-3].idempotency
    return settled and v < IDEMPOTENCY_TOLERANCE and electrons < 0.05


def _last_step(Q: BlockSparse, factor: InverseFactor) -> tuple[BlockSparse, BlockSparse]:
    """K = C G on the pattern and C = G^T (3 Q M Q - 2 Q M Q M Q), M = 1 + delta; some rows at a time.

    In a row, C = A + B - 2 B M Q with A = G^T Q and the small B = A M Q - A. What is left out here is not
    corrected any more: rows hold blocks far below the threshold, which only one part at a time has room for.
    """
    threshold = factor.truncation.threshold
    cut = Truncation(LAST_STEP * threshold)

    def by_metric(rows: BlockSparse) -> BlockSparse:
        return sparse_combine(1.0, rows, 1.0, cut.multiply(rows, factor.delta), 0.0, 0.0)

    def rows_of(part: BlockSparse) -> tuple[BlockSparse, BlockSparse]:
        return_free_pages()
        A = cut.multiply(part, Q)
        B = sparse_combine(1.0, cut.multiply(by_metric(A), Q), -1.0, A, 0.0, 0.0)
        C = sparse_combine(1.0, B, -2.0, cut.multiply(by_metric(B), Q), 0.0, 0.0)
        C = sparse_combine(1.0, A, 1.0, C, 0.0, 0.0)
        K = cut.multiply(C, factor.G, drop=0.0, pattern=factor.pattern)
        return K, sparse_combine(1.0, C, 0.0, C, 0.0, threshold)

    rows = [rows_of(part) for part in _parts(factor.G_transposed)]
    return _symmetrised(sparse_join([K for K, _ in rows])), sparse_join([C for _, C in rows])


def _parts(A: BlockSparse) -> list[BlockSparse]:
    """The rows of A, some at a time."""
    n = -(-A.n_atoms // ATOMS_AT_A_TIME)
    return [A.row_part(part, n) for part in range(n)]


def _symmetrised(A: BlockSparse) -> BlockSparse:
    return sparse_combine(0.5, A, 0.5, A.transpose(), 0.0, 0.0)


def _check(report: PurificationReport, factor: InverseFactor) -> None:
    per_atom = abs(report.electron_error) / factor.S.n_atoms
    limits: list[tuple[str, float, float]] = [
        ("electrons missing or in excess per atom", per_atom, ELECTRON_TOLERANCE),
        ("||P - P^2|| per orbital", report.idempotency, IDEMPOTENCY_TOLERANCE),
    ]
    for what, value, limit in limits:
        if not value < limit:
            raise PurificationError(
                f"{what}: expected below {limit:.0e}, got {value:.1e} at the threshold "
                f"{factor.truncation.threshold:g}; take a smaller threshold"
            )


def _radau_bound(channel: _Channel, R: BlockSparse, factor: InverseFactor) -> float:
    """Upper bound of sum_ia |R_ia|^2/(e_a - e_i) of one spin."""
    multiply: Callable[..., BlockSparse] = Truncation(1e-3).multiply
    P, F = channel.P, channel.F
    PR = multiply(P, multiply(multiply(factor.G, R), factor.G_transposed, symmetric=True))
    X = sparse_combine(1.0, PR, -1.0, multiply(PR, P), 0.0, 0.0)
    LX = sparse_combine(1.0, multiply(X, F), -1.0, multiply(F, X), 0.0, 0.0)
    m0, m1, m2 = X.dot(X), X.dot(LX), LX.dot(LX)
    smallest = channel.lumo - channel.homo
    if not m1 > smallest * m0 or not m1 * m1 < m0 * m2:
        return m0 / smallest
    mean = m1 / m0
    spread = m2 / m0 - mean**2
    last = smallest + spread / (mean - smallest)
    return m0 * last / (mean * last - spread)
