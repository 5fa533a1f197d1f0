"""Density matrix of an insulator at Gamma from localized functions that span the occupied space.

    C: localized functions, K = (C^T S C)^-1      Tr K C^T H C is made smallest (`localized_functions`)
    D = g C K C^T,   W = g C K (C^T H C) K C^T    on the pattern only; g = 2 unpolarised, 1 per spin

Bonds and lone pairs of a small basis to start from (`localized_start`), a few steps with a preconditioner
that is right far from the gap, then one that is right at it (`localized_levels`). There are as many functions
as occupied states, a fifth of the orbitals, and they are short: for large insulators the cheapest way.

Error control: what the last step says is left of the energy, the number of electrons, and that the lowest
level outside the functions is above the highest one inside, which alone shows that no bond was missed. Each
has a limit, and beyond it an error; a metal is an error. There are no eigenstates.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from mlh._core import BlockSparse, return_free_pages, sparse_product
from mlh.common.activity import doing
from mlh.common.units import HARTREE_EV
from mlh.matrix.block_matrix import BlockMatrix, same_pattern
from mlh.matrix.kpoints import KPoints, KPointsSpec, as_kpoints
from mlh.solver.contract import Filling
from mlh.solver.dense import Solution
from mlh.solver.gap_states import EMPTY, FILLED, gap_states
from mlh.solver.localized_functions import (
    Cuts,
    Descent,
    LocalizedError,
    Minimisation,
    Point,
    Preconditioner,
    inverse,
    symmetrised,
)
from mlh.solver.localized_levels import (
    REACH,
    TileInverse,
    first_preconditioner,
    lowest_empty,
    occupied_levels,
    second_preconditioner,
)
from mlh.solver.localized_response import FirstOrder, Linear, first_order, second_order
from mlh.solver.localized_start import carried, fits, start_functions
from mlh.solver.occupations import whole_states
from mlh.solver.sparse import SparseSolver, SparseState, folded, stacked
from mlh.solver.state import Response, State

_log = logging.getLogger("mlh.solver")

THRESHOLD = 2e-4
"""Default: norm from which a function has a block on another atom; errors: docs/theory.md."""

FIRST_STEPS, FIRST_CUT = 3, 1e-3
"""Steps with the first preconditioner, and their threshold."""

MAX_STEPS = 25

EXACT = 0.1
"""Thresholds of the last inverse overlap as a part of those of the others."""

LAST_LANCZOS = 60
"""Steps for the highest occupied level."""

ENOUGH, TOO_MUCH = 5e-9, 4e-7
"""What may be left of the sum of the occupied levels, Hartree: of the group of functions where a step would
take off most, where the steps end; per atom, an error. At the default threshold; with the square of smaller
ones."""

MIN_GAP = 0.02
"""Hartree. Below it functions are too long."""

ELECTRON_TOLERANCE = 1e-5
"""Electrons per atom that Tr D S may be off."""


@dataclass(frozen=True, slots=True)
class LocalizedReport:
    """Error control of one solution; the worse of two spins."""

    electron_error: float
    """Tr D S - N."""
    energy_left: float
    """What the steps did not take off Tr D H, estimated, Hartree; truncation excluded."""
    steps: int
    blocks_per_function: float
    """Atoms that a group of functions has."""


@dataclass(frozen=True, slots=True, eq=False)
class _Channel:
    """One spin; `linear` holds H, S and the functions."""

    linear: Linear
    homo: float
    lumo: float
    left: float
    steps: int

    @property
    def point(self) -> Point:
        """The functions."""
        return self.linear.point


@dataclass(frozen=True, eq=False, kw_only=True)
class LocalizedState(SparseState[_Channel]):
    """Density matrices of the occupied space, without eigenstates; homo, lumo: levels at the gap."""

    method = "localized"

    S: BlockSparse
    cuts: Cuts
    report: LocalizedReport

    def projected_w(self, H: BlockMatrix) -> BlockMatrix:
        """g C K (C^T H C) K C^T on the pattern."""
        data = []
        for spin, channel in enumerate(self.channels):
            point, cuts = channel.point, self.cuts
            HC = cuts.multiply(folded(H, spin, self.S), point.images.C, 0.1 * cuts.images)
            Hc = cuts.small(point.images.C.transpose(), HC, symmetric=True)
            del HC
            KHK = symmetrised(cuts.small(cuts.small(point.K, Hc), point.K))
            data.append(self.degeneracy * _on_pattern(point.images.C, KHK, H, cuts))
        W = BlockMatrix(H.pattern, stacked(data))
        del data
        return_free_pages()
        return W

    def residual_energy(self, residual: BlockMatrix) -> float:
        """g sum_ia |R_ia|^2 / (e_a - e_i), see `localized_response`."""
        energy = self._quadratic(residual, self.S, lambda c, R: FirstOrder.of(c.linear, R).energy)
        return_free_pages()
        return energy

    def near_gap(self, filled: int = FILLED, empty: int = EMPTY) -> Solution:
        """The highest filled and the lowest empty states of each spin, and nothing else: levels, occupations
        and coefficients of these; D is that of all. Its W and responses are not those of the cell."""
        counts = [c.point.Sc.n_orbitals for c in self.channels]
        filled = min(filled, *counts)
        if filled < 1:
            raise ValueError("state: expected electrons of both spins, got a spin without any")
        found = [gap_states(c.linear, filled, empty) for c in self.channels]
        kept = min(len(states.levels) for states in found)
        full = np.where(np.arange(kept) < filled, float(self.degeneracy), 0.0)
        edges = [0.5 * (c.homo + c.lumo) for c in self.channels]
        return Solution(
            D=self.D,
            kpts=self.kpts,
            eigenvalues=np.stack([states.levels[None, :kept] for states in found]),
            occupations=np.tile(full, (self.nspin, 1, 1)),
            fermi_levels=np.array(edges),
            entropy_energy=0.0,
            coefficients=tuple((states.coefficients[:, :kept],) for states in found),
            filling=Filling(float(self.degeneracy * filled * self.nspin)),
            first_band=tuple(count - filled for count in counts),
        )

    def response(self, R: BlockMatrix) -> Response:
        """By Sternheimer's equation, see `localized_response`."""
        return self._changes(R, self.S, 1, lambda c, part: first_order(c.linear, part, R.pattern))

    def second_response(self, R: BlockMatrix) -> Response:
        """Likewise, at second order."""
        return self._changes(R, self.S, 2, lambda c, part: second_order(c.linear, part, R.pattern))


