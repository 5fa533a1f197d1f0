"""ASE calculators: DFT by self-consistency, and DFT quantities of a machine-learned Hamiltonian.

    calc = mlh.DFTCalculator(basis="gth-pbe", cutoff_ry=200)
    calc = mlh.MLHCalculator("sio2-vo", refine=0)

Units at this edge: eV, Angstrom. `energy` is extrapolated to zero smearing width, (internal + free)/2;
`free_energy` is what forces and stress are the gradient of; without smearing the two are equal. Stress as in
ASE: (1/V) dE/deps in Voigt order, positive when the cell wants to shrink.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    PropertyNotImplementedError,
)
from numpy.typing import NDArray

from mlh.basis.ghosts import species_names
from mlh.basis.species import GHOST, Basis
from mlh.common.activity import doing
from mlh.common.units import BOHR_ANGSTROM, HARTREE_BOHR3_EV_ANGSTROM3, HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.dft.energies import Forces, Stress
from mlh.dft.mesh import GridMesh
from mlh.dft.potentials import planar_potentials, site_potentials
from mlh.dft.system import System
from mlh.dft.theory import FIELDS, Theory
from mlh.dft.vacuum import PeriodicBox
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import with_cell
from mlh.matrix.populations import atom_populations
from mlh.scf.loop import SCFResult
from mlh.solver import Continuing, Solution, Solver, as_solver

GridShape = Sequence[int] | GridMesh
"""Points of the uniform grid along the cell vectors, or a mesh with its own axes."""

_log = logging.getLogger("mlh.dft")


NEARBY = 1.0
"""Bohr. A state of atoms that moved further is nothing to start from."""


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


class Engine(Calculator):  # type: ignore[misc]  # ASE has no types
    """What both calculators share: a System of the atoms, the results of a state, ASE's bookkeeping."""

    implemented_properties = (
        "energy",
        "free_energy",
        "forces",
        "stress",
        "magmom",
        "magmoms",
        "charges",
        "dipole",
    )

    _options: ClassVar[tuple[str, ...]] = ("solver",)
    """What `set` and assignment may change beside the fields of the level of theory."""
    _fixed: ClassVar[Mapping[str, str]] = {}
    """Fields of the level of theory that cannot be changed, with the reason."""

    def __init__(self, theory: Theory, solver: Solver | str, label: str) -> None:
        super().__init__()
        self.theory = theory
        self.solver = as_solver(solver)
        self.solver.check(theory.kpts, theory.occupations)
        self._label = label
        self.result: SCFResult | None = None
        self.periodic_atoms: Atoms | None = None
        self._box = PeriodicBox()
        self._said: set[str] = set()

    def _get_name(self) -> str:
        return self._label

    def __getattr__(self, name: str) -> Any:
        """The fields of the level of theory: calc.cutoff_ry is calc.theory.cutoff_ry."""
        if name in FIELDS and "theory" in self.__dict__:
            return getattr(self.theory, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        """A parameter that changes drops the results that it made, whether it is set here or by `set`."""
        if name in FIELDS:
            self.set(**{name: value})
            return
        changed = name in (*self._options, "theory") and name in self.__dict__
        object.__setattr__(self, name, value)
        if changed:
            self._forget()

    def set(self, **changes: Any) -> dict[str, Any]:
        """Change fields of the level of theory or options of the calculator by name, as ASE's `set`.

        Returns what changed. The next calculation starts anew. ValueError for a name that is not there, and
        for what belongs to a model.
        """
        if not changes:  # as ASE's own constructor calls it
            return {}
        known = (*FIELDS, *self._options)
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise ValueError(f"set: expected parameters among {', '.join(known)}, got {', '.join(unknown)}")
        for name in changes:
            if name in self._fixed:
                raise ValueError(f"{name}: {self._fixed[name]}")
        new = {name: value for name, value in changes.items() if not _same(getattr(self, name), value)}
        theory = replace(self.theory, **{name: value for name, value in new.items() if name in FIELDS})
        if "solver" in new:
            new["solver"] = as_solver(new["solver"])
        new.get("solver", self.solver).check(theory.kpts, theory.occupations)
        object.__setattr__(self, "theory", theory)
        for name in set(new) & set(self._options):
            object.__setattr__(self, name, new[name])
        if new:
            self._forget()
        return new

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """The parameters as plain values, for ASE's trajectories and databases."""
        own = {name: getattr(self, name) for name in self._options if name != "solver"}
        return {**self.theory.describe(), **self.solver.describe(), **own}

    def __getstate__(self) -> dict[str, Any]:
        """For copies, pickles and processes: settings and results; the state itself, which the core holds,
        stays here, and the copy makes it again when it needs it."""
        return {**self.__dict__, "result": None}

    def _forget(self) -> None:
        """Drop the results of other parameters."""
        self.reset()
        self.result = None

    def site_potentials(self) -> NDArray[np.float64]:
        """Electrostatic potential at the atoms of the last calculation, (natoms,), V: positive near a
        positive charge (`mlh.dft.potentials`)."""
        return site_potentials(self.system, self._done().D) * HARTREE_EV

    def planar_potentials(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The same averaged over planes, along each cell vector on the points of the grid, V."""
        first, second, third = planar_potentials(self.system, self._done().D)
        return first * HARTREE_EV, second * HARTREE_EV, third * HARTREE_EV

    @property
    def system(self) -> System:
        """The System of the last calculation."""
        return self._done().system  # type: ignore[return-value]

    def _done(self) -> SCFResult:
        if self.result is None:
            raise CalculatorSetupError(
                "no calculation has been done with this calculator yet "
                "(a copy has the results, but not their state)"
            )
        return self.result

    def _say(self, text: str) -> None:
        """A warning, once."""
        if text not in self._said:
            _log.warning("%s", text)
        self._said.add(text)

    def _system(self, atoms: Atoms) -> System:
        charges = float(atoms.get_initial_charges().sum())
        if abs(charges - self.theory.charge) > 0.5 and charges:
            self._say(
                f"initial charges of the atoms add up to {charges:+g} and are not used: the charge of the "
                f"cell is {self.theory.charge:+g}, as the calculator was told"
            )
        basis = self._basis_of(atoms)
        self.periodic_atoms = cell = self._box.periodic(atoms, basis)
        kpts = with_cell(self.theory.kpts, cell.cell.array, atoms.pbc)
        return System.of(cell, replace(self.theory, basis=basis, kpts=kpts))

    def _turned(self, result: SCFResult) -> bool:
        """Whether the molecule is to be computed again, in a box along the dipole that it has now."""
        if self.atoms.pbc.any() or self.theory.grid_shape is not None:
            return False
        system = result.system
        return self._box.settle(self.atoms, system.basis, system.dipole(result.D))  # type: ignore[attr-defined]

    def system_for(self, atoms: Atoms) -> tuple[System, Atoms]:
        """The System and the periodic atoms that a calculation of these atoms will have, before the work."""
        system = self._system(atoms)
        return system, self._box.periodic(atoms, system.basis)

    def hold_grid(self, atoms: Atoms) -> GridShape:
        """Fix `grid_shape` to what the cutoff gives for the cell of `atoms`, before the cell changes; the k
        mesh of a spacing too. In a skewed cell it is a `GridMesh` along other vectors of the lattice."""
        system = self._system(atoms)
        cell = self._box.periodic(atoms, system.basis).cell
        held: GridShape = system.mesh.shape if system.mesh.along_cell else system.mesh
        self.set(kpts=with_cell(self.theory.kpts, cell.array, atoms.pbc), grid_shape=held)
        return held

    def _solver_from(self, system: System) -> Solver:
        """The solver; where it can, from the last state, of the same atoms not far away."""
        last = self.result
        if last is None or not isinstance(self.solver, Continuing):
            return self.solver
        before = last.system
        if not isinstance(before, System) or before.symbols != system.symbols:
            return self.solver
        moved = np.linalg.norm(system.positions - before.positions, axis=1).max(initial=0.0)
        return self.solver.after(last.solution) if moved < NEARBY else self.solver

    def check_elements(self, atoms: Atoms) -> None:
        """Before any work: an error in words when an element is not in the basis."""
        basis = self._basis_of(atoms)
        elements = {name.removeprefix(GHOST) for name in species_names(atoms)}
        unknown = sorted(elements - set(basis.symbols))
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
        solution = result.solution
        self.results: dict[str, Any] = {
            "magmom": solution.magnetic_moment,
            "magmoms": result.moments,
            "charges": self._charges(result),
            "fermi_level": solution.fermi_level * HARTREE_EV,
            "residual": result.residual * HARTREE_EV,
            "residual_rms": result.residual_rms * HARTREE_EV,
            "energy_error": result.energy_error * HARTREE_EV,
            **self._energies(result),
        }
        if not self.atoms.pbc.any():
            self.results["dipole"] = self.system.dipole(result.D) * BOHR_ANGSTROM
        elif "dipole" in properties:
            raise PropertyNotImplementedError("dipole: expected atoms that are periodic nowhere (pbc=False)")
        if isinstance(solution, Solution):
            self.results["eigenvalues"] = solution.eigenvalues * HARTREE_EV
        if not {"forces", "stress"}.isdisjoint(properties):
            self._store_derivatives(properties)

    def _energies(self, result: SCFResult) -> dict[str, float]:
        """`energy` and `free_energy` of a state, eV, and what an engine says of its energy."""
        energies = result.energies
        return {
            "energy": 0.5 * (energies.internal + energies.total) * HARTREE_EV,
            "free_energy": energies.total * HARTREE_EV,
        }

    def _charges(self, result: SCFResult) -> NDArray[np.float64]:
        """Mulliken charges of the atoms, valence - population (natoms,), e."""
        system = self.system
        valence = np.array([system.basis[symbol].valence for symbol in system.symbols])
        return np.asarray(valence - atom_populations(result.D, system.overlap()).sum(axis=0))

    def _derivatives_of_last(self, properties: Sequence[str]) -> bool:
        """Add forces and stress to results that have everything else."""
        if self.result is None or "energy" not in self.results:
            return False
        self._store_derivatives(properties)
        return True

    def _store_derivatives(self, properties: Sequence[str]) -> None:
        """Forces and stress: one pass gives both."""
        with doing("forces"):
            forces, stress = self._forces_and_stress()
        self.results["forces"] = forces.total * HARTREE_BOHR_EV_ANGSTROM
        if stress is None:
            if "stress" in properties:
                raise PropertyNotImplementedError(f"stress: there is none with {self.system.integration}")
            return
        # Without a cell vector of their own the atoms are in a box that mlh has chosen.
        if self.atoms.cell.rank == 3:
            self.results["stress"] = stress.voigt * HARTREE_BOHR3_EV_ANGSTROM3
        elif "stress" in properties:
            raise PropertyNotImplementedError(
                f"stress: expected atoms with three cell vectors, got a cell of rank {self.atoms.cell.rank}"
            )

    def _forces_and_stress(self) -> tuple[Forces, Stress | None]:
        """Of the last state; no stress where the integration has none."""
        result = self._done()
        return result.forces_and_stress() if self.system.has_stress else (result.forces(), None)


def _same(a: Any, b: Any) -> bool:
    """Equality of parameters, some of which are arrays."""
    if a is b:
        return True
    equal = a == b
    return equal if isinstance(equal, bool) else bool(np.all(equal))
