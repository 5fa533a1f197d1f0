"""Labels of structures: what a data set stores of one converged calculation, and who computes it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import ase
import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from mlh.basis.families import DEFAULT_BASIS, default_integration, load_basis
from mlh.basis.species import Basis
from mlh.common.files import intact
from mlh.common.npz import write_npz
from mlh.common.units import HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.dft.energies import Energies
from mlh.dft.integrations import DEFAULT_INTEGRATION
from mlh.dft.theory import Theory
from mlh.matrix.kpoints import KPointsSpec, kpoints_record
from mlh.solver.dense import Solution
from mlh.solver.occupations import Smearing


class UnconvergedError(RuntimeError):
    """A calculation that did not converge: it is never stored as a label."""


@dataclass(frozen=True)
class EngineSettings:
    """Level of theory of the labels; two data sets with equal settings can be joined."""

    basis: str = DEFAULT_BASIS
    orbitals: Mapping[str, str] = field(default_factory=dict)
    cutoff_ry: float = 200.0
    kpts: KPointsSpec = (1, 1, 1)
    xc: str = "PBE"
    energy_tol: float = 1e-7  # Hartree
    residual_tol: float = 1e-5  # Hartree
    max_scf_steps: int = 80
    integration: str | None = None
    smearing_ev: float | None = None
    smearing: Smearing = "fermi-dirac"
    spin: bool = False
    total_moment: float | None = None
    charge: float = 0.0
    labeller: str = ""
    """"module:name" of a labeller of your own; empty: the embedded DFT engine."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; the labeller only where it is not the embedded engine."""
        content = {**asdict(self), "orbitals": dict(self.orbitals), "kpts": kpoints_record(self.kpts)}
        method = self.theory.integration
        content["integration"] = None if method == DEFAULT_INTEGRATION else method
        if self.smearing_ev is None:
            del content["smearing"]
        # Absent in files of before, and in those of the same level of theory now.
        optional = ("labeller", "integration", "smearing_ev", "spin", "total_moment", "charge")
        absent = {k for k in optional if content[k] in (None, False, "", 0.0)}
        return {k: v for k, v in content.items() if k not in absent}

    @property
    def theory(self) -> Theory:
        """The same as one value; spin-unpolarised unless asked for."""
        basis = load_basis(self.basis, orbitals=dict(self.orbitals) or None)
        return Theory(
            basis=basis,
            cutoff_ry=self.cutoff_ry,
            kpts=self.kpts,
            xc=self.xc,
            spin=self.spin,
            total_moment=self.total_moment,
            smearing_ev=self.smearing_ev,
            smearing=self.smearing,
            charge=self.charge,
            integration=self.integration or default_integration(basis) or DEFAULT_INTEGRATION,
        )


@dataclass(frozen=True)
class Label:
    """One converged calculation: Hartree and Bohr.

    `delta_h` holds H - H0 (nspin, nnz) in the order of the Pattern of `atoms` in the basis of the engine;
    the Pattern follows from both and is not stored. `levels` is a summary of the eigenvalues by name
    (`level_summary`), empty where the engine gives none. charge, moment (N_up - N_down): of the cell.
    """

    atoms: ase.Atoms
    energies: Energies
    forces: NDArray[np.float64]
    delta_h: NDArray[np.float64]
    scf_steps: int
    residual: float
    seconds: float
    levels: Mapping[str, float] = field(default_factory=dict)
    charge: float = 0.0
    moment: float = 0.0

    def __post_init__(self) -> None:
        if self.forces.shape != (len(self.atoms), 3):
            raise ValueError(f"forces: expected shape ({len(self.atoms)}, 3), got {self.forces.shape}")
        if self.delta_h.ndim != 2 or self.delta_h.shape[0] not in (1, 2):
            raise ValueError(f"delta_h: expected shape (1 or 2, nnz), got {self.delta_h.shape}")
        for name, values in (("forces", self.forces), ("delta_h", self.delta_h)):
            if not np.isfinite(values).all():
                raise UnconvergedError(f"label: expected finite {name}, got NaN or infinity")
        for name, level in self.levels.items():
            if not np.isfinite(level):
                raise UnconvergedError(f"label: expected a finite level {name}, got {level}")
        if not np.isfinite(self.energies.total):
            raise UnconvergedError(f"label: expected a finite energy, got {self.energies.total}")

    @property
    def energy_ev(self) -> float:
        """Free energy in eV."""
        return self.energies.total * HARTREE_EV

    @property
    def forces_ev(self) -> NDArray[np.float64]:
        """Forces in eV/Angstrom."""
        return self.forces * HARTREE_BOHR_EV_ANGSTROM


LabelFunction = Callable[[ase.Atoms], Label]


class Labeller(Protocol):
    """Computes labels; picklable, because it travels to the worker processes. What a label must hold:
    docs/data_format.md, labellers."""

    def session(self, settings: EngineSettings) -> LabelFunction:
        """Function for the geometries of one job; it may start each from the one before.

        It raises an error rather than return an unconverged label.
        """
        ...


@dataclass(frozen=True)
class DFTLabeller:
    """Labels by the embedded DFT engine."""

    def session(self, settings: EngineSettings) -> LabelFunction:
        """Self-consistency from the Harris Hamiltonian, later geometries from the dH of the one before."""
        return _DFTSession(settings)


