"""Molecular dynamics by the integrators of ASE, as states from which the next step follows exactly.

    m_a d2r_a/dt2 = F_a                                               velocity Verlet, constant energy
    m_a d2r_a/dt2 = F_a - m_a gamma dr_a/dt + noise(gamma, T)         Langevin, constant temperature

At constant energy E_pot + E_kin is conserved to second order of the time step h, if the forces are the
gradient of the energy (its `free_energy`, with smearing too): velocity Verlet conserves to the fourth order

    E~ = E_pot + E_kin + h^2 (sum_a F_a^2 / m_a / 24 - d/dt (sum_a v_a F_a) / 12)

about which the sum oscillates. The drift is the slope of E~; that of the sum converges to it in long runs.
Langevin's equation conserves nothing that these integrators know. A state holds positions, momenta, forces
and the state of the random numbers, so that a run that goes on from it is the run that was never stopped,
digit for digit with a model, and to the tolerance of self-consistency with DFT, whose first step starts
without the Hamiltonians of the steps before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ase
import numpy as np
from ase import units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from mlh.common.choices import check_choice

Array = NDArray[np.float64]
Thermostat = Literal["none", "langevin"]
Velocities = Literal["drawn", "kept"]

LARGEST_MOVE = 1.0
"""Angstrom of one atom in one step; more is an explosion."""


@dataclass(frozen=True)
class MDSettings:
    """What to integrate. time_step: fs; temperature: K; friction: 1/fs."""

    steps: int = 1000
    time_step: float = 1.0
    temperature: float = 300.0
    thermostat: Thermostat = "none"
    friction: float = 0.01
    velocities: Velocities = "drawn"  # of Maxwell and Boltzmann, or those that the atoms have
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps: expected 0 or more, got {self.steps}")
        if not 0.0 < self.time_step <= 20.0:
            raise ValueError(f"time_step: expected above 0 and at most 20 fs, got {self.time_step}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0.0):
            raise ValueError(f"temperature: expected 0 or more K, got {self.temperature}")
        check_choice("thermostat", self.thermostat, Thermostat)
        check_choice("velocities", self.velocities, Velocities)
        if not (math.isfinite(self.friction) and self.friction > 0.0):
            raise ValueError(f"friction: expected a positive number in 1/fs, got {self.friction}")
        if self.seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {self.seed}")


@dataclass(frozen=True)
class MDStep:
    """Numbers of one step: fs, eV, K; seconds of its evaluation."""

    step: int
    time: float
    potential: float  # the energy whose gradient the forces are
    kinetic: float
    temperature: float
    seconds: float
    power: float = 0.0  # sum of v F, eV/fs
    push: float = 0.0  # sum of F^2 / m, eV/fs^2
    forces_exact: bool = True  # of a model; False: plain ones

    @property
    def total(self) -> float:
        """E_pot + E_kin, eV: what a run without thermostat conserves."""
        return self.potential + self.kinetic


@dataclass(frozen=True, eq=False)
class MDState:
    """A step and all that the next one depends on: Angstrom, ASE's momenta, eV/Angstrom."""

    step: MDStep
    positions: Array
    momenta: Array
    forces: Array  # unconstrained
    random: dict[str, Any]  # the bit generator's own state


def dynamics(
    atoms: ase.Atoms, calculator: Calculator, settings: MDSettings, start: MDState | None = None
) -> Iterator[MDState]:
    """The states of a run, the first one included, or those that follow `start`; the input is not changed."""
    work = atoms.copy()
    random = np.random.Generator(np.random.PCG64(settings.seed))
    if start is None:
        _first_velocities(work, settings, random)
        work.calc = calculator
        yield _evaluated(work, settings, random, 0)
        start_step = 0
    else:
        work.set_positions(start.positions, apply_constraint=False)
        work.set_momenta(start.momenta, apply_constraint=False)
        random.bit_generator.state = start.random
        energy = start.step.potential
        work.calc = SinglePointCalculator(work, energy=energy, free_energy=energy, forces=start.forces)
        start_step = start.step.step
    forces = work.get_forces(md=True)
    work.calc = calculator
    integrator = _integrator(work, settings, random)
    for number in range(start_step + 1, settings.steps + 1):
        before, began = work.get_positions(), time.perf_counter()
        forces = integrator.step(forces)
        state = _evaluated(work, settings, random, number, time.perf_counter() - began)
        _refuse_explosion(before, state)
        yield state


