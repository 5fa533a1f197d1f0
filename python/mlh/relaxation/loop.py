"""Relaxation of atomic positions, and of the cell when asked for, with the optimisers of ASE.

LBFGS without line search is the default (preconditioned, `mlh.relaxation.optimizer`, from
`_PRECONDITION_FROM` atoms on): predicted forces are not the exact gradient of the
predicted energy, so small changes of the energy decide nothing. When the largest force stops
falling, FIRE, which needs no curvature, takes over; when the energy rises by `_RUNAWAY`, it does so
from the geometry of lowest energy. Every step is reported; a relaxation can be replayed from
its recorded steps, which rebuilds the memory of the optimiser without a calculation.

The cell moves by ASE's FrechetCellFilter: the logarithm of the deformation gradient is optimised beside the
positions, plain LBFGS in place of the preconditioned one. The calculator must keep its grid while the cell
changes (`grid_shape` of mlh's calculators); otherwise the energy jumps where the number of points does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ase
import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE, LBFGS
from numpy.typing import NDArray

from mlh.common.activity import doing
from mlh.common.choices import check_choice
from mlh.common.units import EV_ANGSTROM3_GPA
from mlh.relaxation.optimizer import PreconditionedLBFGS

OptimizerName = Literal["lbfgs", "fire"]
CellChange = Literal["fixed", "volume", "full"]
_RUNAWAY = 1.0  # eV; far above what inexact forces do
_PRECONDITION_FROM = 10  # atoms; a molecule has no soft long waves to precondition
_REPLAY_TOLERANCE = 1e-5  # Angstrom; files keep eight decimals of positions and forces


@dataclass(frozen=True)
class RelaxSettings:
    """Target force (eV/Angstrom) and limits of one relaxation."""

    fmax: float = 0.02
    max_steps: int = 300
    optimizer: OptimizerName = "lbfgs"
    max_displacement: float = 0.2  # Angstrom, of one atom in one step
    stall_steps: int = 30  # LBFGS steps without a new smallest fmax before FIRE takes over
    cell: CellChange = (
        "fixed"  # "volume": all vectors by one factor; "full": all six components of the strain
    )
    smax: float = 0.1  # GPa, largest stress (CRITERION) at the end, when the cell moves
    pressure: float = 0.0  # GPa, from outside, when the cell moves

    def __post_init__(self) -> None:
        if not self.fmax > 0.0:
            raise ValueError(f"fmax: expected a positive force in eV/A, got {self.fmax}")
        if self.max_steps < 0:
            raise ValueError(f"max_steps: expected 0 or more, got {self.max_steps}")
        check_choice("optimizer", self.optimizer, OptimizerName)
        if not 0.0 < self.max_displacement <= 1.0:
            raise ValueError(f"max_displacement: expected 0 to 1 A, got {self.max_displacement}")
        check_choice("cell", self.cell, CellChange)
        if not self.smax > 0.0:
            raise ValueError(f"smax: expected a positive stress in GPa, got {self.smax}")
        if self.pressure and self.cell == "fixed":
            raise ValueError(f"pressure: expected 0 at a fixed cell, got {self.pressure} GPa")
        if self.stall_steps < 1:
            raise ValueError(f"stall_steps: expected at least 1, got {self.stall_steps}")


CRITERION: Mapping[CellChange, str] = {
    "volume": "|tr(stress) / 3 + pressure|",  # one factor of the cell answers to nothing else
    "full": "largest component of stress + pressure",
}
"""The stress that `smax` limits, for each way in which the cell moves."""


OTHER_ENERGIES = ("energy_uncorrected", "energy_corrected")
"""What a model says of its energy beside the one whose gradient the forces are (`MLHCalculator`)."""


@dataclass(frozen=True)
class RelaxStep:
    """One geometry of a relaxation; energies eV, forces eV/Angstrom, seconds of this evaluation."""

    step: int
    energy: float
    fmax: float
    residual: float | None
    optimizer: str
    seconds: float
    positions: NDArray[np.float64]
    forces: NDArray[np.float64]  # unconstrained
    energy_error: float | None = None  # the calculator's own estimate, eV
    cell: NDArray[np.float64] | None = None  # rows, Angstrom; with the stress, where the cell moves
    stress: NDArray[np.float64] | None = None  # Voigt, eV/Angstrom^3
    energy_uncorrected: float | None = None  # of a model, without the share of its estimated error, eV
    energy_corrected: float | None = None  # of a model, less its error by the screened response, eV

    @property
    def stress_gpa(self) -> float:
        """Largest component of the stress, GPa; nan at a fixed cell."""
        return float("nan") if self.stress is None else float(np.abs(self.stress).max()) * EV_ANGSTROM3_GPA

    def stress_left(self, settings: RelaxSettings) -> float:
        """What has to fall below `settings.smax`, GPa; nan at a fixed cell. See `CRITERION`."""
        if self.stress is None:
            return float("nan")
        left = self.stress * EV_ANGSTROM3_GPA + settings.pressure * np.array([1.0, 1, 1, 0, 0, 0])
        return float(abs(left[:3].mean()) if settings.cell == "volume" else np.abs(left).max())


@dataclass(frozen=True)
class RelaxResult:
    """Last geometry, whether its forces reached the target, and every step on the way."""

    atoms: ase.Atoms
    converged: bool
    steps: tuple[RelaxStep, ...]
    settings: RelaxSettings

    def _repr_html_(self) -> str:
        from mlh.relaxation.display import relaxation_html

        return relaxation_html(self)

    @property
    def energy(self) -> float:
        """Energy of the last geometry (eV)."""
        return self.steps[-1].energy

    @property
    def fmax(self) -> float:
        """Largest force on an atom in the last geometry (eV/Angstrom)."""
        return self.steps[-1].fmax

    @property
    def forces(self) -> NDArray[np.float64]:
        """Forces of the last geometry, (natoms, 3) eV/Angstrom."""
        return self.steps[-1].forces

    @property
    def seconds(self) -> float:
        """Wall time of all evaluations, those of interrupted runs included."""
        return sum(step.seconds for step in self.steps)


StepCallback = Callable[[RelaxStep, ase.Atoms], None]


def relax(
    atoms: ase.Atoms,
    calculator: Calculator,
    settings: RelaxSettings | None = None,
    *,
    on_step: StepCallback | None = None,
    replay: Sequence[RelaxStep] = (),
) -> RelaxResult:
    """Move the atoms until every force is below `settings.fmax`; the input is not changed.

    `on_step(step, atoms)` is called after every new evaluation, the first geometry included.
    `replay`: steps recorded by an interrupted relaxation of the same structure; they are followed
    instead of calculated.
    """
    course = _Course(atoms, calculator, settings or RelaxSettings(), replay, on_step)
    outcome = course.follow(course.settings.optimizer)
    if outcome == "trouble" and len(course.steps) <= course.settings.max_steps:
        moved_back = _ran_away(course.steps)
        if moved_back:
            course.go_back_to_the_best()
        outcome = course.follow("fire", moved_back)
    return course.result(outcome)


_Outcome = Literal["converged", "trouble", "out of steps"]


class _Course:
    """The geometries of one relaxation: the atoms that move, and every step so far."""

    def __init__(
        self,
        atoms: ase.Atoms,
        calculator: Calculator,
        settings: RelaxSettings,
        replay: Sequence[RelaxStep],
        on_step: StepCallback | None,
    ) -> None:
        self.settings, self.steps = settings, list[RelaxStep]()
        self._replay, self._on_step = replay, on_step
        self._engine = _ReplayCalculator(calculator, replay, stress=settings.cell != "fixed")
        self._work = atoms.copy()
        self._work.calc = self._engine

    def follow(self, name: OptimizerName, moved_back: bool = False) -> _Outcome:
        """Go on with a new optimiser until the target, the last step or, with LBFGS, trouble.

        moved_back: the geometry has changed since the last step, and is recorded once more.
        """
        settings = self.settings
        optimizer = _make_optimizer(name, self._work, settings)
        # Going back to the best geometry records it once more, which counts as a step.
        remaining = settings.max_steps - max(len(self.steps) - 1, 0) - int(moved_back)
        # fmax 0: what has converged is decided here, because forces and stress have targets of their own.
        for number, _ in enumerate(optimizer.irun(fmax=0.0, steps=remaining)):
            # The first geometry of an optimiser that takes over is known already.
            if number > 0 or not self.steps or moved_back:
                self._take(name)
            if _reached(self.steps[-1], settings):
                return "converged"
            if name == "lbfgs" and (_stalled(self.steps, settings.stall_steps) or _ran_away(self.steps)):
                return "trouble"
        return "out of steps"

    def _take(self, name: OptimizerName) -> None:
        """Append the geometry of the atoms, recorded before or new; the caller hears of new ones."""
        number = len(self.steps)
        if number < len(self._replay):
            self.steps.append(self._replay[number])
            return
        self.steps.append(_record(self._work, self._engine, number, name, self.settings))
        if self._on_step is not None:
            self._on_step(self.steps[-1], self._work)

    def go_back_to_the_best(self) -> None:
        """Move the atoms to the geometry of lowest energy."""
        best = min(self.steps, key=lambda step: step.energy)
        if best.cell is not None:
            self._work.set_cell(best.cell)
        self._work.set_positions(best.positions, apply_constraint=False)

    def result(self, outcome: _Outcome) -> RelaxResult:
        """The last geometry and the way to it."""
        last = _finished(self._work, self.steps[-1])
        return RelaxResult(last, outcome == "converged", tuple(self.steps), self.settings)


def _make_optimizer(name: OptimizerName, work: ase.Atoms, settings: RelaxSettings) -> Any:
    moving = settings.cell != "fixed"
    soft = len(work) >= _PRECONDITION_FROM and not moving
    kind = FIRE if name == "fire" else PreconditionedLBFGS if soft else LBFGS
    target = (
        FrechetCellFilter(
            work,
            hydrostatic_strain=settings.cell == "volume",
            scalar_pressure=settings.pressure / EV_ANGSTROM3_GPA,
        )
        if moving
        else work
    )
    return kind(target, logfile=None, maxstep=settings.max_displacement)


def _reached(step: RelaxStep, settings: RelaxSettings) -> bool:
    """True when the forces are at their target, and the stress when the cell moves."""
    if settings.cell == "fixed" or step.stress is None:
        return step.fmax <= settings.fmax
    return step.fmax <= settings.fmax and step.stress_left(settings) <= settings.smax


def _record(
    work: ase.Atoms, engine: _ReplayCalculator, step: int, name: str, settings: RelaxSettings
) -> RelaxStep:
    """The current geometry as one immutable step; fmax respects constraints, forces do not."""
    constrained = work.get_forces()
    residual: Any = engine.results.get("residual")
    estimate: Any = engine.results.get("energy_error")
    others: dict[str, Any] = {name: engine.results.get(name) for name in OTHER_ENERGIES}
    moving = settings.cell != "fixed"
    return RelaxStep(
        step=step,
        energy=float(work.get_potential_energy()),
        fmax=float(np.sqrt((constrained**2).sum(axis=1).max())),
        residual=None if residual is None else float(residual),
        optimizer=name,
        seconds=engine.seconds,
        positions=work.get_positions(),
        forces=work.get_forces(apply_constraint=False),
        energy_error=None if estimate is None else float(estimate),
        cell=work.cell.array.copy() if moving else None,
        stress=work.get_stress() if moving else None,
        **{name: None if energy is None else float(energy) for name, energy in others.items()},
    )


def _stalled(steps: Sequence[RelaxStep], window: int) -> bool:
    """True when none of the last `window` steps has a smaller fmax than all before them."""
    if len(steps) <= window:
        return False
    values = [step.fmax for step in steps]
    return min(values[-window:]) >= min(values[:-window])


def _ran_away(steps: Sequence[RelaxStep]) -> bool:
    """True when the last energy is more than `_RUNAWAY` above the lowest: LBFGS left the valley."""
    return steps[-1].energy > min(step.energy for step in steps) + _RUNAWAY


def _finished(work: ase.Atoms, last: RelaxStep) -> ase.Atoms:
    result = work.copy()
    result.calc = None
    if last.cell is not None:
        result.set_cell(last.cell)
    result.set_positions(last.positions, apply_constraint=False)
    return result


class _ReplayCalculator(Calculator):  # type: ignore[misc]  # ASE has no types
    """First returns recorded steps, checked against the geometry asked for, then calculates."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, calculator: Calculator, replay: Sequence[RelaxStep], stress: bool) -> None:
        super().__init__()
        self._stress = stress
        self._calculator = calculator
        self._replay = tuple(replay)
        self._next = 0
        self.seconds = 0.0

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy", "forces"),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Energy (eV) and forces (eV/Angstrom) of the next recorded step, or of the calculator."""
        super().calculate(atoms, properties, system_changes)
        if self._next < len(self._replay):
            self._replay_step(self._replay[self._next])
        else:
            self._calculate()
        self._next += 1

    def _replay_step(self, step: RelaxStep) -> None:
        difference = float(np.abs(self.atoms.positions - step.positions).max())
        if step.cell is not None:
            difference = max(difference, float(np.abs(self.atoms.cell.array - step.cell).max()))
        if difference > _REPLAY_TOLERANCE:
            raise ValueError(
                f"replay: expected the recorded geometry of step {step.step}, got one {difference:.2e} A "
                "away; the recorded steps belong to another structure or other settings"
            )
        self.seconds = step.seconds
        self.results = {"energy": step.energy, "free_energy": step.energy, "forces": step.forces}
        if step.residual is not None:
            self.results["residual"] = step.residual
        if step.energy_error is not None:
            self.results["energy_error"] = step.energy_error
        others = {name: getattr(step, name) for name in OTHER_ENERGIES}
        self.results |= {name: energy for name, energy in others.items() if energy is not None}
        if step.stress is not None:
            self.results["stress"] = step.stress

    def _calculate(self) -> None:
        start = time.perf_counter()
        with doing(f"geometry {self._next}"):
            forces = self._calculator.get_property("forces", self.atoms)
            energy = self._calculator.get_property("energy", self.atoms)
            stress = self._calculator.get_property("stress", self.atoms) if self._stress else None
        self.seconds = time.perf_counter() - start
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise RuntimeError(f"calculator: expected finite energy and forces, got {energy} eV and {forces}")
        self.results = {**self._calculator.results, "energy": energy, "forces": forces}
        self.results.setdefault("free_energy", energy)
        if stress is not None:
            self.results["stress"] = stress
