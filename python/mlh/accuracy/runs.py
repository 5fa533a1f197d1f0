"""Two runs of `mlh relax` or `mlh defect` beside each other, from their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np

from mlh.analysis import cell_strain, configuration_coordinate, coordinate_mae, displacements, in_cell_of
from mlh.common.files import read_json
from mlh.defects.record import entries_of
from mlh.relaxation.files import RELAXED, SUMMARY, summaries_in
from mlh.structures.files import read_frames


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Every relaxation of the same name in both folders: first minus second; eV, Angstrom, sqrt(amu) A."""
    here, there = _relaxations(first), _relaxations(second)
    for folder, found in ((first, here), (second, there)):
        if not found:
            raise FileNotFoundError(f"{folder}: expected a folder with finished relaxations, found none")
    common = [name for name in here if name in there]
    if not common:
        raise ValueError(
            f"{first}, {second}: expected relaxations of the same names, "
            f"got {sorted(here)} and {sorted(there)}"
        )
    energies = _formation_energies(first), _formation_energies(second)
    rows = [
        _row(name, (here[name], there[name]), (energies[0].get(name), energies[1].get(name)))
        for name in common
    ]
    return {"relaxations": rows, "only_in_one": sorted(set(here) ^ set(there))}


def _relaxations(folder: Path) -> dict[str, Path]:
    """Folders of ended relaxations by their name in the run; \".\" is the run itself."""
    return {
        str(path.parent.relative_to(folder)): path.parent
        for path in summaries_in(folder)
        if (path.parent / RELAXED).exists()
    }


def _formation_energies(folder: Path) -> dict[str, float | None]:
    """E_f by the name of the folder of its relaxation."""
    path = folder / "defects.json"
    if not path.exists():
        return {}
    content = read_json(path)
    found: dict[str, float | None] = {}
    for prefix, run in (("", content["run"]), ("dft/", content.get("verification"))):
        for entry in entries_of(run) if run else []:
            found[prefix + str(entry.get("folder"))] = entry["formation_energy"]
    return found


def _row(
    name: str, folders: tuple[Path, Path], formation: tuple[float | None, float | None]
) -> Mapping[str, Any]:
    atoms, reference = (read_frames(folder / RELAXED)[-1] for folder in folders)
    summaries = [read_json(folder / SUMMARY) for folder in folders]
    cells = _cells(atoms, reference)
    atoms = in_cell_of(atoms, reference)  # where the cells relaxed apart, coordinates are fractional ones
    vectors = displacements(atoms, reference, remove_translation=True)
    site = reference.info.get("defect_position")
    near = None if site is None else coordinate_mae(atoms, reference, site, remove_translation=True)
    known = formation[0] is not None and formation[1] is not None
    return {
        "name": name,
        "n_atoms": len(atoms),
        "status": [s["status"] for s in summaries],
        "energy_difference_per_atom": (summaries[0]["energy"] - summaries[1]["energy"]) / len(atoms),
        **cells,
        "formation_energy": list(formation),
        "formation_energy_difference": (formation[0] or 0.0) - (formation[1] or 0.0) if known else None,
        "dQ": configuration_coordinate(atoms, reference, remove_translation=True),
        "coordinate_mae": float(np.abs(vectors).mean()),
        "coordinate_mae_around_site": None if near is None else {f"{r:g}": v for r, v in near.items()},
        "steps": [s["steps"] for s in summaries],
        "seconds": [s["seconds"] for s in summaries],
    }


def _cells(atoms: ase.Atoms, reference: ase.Atoms) -> dict[str, Any]:
    """Volumes (A^3), lengths and angles (A, degrees) of both, and the strain between them."""
    volumes = [float(a.cell.volume) for a in (atoms, reference)]
    return {
        "volume": volumes,
        "volume_difference": volumes[0] / volumes[1] - 1.0 if all(volumes) else None,
        "cell": [a.cell.cellpar().tolist() for a in (atoms, reference)],
        "cell_strain": cell_strain(atoms, reference) if all(volumes) else None,
    }
