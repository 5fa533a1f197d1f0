"""A path between two minima in a folder, safe to interrupt and resume.

FOLDER/neb.json       what is searched and how, the table of the path so far, status
FOLDER/band.npz       all images, what is known of them and the memory of the optimiser, in full precision
FOLDER/path.extxyz    the path: start, images, end, with REF_energy and REF_forces
FOLDER/neb.png        energies along the path
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from mlh.common.files import intact, write_json
from mlh.common.npz import write_npz
from mlh.dynamics.descent import Descent
from mlh.dynamics.ends import matched_end
from mlh.dynamics.evaluation import Evaluations, Geometry
from mlh.dynamics.folder import identity_of, open_folder, plain_forces_word
from mlh.dynamics.neb import Band, NEBSettings, first_path
from mlh.relaxation.jobs import EngineLike
from mlh.structures.files import structure_hash, with_labels, write_structure

SUMMARY, STATE, PATH, PICTURE = "neb.json", "band.npz", "path.extxyz", "neb.png"
FILES = (SUMMARY, STATE, PATH, PICTURE)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class NEBStep:
    """One iteration of the band: eV/Angstrom, eV, seconds of its evaluations (of all processes)."""

    step: int
    fmax: float
    barrier: float
    climbing: bool
    seconds: float


OnStep = Callable[[NEBStep], None]

JUMP = 2.0
"""Growth of the largest force in one step after which the memory of the optimiser is of another place."""

AT_REST = 0.1
"""eV/Angstrom. Larger forces at an end are worth a word."""


@dataclass(frozen=True, eq=False)
class NEBResult:
    """The last band, whether it converged, every iteration."""

    band: Band
    converged: bool
    steps: tuple[NEBStep, ...]
    settings: NEBSettings
    forces_exact: bool = True


@dataclass(frozen=True, eq=False)
class _State:
    """All that the next iteration depends on; energies that are not known are nan."""

    positions: Array
    energies: Array
    forces: Array
    seconds: float = 0.0
    climbing: bool = False
    exact: bool = True
    descent: Descent = field(default_factory=Descent)
    steps: tuple[NEBStep, ...] = ()


def run_neb(
    start: ase.Atoms,
    end: ase.Atoms,
    engine: EngineLike,
    folder: str | os.PathLike[str],
    settings: NEBSettings | None = None,
    *,
    any_order: bool = False,
    processes: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    on_step: OnStep | None = None,
) -> NEBResult:
    """The path of lowest energy between two relaxed structures with three cell vectors.

    processes: images that are calculated at the same time.
    """
    settings = settings or NEBSettings()
    target = Path(folder)
    matched = matched_end(start, end, any_order)
    kept = {"images": settings.images, "spring": settings.spring, "end_hash": structure_hash(matched)}
    identity = identity_of(start, engine.describe()) | kept
    with Evaluations(engine, processes) as evaluate:
        going_on = open_folder(target, FILES, identity, what="NEB", resume=resume, overwrite=overwrite)
        run = _Run(target, identity, settings, evaluate, on_step)
        try:
            return run.follow(first_path(start, matched, settings), going_on)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            run.write({"status": status, "reason": f"{type(error).__name__}: {error}"})
            raise


class _Run:
    """Iterations of one band, with its files."""

    def __init__(
        self,
        target: Path,
        identity: dict[str, Any],
        settings: NEBSettings,
        evaluate: Evaluations,
        on_step: OnStep | None,
    ) -> None:
        self._target, self._identity, self._settings = target, identity, settings
        self._evaluate, self._on_step = evaluate, on_step
        self._table: dict[str, Any] = {}

    def write(self, told: dict[str, Any]) -> None:
        """The summary."""
        write_json(self._target / SUMMARY, {**told, **self._identity, **self._table})

    def follow(self, images: list[ase.Atoms], going_on: bool) -> NEBResult:
        """Until the band is at rest, or out of steps. What is kept is a state before it is looked at, so that
        a run that goes on sees it again, without a calculation."""
        state = _read(self._target / STATE) if going_on and (self._target / STATE).exists() else None
        state = state or _unknown(np.array([image.positions for image in images]))
        self.write({"status": "running"})
        while True:
            for image, positions in zip(images, state.positions, strict=True):
                image.set_positions(positions, apply_constraint=False)
            state = self._known(images, state)
            state, band = self._band(images, state)
            number, barrier = len(state.steps), float(band.energies.max() - band.energies[0])
            step = NEBStep(number, band.fmax, barrier, state.climbing, state.seconds)
            self._tell(step, band)
            done = band.fmax <= self._settings.fmax and state.climbing == self._settings.climb
            if done or number >= self._settings.max_steps:
                result = NEBResult(band, done, (*state.steps, step), self._settings, state.exact)
                self.write({"status": "converged" if done else "unconverged", **summary(result)})
                return result
            state = _moved(images, replace(state, steps=(*state.steps, step)), band)
            _write(self._target / STATE, state)

    def _known(self, images: Sequence[ase.Atoms], state: _State) -> _State:
        """The state with the energies that it lacks, kept one by one."""
        missing = [k for k in range(len(images)) if np.isnan(state.energies[k])]
        for done in self._evaluate([Geometry(k, images[k], series=k) for k in missing]):
            energies, forces = state.energies.copy(), state.forces.copy()
            energies[done.key], forces[done.key] = done.energy, done.forces
            state = replace(
                state,
                energies=energies,
                forces=forces,
                seconds=state.seconds + done.seconds,
                exact=state.exact and done.forces_exact,
            )
            _write(self._target / STATE, state)
        return state

    def _band(self, images: Sequence[ase.Atoms], state: _State) -> tuple[_State, Band]:
        """The forces on the band; the memory of the optimiser ends where they become others."""
        settings = self._settings
        band = Band.of(images, state.energies, state.forces, settings.spring, state.climbing)
        if settings.climb and not state.climbing and band.fmax < settings.climb_from:
            state = replace(state, climbing=True, descent=Descent())
            band = Band.of(images, state.energies, state.forces, settings.spring, True)
        elif state.steps and band.fmax > JUMP * state.steps[-1].fmax:
            state = replace(state, descent=Descent())
        return state, band

    def _tell(self, step: NEBStep, band: Band) -> None:
        frames = [
            with_labels(image, energy, forces, {"image": k, "step": step.step})
            for k, (image, energy, forces) in enumerate(zip(band.images, band.energies, band.forces))
        ]
        write_structure(self._target / PATH, frames)
        self._table = {"step": step.step, "path": band.table()}
        if self._on_step is not None:
            self._on_step(step)


def summary(result: NEBResult) -> dict[str, Any]:
    """What a script wants to know of a path; eV, Angstrom, eV/Angstrom, seconds."""
    band, last = result.band, len(result.band.images) - 1
    energies, ends = band.energies, band.table()
    at_end = band.highest in (0, last)
    notes = [plain_forces_word({"forces_exact": result.forces_exact})]
    if at_end:
        notes.append("no image lies above both ends: between these images there is no barrier")
    for name, row in (("start", ends[0]), ("end", ends[-1])):
        if row["fmax"] > AT_REST:
            notes.append(f"the {name} is not at rest (largest force {row['fmax']:.3f} eV/A): relax it first")
    return {
        "saddle": None if at_end else band.highest,
        "barrier": float(energies.max() - energies[0]),
        "barrier_back": float(energies.max() - energies[-1]),
        "energy_difference": float(energies[-1] - energies[0]),
        "start_energy": float(energies[0]),
        "fmax": band.fmax,
        "fmax_target": result.settings.fmax,
        "steps": result.steps[-1].step,
        "climbing": result.steps[-1].climbing,
        "notes": [note for note in notes if note],
        "seconds": result.steps[-1].seconds,
        "units": {"energy": "eV", "coordinate": "Angstrom", "fmax": "eV/Angstrom", "seconds": "s"},
    }


def _unknown(positions: Array) -> _State:
    count = len(positions)
    return _State(positions, np.full(count, np.nan), np.full(positions.shape, np.nan))


def _moved(images: Sequence[ase.Atoms], state: _State, band: Band) -> _State:
    """The next geometries, of which only the energies of the ends are known."""
    shape = band.on_band.shape
    x = state.positions[1:-1].reshape(-1, 3)
    step, descent = state.descent.step(x, band.on_band.reshape(-1, 3))
    positions, energies, forces = state.positions.copy(), state.energies.copy(), state.forces.copy()
    for k, target in enumerate((x + step).reshape(shape), start=1):
        images[k].set_positions(target)  # as far as constraints let it
        positions[k] = images[k].positions
    energies[1:-1], forces[1:-1] = np.nan, np.nan
    return replace(state, positions=positions, energies=energies, forces=forces, descent=descent)


def _write(path: Path, state: _State) -> None:
    d = state.descent
    none = np.empty((0, 3))
    told = {
        "steps": [asdict(step) for step in state.steps],
        **{name: getattr(state, name) for name in ("seconds", "climbing", "exact")},
    }
    arrays = {name: getattr(state, name) for name in ("positions", "energies", "forces")}
    memory = {"x": none if d.x is None else d.x, "f": none if d.f is None else d.f, "s": d.s, "y": d.y}
    write_npz(path, {**arrays, **memory, "told": np.array(json.dumps(told))})


def _read(path: Path) -> _State:
    with intact(path), np.load(path, allow_pickle=False) as arrays:
        told = json.loads(str(arrays["told"]))
        steps = tuple(NEBStep(**step) for step in told.pop("steps"))
        x, f = (arrays[name] if len(arrays[name]) else None for name in ("x", "f"))
        descent = Descent(x, f, arrays["s"], arrays["y"])
        known = {name: arrays[name] for name in ("positions", "energies", "forces")}
        return _State(**known, **told, steps=steps, descent=descent)
