"""A run of molecular dynamics in a folder, safe to interrupt and resume.

FOLDER/md.json             what is run and how; status running, done, interrupted or failed
FOLDER/state.npz           the last step in full precision, written first: from here a run goes on
FOLDER/md.csv              energies, temperature and time of every step
FOLDER/trajectory.extxyz   geometries, momenta and forces of every step, or of each n-th
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator

from mlh.common.files import intact, write_json, write_text
from mlh.common.npz import write_npz
from mlh.dynamics.folder import identity_of, open_folder, plain_forces_word
from mlh.dynamics.md import MDSettings, MDState, MDStep, drift, dynamics
from mlh.structures.files import append_frame, read_frames, with_labels, write_structure

SUMMARY, STATE, LOG, TRAJECTORY, PICTURE = "md.json", "state.npz", "md.csv", "trajectory.extxyz", "md.png"
FILES = (SUMMARY, STATE, LOG, TRAJECTORY, PICTURE)
COLUMNS = (
    *("step", "time_fs", "potential_ev", "kinetic_ev", "total_ev", "temperature_k", "seconds"),
    *("power_ev_fs", "push_ev_fs2", "exact"),
)

OnStep = Callable[[MDStep], None]


@dataclass(frozen=True)
class MDResult:
    """Every step of a run, those of interrupted runs included, and its last geometry with velocities."""

    steps: tuple[MDStep, ...]
    atoms: ase.Atoms
    settings: MDSettings

    @property
    def drift(self) -> float:
        """meV per atom and ps, without thermostat."""
        return drift(self.steps, len(self.atoms))


def run_md(
    atoms: ase.Atoms,
    calculator: Calculator,
    folder: str | os.PathLike[str],
    settings: MDSettings | None = None,
    *,
    every: int = 1,
    engine: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_step: OnStep | None = None,
) -> MDResult:
    """Molecular dynamics of `atoms` in `folder`; every: steps between two frames of the trajectory.

    A run that is resumed may have more `steps` than before; everything else has to be the same.
    """
    settings = settings or MDSettings()
    if every < 1:
        raise ValueError(f"every: expected at least 1, got {every}")
    files = _Files(Path(folder), atoms, every)
    told = {key: value for key, value in asdict(settings).items() if key != "steps"} | {"every": every}
    identity = identity_of(atoms, engine or {}) | told
    if settings.velocities == "kept" and atoms.has("momenta"):
        identity["momenta"] = hashlib.sha256(np.round(atoms.get_momenta(), 8).tobytes()).hexdigest()[:16]
    going_on = open_folder(
        files.folder, FILES, identity, what="molecular dynamics", resume=resume, overwrite=overwrite
    )
    state, steps = files.read() if going_on else (None, [])
    write_json(files.folder / SUMMARY, {"status": "running", **identity})
    last = state
    try:
        for last in dynamics(atoms, calculator, settings, state):
            files.add(last)
            steps.append(last.step)
            if on_step is not None:
                on_step(last.step)
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = {"status": status, "reason": f"{type(error).__name__}: {error}"}
        write_json(files.folder / SUMMARY, {**reason, **identity, "steps": len(steps) - 1})
        raise
    assert last is not None
    result = MDResult(tuple(steps), files.atoms_of(last), settings)
    write_json(files.folder / SUMMARY, {**identity, **summary(result)})
    return result


def summary(result: MDResult) -> dict[str, Any]:
    """What a script wants to know of a run; eV, K, fs, seconds."""
    steps, conserving = result.steps, result.settings.thermostat == "none"
    temperatures = np.array([step.temperature for step in steps])
    totals = 1000.0 * np.array([step.total - steps[0].total for step in steps]) / len(result.atoms)
    slope = result.drift
    plain = sum(not step.forces_exact for step in steps)
    return {
        "status": "done",
        "steps": steps[-1].step,
        "time": steps[-1].time,
        "temperature_mean": float(temperatures.mean()),
        "temperature_spread": float(temperatures.std()),
        "potential": steps[-1].potential,
        "drift": slope if conserving and math.isfinite(slope) else None,
        "drift_of_sum": drift(steps, len(result.atoms), True) if conserving and len(steps) > 4 else None,
        "largest_change": float(np.abs(totals).max()) if conserving else None,
        "steps_of_plain_forces": plain,
        "note": plain_forces_word({"forces_exact": plain == 0}),
        "seconds": sum(step.seconds for step in steps),
        "units": {
            "time": "fs",
            "potential": "eV",
            "drift": "meV/atom/ps, of the energy that the integrator conserves",
            "drift_of_sum": "meV/atom/ps, of E_pot + E_kin",
            "largest_change": "meV/atom",
            "temperature": "K",
        },
    }


def read_md(folder: str | os.PathLike[str]) -> tuple[MDStep, ...]:
    """The steps of a run in a folder."""
    return tuple(_read_log(Path(folder) / LOG))


class _Files:
    """What is written of every step, and read back."""

    def __init__(self, folder: Path, atoms: ase.Atoms, every: int) -> None:
        self.folder, self._atoms, self._every = folder, atoms, every

    def add(self, state: MDState) -> None:
        """The state first: whatever is cut off after it is made from it again."""
        step = json.dumps({"step": asdict(state.step), "random": state.random})
        arrays = {"positions": state.positions, "momenta": state.momenta, "forces": state.forces}
        write_npz(self.folder / STATE, {**arrays, "step": np.array(step)})
        self._log(state)
        self._frame(state)

    def read(self) -> tuple[MDState | None, list[MDStep]]:
        """The last state and all steps; rows and frames that were cut off are written again."""
        if not (self.folder / STATE).exists():
            for name in (LOG, TRAJECTORY):
                (self.folder / name).unlink(missing_ok=True)
            return None, []
        state = _read_state(self.folder / STATE)
        steps = [step for step in _read_log(self.folder / LOG) if step.step < state.step.step]
        if len(steps) != state.step.step:
            raise ValueError(
                f"{self.folder / LOG}: expected the {state.step.step} steps before the last, got {len(steps)}"
            )
        write_text(self.folder / LOG, _row(COLUMNS) + "".join(_row(_values(step)) for step in steps))
        self._log(state)
        path = self.folder / TRAJECTORY
        frames = [f for f in read_frames(path) if f.info["step"] < state.step.step] if path.exists() else []
        if frames:
            write_structure(path, frames)
        else:
            path.unlink(missing_ok=True)
        self._frame(state)
        return state, [*steps, state.step]

    def atoms_of(self, state: MDState) -> ase.Atoms:
        """The geometry of a state with its velocities."""
        frame = self._atoms.copy()
        frame.set_positions(state.positions, apply_constraint=False)
        frame.set_momenta(state.momenta, apply_constraint=False)
        return frame

    def _log(self, state: MDState) -> None:
        path = self.folder / LOG
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(("" if stream.tell() else _row(COLUMNS)) + _row(_values(state.step)))
            stream.flush()
            os.fsync(stream.fileno())

    def _frame(self, state: MDState) -> None:
        step = state.step
        if step.step % self._every == 0:
            info = {"step": step.step, "time_fs": step.time, "temperature": step.temperature}
            frame = with_labels(self.atoms_of(state), step.potential, state.forces, info)
            append_frame(self.folder / TRAJECTORY, frame)


def _values(step: MDStep) -> Sequence[object]:
    energies = (step.potential, step.kinetic, step.total)
    numbers = (step.time, *energies, step.temperature, step.seconds, step.power, step.push)
    return (step.step, *map(repr, numbers), int(step.forces_exact))


def _row(values: Sequence[object]) -> str:
    return ",".join(map(str, values)) + "\n"


def _read_log(path: Path) -> list[MDStep]:
    """Whole rows only: a kill may have cut the last one off."""
    with intact(path):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rindex("\n") + 1] if "\n" in text else ""
        return [
            MDStep(
                step=int(row["step"]),
                time=float(row["time_fs"]),
                potential=float(row["potential_ev"]),
                kinetic=float(row["kinetic_ev"]),
                temperature=float(row["temperature_k"]),
                seconds=float(row["seconds"]),
                power=float(row["power_ev_fs"]),
                push=float(row["push_ev_fs2"]),
                forces_exact=bool(int(row["exact"])),
            )
            for row in csv.DictReader(io.StringIO(whole))
        ]


def _read_state(path: Path) -> MDState:
    with intact(path), np.load(path, allow_pickle=False) as arrays:
        told = json.loads(str(arrays["step"]))
        return MDState(
            step=MDStep(**told["step"]),
            positions=arrays["positions"],
            momenta=arrays["momenta"],
            forces=arrays["forces"],
            random=told["random"],
        )