class _DFTSession:
    def __init__(self, settings: EngineSettings) -> None:
        from mlh.calculators import DFTCalculator

        self._calculator = DFTCalculator(
            theory=settings.theory,
            energy_tol_ev=settings.energy_tol * HARTREE_EV,
            residual_tol_ev=settings.residual_tol * HARTREE_EV,
            max_scf_steps=settings.max_scf_steps,
        )

    def __call__(self, atoms: ase.Atoms) -> Label:
        start = time.perf_counter()
        calculator = self._calculator
        forces = calculator.get_property("forces", atoms)  # raises ASE's SCFError when not converged
        result, system = calculator.result, calculator.system
        if result is None or not result.converged:
            raise UnconvergedError("SCF not converged")
        return Label(
            atoms=atoms.copy(),
            energies=result.energies,
            forces=np.asarray(forces, dtype=np.float64) / HARTREE_BOHR_EV_ANGSTROM,
            delta_h=(result.H - system.harris_hamiltonian()).data,
            scf_steps=result.n_steps,
            residual=result.residual,
            seconds=time.perf_counter() - start,
            levels=level_summary(result.eigenstates) if isinstance(result.solution, Solution) else {},
            charge=system.charge,
            moment=whole(result.solution.magnetic_moment) if system.nspin == 2 else 0.0,
        )


def whole(moment: float) -> float:
    """A moment that is whole but for rounding, as that."""
    return float(round(moment)) if abs(moment - round(moment)) < 1e-6 else moment


def level_summary(solution: Solution) -> dict[str, float]:
    """Eigenvalues in Hartree: lowest, homo, lumo (where there is one), fermi; all k points and spins."""
    levels = {
        "lowest": float(solution.eigenvalues.min()),
        "homo": solution.homo,
        "lumo": solution.lumo,
        "fermi": solution.fermi_level,
    }
    return {name: level for name, level in levels.items() if np.isfinite(level)}


def load_engine_basis(settings: EngineSettings, elements: Sequence[str] | None = None) -> Basis:
    """The Basis that the settings name; `elements` keeps only those."""
    basis = load_basis(settings.basis, orbitals=dict(settings.orbitals) or None)
    return basis if elements is None else basis.subset(sorted(set(elements)))


class LabelCalculator(Calculator):  # type: ignore[misc]  # ASE has no types
    """ASE calculator that keeps the Label of its last geometry in `last_label`."""

    implemented_properties = ("energy", "free_energy", "forces")

    def __init__(self, label: LabelFunction) -> None:
        super().__init__()
        self._function = label
        self.last_label: Label | None = None

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy", "forces"),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Energy (eV) and forces (eV/Angstrom) of the label of this geometry."""
        super().calculate(atoms, properties, system_changes)
        self.last_label = self._function(self.atoms)
        energy = self.last_label.energy_ev
        self.results = {"energy": energy, "free_energy": energy, "forces": self.last_label.forces_ev}


def save_labels(path: Path, labels: Sequence[Label], extra: Sequence[Mapping[str, Any]]) -> None:
    """Write labels with one JSON record each to an .npz file, in one move (complete or absent)."""
    if len(labels) != len(extra):
        raise ValueError(f"extra: expected {len(labels)} records, got {len(extra)}")
    arrays: dict[str, NDArray[Any]] = {"count": np.array(len(labels))}
    for index, (label, record) in enumerate(zip(labels, extra, strict=True)):
        content = {
            "energies": label.energies.as_dict(),
            "scf_steps": label.scf_steps,
            "residual": label.residual,
            "seconds": label.seconds,
            "levels": dict(label.levels),
            "charge": label.charge,
            "moment": label.moment,
            "extra": dict(record),
        }
        arrays[f"{index}/numbers"] = label.atoms.numbers
        arrays[f"{index}/positions"] = label.atoms.positions
        arrays[f"{index}/cell"] = label.atoms.cell[:]
        arrays[f"{index}/forces"] = label.forces
        arrays[f"{index}/delta_h"] = label.delta_h
        arrays[f"{index}/json"] = np.array(json.dumps(content))
    write_npz(path, arrays)


def load_labels(path: Path) -> tuple[list[Label], list[dict[str, Any]]]:
    """The labels and JSON records of `save_labels`."""
    labels: list[Label] = []
    records: list[dict[str, Any]] = []
    advice = "remove it, and its job is done again"
    with intact(path, advice), np.load(path, allow_pickle=False) as arrays:
        for index in range(int(arrays["count"])):
            content = json.loads(str(arrays[f"{index}/json"]))
            atoms = ase.Atoms(
                arrays[f"{index}/numbers"],
                arrays[f"{index}/positions"],
                cell=arrays[f"{index}/cell"],
                pbc=True,
            )
            labels.append(
                Label(
                    atoms=atoms,
                    energies=Energies(content["energies"]),
                    forces=arrays[f"{index}/forces"],
                    delta_h=arrays[f"{index}/delta_h"],
                    scf_steps=content["scf_steps"],
                    residual=content["residual"],
                    seconds=content["seconds"],
                    levels=content.get("levels", {}),  # files of earlier versions have none
                    charge=content.get("charge", 0.0),
                    moment=content.get("moment", 0.0),
                )
            )
            records.append(content["extra"])
    return labels, records
