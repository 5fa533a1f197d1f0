"""The scoreboard: equations of state of a level of theory, kept one crystal at a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import mlh._core as _core
from mlh.calculators.dft import DFTCalculator
from mlh.common.files import read_json, require_place, write_json
from mlh.common.units import ANGSTROM
from mlh.dft.mesh import reduced_mesh
from mlh.dft.theory import Theory
from mlh.jobs.pool import ProgressFunction, run_jobs
from mlh.matrix.kpoints import with_cell
from mlh.verification.acwf import VerificationSystem, codes
from mlh.verification.eos import EquationOfState, epsilon, fit, nu

VOLUMES = (0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06)
"""In volumes of the reference."""

KSPACING = 0.15
"""1/Angstrom; the set's own is 0.06."""

SMEARING_EV = 0.0612
"""Of Fermi and Dirac, 0.0045 Ry: that of the set."""

RESULTS = "acwf.json"


@dataclass(frozen=True)
class VerificationResult:
    """One crystal by a level of theory; fitted: None where the energies have no minimum in the range or
    self-consistency failed (`failure`)."""

    name: str
    element: str
    kind: str
    n_atoms: int
    volumes: tuple[float, ...]
    energies: tuple[float, ...]
    reference: EquationOfState
    others: dict[str, float]
    seconds: float
    failure: str | None = None

    @property
    def fitted(self) -> EquationOfState | None:
        """The equation of state."""
        try:
            return None if self.failure else fit(self.volumes, self.energies)
        except ValueError:
            return None

    @property
    def epsilon(self) -> float | None:
        """Against the reference."""
        return None if self.fitted is None else epsilon(self.fitted, self.reference)

    @property
    def nu(self) -> float | None:
        """Against the reference."""
        return None if self.fitted is None else nu(self.fitted, self.reference)

    @property
    def volume_error(self) -> float | None:
        """Percent."""
        return None if self.fitted is None else 100.0 * (self.fitted.volume / self.reference.volume - 1.0)

    @property
    def modulus_error(self) -> float | None:
        """Percent."""
        return None if self.fitted is None else 100.0 * (self.fitted.modulus / self.reference.modulus - 1.0)


def verification_theory(**fields: Any) -> Theory:
    """The level of theory of the set (no spin, its smearing, a k mesh), but for the fields that are given."""
    return replace(Theory(spin=False, smearing_ev=SMEARING_EV, kpts={"spacing": KSPACING}), **fields)


@dataclass(frozen=True)
class Verification:
    """Calculates one crystal; picklable. Points of grid and k mesh are those of the largest and of the
    reference volume for all volumes, so that the curve is smooth."""

    theory: Theory

    def __call__(self, system: VerificationSystem, progress: ProgressFunction) -> VerificationResult:
        """Energies at VOLUMES; progress gives the number of volumes done."""
        began = time.process_time()
        largest = np.asarray(system.at(max(VOLUMES)).cell.array, dtype=np.float64)
        theory = replace(
            self.theory,
            kpts=with_cell(self.theory.kpts, system.atoms.cell.array),
            grid_shape=reduced_mesh(largest * ANGSTROM, self.theory.cutoff_ry),
        )
        calculator = DFTCalculator(theory=theory)
        volumes, energies, failure = [], [], None
        # From the reference volume outwards: each starts from its neighbour.
        middle = len(VOLUMES) // 2
        try:
            for part in (VOLUMES[middle:], VOLUMES[:middle][::-1]):
                for ratio in part:
                    atoms = system.at(ratio)
                    atoms.calc = calculator
                    energies.append(float(atoms.get_potential_energy()))
                    volumes.append(float(atoms.get_volume()))
                    progress(len(energies))
        except (RuntimeError, np.linalg.LinAlgError) as error:
            failure = f"{type(error).__name__}: {error}"
        return _result_of(system, volumes, energies, time.process_time() - began, failure)


def _result_of(
    system: VerificationSystem,
    volumes: Sequence[float],
    energies: Sequence[float],
    seconds: float,
    failure: str | None,
) -> VerificationResult:
    order = np.argsort(volumes)
    return VerificationResult(
        *(system.name, system.element, system.kind, len(system.atoms)),
        tuple(volumes[i] for i in order),
        tuple(energies[i] for i in order),
        *(system.reference, system.others, seconds, failure),
    )


