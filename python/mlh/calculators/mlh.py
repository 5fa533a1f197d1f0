"""`MLHCalculator`: DFT quantities of a machine-learned Hamiltonian as an ASE calculator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    CalculatorSetupError,
    all_changes,
)

from mlh._core import return_free_pages
from mlh.basis.species import Basis
from mlh.calculators.base import Engine, GridShape, HamiltonianModel
from mlh.common.activity import doing
from mlh.common.choices import check_choice
from mlh.common.units import HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.dft.energies import Forces, Stress
from mlh.dft.integrations import DEFAULT_INTEGRATION
from mlh.dft.system import System
from mlh.dft.terms.contract import MatrixTerm
from mlh.dft.theory import Theory
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPointsSpec
from mlh.model.committee import Committee, load_committee
from mlh.model.domain import warn_of_gap, warn_of_residual
from mlh.model.term import differentiable
from mlh.scf.gradient import ResidualResponse, exact_forces
from mlh.scf.loop import SCFResult, scf
from mlh.solver import Responding, SecondResponding, Smearing, Solver

ForcesKind = Literal["exact", "plain"]
"""With or without the response of the density matrix to the geometry."""

SMALLEST_GAP = 1e-3
"""Ha. Full and empty levels nearer than this change places: sums over 1/(e_a - e_i) mean nothing."""


class MLHCalculator(Engine):
    """Energy, forces and stress of the density matrix that a predicted Hamiltonian gives.

    model: a path, the name of a shipped model, several of them separated by commas (a committee, which
    predicts the mean), or any object with `basis`, `cutoff_ry`, `xc` and `predict(system) -> dH`.
    H_in = H0 + dH is diagonalised, E[D] and H[D] = dE/dD are evaluated on D, forces and stress use
    W = D H[D] D. refine=n adds n self-consistency steps. cutoff_ry, kpts, smearing_ev, smearing: None takes
    those of the model's labels, the k points by their density in the cell at hand; smearing_ev=0.0: integer
    occupations. Functional, integration and basis are the model's.
    forces: "exact" (default), the gradient of the energy that the calculator gives, with the response of D to
    the geometry (`mlh.scf.gradient`); or "plain", without the response, an error of first order in the
    residual. kappa: with exact forces and full or empty states (no smearing), energy and forces are those of
    E[D] - kappa * energy_error; None: the model's own share of the estimate that is error, 0: E[D] itself.
    With refine > 0, a solver without response or a model object without derivatives, forces are plain and
    the energy is E[D]; results["forces_exact"], ["kappa"] say what they are. Each step of `refine` makes
    plain forces better; the first mixes 60 percent of H[D] and may overshoot in soft systems (small gaps),
    which the residual then shows.
    charge, total_moment: of the cell, with models that know them (`network.charge_channels`); an odd number
    of electrons has two spins, and the moment 1 where none is given. Forces of two spins are plain.
    solver: see `mlh.solve`; only "dense" has eigenvalues in its results.

    results["residual"], ["residual_rms"]: max and rms of H[D] - H_in (eV), zero for a perfect model;
    results["energy_error"]: second-order estimate of E[D] - E_DFT (eV), an upper bound in practice
    (`mlh.solver.residual_energy`). E[D] is variational: it lies above the DFT energy; it stays in
    ["energy_uncorrected"]. With the corrected forces comes ["energy_corrected"], E[D] less the error that
    the screened response gives without any fit (`mlh.scf.gradient`), the best energy of one geometry; the
    forces are not its gradient. Of a committee also
    ["committee_dh_std"]: rms standard deviation of the members' dH (eV), and with spread=True
    ["committee_energy_std"] (eV) and ["committee_forces_std"] (natoms,), the rms deviation of each force
    (eV/A), from the members' own energies and forces without refinement (one more evaluation per member).
    """

    _options = (*Engine._options, "refine", "spread", "forces", "kappa")
    _fixed: ClassVar[Mapping[str, str]] = {
        name: "belongs to the model, got another" for name in ("basis", "xc", "integration", "dispersion")
    } | {
        name: "is given when the calculator is made, to models that know charge and spin"
        for name in ("charge", "spin", "total_moment", "spin_states")
    }

    def __init__(
        self,
        model: HamiltonianModel | str,
        refine: int = 0,
        cutoff_ry: float | None = None,
        kpts: KPointsSpec = None,
        smearing_ev: float | None = None,
        smearing: Smearing | None = None,
        device: str = "cpu",
        spread: bool = False,
        grid_shape: GridShape | None = None,
        solver: Solver | str = "dense",
        symmetry: bool = True,
        forces: ForcesKind = "exact",
        kappa: float | None = None,
        charge: float = 0.0,
        total_moment: float | None = None,
    ) -> None:
        if refine < 0:
            raise ValueError(f"refine: expected 0 or more self-consistency steps, got {refine}")
        check_choice("forces", forces, ForcesKind)
        if kappa is not None and not np.isfinite(kappa):
            raise ValueError(f"kappa: expected a finite number, got {kappa}")
        if kappa and (refine or forces == "plain"):
            raise ValueError(
                f"kappa: expected none with refine > 0 or plain forces, which is E[D], got {kappa}"
            )
        self.model = _load(model, device) if isinstance(model, str) else model
        own_smearing: Smearing = getattr(self.model, "smearing", Theory.smearing)
        own_width = getattr(self.model, "smearing_ev", None)
        level = Theory(
            basis=self.model.basis,
            cutoff_ry=cutoff_ry or self.model.cutoff_ry,
            kpts=getattr(self.model, "kpts", (1, 1, 1)) if kpts is None else kpts,
            xc=self.model.xc,
            spin=_spin_of(self.model, charge, total_moment),
            total_moment=total_moment or None,
            charge=charge,
            smearing_ev=own_width if smearing_ev is None else smearing_ev or None,
            smearing=smearing or own_smearing,
            integration=getattr(self.model, "integration", None) or DEFAULT_INTEGRATION,
            grid_shape=grid_shape,
            symmetry=symmetry,
        )
        super().__init__(level, solver, "mlh")
        self.refine = refine
        self.predicted_dh: BlockMatrix | None = None
        if spread and not isinstance(self.model, Committee):
            raise ValueError(
                "spread: expected False for a single model, got True; give a committee of models"
            )
        self.spread = spread
        self.forces = forces
        self.kappa = kappa
        self._terms: tuple[MatrixTerm, ...] = ()
        self._response: ResidualResponse | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "predicted_dh": None, "_terms": (), "_response": None}

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
        system = self._system(self.atoms)
        solver = self._solver_from(system)
        self.result, self._response, self._terms = None, None, ()  # the last geometry makes way for this one
        moment = self._moment(system)
        with doing("prediction"):
            if moment is not None:
                dh, self._terms = _with_moment(self.model, system, moment), ()
            elif self.forces == "exact" and self.refine == 0 and differentiable(self.model):
                term = self.model.term(system)
                dh, self._terms = term.matrix, (term,)
            else:
                dh, self._terms = self.model.predict(system), ()
        self.predicted_dh = dh
        return_free_pages()
        result = scf(
            system,
            H0=system.harris_hamiltonian() + dh,
            max_steps=1 + self.refine,
            smearing=self.theory.occupations,
            width=self.theory.width,
            total_spin=moment,
            solver=solver,
        )
        if self._turned(result):
            self.calculate(self.atoms, properties, all_changes)
            return
        self._store(result, properties)
        warn_of_residual(self.model, result.history[0].residual_rms * HARTREE_EV)
        if isinstance(self.model, Committee):
            self._store_committee(self.model, system)

    def prediction(self, atoms: Atoms) -> BlockMatrix:
        """dH of these atoms, without a density matrix; of a committee the members' own stay in its `last`."""
        system, _ = self.system_for(atoms)
        moment = self._moment(system)
        return self.model.predict(system) if moment is None else _with_moment(self.model, system, moment)

    def _moment(self, system: System) -> float | None:
        """N_up - N_down of a system of two spins: as given, else the lowest that its electrons can have."""
        if system.nspin == 1:
            return None
        given = self.theory.total_moment
        return float(round(system.n_electrons) % 2) if given is None else float(given)

    def _energies(self, result: SCFResult) -> dict[str, float]:
        """As of any state, less the share of the estimated error that is error."""
        plain = super()._energies(result)
        self._response = self._response_of(result)
        if self._response is None or self._response.kappa == 0.0:
            return {**plain, "energy_uncorrected": plain["energy"], "kappa": 0.0}
        # The sum itself, which the forces are the gradient of; some solvers give a bound of it only.
        estimate = self._response.estimate * HARTREE_EV
        kappa = self._response.kappa
        corrected = {name: energy - kappa * estimate for name, energy in plain.items()}
        more = {"energy_uncorrected": plain["energy"], "energy_error": estimate, "kappa": kappa}
        return {**corrected, **more}

    def _response_of(self, result: SCFResult) -> ResidualResponse | None:
        """For exact forces, None where they are plain; kappa only where its gradient is known."""
        state = result.solution
        if not self._terms or not isinstance(state, Responding):
            return None
        if not state.integer_occupations:
            return ResidualResponse(result)
        if state.gap < SMALLEST_GAP:
            warn_of_gap(state.gap * HARTREE_EV)
            return None
        if not isinstance(state, SecondResponding):
            return ResidualResponse(result)
        kappa = getattr(self.model, "kappa", 0.0) if self.kappa is None else self.kappa
        return ResidualResponse(result, float(kappa))

    def _forces_and_stress(self) -> tuple[Forces, Stress | None]:
        response = self._response
        self.results["forces_exact"] = response is not None and self.system.has_stress
        if response is None:
            return super()._forces_and_stress()
        if response.kappa != 0.0:  # then the kernel is there, and this costs nothing more
            screened = response.energy_error * HARTREE_EV
            self.results["energy_corrected"] = self.results["energy_uncorrected"] - screened
        return exact_forces(response, self._terms)

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
                smearing=self.theory.occupations,
                width=self.theory.width,
                total_spin=self._moment(system),
                solver=self.solver,
            )
            for dh in committee.last
        ]
        energies = np.array([s.energies.total for s in states])
        forces = np.stack([s.forces().total for s in states])
        self.results["committee_energy_std"] = float(energies.std(ddof=1)) * HARTREE_EV
        variance = forces.var(axis=0, ddof=1).sum(axis=1)
        self.results["committee_forces_std"] = np.sqrt(variance) * HARTREE_BOHR_EV_ANGSTROM


def _spin_of(model: HamiltonianModel, charge: float, moment: float | None) -> bool | None:
    """Spin of the level of theory: by the number of electrons of a charged model, none of a neutral one;
    ValueError for a charge or a moment that the model does not know."""
    if getattr(model, "charged", False):
        return True if moment else None
    if charge or moment:
        name, value = ("charge", charge) if charge else ("total_moment", moment)
        raise ValueError(
            f"{name}: expected 0 with a model that knows neutral cells without spin only, got {value:g}; "
            "calculate it by DFT, or train a model with network.charge_channels"
        )
    return False


def _with_moment(model: HamiltonianModel, system: System, moment: float) -> BlockMatrix:
    """dH of two spins."""
    predicted: BlockMatrix = model.predict(system, moment=moment)  # type: ignore[call-arg]
    return predicted


def _load(model: str, device: str) -> HamiltonianModel:
    """A model file or a shipped model by name; a committee of several separated by commas."""
    from mlh.model.model import load_model

    names = [name.strip() for name in model.split(",")]
    if len(names) > 1:
        return load_committee(names, device)
    loaded: HamiltonianModel = load_model(model, device=device)
    return loaded
