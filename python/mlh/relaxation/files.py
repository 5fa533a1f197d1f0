"""A relaxation in a folder: trajectory, relaxed structure and summary, safe to interrupt and resume.

FOLDER/trajectory.extxyz   every geometry, written as it is calculated (REF_energy, REF_forces)
FOLDER/relaxed.extxyz      the last geometry, once the relaxation has ended
FOLDER/relax.json          what was relaxed and how; status running, converged, unconverged,
                           interrupted or failed
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator

from mlh.common.files import read_json, require_place, write_json
from mlh.relaxation.identity import held, require_same
from mlh.relaxation.loop import (
    CRITERION,
    OTHER_ENERGIES,
    RelaxResult,
    RelaxSettings,
    RelaxStep,
    StepCallback,
    relax,
)
from mlh.structures.files import append_frame, read_frames, structure_hash, with_labels, write_structure

TRAJECTORY, RELAXED, SUMMARY = "trajectory.extxyz", "relaxed.extxyz", "relax.json"


def run_relaxation(
    atoms: ase.Atoms,
    calculator: Calculator,
    folder: str | os.PathLike[str],
    settings: RelaxSettings | None = None,
    *,
    engine: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_step: StepCallback | None = None,
) -> RelaxResult:
    """Relax `atoms` in `folder`. `engine` describes the calculator; resuming with another is refused.

    Neither `resume` nor `overwrite`: an existing relaxation in the folder is an error.
    """
    settings = settings or RelaxSettings()
    target = Path(folder)
    identity = {
        "structure_hash": structure_hash(atoms),
        "formula": atoms.get_chemical_formula(),
        "engine": dict(engine or {}),
        "optimizer": settings.optimizer,
        "max_displacement": settings.max_displacement,
        "stall_steps": settings.stall_steps,
    }
    if settings.cell != "fixed":
        identity |= {"cell": settings.cell, "pressure": settings.pressure}
    identity |= held(atoms)
    replay = _prepare(target, identity, resume=resume, overwrite=overwrite)

    def record(step: RelaxStep, work: ase.Atoms) -> None:
        append_frame(target / TRAJECTORY, _frame(step, work))
        if on_step is not None:
            on_step(step, work)

    _write_summary(target, {"status": "running", **identity, "fmax_target": settings.fmax})
    try:
        result = relax(atoms, calculator, settings, on_step=record, replay=replay)
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        message = f"{type(error).__name__}: {error}"
        _write_summary(
            target, {"status": status, "reason": message, **identity, "fmax_target": settings.fmax}
        )
        raise
    # What the file holds, digit for digit: whatever is made from the result has the same fingerprint
    # whether the relaxation was calculated now or read back.
    if settings.cell != "fixed":
        result.atoms.set_cell(np.round(result.atoms.cell.array, 8))
    result.atoms.set_positions(np.round(result.atoms.positions, 8), apply_constraint=False)
    write_structure(target / RELAXED, _frame(result.steps[-1], result.atoms))
    _write_summary(target, {**identity, **summary(result)})
    return result


def summary(result: RelaxResult) -> dict[str, Any]:
    """What a script wants to know of a relaxation; eV, Angstrom, seconds, GPa."""
    moved = (
        {}
        if result.settings.cell == "fixed"
        else {
            "cell_vectors": result.atoms.cell.array.tolist(),
            "volume": float(result.atoms.cell.volume),
            "stress": result.steps[-1].stress_left(result.settings),
            "stress_target": result.settings.smax,
            "stress_is": CRITERION[result.settings.cell],
            "largest_stress_component": result.steps[-1].stress_gpa,
            "pressure": result.settings.pressure,
        }
    )
    return {
        **moved,
        "status": "converged" if result.converged else "unconverged",
        "fmax_target": result.settings.fmax,
        "fmax": result.fmax,
        "energy": result.energy,
        "initial_energy": result.steps[0].energy,
        "steps": len(result.steps) - 1,
        "max_steps": result.settings.max_steps,
        "residual": result.steps[-1].residual,
        "energy_error": result.steps[-1].energy_error,
        **{name: getattr(result.steps[-1], name) for name in OTHER_ENERGIES},
        "seconds": result.seconds,
        "units": {"energy": "eV", "fmax": "eV/Angstrom", "residual": "as the calculator reports it"},
    }


def read_steps(trajectory: str | os.PathLike[str]) -> tuple[RelaxStep, ...]:
    """The recorded steps of a trajectory file."""
    return tuple(_step(frame) for frame in read_frames(trajectory))


def summaries_in(folder: Path) -> list[Path]:
    """The summaries of all relaxations under a folder: the outer ones first, the host before its defects."""

    def order(path: Path) -> tuple[int, str, bool, str]:
        here = path.parent
        return len(here.parts), str(here.parent), here.name != "host", here.name

    return sorted(folder.rglob(SUMMARY), key=order)


def held_files(folder: Path) -> list[str]:
    """Files of a relaxation in a folder; none where it failed before its first step."""
    existing = [name for name in (TRAJECTORY, RELAXED, SUMMARY) if (folder / name).exists()]
    if existing == [SUMMARY]:
        status = read_json(folder / SUMMARY).get("status")
        return [] if status == "failed" else existing
    return existing


def clear(folder: Path) -> None:
    """Remove the files of a relaxation."""
    for name in held_files(folder):
        (folder / name).unlink()


def _prepare(
    target: Path, identity: Mapping[str, Any], *, resume: bool, overwrite: bool
) -> tuple[RelaxStep, ...]:
    """Create or clear the folder, or read back what an earlier run recorded."""
    if resume and overwrite:
        raise ValueError("run_relaxation: expected one of resume and overwrite, got both")
    require_place(target)
    existing = held_files(target)
    if existing and not (resume or overwrite):
        raise FileExistsError(
            f"{target}: holds a relaxation already ({', '.join(existing)}); resume it, overwrite it or "
            "choose another folder"
        )
    target.mkdir(parents=True, exist_ok=True)
    if overwrite or not existing:
        clear(target)
        return ()
    if (target / SUMMARY).exists():
        require_same(read_json(target / SUMMARY), identity, target)
    if not (target / TRAJECTORY).exists():
        return ()
    frames = read_frames(target / TRAJECTORY)
    # Written back at once: a last frame that a kill cut off would spoil everything appended after it.
    if frames:
        write_structure(target / TRAJECTORY, frames)
    else:
        (target / TRAJECTORY).unlink()
    with contextlib.suppress(FileNotFoundError):
        (target / RELAXED).unlink()
    return tuple(_step(frame) for frame in frames)


def _frame(step: RelaxStep, atoms: ase.Atoms) -> ase.Atoms:
    info: dict[str, object] = {
        "step": step.step,
        "fmax": step.fmax,
        "optimizer": step.optimizer,
        "seconds": step.seconds,
    }
    if step.residual is not None:
        info["residual"] = step.residual
    if step.energy_error is not None:
        info["energy_error"] = step.energy_error
    info |= {name: getattr(step, name) for name in OTHER_ENERGIES if getattr(step, name) is not None}
    if step.stress is not None:
        info["REF_stress"] = step.stress
    return with_labels(atoms, step.energy, step.forces, info)


def _step(frame: ase.Atoms) -> RelaxStep:
    residual = frame.info.get("residual")
    estimate = frame.info.get("energy_error")
    others = {name: float(frame.info[name]) for name in OTHER_ENERGIES if name in frame.info}
    stress = frame.info.get("REF_stress")
    return RelaxStep(
        step=int(frame.info["step"]),
        energy=float(frame.info["REF_energy"]),
        fmax=float(frame.info["fmax"]),
        residual=None if residual is None else float(residual),
        optimizer=str(frame.info["optimizer"]),
        seconds=float(frame.info["seconds"]),
        positions=frame.get_positions(),
        forces=np.asarray(frame.arrays["REF_forces"], dtype=float),
        energy_error=None if estimate is None else float(estimate),
        cell=None if stress is None else frame.cell.array.copy(),
        stress=None if stress is None else np.asarray(stress, dtype=float),
        **others,
    )


def _write_summary(target: Path, content: Mapping[str, Any]) -> None:
    write_json(target / SUMMARY, content)