OnResult = Callable[[VerificationResult], None]


def run_verification(
    systems: Sequence[VerificationSystem],
    theory: Theory,
    folder: Path,
    processes: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    on_result: OnResult = lambda result: None,
) -> tuple[VerificationResult, ...]:
    """Every crystal, kept in `folder`/acwf.json as it comes; those that are there are not calculated again,
    but for those that failed.

    FileExistsError where the folder holds results and neither resume nor overwrite is said; ValueError where
    these are of another level of theory, or where the theory is not that of the reference.
    """
    if processes < 1:
        raise ValueError(f"processes: expected at least 1, got {processes}")
    if theory.charge or theory.xc != "PBE":
        raise ValueError(
            f"theory: expected neutral cells and PBE, as the reference has, got charge {theory.charge:+g}, "
            f"{theory.xc}"
        )
    require_place(folder)
    path, identity = folder / RESULTS, theory.describe()
    known: dict[str, VerificationResult] = {}
    if path.exists() and not overwrite:
        if not resume:
            raise FileExistsError(f"{path}: exists already; resume it, overwrite it or choose another folder")
        content = read_json(path)
        if content["theory"] != identity:
            raise ValueError(
                f"{path}: expected the level of theory of its results, {content['theory']}, got {identity}"
            )
        known = {row["name"]: _result(row) for row in content["systems"] if row["failure"] is None}
    folder.mkdir(parents=True, exist_ok=True)
    missing = [system for system in systems if system.name not in known]
    for result in _calculated(missing, Verification(theory), processes):
        known[result.name] = result
        write_json(path, {"theory": identity, "systems": [_row(r) for r in known.values()]})
        on_result(result)
    return tuple(known[system.name] for system in systems if system.name in known)


def _calculated(
    systems: Sequence[VerificationSystem], work: Verification, processes: int
) -> Iterator[VerificationResult]:
    if processes == 1 or len(systems) < 2:
        for system in systems:
            yield work(system, lambda done: None)
        return
    threads = max(1, _core.get_num_threads() // processes)
    for event in run_jobs(work, systems, min(processes, len(systems)), threads):
        if event.kind == "done":
            yield event.value
        elif event.kind == "failed":
            yield _result_of(event.job, [], [], 0.0, str(event.value))


def _row(result: VerificationResult) -> dict[str, Any]:
    fitted = result.fitted
    measures = {
        "epsilon": result.epsilon,
        "nu": result.nu,
        "volume_error_percent": result.volume_error,
        "modulus_error_percent": result.modulus_error,
        "fitted": None if fitted is None else asdict(fitted),
    }
    return asdict(result) | measures


def _result(row: dict[str, Any]) -> VerificationResult:
    return VerificationResult(
        row["name"],
        row["element"],
        row["kind"],
        row["n_atoms"],
        tuple(row["volumes"]),
        tuple(row["energies"]),
        EquationOfState(**row["reference"]),
        dict(row["others"]),
        row["seconds"],
        row["failure"],
    )


@dataclass(frozen=True)
class Score:
    """Of one set: medians of epsilon and nu, mean and largest error of the volume (percent), of the crystals
    that have an equation of state; others: medians of published codes over the same crystals."""

    kind: str
    n: int
    missing: int
    epsilon: float
    nu: float
    volume_mean: float
    volume_largest: float
    others: dict[str, float]


def score(results: Sequence[VerificationResult], kind: str) -> Score | None:
    """Of the crystals of a kind; None where there is none."""
    mine = [r for r in results if r.kind == kind]
    good = [r for r in mine if r.fitted is not None]
    if not good:
        return None
    errors = [r.volume_error for r in good if r.volume_error is not None]
    others = {}
    for code in codes():
        values = [r.others[code] for r in good if code in r.others]
        if len(values) > len(good) // 2:
            others[code] = statistics.median(values)
    return Score(
        kind,
        len(good),
        len(mine) - len(good),
        statistics.median(r.epsilon for r in good if r.epsilon is not None),
        statistics.median(r.nu for r in good if r.nu is not None),
        statistics.fmean(errors),
        max(errors, key=abs),
        others,
    )
