"""ASE calculators: DFT by self-consistency, and DFT quantities of a machine-learned Hamiltonian.

    calc = mlh.DFTCalculator(basis="gth-pbe", cutoff_ry=200)
    calc = mlh.MLHCalculator("sio2-vo", refine=0)

Units at this edge: eV, Angstrom. `energy` is extrapolated to zero smearing width, (internal + free)/2;
`free_energy` is what forces and stress are the gradient of; without smearing the two are equal. Stress as in
ASE: (1/V) dE/deps in Voigt order, positive when the cell wants to shrink.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    PropertyNotImplementedError,
    SCFError,
    all_changes,
)
from numpy.typing import NDArray

from mlh.extrapolation import HamiltonianExtrapolation
from mlh.model.committee import Committee, load_committee
from mlh.model.domain import warn_of_residual
from mlh.pattern import BlockMatrix
from mlh.pseudo.library import load_basis
from mlh.scf import SCFResult, SCFStep, scf
from mlh.solver import THRESHOLD, KPointsSpec, Method, Smearing, Solution, check_method
from mlh.species import Basis
from mlh.system import System
from mlh.terms.contract import Integration
from mlh.terms.named import as_integration
from mlh.units import EV, HARTREE_BOHR3_EV_ANGSTROM3, HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.vacuum import PeriodicBox

GridShape = tuple[int, int, int]
"""Points of the uniform grid along the cell vectors."""

_log = logging.getLogger("mlh.dft")


class HamiltonianModel(Protocol):
    """What `MLHCalculator` needs of a model: its basis, its level of theory and dH = H - H0 of a system.

    A model of labels with another integration than the default also has `integration`.
    """

    @property
    def basis(self) -> Basis: ...
    @property
    def cutoff_ry(self) -> float: ...
    @property
    def xc(self) -> str: ...
    def predict(self, system: System) -> BlockMatrix: ...


class _Engine(Calculator):  # type: ignore[misc]  # ASE has no types
    """What both calculators share: a System of the atoms, the results of a state, ASE's bookkeeping."""

    implemented_properties = ("energy", "free_energy", "forces", "stress", "magmom")

    def __init__(
        self,
        cutoff_ry: float,
        kpts: KPointsSpec,
        xc: str,
        grid_shape: GridShape | None,
        method: Method,
        threshold: float,
        integration: Integration | str | None,
        label: str,
    ) -> None:
        super().__init__()
        self.method = method
        self.threshold = threshold
        self.cutoff_ry = cutoff_ry
        self.grid_shape = grid_shape
        self.integration = as_integration(integration)
        self.kpts = kpts
        self.xc = xc
        self._label = label
        self.result: SCFResult | None = None
        self.periodic_atoms: Atoms | None = None
        self._box = PeriodicBox()

    def _get_name(self) -> str:
        return self._label

    @property
    def system(self) -> System:
        """The System of the last calculation."""
        return self._done().system  # type: ignore[return-value]

    def _done(self) -> SCFResult:
        if self.result is None:
            raise CalculatorSetupError("no calculation has been done with this calculator yet")
        return self.result

    def _system(self, atoms: Atoms, basis: Basis, nspin: int) -> System:
        self.periodic_atoms = self._box.periodic(atoms, basis)
        cell = self.periodic_atoms
        return System(
            cell, basis, self.cutoff_ry, self.kpts, self.xc, nspin, self.integration, self.grid_shape
        )

    def hold_grid(self, atoms: Atoms) -> GridShape:
        """Fix `grid_shape` to what the cutoff gives for the cell of `atoms`, before the cell changes."""
        n1, n2, n3 = self._system(atoms, self._basis_of(atoms), 1).grid_shape
        self.grid_shape = (int(n1), int(n2), int(n3))
        return self.grid_shape

    def check_elements(self, atoms: Atoms) -> None:
        """Before any work: an error in words when an element is not in the basis."""
        basis = self._basis_of(atoms)
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(basis.symbols))
        if unknown:
            raise CalculatorSetupError(
                f"atoms: expected elements of the basis ({', '.join(basis.symbols)}), "
                f"got {', '.join(unknown)}"
            )

    def _basis_of(self, atoms: Atoms) -> Basis:
        """The basis for these atoms."""
        raise NotImplementedError

    def _store(self, result: SCFResult, properties: Sequence[str]) -> None:
        """Put a state into `results`; forces and stress only when one of them is asked for."""
        self.result = result
        energies, solution = result.energies, result.solution
        self.results: dict[str, Any] = {
            "energy": 0.5 * (energies.internal + energies.total) * HARTREE_EV,
            "free_energy": energies.total * HARTREE_EV,
            "magmom": solution.magnetic_moment,
            "fermi_level": solution.fermi_level * HARTREE_EV,
            "residual": result.residual * HARTREE_EV,
            "residual_rms": result.residual_rms * HARTREE_EV,
            "energy_error": result.energy_error * HARTREE_EV,
        }
        if isinstance(solution, Solution):
            self.results["eigenvalues"] = solution.eigenvalues * HARTREE_EV
        if not {"forces", "stress"}.isdisjoint(properties):
            self._store_derivatives(properties)

    def _derivatives_of_last(self, properties: Sequence[str]) -> bool:
        """Add forces and stress to results that have everything else."""
        if self.result is None or "energy" not in self.results:
            return False
        self._store_derivatives(properties)
        return True

    def _store_derivatives(self, properties: Sequence[str]) -> None:
        """Forces and stress: one pass gives both."""
        result = self._done()
        if not self.system.has_stress:
            if "stress" in properties:
                raise PropertyNotImplementedError(f"stress: there is none with {self.integration}")
            self.results["forces"] = result.forces().total * HARTREE_BOHR_EV_ANGSTROM
            return
        forces, stress = result.forces_and_stress()
        self.results["forces"] = forces.total * HARTREE_BOHR_EV_ANGSTROM
        # Without a cell vector of their own the atoms are in a box that mlh has chosen.
        if self.atoms.cell.rank == 3:
            self.results["stress"] = stress.voigt * HARTREE_BOHR3_EV_ANGSTROM3
        elif "stress" in properties:
            raise PropertyNotImplementedError(
                f"stress: expected atoms with three cell vectors, got a cell of rank {self.atoms.cell.rank}"
            )


