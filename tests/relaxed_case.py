"""Self-consistent forces against central differences of the self-consistent (free) energy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

import mlh
from mlh.common.units import HARTREE_BOHR_EV_ANGSTROM
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix, transfer
from mlh.scf.loop import SCFResult
from term_derivatives import central_difference
from toy_system import shifted

FloatArray = NDArray[np.float64]

TIGHT: dict[str, Any] = {"energy_tol": 1e-9, "residual_tol": 1e-6, "max_steps": 120}


def toy_scf(system: System, H0: BlockMatrix | None = None) -> SCFResult:
    """The toy species have no gap; smeared occupations keep the free energy smooth."""
    result = mlh.scf(system, H0=H0, smearing="fermi-dirac", width=0.05, **TIGHT)
    assert result.converged
    return result


def insulator_scf(system: System, H0: BlockMatrix | None = None) -> SCFResult:
    result = mlh.scf(system, H0=H0, **TIGHT)
    assert result.converged
    return result


def triplet_scf(system: System, H0: BlockMatrix | None = None) -> SCFResult:
    """Smeared, because the two pi* levels are filled through a moment of 2."""
    result = mlh.scf(system, H0=H0, smearing="fermi-dirac", width=0.01, total_spin=2.0, **TIGHT)
    assert result.converged
    return result


class RelaxedCase:
    """Converged energy and forces, and the slope of the converged energy along one direction."""

    def __init__(
        self, atoms: Atoms, solve: Callable[..., SCFResult], step: float = 0.01, **settings: Any
    ) -> None:
        self.system = System(atoms, **settings)
        self.result = solve(self.system)
        self.forces = self.result.forces().total
        direction = np.random.default_rng(8).normal(size=self.forces.shape)
        direction /= np.linalg.norm(direction)

        def total(x: float) -> FloatArray:
            moved = System(shifted(atoms, x * direction), **settings)
            return np.array(solve(moved, transfer(self.result.H, moved.pattern)).energies.total)

        self.numeric = -float(central_difference(total, step))
        self.analytic = float(np.vdot(self.forces, direction))

    @property
    def error(self) -> float:
        """Hartree/Bohr."""
        return abs(self.numeric - self.analytic)

    def __str__(self) -> str:
        return (
            f"|error| {self.error:.1e} Ha/Bohr of a slope of {self.numeric:.4f}, "
            f"net force {self.net_force * 1e3:.2f} meV/A"
        )

    @property
    def net_force(self) -> float:
        """Largest component of the summed force, eV/Angstrom."""
        return float(np.abs(self.forces.sum(axis=0)).max()) * HARTREE_BOHR_EV_ANGSTROM
