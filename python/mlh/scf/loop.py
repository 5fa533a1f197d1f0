"""Self-consistency: H_in -> D -> H[D] = dE/dD, until H[D] = H_in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlh.common.timing import Stopwatch
from mlh.common.units import HARTREE_EV
from mlh.matrix.block_matrix import BlockMatrix, same_pattern
from mlh.matrix.kpoints import KPoints, as_kpoints
from mlh.matrix.populations import atom_moments
from mlh.scf.mixing import PulayMixer
from mlh.scf.moments import SPLITTING, checked_moments, default_moments, split, whole_moment
from mlh.scf.result import SCFResult, SCFStep, SystemLike
from mlh.scf.screening import Screening
from mlh.scf.steering import Steering
from mlh.solver import (
    Continuing,
    Filling,
    OverlapFactor,
    Prepared,
    Smearing,
    Solver,
    State,
    as_solver,
    residual_energy,
)

__all__ = ["SCFResult", "SCFStep", "SystemLike", "scf"]

_log = logging.getLogger("mlh.scf")

BROKEN = 0.01
"""Ha. A start that lacks the symmetry of the crystal by more, beyond what the grid does to the Harris
Hamiltonian, is taken to be meant: no symmetry is imposed."""

NO_MOMENT = 0.05
"""Electrons. Below this on every atom a state has no moments."""

HELD_STEPS = 4
"""Steps for which the second start of a state that lost its moments holds its moment."""


def scf(
    system: SystemLike,
    *,
    D0: BlockMatrix | None = None,
    H0: BlockMatrix | None = None,
    prepared: Prepared | None = None,
    energy_tol: float = 1e-7,
    residual_tol: float = 1e-5,
    max_steps: int = 60,
    smearing: Smearing = "none",
    width: float = 0.0,
    total_spin: float | None = None,
    initial_moments: Sequence[float] | NDArray[np.float64] | None = None,
    mixer: PulayMixer | None = None,
    callback: Callable[[SCFStep], Any] | None = None,
    solver: Solver | str = "dense",
) -> SCFResult:
    """Iterate H_in -> D -> H[D] with Pulay mixing of H until it is self-consistent.

    Start: H0 (any Hamiltonian: a prediction, the last geometry's), or H[D0], or the Harris Hamiltonian.
    Converged when |energy change| < energy_tol (Ha) and max |H[D] - H_in| < residual_tol (Ha); otherwise the
    last state is returned with converged=False. max_steps=1 evaluates the given start without iterating.
    total_spin: N_up - N_down held fixed. initial_moments: N_up - N_down of every atom, which splits the
    spins of the start and is imposed in sum on the first step only; None splits a start without spin by
    `default_moments` (not with total_spin=0), zeros leave it unpolarised. A free moment that ends at zero
    on every atom is compared with a second start where one is in reach of an exchange splitting; the lower
    state is returned, and `note` says so. width: Ha. solver: of every step, see `mlh.solve`; prepared: what
    its `prepare` made of the overlap.
    """
    if D0 is not None and H0 is not None:
        raise ValueError("D0, H0: expected at most one of them, got both")
    if max_steps < 1:
        raise ValueError(f"max_steps: expected at least 1, got {max_steps}")
    for name, tolerance in (("energy_tol", energy_tol), ("residual_tol", residual_tol)):
        if not tolerance > 0.0:
            raise ValueError(f"{name}: expected a positive number, got {tolerance}")
    chosen = as_solver(solver)
    chosen.check(system.kpts, smearing)
    watch = Stopwatch()
    with watch("first Hamiltonian"):
        H_in, spinless = _start(system, D0, H0)
    S = system.overlap()
    moments, imposed = _first_moments(system, initial_moments, total_spin, spinless), None
    if moments is not None:
        H_in = split(H_in, S, moments)
        imposed = None if initial_moments is None else float(moments.sum())
        if imposed is not None and smearing == "none":
            imposed = whole_moment(imposed, system.n_electrons)
    with watch("overlap"):
        overlap = prepared or chosen.prepare(S, _kpoints_of(system, H_in))
    loop = _Loop(
        system,
        overlap,
        energy_tol,
        residual_tol,
        max_steps,
        smearing,
        width,
        total_spin,
        callback,
        # Without smearing there is a gap, and no long-wave divergence to remove.
        _screening(system, overlap, width) if smearing != "none" else None,
        watch,
    )
    result = loop.run(H_in, mixer if mixer is not None else PulayMixer(), imposed, 1)
    return result if moments is None or total_spin is not None else loop.or_polarised(result)


@dataclass(frozen=True, slots=True)
class _Loop:
    """Self-consistency of one system with everything but its start."""

    system: SystemLike
    overlap: Prepared
    energy_tol: float
    residual_tol: float
    max_steps: int
    smearing: Smearing
    width: float
    total_spin: float | None
    callback: Callable[[SCFStep], Any] | None
    screening: Screening | None
    watch: Stopwatch

    def run(self, H_in: BlockMatrix, mixer: PulayMixer, imposed: float | None, steps: int) -> SCFResult:
        """From H_in; the moment `imposed` holds for the first `steps` steps where none is fixed."""
        system, watch = self.system, self.watch
        symmetry = self.overlap.kpts.symmetry
        symmetric = _unchanged if symmetry is None else symmetry.matrix
        H_in = symmetric(H_in)
        history: list[SCFStep] = []
        solution: State | None = None
        steering = Steering(mixer, self.screening)
        while True:
            began = time.perf_counter()
            holds = self.total_spin is None and imposed is not None and len(history) < steps
            with watch("eigenstates"):
                solution = self.occupied(H_in, imposed if holds else self.total_spin, solution)
            with watch("density, energy, H"):
                evaluation = system.evaluate(solution.D)
            energies = evaluation.energies.with_entropy(solution.entropy_energy)
            H = symmetric(evaluation.H)
            R = H - H_in
            error = residual_energy(solution, R)
            step = SCFStep(
                step=len(history) + 1,
                energy=energies.total,
                energy_change=energies.total - history[-1].energy if history else error,
                residual=R.max_abs(),
                residual_rms=R.rms(),
                energy_error=error,
                magnetic_moment=solution.magnetic_moment,
                seconds=time.perf_counter() - began,
            )
            history.append(step)
            if self.callback is not None:
                self.callback(step)
            small = abs(step.energy_change) < self.energy_tol and step.residual < self.residual_tol
            # A first step under an imposed moment is no fixed point; max_steps=1 asks for that step alone.
            converged = small and not (holds and self.max_steps > 1)
            if converged or len(history) == self.max_steps:
                return SCFResult(system, solution, H, R, energies, converged, tuple(history), watch.seconds)
            if steps > 1 and len(history) == steps + 1:
                steering.renew()  # the moment is free since now
            with watch("mixing"):
                H_in = symmetric(steering.next(H_in, R, solution))

    def occupied(self, H: BlockMatrix, moment: float | None, last: State | None = None) -> State:
        """The occupied space of H; last: the state of the step before."""
        filling = Filling(self.system.n_electrons, self.smearing, self.width, moment)
        overlap = self.overlap
        if last is not None and isinstance(overlap, Continuing):
            overlap = overlap.after(last)
        return overlap.occupied(H, filling)

    def or_polarised(self, result: SCFResult) -> SCFResult:
        """The result, or the state of a second start with a moment where the first one lost it and the
        second one lies lower. Nothing is done when no level is within the reach of an exchange splitting."""
        S, solution = self.system.overlap(), result.solution
        lost = result.converged and np.abs(atom_moments(result.D, S)).max() < NO_MOMENT
        if not lost or solution.gap > 2.0 * SPLITTING:
            return result
        H = split(result.H, S, np.ones(len(self.system.positions)))
        moment = self.occupied(H, None).magnetic_moment
        if abs(moment) < 0.5:
            return result
        other = self.run(H, PulayMixer(), moment, HELD_STEPS)
        lower = other.converged and other.energies.total < result.energies.total - self.energy_tol
        kept = other if lower else result
        note = (
            f"spin: the start with moments ended without any (E {_ev(result)}); a second start from a moment "
            f"of {moment:.2f} {'ended' if other.converged else 'did not converge'} at moment "
            f"{other.solution.magnetic_moment:.2f} (E {_ev(other)}): "
            f"the {'second' if lower else 'first'} is kept"
        )
        _log.info("%s", note)
        return replace(kept, note=note)


def _unchanged(matrix: BlockMatrix) -> BlockMatrix:
    return matrix


def _kpoints_of(system: SystemLike, H: BlockMatrix) -> KPoints:
    """The k points of the system; all of the mesh where the start lacks the symmetry of irreducible ones."""
    kpts = as_kpoints(system.kpts)
    if kpts.symmetry is None or kpts.whole is None:
        return kpts
    grid = kpts.symmetry.error(system.harris_hamiltonian())
    if kpts.symmetry.error(H) > BROKEN + 2.0 * grid:
        return kpts.whole
    if H.nspin == 2 and kpts.symmetry.error(H.spin(0) - H.spin(1)) > 0.1 * BROKEN + 2.0 * grid:
        return kpts.whole
    return kpts


def _ev(result: SCFResult) -> str:
    return f"{result.energies.total * HARTREE_EV:.4f} eV"


def _first_moments(
    system: SystemLike,
    given: Sequence[float] | NDArray[np.float64] | None,
    total_spin: float | None,
    spinless: bool,
) -> NDArray[np.float64] | None:
    """The moments that split the start: those given, or the default ones where the start has no spin."""
    if given is not None:
        moments = checked_moments(given, len(system.positions), system.nspin)
    elif system.nspin == 2 and spinless and total_spin != 0.0:
        moments = default_moments(system.symbols) * (-1.0 if (total_spin or 0.0) < 0.0 else 1.0)
    else:
        return None
    return moments if moments.any() else None


def _screening(system: SystemLike, prepared: Prepared, width: float) -> Screening | None:
    """The preconditioner of metals, where the solver has what it is made of."""
    return Screening(system, prepared, width) if isinstance(prepared, OverlapFactor) else None


def _start(system: SystemLike, D0: BlockMatrix | None, H0: BlockMatrix | None) -> tuple[BlockMatrix, bool]:
    """The first input Hamiltonian, with the system's number of spin components; whether it had no spin."""
    if H0 is not None:
        if not same_pattern(H0.pattern, system.pattern):
            raise ValueError(
                "H0: expected a matrix on the pattern of the system, got one on another pattern; see transfer"
            )
        bad = int(np.count_nonzero(~np.isfinite(H0.data)))
        if bad:
            raise ValueError(f"H0: expected finite elements, got {bad} that are not")
        H = H0
    elif D0 is not None:
        H = system.evaluate(D0).H
    else:
        H = system.harris_hamiltonian()
    if H.nspin == system.nspin:
        return H, H.nspin == 1
    if H.nspin == 1:
        return BlockMatrix(system.pattern, np.repeat(H.data, 2, axis=0)), True
    raise ValueError("H0: expected nspin 1 for an unpolarised system, got 2")