class DFTCalculator(_Engine):
    """Kohn-Sham DFT in the numerical atomic-orbital basis.

    basis: a name ("gth-pbe") or a Basis. cutoff_ry: grid cutoff (Ry). kpts: (n1, n2, n3), or
    {"size": (n1, n2, n3), "gamma": True}. spin: collinear spin; `total_moment` (N_up - N_down) fixes the
    moment, otherwise the initial magnetic moments of the atoms start it. smearing_ev: width of `smearing`
    (None: integer occupations). Convergence: energy change below energy_tol_ev and
    max |H[D] - H_in| below residual_tol_ev. A cell that is missing in a non-periodic direction is added.
    grid_shape: points of the grid along the cell vectors, instead of those of the cutoff for every new cell.
    The stress is the derivative of the energy at a fixed number; where the cell varies much, hold it fixed.
    method, threshold: the solver, see `mlh.solve`; "purification" has no eigenvalues in its results.
    integration: how the integrals are done, as in `mlh.System`.

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
    ) -> None:
        super().__init__(cutoff_ry, kpts, xc, grid_shape, method, threshold, integration, "mlh-dft")
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


class MLHCalculator(_Engine):
    """Energy, forces and stress of the density matrix that a predicted Hamiltonian gives.

    model: a path, the name of a shipped model, several of them separated by commas (a committee, which
    predicts the mean), or any object with `basis`, `cutoff_ry`, `xc` and `predict(system) -> dH`.
    H_in = H0 + dH is diagonalised, E[D] and H[D] = dE/dD are evaluated on D, forces and stress use
    W = D H[D] D. refine=n adds n self-consistency steps. cutoff_ry, kpts: None takes the model's.
    Forces and stress are exact once D is self-consistent; before, they lack the response of D to the
    geometry, an error of first order in the residual, which `refine` removes step by step. The first step
    mixes 60 percent of H[D]; in soft systems (small gaps) it may overshoot, which the residual then shows.
    method, threshold: the solver, see `mlh.solve`; "purification" has no eigenvalues in its results.

    results["residual"], ["residual_rms"]: max and rms of H[D] - H_in (eV), zero for a perfect model;
    results["energy_error"]: second-order estimate of E[D] - E_DFT (eV), an upper bound in practice
    (`mlh.solver.residual_energy`). E[D] is variational: it lies above the DFT energy. Of a committee also
    ["committee_dh_std"]: rms standard deviation of the members' dH (eV), and with spread=True
    ["committee_energy_std"] (eV) and ["committee_forces_std"] (natoms,), the rms deviation of each force
    (eV/A), from the members' own energies and forces without refinement (one more evaluation per member).
    """

    def __init__(
        self,
        model: HamiltonianModel | str,
        refine: int = 0,
        cutoff_ry: float | None = None,
        kpts: KPointsSpec = (1, 1, 1),
        smearing_ev: float | None = None,
        smearing: Smearing = "fermi-dirac",
        method: Method = "dense",
        device: str = "cpu",
        spread: bool = False,
        grid_shape: GridShape | None = None,
        threshold: float = THRESHOLD,
    ) -> None:
        if refine < 0:
            raise ValueError(f"refine: expected 0 or more self-consistency steps, got {refine}")
        self.model = _load(model, device) if isinstance(model, str) else model
        self.smearing: Smearing = "none" if smearing_ev is None else smearing
        check_method(method, kpts, self.smearing)
        cutoff = cutoff_ry or self.model.cutoff_ry
        integration = getattr(self.model, "integration", None)
        super().__init__(cutoff, kpts, self.model.xc, grid_shape, method, threshold, integration, "mlh")
        self.refine = refine
        self.width = 0.0 if smearing_ev is None else smearing_ev * EV
        self.predicted_dh: BlockMatrix | None = None
        if spread and not isinstance(self.model, Committee):
            raise ValueError(
                "spread: expected False for a single model, got True; give a committee of models"
            )
        self.spread = spread

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Predict, solve, evaluate; `refine` more steps of self-consistency when asked for."""
        super().calculate(atoms, properties, system_changes)
        if not system_changes and self._derivatives_of_last(properties):
            return
        system = self._system(self.atoms, self._basis_of(self.atoms), nspin=1)
        dh = self.model.predict(system)
        self.predicted_dh = dh
        result = scf(
            system,
            H0=system.harris_hamiltonian() + dh,
            max_steps=1 + self.refine,
            smearing=self.smearing,
            width=self.width,
            method=self.method,
            threshold=self.threshold,
        )
        self._store(result, properties)
        warn_of_residual(self.model, result.history[0].residual_rms * HARTREE_EV)
        if isinstance(self.model, Committee):
            self._store_committee(self.model, system)

    def _basis_of(self, atoms: Atoms) -> Basis:
        basis = self.model.basis
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(basis.symbols))
        if unknown:
            raise CalculatorSetupError(
                f"atoms: expected elements that the model knows ({', '.join(basis.symbols)}), "
                f"got {', '.join(unknown)}"
            )
        return basis

    def _store_committee(self, committee: Committee, system: System) -> None:
        """How far the members disagree."""
        self.results["committee_dh_std"] = committee.disagreement() * HARTREE_EV
        if not self.spread:
            return
        states = [
            scf(
                system,
                H0=system.harris_hamiltonian() + dh,
                max_steps=1,
                smearing=self.smearing,
                width=self.width,
                method=self.method,
                threshold=self.threshold,
            )
            for dh in committee.last
        ]
        energies = np.array([s.energies.total for s in states])
        forces = np.stack([s.forces().total for s in states])
        self.results["committee_energy_std"] = float(energies.std(ddof=1)) * HARTREE_EV
        variance = forces.var(axis=0, ddof=1).sum(axis=1)
        self.results["committee_forces_std"] = np.sqrt(variance) * HARTREE_BOHR_EV_ANGSTROM


def _load(model: str, device: str) -> HamiltonianModel:
    """A model file or a shipped model by name; a committee of several separated by commas."""
    from mlh.model.predict import load_model

    names = [name.strip() for name in model.split(",")]
    if len(names) > 1:
        return load_committee(names, device)
    loaded: HamiltonianModel = load_model(model, device=device)
    return loaded
