"""Relaxation of atomic positions at fixed cell with the optimisers of ASE.

LBFGS without line search is the default (preconditioned, `mlh.workflow.optimizer`, from
`_PRECONDITION_FROM` atoms on): predicted forces are not the exact gradient of the
predicted energy, so small changes of the energy decide nothing. When the largest force stops
falling, FIRE, which needs no curvature, takes over; when the energy rises by `_RUNAWAY`, it does so
from the geometry of lowest energy. Every step is reported; a relaxation can be replayed from
its recorded steps, which rebuilds the memory of the optimiser without a calculation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ase
import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import FIRE, LBFGS
from numpy.typing import NDArray

from mlh.workflow.optimizer import PreconditionedLBFGS

OptimizerName = Literal["lbfgs", "fire"]
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
    max_seconds: float | None = None  # wall time of this run, checked after every step

    def __post_init__(self) -> None:
        if not self.fmax > 0.0:
            raise ValueError(f"fmax: expected a positive force in eV/A, got {self.fmax}")
        if self.max_steps < 0:
            raise ValueError(f"max_steps: expected 0 or more, got {self.max_steps}")
        if self.optimizer not in ("lbfgs", "fire"):
            raise ValueError(f"optimizer: expected 'lbfgs' or 'fire', got {self.optimizer!r}")
        if not 0.0 < self.max_displacement <= 1.0:
            raise ValueError(f"max_displacement: expected 0 to 1 A, got {self.max_displacement}")
        if self.max_seconds is not None and not self.max_seconds > 0.0:
            raise ValueError(f"max_seconds: expected None or a positive time, got {self.max_seconds}")
        if self.stall_steps < 1:
            raise ValueError(f"stall_steps: expected at least 1, got {self.stall_steps}")


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


@dataclass(frozen=True)
class RelaxResult:
    """Last geometry, whether its forces reached the target, and every step on the way."""

    atoms: ase.Atoms
    converged: bool
    steps: tuple[RelaxStep, ...]
    settings: RelaxSettings

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
    settings = settings or RelaxSettings()
    work = atoms.copy()
    engine = _ReplayCalculator(calculator, replay)
    work.calc = engine
    steps: list[RelaxStep] = []
    name: OptimizerName = settings.optimizer
    converged = late = moved_back = False
    start = time.perf_counter()
    while True:
        optimizer = _make_optimizer(name, work, settings)
        trouble = False
        # Going back to the best geometry records it once more, which counts as a step.
        remaining = settings.max_steps - max(len(steps) - 1, 0) - int(moved_back)
        for number, converged in enumerate(optimizer.irun(fmax=settings.fmax, steps=remaining)):
            if number > 0 or not steps or moved_back:  # otherwise the last geometry of LBFGS, known already
                known = len(steps) < len(replay)
                steps.append(replay[len(steps)] if known else _record(work, engine, len(steps), name))
                if on_step is not None and len(steps) > len(replay):
                    on_step(steps[-1], work)
            moved_back = False
            running = name == "lbfgs" and not converged
            trouble = running and (_stalled(steps, settings.stall_steps) or _ran_away(steps))
            late = settings.max_seconds is not None and time.perf_counter() - start > settings.max_seconds
            if trouble or late:
                break
        if not trouble or late or len(steps) > settings.max_steps:
            break
        if _ran_away(steps):
            best = min(steps, key=lambda step: step.energy)
            work.set_positions(best.positions, apply_constraint=False)
            moved_back = True
        name = "fire"
    return RelaxResult(_finished(work, steps[-1]), bool(converged), tuple(steps), settings)


def _make_optimizer(name: OptimizerName, work: ase.Atoms, settings: RelaxSettings) -> Any:
    lbfgs = PreconditionedLBFGS if len(work) >= _PRECONDITION_FROM else LBFGS
    kind = FIRE if name == "fire" else lbfgs
    return kind(work, logfile=None, maxstep=settings.max_displacement)


def _record(work: ase.Atoms, engine: _ReplayCalculator, step: int, name: str) -> RelaxStep:
    """The current geometry as one immutable step; fmax respects constraints, forces do not."""
    constrained = work.get_forces()
    residual: Any = engine.results.get("residual")
    estimate: Any = engine.results.get("energy_error")
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
    result.set_positions(last.positions, apply_constraint=False)
    return result


class _ReplayCalculator(Calculator):  # type: ignore[misc]  # ASE has no types
    """First returns recorded steps, checked against the geometry asked for, then calculates."""

    implemented_properties = ("energy", "free_energy", "forces")

    def __init__(self, calculator: Calculator, replay: Sequence[RelaxStep]) -> None:
        super().__init__()
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

    def _calculate(self) -> None:
        start = time.perf_counter()
        forces = self._calculator.get_property("forces", self.atoms)
        energy = self._calculator.get_property("energy", self.atoms)
        self.seconds = time.perf_counter() - start
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise RuntimeError(f"calculator: expected finite energy and forces, got {energy} eV and {forces}")
        self.results = {**self._calculator.results, "energy": energy, "forces": forces}
        self.results.setdefault("free_energy", energy)
