"""ASE calculators: DFT by self-consistency, and DFT quantities of a machine-learned Hamiltonian.

    calc = mlh.DFTCalculator(basis="gth-pbe", cutoff_ry=200)
    calc = mlh.MLHCalculator("sio2-vo", refine=0)

Units at this edge: eV, Angstrom. `energy` is extrapolated to zero smearing width, (internal + free)/2;
`free_energy` is what forces and stress are the gradient of; without smearing the two are equal. Stress as in
ASE: (1/V) dE/deps in Voigt order, positive when the cell wants to shrink.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from ase import Atoms
from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    PropertyNotImplementedError,
)

from mlh.basis.species import Basis
from mlh.common.units import HARTREE_BOHR3_EV_ANGSTROM3, HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.dft.integrations import as_integration
from mlh.dft.mesh import GridMesh
from mlh.dft.system import System
from mlh.dft.terms.contract import Integration
from mlh.dft.vacuum import PeriodicBox
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPointsSpec, with_cell
from mlh.scf.loop import SCFResult
from mlh.solver import Method, Solution

GridShape = tuple[int, int, int] | GridMesh
"""Points of the uniform grid along the cell vectors, or a mesh with its own axes."""

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


class Engine(Calculator):  # type: ignore[misc]  # ASE has no types
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
        symmetry: bool,
    ) -> None:
        super().__init__()
        self.method = method
        self.threshold = threshold
        self.cutoff_ry = cutoff_ry
        self.grid_shape = grid_shape
        self.integration = None if integration is None else as_integration(integration)
        self.kpts = kpts
        self.xc = xc
        self._label = label
        self.result: SCFResult | None = None
        self.periodic_atoms: Atoms | None = None
        self.symmetry = symmetry
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
        kpts = with_cell(self.kpts, cell.cell.array, atoms.pbc)
        return System(
            cell,
            basis,
            self.cutoff_ry,
            kpts,
            self.xc,
            nspin,
            self.integration,
            self.grid_shape,
            self.symmetry,
            atoms.get_initial_magnetic_moments() if nspin == 2 else None,
        )

    def hold_grid(self, atoms: Atoms) -> GridShape:
        """Fix `grid_shape` to what the cutoff gives for the cell of `atoms`, before the cell changes; the k
        mesh of a spacing too. In a skewed cell it is a `GridMesh` along other vectors of the lattice."""
        mesh = self._system(atoms, self._basis_of(atoms), 1).mesh
        cell = self._box.periodic(atoms, self._basis_of(atoms)).cell
        self.kpts = with_cell(self.kpts, cell.array, atoms.pbc)
        self.grid_shape = mesh.shape if mesh.along_cell else mesh
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
