"""FOLDER/defects.json: what a run of defects found, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlh.common.files import write_json
from mlh.defects.formation import CONVENTION
from mlh.defects.references import Reference
from mlh.defects.run import DefectRun, json_number
from mlh.relaxation.jobs import EngineLike
from mlh.relaxation.loop import RelaxResult
from mlh.structures import structure_hash

SUMMARY = "defects.json"


def describe_run(run: DefectRun, engine: EngineLike) -> dict[str, Any]:
    """Plain JSON values of one run."""
    return {
        "engine": engine.describe(),
        "host": {"structure_hash": structure_hash(run.host_start), **_describe(run.host)},
        "defects": [
            {
                "name": str(defect.case.defect.name),
                "site": defect.site,
                "places": list(defect.case.defect.places),
                "charge": defect.case.charge,
                "folder": defect.case.folder(run.folder).name,
                "position": [float(value) for value in defect.position],
                "formation_energy": None if defect.case.charge else json_number(defect.formation_energy),
                "energy_difference": json_number(defect.formation_energy),
                **{f"formation_{name}": json_number(value) for name, value in defect.others.items()},
                **_describe(defect.result),
            }
            for defect in run.defects
        ],
        "failures": [
            {"defect": str(case), "site": case.defect.site, "reason": reason}
            for case, reason in run.failures.items()
        ],
    }


def entries_of(run: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The defects of a described run; files of before called them vacancies, and had nothing else."""
    return list(run["defects"] if "defects" in run else run["vacancies"])


def entry_title(entry: Mapping[str, Any]) -> str:
    """V_O-12_+1 of an entry, as its folder is called."""
    return str(entry.get("folder") or f"site {entry['site']}")


def write_defects(
    folder: Path,
    run: Mapping[str, Any],
    references: Mapping[str, Reference],
    potentials: Mapping[str, float],
    verification: Mapping[str, Any] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    **more: Any,
) -> Path:
    """Write defects.json; returns its path. more: further plain values by name."""
    content = {
        "convention": CONVENTION,
        "references": {name: reference.describe() for name, reference in references.items()},
        "chemical_potentials": dict(potentials),
        "run": dict(run),
        "verification": dict(verification) if verification is not None else None,
        "comparison": [dict(row) for row in rows],
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SUMMARY, content)
    return folder / SUMMARY


def _describe(result: RelaxResult) -> dict[str, Any]:
    return {
        "status": "converged" if result.converged else "unconverged",
        "energy": result.energy,
        "fmax": result.fmax,
        "steps": len(result.steps) - 1,
        "seconds": result.seconds,
        "residual": result.steps[-1].residual,
    }
