"""Vibrations in a folder, safe to interrupt and resume: every displacement is a file.

FOLDER/modes.json             what vibrates and how; frequencies, zero-point energy, what the Hessian lacks
FOLDER/displacements/*.json   energy and forces of each displacement, kept as they come
FOLDER/modes.extxyz           one frame per mode with its displacements (array mode_vector, largest 1)
FOLDER/hessian.npz            Hessian, frequencies, modes
FOLDER/modes.png              density of states
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from mlh.common.files import intact, read_json, write_json
from mlh.common.npz import write_npz
from mlh.dynamics.evaluation import Evaluated, Evaluations
from mlh.dynamics.folder import identity_of, open_folder, plain_forces_word
from mlh.dynamics.modes import AT_REST, Modes, displacements, label, modes_of, moving_atoms
from mlh.relaxation.jobs import EngineLike
from mlh.structures.files import with_labels, write_structure

SUMMARY, STEPS, FRAMES, HESSIAN, PICTURE = (
    *("modes.json", "displacements", "modes.extxyz"),
    *("hessian.npz", "modes.png"),
)
FILES = (SUMMARY, f"{STEPS}/*.json", FRAMES, HESSIAN, PICTURE)

FAR_FROM_REST = 0.05
"""eV/Angstrom. Larger forces at the geometry itself are worth a word."""

OnDisplacement = Callable[[int, int, str, float], None]
"""Called with number done, number of all, name and seconds of a displacement."""


@dataclass(frozen=True, eq=False)
class ModesResult:
    """Vibrations, the atoms, and whether all forces were the gradient of the energy."""

    atoms: ase.Atoms
    modes: Modes
    energy: float
    seconds: float
    forces_exact: bool


def run_modes(
    atoms: ase.Atoms,
    engine: EngineLike,
    folder: str | os.PathLike[str],
    *,
    step: float = 0.01,
    center: tuple[float, float, float] | None = None,
    radius: float | None = None,
    processes: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    on_step: OnDisplacement | None = None,
) -> ModesResult:
    """Vibrations of a relaxed structure with three cell vectors; step: Angstrom."""
    if not 0.0 < step <= 0.2:
        raise ValueError(f"step: expected above 0 and at most 0.2 A, got {step}")
    moving = moving_atoms(atoms, center, radius)
    target = Path(folder)
    identity = identity_of(atoms, engine.describe()) | {"displacement": step, "moving": moving}
    geometries = displacements(atoms, moving, step)
    names = {g.key: label(g.key, moving, atoms.get_chemical_symbols()) for g in geometries}
    with Evaluations(engine, processes) as evaluate:
        going_on = open_folder(
            target, FILES, identity, what="calculation of modes", resume=resume, overwrite=overwrite
        )
        (target / STEPS).mkdir(exist_ok=True)
        known = _read(target / STEPS, names, len(atoms)) if going_on else {}
        write_json(target / SUMMARY, {"status": "running", **identity})
        try:
            for done in evaluate([g for g in geometries if g.key not in known]):
                write_json(target / STEPS / _file(names[done.key]), _told(done))
                known[done.key] = done
                if on_step is not None:
                    on_step(len(known), len(geometries), names[done.key], done.seconds)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            reason = f"{type(error).__name__}: {error}"
            write_json(target / SUMMARY, {"status": status, "reason": reason, **identity})
            raise
    modes = modes_of(atoms, moving, {key: done.forces for key, done in known.items()}, step)
    result = ModesResult(
        atoms,
        modes,
        known[AT_REST].energy,
        sum(done.seconds for done in known.values()),
        all(done.forces_exact for done in known.values()),
    )
    _write(target, result)
    write_json(target / SUMMARY, {"status": "done", **identity, **summary(result)})
    return result


def summary(result: ModesResult) -> dict[str, Any]:
    """What a script wants to know of vibrations; cm^-1, eV, eV/Angstrom^2."""
    modes = result.modes
    imaginary = int((modes.vibrations & (modes.frequencies < 0.0)).sum())
    notes = [plain_forces_word({"forces_exact": result.forces_exact})]
    if modes.fmax > FAR_FROM_REST:
        notes.append(f"the structure is not at rest (largest force {modes.fmax:.3f} eV/A): relax it first")
    if imaginary:
        notes.append(f"{imaginary} imaginary frequencies (negative below): no minimum in these directions")
    return {
        "frequencies": modes.frequencies.tolist(),
        "rigid": modes.rigid.tolist(),
        "participation": modes.participation().tolist(),
        "imaginary": imaginary,
        "zero_point_energy": modes.zero_point_energy,
        "energy": result.energy,
        "fmax": modes.fmax,
        "largest_hessian": float(np.abs(modes.hessian).max()),
        "asymmetry": modes.asymmetry,
        "acoustic_sum": modes.acoustic,
        "notes": [note for note in notes if note],
        "seconds": result.seconds,
        "units": {
            "frequencies": "1/cm",
            "energy": "eV",
            "zero_point_energy": "eV",
            "asymmetry": "eV/Angstrom^2",
            "acoustic_sum": "eV/Angstrom^2",
        },
    }


def _file(name: str) -> str:
    return name.replace(" ", "-") + ".json"


def _told(done: Evaluated) -> dict[str, Any]:
    return {
        "energy": done.energy,
        "forces": done.forces.tolist(),
        "seconds": done.seconds,
        "forces_exact": done.forces_exact,
    }


def _read(folder: Path, names: dict[int, str], n_atoms: int) -> dict[int, Evaluated]:
    """What an earlier run has left."""
    known = {}
    for key, name in names.items():
        path = folder / _file(name)
        if not path.exists():
            continue
        told = read_json(path, "take it away to calculate it again")
        with intact(path, "take it away to calculate it again"):
            forces: NDArray[np.float64] = np.array(told["forces"], dtype=float)
            if forces.shape != (n_atoms, 3):
                raise ValueError(f"expected forces of {n_atoms} atoms, got {forces.shape}")
            known[key] = Evaluated(key, told["energy"], forces, told["seconds"], told["forces_exact"])
    return known


def _write(target: Path, result: ModesResult) -> None:
    """Modes as structures and as arrays."""
    modes, frames = result.modes, []
    for number, frequency in enumerate(modes.frequencies):
        vectors = np.zeros((len(result.atoms), 3))
        vectors[list(modes.moving)] = modes.vectors[number]
        vectors /= np.linalg.norm(vectors, axis=1).max()
        frame = with_labels(result.atoms, info={"mode": number, "frequency_cm": float(frequency)})
        frame.set_array("mode_vector", vectors)
        frames.append(frame)
    write_structure(target / FRAMES, frames)
    arrays = {name: getattr(modes, name) for name in ("hessian", "frequencies", "vectors", "rigid")}
    write_npz(target / HESSIAN, {**arrays, "moving": np.array(modes.moving)})