def _on_pattern(C: BlockSparse, M: BlockSparse, like: BlockMatrix, cuts: Cuts) -> np.ndarray:
    """C M C^T of a symmetric M on the pattern, (nnz,)."""
    CM = cuts.multiply(C, M, 0.1 * cuts.images)
    product = sparse_product(CM, C.transpose(), 0.0, 0.0, True, like.pattern)
    del CM
    return np.asarray(product.unfold(like.pattern))


def _density(point: Point, like: BlockMatrix, cuts: Cuts) -> np.ndarray:
    """C K C^T on the pattern, (nnz,); in double precision, because deep levels multiply its rounding."""
    return _on_pattern(point.images.C.to_double(), point.K.to_double(), like, cuts)


Functions = tuple[BlockSparse, ...]
"""C of every spin."""


@dataclass(frozen=True, slots=True)
class Localized(SparseSolver):
    """Localized occupied functions: insulators at Gamma, at a cost linear in the atoms; no eigenstates.

    threshold: norm from which a function has a block on another atom, which sets the error (docs/theory.md).
    start: functions of the same atoms at another geometry to start from (`after`); not part of the identity.
    """

    threshold: float = THRESHOLD
    start: Functions = field(default=(), compare=False, repr=False)
    name: ClassVar[str] = "localized"

    def after(self, state: State) -> Localized:
        """Starts from the functions of a state, which ride on their atoms."""
        return replace(self, start=_functions(state))

    def prepare(self, S: BlockMatrix, kpts: KPointsSpec = None) -> PreparedLocalized:
        """The overlap, folded."""
        self.check(kpts, "none")
        return PreparedLocalized(S, self.threshold, self.start)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedLocalized:
    """The overlap of one geometry, and functions to start from."""

    S: BlockMatrix
    threshold: float
    start: Functions = ()

    def after(self, state: State) -> PreparedLocalized:
        """Starts from the functions of a state."""
        return replace(self, start=_functions(state))

    @property
    def kpts(self) -> KPoints:
        """Gamma."""
        return as_kpoints(None)

    def occupied(self, H: BlockMatrix, filling: Filling) -> LocalizedState:
        """Density matrices of the lowest states."""
        if filling.smearing != "none":
            Localized(self.threshold).check(None, filling.smearing)
        if not same_pattern(self.S.pattern, H.pattern):
            raise ValueError("S: expected the overlap on the pattern of H, got one on another pattern")
        cuts = Cuts.of(self.threshold)
        double = BlockSparse.fold(self.S.pattern, self.S.data[0])
        kept = cuts.kept(double)
        layout = double.row_part(0, double.n_atoms)  # next to nothing of it
        del double
        counts = whole_states(filling.n_electrons, H.nspin, filling.moment, kept.n_orbitals, Localized.name)
        start = self.start if len(self.start) == len(counts) else (None,) * len(counts)
        channels = tuple(
            _channel(_Folded(H, self.S, spin, layout), kept, n, cuts, C)
            for spin, (n, C) in enumerate(zip(counts, start, strict=True))
        )
        degeneracy = 3 - H.nspin
        data = stacked([_density(c.point, H, cuts) for c in channels])
        data *= degeneracy
        D = BlockMatrix(H.pattern, data)
        del data
        return_free_pages()
        report = LocalizedReport(
            electron_error=D.dot(self.S) - filling.n_electrons,
            energy_left=degeneracy * sum(c.left for c in channels),
            steps=max(c.steps for c in channels),
            blocks_per_function=max(
                c.point.images.C.n_blocks / len(c.point.images.C.column_sizes) for c in channels
            ),
        )
        _check(report, kept.n_atoms)
        moment = float(counts[0] - counts[1]) if H.nspin == 2 else 0.0
        return LocalizedState(
            D=D,
            H_in=H,
            channels=channels,
            moment=moment,
            kpts=as_kpoints(None),
            S=kept,
            cuts=cuts,
            report=report,
        )


