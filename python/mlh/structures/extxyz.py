"""Extended xyz with energies and forces: REF_energy and REF_forces are written, bare names read too."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from mlh.common.files import intact, refuse_existing
from mlh.structures.files import with_labels, write_structure


def write_extxyz(
    path: str | os.PathLike[str], frames: Atoms | Iterable[Atoms], overwrite: bool = False
) -> None:
    """Write structures, with the energy (eV) and raw forces (eV/Angstrom) that their calculators hold.

    Constraints are not applied to the forces: a force-field trainer needs the gradient of the energy.
    """
    target = Path(path)
    refuse_existing([target], overwrite)
    listed = [frames] if isinstance(frames, Atoms) else frames
    write_structure(target, [_labelled(atoms) for atoms in listed])


def _labelled(atoms: Atoms) -> Atoms:
    calc = atoms.calc
    if calc is None or calc.check_state(atoms):
        return atoms
    results = calc.results
    return with_labels(atoms, results.get("free_energy", results.get("energy")), results.get("forces"))


def read_extxyz(path: str | os.PathLike[str]) -> list[Atoms]:
    """All frames, with `info["REF_energy"]` and `arrays["REF_forces"]` set from either kind of name.

    ASE moves bare `energy` and `forces` into a calculator; they are copied back under the REF names, which
    win where a file has both.
    """
    with intact(path):
        frames = ase.io.read(Path(path), index=":", format="extxyz")
    out = []
    for atoms in frames:
        results = atoms.calc.results if atoms.calc is not None else {}
        energy = results.get("free_energy", results.get("energy"))
        if "REF_energy" not in atoms.info and energy is not None:
            atoms.info["REF_energy"] = float(energy)
        if "REF_forces" not in atoms.arrays and "forces" in results:
            atoms.set_array("REF_forces", np.asarray(results["forces"], dtype=float))
        atoms.calc = None
        out.append(atoms)
    return out