def conserved(steps: Sequence[MDStep]) -> Array:
    """E~ of every step but the first and the last, above E_pot + E_kin of the first, eV (len(steps) - 2,)."""
    if len(steps) < 3:
        return np.empty(0)
    h = steps[1].time - steps[0].time
    power = np.array([step.power for step in steps])
    push = np.array([step.push for step in steps[1:-1]])
    change = np.array([step.total - steps[0].total for step in steps[1:-1]])
    return np.asarray(change + h**2 * (push / 24.0 - (power[2:] - power[:-2]) / (2.0 * h) / 12.0))


def drift(steps: Sequence[MDStep], n_atoms: int, sum_alone: bool = False) -> float:
    """Slope of E~ by least squares, meV per atom and ps (sum_alone: of E_pot + E_kin); nan below five."""
    if len(steps) < 5:
        return math.nan
    kept = steps if sum_alone else steps[1:-1]
    times = np.array([step.time for step in kept]) / 1000.0
    energies = np.array([s.total - steps[0].total for s in steps]) if sum_alone else conserved(steps)
    return float(np.polyfit(times - times.mean(), energies, 1)[0]) * 1000.0 / n_atoms


def degrees_of_freedom(atoms: ase.Atoms, settings: MDSettings) -> int:
    """3 per atom less constraints, and less three where the total momentum is conserved and zero."""
    own = int(atoms.get_number_of_degrees_of_freedom())
    momentum = settings.thermostat == "none" and not atoms.constraints and len(atoms) > 1
    return own - 3 if momentum else own


def _first_velocities(work: ase.Atoms, settings: MDSettings, random: np.random.Generator) -> None:
    """Of Maxwell and Boltzmann, without total momentum, scaled to the temperature exactly."""
    if settings.velocities == "kept":
        if not work.has("momenta") or not work.get_momenta().any():
            raise ValueError("velocities: expected atoms with velocities (a frame of a run), got none")
        return
    masses = work.get_masses()[:, None]
    momenta = random.standard_normal((len(work), 3)) * np.sqrt(masses * units.kB * settings.temperature)
    if not work.constraints and len(work) > 1:
        momenta -= masses * momenta.sum(axis=0) / masses.sum()
    work.set_momenta(momenta)
    now = 2.0 * work.get_kinetic_energy() / (units.kB * degrees_of_freedom(work, settings))
    if now > 0.0:
        work.set_momenta(work.get_momenta() * math.sqrt(settings.temperature / now))


def _integrator(work: ase.Atoms, settings: MDSettings, random: np.random.Generator) -> Any:
    step = settings.time_step * units.fs
    if settings.thermostat == "none":
        return VelocityVerlet(work, step)
    # All 3 N velocities have the temperature: holding the centre of mass would not sample the right ones.
    friction = settings.friction / units.fs
    return Langevin(
        work, step, temperature_K=settings.temperature, friction=friction, fixcm=False, rng=random
    )


def _evaluated(
    work: ase.Atoms, settings: MDSettings, random: np.random.Generator, number: int, seconds: float = 0.0
) -> MDState:
    """The state of the atoms now."""
    began = time.perf_counter()
    forces = work.get_forces(apply_constraint=False)
    potential = float(work.get_potential_energy(force_consistent=True))
    if not (math.isfinite(potential) and np.isfinite(forces).all()):
        raise RuntimeError(f"calculator: expected finite energy and forces at step {number}, got others")
    kinetic = float(work.get_kinetic_energy())
    freedom = degrees_of_freedom(work, settings)
    felt = work.get_forces(md=True)
    step = MDStep(
        step=number,
        time=number * settings.time_step,
        potential=potential,
        kinetic=kinetic,
        temperature=2.0 * kinetic / (freedom * units.kB) if freedom else 0.0,
        seconds=seconds + time.perf_counter() - began,
        power=float(np.vdot(work.get_velocities(), felt)) * units.fs,
        push=float((felt**2 / work.get_masses()[:, None]).sum()) * units.fs**2,
        forces_exact=bool(work.calc.results.get("forces_exact", True)),
    )
    return MDState(
        step, work.get_positions(), work.get_momenta(), forces.copy(), dict(random.bit_generator.state)
    )


def _refuse_explosion(before: Array, state: MDState) -> None:
    moved = np.linalg.norm(state.positions - before, axis=1)
    atom = int(np.argmax(moved))
    if moved[atom] > LARGEST_MOVE:
        raise RuntimeError(
            f"step {state.step.step}: atom {atom} moved by {moved[atom]:.1f} A in one step, where vibrations "
            "are some 0.02 A; the time step is too long for these forces, or the start is not relaxed"
        )