def _check(report: LocalizedReport, n_atoms: int) -> None:
    per_atom = abs(report.electron_error) / n_atoms
    if not per_atom < ELECTRON_TOLERANCE:
        raise LocalizedError(
            f"electrons missing or in excess per atom: expected below {ELECTRON_TOLERANCE:.0e}, got "
            f"{per_atom:.1e}; take a smaller threshold"
        )


def _functions(state: State) -> Functions:
    """C of every spin of a state of this solver."""
    return tuple(c.point.images.C for c in state.channels) if isinstance(state, LocalizedState) else ()


@dataclass(frozen=True, slots=True, eq=False)
class _Folded:
    """H and S of one spin as block-sparse matrices in double precision, made when they are asked for: few
    parts of the solution need them, and each is larger than the functions."""

    H_in: BlockMatrix
    S_in: BlockMatrix
    spin: int
    layout: BlockSparse

    def H(self) -> BlockSparse:
        """Of this spin."""
        return folded(self.H_in, self.spin, self.layout)

    def S(self) -> BlockSparse:
        """The overlap."""
        return folded(self.S_in, 0, self.layout)


def _channel(
    matrices: _Folded, S_kept: BlockSparse, n_occupied: int, cuts: Cuts, start: BlockSparse | None
) -> _Channel:
    """One spin, from functions of before where they fit and lead anywhere."""
    if start is not None and fits(start, matrices.layout, n_occupied):
        try:
            return _solved(matrices, S_kept, cuts, carried(start, matrices.layout, cuts), warm=True)
        except LocalizedError as error:
            _log.info("localized functions: from the start again, because those of before failed (%s)", error)
    with doing("localized functions: start"):
        C = cuts.kept(start_functions(matrices.H(), matrices.S(), n_occupied))
    return_free_pages()
    return _solved(matrices, S_kept, cuts, C, warm=False)


