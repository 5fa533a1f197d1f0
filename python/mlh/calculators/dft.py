"""`DFTCalculator`: Kohn-Sham DFT by self-consistency as an ASE calculator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    SCFError,
    all_changes,
)
from numpy.typing import NDArray

from mlh.basis.species import Basis
from mlh.calculators.base import Engine, GridShape
from mlh.common.units import EV, HARTREE_EV
from mlh.dft.system import System
from mlh.dft.terms.contract import Integration
from mlh.dft.terms.dispersion import DispersionName
from mlh.dft.theory import Theory
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPointsSpec
from mlh.scf.extrapolation import HamiltonianExtrapolation
from mlh.scf.loop import SCFResult, SCFStep, scf
from mlh.scf.result import SpinState
from mlh.scf.states import lowest_state, spin_starts
from mlh.solver import Smearing, Solver

_log = logging.getLogger("mlh.dft")

MADELUNG_CUBE = 2.837297
"""Of point charges in a cubic lattice with a uniform background: E = -q^2 alpha / (2 L)."""


class DFTCalculator(Engine):
    """Kohn-Sham DFT in the numerical atomic-orbital basis.

    basis, cutoff_ry, kpts, xc, spin, total_moment, smearing_ev, smearing, integration, grid_shape, symmetry,
    charge, spin_states, dispersion: the level of theory, field by field as in `mlh.Theory`, or one as
    `theory`. Spins start from the initial magnetic moments of the atoms, or from parallel ones where there
    are none; see `mlh.scf` for states that lose them. Other initial moments start anew. The stress is the
    derivative of the energy at a fixed grid_shape; where the cell varies much, hold it fixed. A cell that is
    missing in a non-periodic direction is added. Convergence: energy change below energy_tol_ev and max
    |H[D] - H_in| below residual_tol_ev. solver: see `mlh.solve`; "purification" has no eigenvalues in its
    results.

    Every step of a trajectory starts from dH = H - H0 extrapolated from the steps before; restart=False: from
    the Harris Hamiltonian. `set(cutoff_ry=300)` and `calc.cutoff_ry = 300` change what is computed next.
    """

    _options = (
        *Engine._options,
        *("energy_tol_ev", "residual_tol_ev", "max_scf_steps", "restart"),
    )

    def __init__(
        self,
        basis: Basis | str | None = None,
        cutoff_ry: float | None = None,
        kpts: KPointsSpec = None,
        spin: bool | None = None,
        total_moment: float | None = None,
        smearing_ev: float | None = None,
        smearing: Smearing | None = None,
        xc: str | None = None,
        energy_tol_ev: float = 2.7e-6,
        residual_tol_ev: float = 2.7e-4,
        max_scf_steps: int = 80,
        restart: bool = True,
        grid_shape: GridShape | None = None,
        integration: Integration | str | None = None,
        on_scf_step: Callable[[SCFStep], Any] | None = None,
        solver: Solver | str = "dense",
        symmetry: bool | None = None,
        charge: float | None = None,
        spin_states: Sequence[float] | None = None,
        dispersion: DispersionName | None = None,
        theory: Theory | None = None,
    ) -> None:
        fields = {
            "basis": basis,
            "cutoff_ry": cutoff_ry,
            "kpts": kpts,
            "spin": spin,
            "total_moment": total_moment,
            "smearing_ev": smearing_ev,
            "smearing": smearing,
            "xc": xc,
            "grid_shape": grid_shape,
            "integration": integration,
            "symmetry": symmetry,
            "charge": charge,
            "spin_states": spin_states,
            "dispersion": dispersion,
        }
        given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        level = replace(theory or Theory(), **given)
        level.loaded_basis()  # a name that is not there is an error now, not at the first calculation
        super().__init__(level, solver, "mlh-dft")
        self.energy_tol_ev = energy_tol_ev
        self.residual_tol_ev = residual_tol_ev
        self.max_scf_steps = max_scf_steps
        self.restart = restart
        self.on_scf_step = on_scf_step
        self._numbers: NDArray[np.int64] | None = None
        self._moments: NDArray[np.float64] | None = None
        self._past = HamiltonianExtrapolation()
        self._states: tuple[SpinState, ...] = ()

    def _forget(self) -> None:
        super()._forget()
        self._past.clear()
        self._states = ()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_past": HamiltonianExtrapolation()}

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """As ASE's, with a word on the stress of a charged cell."""
        if name == "stress" and self.theory.charge:
            self._say(
                f"charge {self.theory.charge:+g}: the stress of a charged cell depends on the convention for "
                "the zero of the potential (docs/theory.md); relax the cell of the neutral structure"
            )
        return super().get_property(name, atoms, allow_calculation)

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
        system = self._system(self.atoms)
        self._say_spin(system)
        self._say_ion(system)
        given = self.atoms.get_initial_magnetic_moments()
        moments = given if system.nspin == 2 and given.any() else None
        start = self._start(system, moments)
        run = partial(
            scf,
            system,
            energy_tol=self.energy_tol_ev * EV,
            residual_tol=self.residual_tol_ev * EV,
            max_steps=self.max_scf_steps,
            smearing=self.theory.occupations,
            width=self.theory.width,
            callback=self.on_scf_step,
            solver=self._solver_from(system),
        )
        if start is None and self.theory.spin_states:
            result = lowest_state(
                spin_starts(self._possible_moments(system), moments, len(self.atoms)),
                lambda moment, initial: run(total_spin=moment, initial_moments=initial),
            )
            self._states = result.states
        else:
            result = run(
                H0=start,
                total_spin=self.state_theory.total_moment,
                initial_moments=moments if start is None else None,
            )
        if not result.converged:
            self._past.clear()
            raise SCFError(
                f"SCF not converged in {result.n_steps} steps: residual {result.residual * HARTREE_EV:.2e} "
                f"eV (expected below {self.residual_tol_ev:.1e}); {result.advice}"
            )
        if result.advice:
            _log.warning("%s", result.advice)
        self._numbers, self._moments = self.atoms.numbers.copy(), moments
        self._past.add(system.positions, result.H - system.harris_hamiltonian())
        if self._turned(result):
            self.calculate(self.atoms, properties, all_changes)
            return
        self._store(result, properties)

    def _store(self, result: SCFResult, properties: Sequence[str]) -> None:
        super()._store(result, properties)
        if self._states:
            self.results["spin_states"] = [
                {
                    "moment": s.moment,
                    "start": s.name,
                    "energy": s.energy * HARTREE_EV,
                    "converged": s.converged,
                }
                for s in self._states
            ]

    def _basis_of(self, atoms: Atoms) -> Basis:
        return self.theory.loaded_basis()

    @property
    def state_theory(self) -> Theory:
        """The level of theory of the last state alone: of several spin states the moment that was kept."""
        kept = [state.moment for state in self._states if state.kept]
        return replace(self.theory, spin_states=(), total_moment=kept[0]) if kept else self.theory

    def _possible_moments(self, system: System) -> list[float]:
        """Those of `spin_states` that the electrons can have; ValueError where none is left."""
        n, moments = system.n_electrons, self.theory.spin_states
        whole = self.theory.smearing_ev is None
        possible = [m for m in moments if abs(m) <= n and not (whole and round(n - m, 6) % 2.0)]
        if not possible:
            parity = "odd" if round(n) % 2 else "even"
            raise ValueError(
                f"spin_states: expected {parity} moments up to {n:g} with {n:g} electrons, "
                f"got {', '.join(f'{m:g}' for m in moments)}"
            )
        return possible

    def _say_spin(self, system: System) -> None:
        """What was chosen for an odd number of electrons."""
        if self.theory.spin is not None or round(system.n_electrons) % 2 == 0:
            return
        if system.nspin == 2:
            chosen = "the calculation is spin-polarised"
        else:
            chosen = "smeared, with k points: taken for a metal without moments; spin=True polarises it"
        self._say(f"{system.n_electrons:g} electrons, an odd number: {chosen}")

    def _say_ion(self, system: System) -> None:
        """That the box of an ion repeats it."""
        if not system.charge or self.atoms.pbc.any():
            return
        shift = 0.5 * MADELUNG_CUBE * system.charge**2 / system.cell_volume ** (1.0 / 3.0)
        self._say(
            f"charge {system.charge:+g} of a molecule, in a periodic box with a uniform background: the "
            f"energy is {shift * HARTREE_EV:.2f} eV below that of the ion alone in first order (Makov and "
            "Payne; a cube of this volume); it is not corrected"
        )

    def _start(self, system: System, moments: NDArray[np.float64] | None) -> BlockMatrix | None:
        """H0 of this geometry plus the dH of the last ones, or None (Harris) when there is none to use."""
        same = self._numbers is not None and np.array_equal(self._numbers, self.atoms.numbers)
        same = same and (moments is None) == (self._moments is None)
        if moments is not None and self._moments is not None:
            same = same and np.array_equal(moments, self._moments)
        if not self.restart or not same:
            self._past.clear()
            return None
        dh = self._past.predict(system.positions, system.pattern, system.nspin)
        return None if dh is None else system.harris_hamiltonian() + dh
