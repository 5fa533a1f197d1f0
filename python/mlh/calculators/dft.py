"""`DFTCalculator`: Kohn-Sham DFT by self-consistency as an ASE calculator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    SCFError,
    all_changes,
)
from numpy.typing import NDArray

from mlh.basis.families import load_basis
from mlh.basis.species import Basis
from mlh.calculators.base import Engine, GridShape
from mlh.common.units import EV, HARTREE_EV
from mlh.dft.system import System
from mlh.dft.terms.contract import Integration
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPointsSpec
from mlh.scf.extrapolation import HamiltonianExtrapolation
from mlh.scf.loop import SCFStep, scf
from mlh.solver import THRESHOLD, Method, Smearing, check_method

_log = logging.getLogger("mlh.dft")


class DFTCalculator(Engine):
    """Kohn-Sham DFT in the numerical atomic-orbital basis.

    basis: a name ("gth-pbe") or a Basis. cutoff_ry: grid cutoff (Ry). kpts: (n1, n2, n3), Gamma-
    centred; {"size": (n1, n2, n3), "gamma": False}, Monkhorst-Pack; or {"spacing": 0.2} (1/Angstrom, 2 pi
    included), a mesh for the cell at hand. spin: collinear spin; `total_moment` (N_up - N_down) fixes the
    moment, otherwise the initial magnetic moments of the atoms start it. smearing_ev: width of `smearing`
    (None: integer occupations). Convergence: energy change below energy_tol_ev and
    max |H[D] - H_in| below residual_tol_ev. A cell that is missing in a non-periodic direction is added.
    grid_shape: points of the grid along the cell vectors, instead of those of the cutoff for every new cell.
    The stress is the derivative of the energy at a fixed number; where the cell varies much, hold it fixed.
    method, threshold: the solver, see `mlh.solve`; "purification" has no eigenvalues in its results.
    integration: how the integrals are done, as in `mlh.System`. symmetry: a k mesh is reduced to its
    irreducible points where the crystal (with its initial moments) has symmetry; False: never.

    Every step of a trajectory starts from dH = H - H0 extrapolated from the steps before; restart=False: from
    the Harris Hamiltonian.
    """

    def __init__(
        self,
        basis: Basis | str = "gth-pbe",
        cutoff_ry: float = 200.0,
        kpts: KPointsSpec = (1, 1, 1),
        spin: bool = False,
        total_moment: float | None = None,
        smearing_ev: float | None = None,
        smearing: Smearing = "fermi-dirac",
        xc: str = "PBE",
        energy_tol_ev: float = 2.7e-6,
        residual_tol_ev: float = 2.7e-4,
        max_scf_steps: int = 80,
        restart: bool = True,
        grid_shape: GridShape | None = None,
        integration: Integration | str | None = None,
        on_scf_step: Callable[[SCFStep], Any] | None = None,
        method: Method = "dense",
        threshold: float = THRESHOLD,
        symmetry: bool = True,
    ) -> None:
        super().__init__(cutoff_ry, kpts, xc, grid_shape, method, threshold, integration, "mlh-dft", symmetry)
        if total_moment is not None and not spin:
            raise ValueError(f"total_moment: expected None without spin=True, got {total_moment}")
        if smearing_ev is not None and not smearing_ev > 0.0:
            raise ValueError(f"smearing_ev: expected None or a positive width in eV, got {smearing_ev}")
        if smearing not in ("fermi-dirac", "gaussian"):
            raise ValueError(f"smearing: expected 'fermi-dirac' or 'gaussian', got {smearing!r}")
        self.basis = load_basis(basis) if isinstance(basis, str) else basis
        self.spin = spin
        self.total_moment = total_moment
        self.smearing: Smearing = "none" if smearing_ev is None else smearing
        check_method(method, kpts, self.smearing)
        self.width = 0.0 if smearing_ev is None else smearing_ev * EV
        self.energy_tol = energy_tol_ev * EV
        self.residual_tol = residual_tol_ev * EV
        self.max_scf_steps = max_scf_steps
        self.restart = restart
        self.on_scf_step = on_scf_step
        self._numbers: NDArray[np.int64] | None = None
        self._past = HamiltonianExtrapolation()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Self-consistency at the geometry; raises ASE's SCFError when it does not converge."""
        super().calculate(atoms, properties, system_changes)
        if not system_changes and self._derivatives_of_last(properties):
            return
        system = self._system(self.atoms, self._basis_of(self.atoms), 2 if self.spin else 1)
        start = self._start(system)
        moments = self.atoms.get_initial_magnetic_moments()
        result = scf(
            system,
            H0=start,
            energy_tol=self.energy_tol,
            residual_tol=self.residual_tol,
            max_steps=self.max_scf_steps,
            smearing=self.smearing,
            width=self.width,
            total_spin=self.total_moment,
            initial_moments=moments if self.spin and moments.any() and start is None else None,
            callback=self.on_scf_step,
            method=self.method,
            threshold=self.threshold,
        )
        if not result.converged:
            self._past.clear()
            raise SCFError(
                f"SCF not converged in {result.n_steps} steps: residual {result.residual * HARTREE_EV:.2e} "
                f"eV (expected below {self.residual_tol * HARTREE_EV:.1e}); {result.advice}"
            )
        if result.advice:
            _log.warning("%s", result.advice)
        self._numbers = self.atoms.numbers.copy()
        self._past.add(system.positions, result.H - system.harris_hamiltonian())
        self._store(result, properties)

    def _basis_of(self, atoms: Atoms) -> Basis:
        return self.basis

    def _start(self, system: System) -> BlockMatrix | None:
        """H0 of this geometry plus the dH of the last ones, or None (Harris) when there is none to use."""
        same = self._numbers is not None and np.array_equal(self._numbers, self.atoms.numbers)
        if not self.restart or not same:
            self._past.clear()
            return None
        dh = self._past.predict(system.positions, system.pattern, system.nspin)
        return None if dh is None else system.harris_hamiltonian() + dh