def _solved(matrices: _Folded, S_kept: BlockSparse, cuts: Cuts, C: BlockSparse, warm: bool) -> _Channel:
    """Minimise from C, and check. warm: C is near the end already."""
    with doing("localized functions: start"):
        first = cuts if warm else Cuts.of(max(FIRST_CUT, cuts.functions))
        work = Minimisation(cuts.kept(matrices.H()), S_kept, C, first)
        lowest, _ = occupied_levels(work.point)
        T1 = _first(matrices, lowest, replace(cuts, functions=first.functions))
    for _ in range(0 if warm else FIRST_STEPS):
        _step(work, work.descent(T1))
    work.restart(cuts)
    H, S = matrices.H(), matrices.S()
    T, T2 = second_preconditioner(H, S, matrices.H_in.pattern, _reach(S), work.point, T1, cuts)
    del H, S, T1
    return_free_pages()
    left = _minimise(work, T, min(1.0, cuts.functions / THRESHOLD) ** 2)
    H, point, steps = work.H, _without_residual(work.point), len(work.steps)
    del work
    point = replace(point, K=_exact_inverse(matrices.S(), point, cuts))
    return_free_pages()
    _, homo = occupied_levels(point, LAST_LANCZOS)
    with doing("localized functions: lowest empty level"):
        lumo = lowest_empty(H, S_kept, point, T2)
    if lumo - homo < MIN_GAP:
        raise LocalizedError(
            f"H: the localized solver is for insulators, expected a gap above {MIN_GAP * HARTREE_EV:.2f} eV, "
            f"got {(lumo - homo) * HARTREE_EV:.2f} eV at this number of electrons; use purification or the "
            "dense solver, with smearing for a metal"
        )
    return _Channel(Linear(H, S_kept, point, T, cuts), homo, lumo, left, steps)


def _without_residual(point: Point) -> Point:
    """For a state that may be kept for long."""
    return replace(point, R=point.R.row_part(0, point.R.n_atoms))


def _first(matrices: _Folded, lowest: float, cuts: Cuts) -> TileInverse:
    H, S = matrices.H(), matrices.S()
    return first_preconditioner(H, S, _reach(S), lowest, cuts)


def _reach(S: BlockSparse) -> BlockSparse:
    """The neighbourhoods of the preconditioners."""
    return S.select([(S, REACH)])


def _exact_inverse(S: BlockSparse, point: Point, cuts: Cuts) -> BlockSparse:
    """K from S_c in double precision, whose error would be one of the energy at first order."""
    fine = Cuts(cuts.functions, cuts.images, EXACT * cuts.metric)
    C = point.images.C.to_double()
    Sc = fine.small(C.transpose(), fine.multiply(S, C, EXACT * cuts.images), symmetric=True)
    return cuts.kept(inverse(Sc, point.K.to_double(), fine))


def _step(work: Minimisation, descent: Descent) -> bool:
    with doing(f"localized functions, step {len(work.steps) + 1}"):
        moved = work.step(descent)
    return_free_pages()
    return moved


def _minimise(work: Minimisation, T: Preconditioner, scale: float) -> float:
    """Steps until no more can be had; the estimate of what is left."""
    while True:
        descent = work.descent(T)
        left = descent.left
        if descent.worst < ENOUGH * scale or len(work.steps) == MAX_STEPS or not _step(work, descent):
            break
    if left > TOO_MUCH * scale * work.S.n_atoms:
        raise LocalizedError(
            f"H: {left * HARTREE_EV * 1e3:.1e} meV are left of the energy after {len(work.steps)} steps of "
            "the localized functions; take a smaller threshold, or use purification or the dense solver"
        )
    return left
