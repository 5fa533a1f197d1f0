"""`mlh report`: one HTML file of a run that works without a network: structures, curves, numbers, settings.

What is reported is read from the files of the run (relax.json, trajectory.extxyz, defects.json, demo.json,
levels.json and pictures); nothing is calculated again.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ase
import jinja2
import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import neighbor_list
from matplotlib.backends.backend_svg import FigureCanvasSVG

from mlh.common.files import read_json, refuse_existing, write_text
from mlh.defects.record import entries_of, entry_title
from mlh.relaxation.files import RELAXED, SUMMARY, TRAJECTORY, read_steps, summaries_in
from mlh.relaxation.loop import RelaxStep
from mlh.report.curves import formation_figure, relaxation_figure
from mlh.report.defect_diagram import PICTURE, diagram_figure
from mlh.report.defect_pictures import LEVELS
from mlh.report.figure import Figure
from mlh.structures.files import read_frames

DEFECTS, DEMO = "defects.json", "demo.json"
PACKAGES = ("mlh", "numpy", "scipy", "ase", "torch", "h5py")
_BOND_SCALE = 1.2  # bonds: closer than this times the sum of the covalent radii


@dataclass(frozen=True)
class Relaxation:
    """One relaxation of the run, as its folder tells it."""

    name: str
    summary: Mapping[str, Any]
    steps: tuple[RelaxStep, ...]
    atoms: ase.Atoms | None


@dataclass(frozen=True)
class Run:
    """Everything found in the folder of a run."""

    folder: Path
    relaxations: tuple[Relaxation, ...]
    defects: Mapping[str, Any] | None
    demo: Mapping[str, Any] | None
    pictures: tuple[Path, ...]
    levels: tuple[tuple[str, Mapping[str, Any]], ...]
    """By folder: where the levels of a defect are (`mlh.report.defect_pictures`)."""


def read_run(folder: Path) -> Run:
    """Read a folder of `mlh relax`, `mlh defect` or `mlh demo`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    relaxations = tuple(_relaxation(folder, path) for path in summaries_in(folder))
    defects, demo = _json(folder / DEFECTS), _json(folder / DEMO)
    if not (relaxations or defects or demo):
        raise FileNotFoundError(
            f"{folder}: expected a folder of relaxations, of a defect run or of a demonstration "
            f"({SUMMARY}, {DEFECTS} or {DEMO}), found none of them"
        )
    pictures = tuple(path for path in sorted(folder.rglob("*.png")) if path.name != PICTURE)
    levels = tuple(
        (str(path.parent.relative_to(folder)), _json(path) or {}) for path in sorted(folder.rglob(LEVELS))
    )
    return Run(folder, relaxations, defects, demo, pictures, levels)


def write_report(folder: Path, out: Path, overwrite: bool = False) -> Path:
    """Write the report of the run in `folder` to the HTML file `out`."""
    refuse_existing([out], overwrite)
    write_text(out, render(read_run(folder)))
    return out


def render(run: Run) -> str:
    """The HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlh.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    runs = _defect_runs(run)
    return environment.get_template("report.html.j2").render(
        title=run.folder.resolve().name,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        relaxations=[_relaxation_view(item, _site(runs, item.name)) for item in run.relaxations],
        problems=_problems(run),
        defect_runs=runs,
        formation=_svg(formation_figure(runs)) if any(_known_energies(r) for r in runs) else None,
        comparison=_comparison(run),
        references=_references(run),
        charged=_charged(run),
        convention=(run.defects or run.demo or {}).get("convention"),
        points=(run.demo or {}).get("same_geometry", {}).get("points", []),
        levels=[_levels_view(name, content) for name, content in run.levels],
        pictures=[{"name": str(p.relative_to(run.folder)), "data": _png(p)} for p in run.pictures],
        settings=_settings(run),
        versions=[(name, _version(name)) for name in PACKAGES],
    )


def _relaxation(folder: Path, path: Path) -> Relaxation:
    here = path.parent
    steps = read_steps(here / TRAJECTORY) if (here / TRAJECTORY).exists() else ()
    atoms = read_frames(here / RELAXED)[-1] if (here / RELAXED).exists() else None
    name = str(here.relative_to(folder))
    return Relaxation(name if name != "." else folder.resolve().name, _json(path) or {}, steps, atoms)


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    return read_json(path)


def _defect_runs(run: Run) -> list[dict[str, Any]]:
    """Title, host and defects of each engine of the run."""
    found = []
    if run.defects is not None:
        found.append({"title": _engine_title(run.defects["run"]), **run.defects["run"]})
        if run.defects.get("verification"):
            found.append({"title": _engine_title(run.defects["verification"]), **run.defects["verification"]})
    elif run.demo is not None:
        found = [{"title": _engine_title(run.demo[key]), **run.demo[key]} for key in ("model", "dft")]
    for part in found:
        part["entries"] = [{"title": entry_title(entry), **entry} for entry in entries_of(part)]
    return found


def _engine_title(part: Mapping[str, Any]) -> str:
    engine = part["engine"]
    if engine.get("kind") == "model":
        refine = engine.get("refine", 0)
        return f"model {engine['model']}" + (f", {refine} self-consistency steps after it" if refine else "")
    if engine.get("kind") == "dft":
        return f"DFT, {engine['xc']}, {engine['cutoff_ry']} Ry"
    return str(engine.get("kind", "unknown engine"))


def _charged(run: Run) -> dict[str, Any] | None:
    """Charged defects: the diagram, states, levels, chemical potentials."""
    if run.defects is None or "charged" not in run.defects:
        return None
    content = dict(run.defects["charged"])
    figure = diagram_figure(content) if any(s["energy"] is not None for s in content["states"]) else None
    return {**content, "figure": _svg(figure) if figure else None, "mu": run.defects.get("conditions", [])}


def _site(runs: Sequence[Mapping[str, Any]], name: str) -> list[float] | None:
    """Position of the defect whose relaxation is called NAME (".../V_O-12_0"), Angstrom."""
    for run in runs:
        for entry in entries_of(run):
            if Path(name).name == entry.get("folder"):
                return [float(x) for x in entry["position"]]
    return None


def _known_energies(run: Mapping[str, Any]) -> list[float]:
    """Formation energies of neutral defects, which need no Fermi level."""
    found = [entry["formation_energy"] for entry in entries_of(run)]
    return [float(energy) for energy in found if energy is not None]


def _relaxation_view(item: Relaxation, site: list[float] | None) -> dict[str, Any]:
    """What the template shows of one relaxation."""
    atoms = item.atoms
    last = item.steps[-1] if item.steps else None
    return {
        "name": item.name,
        "status": item.summary.get("status", "unknown"),
        "reason": item.summary.get("reason"),
        "formula": item.summary.get("formula", ""),
        "steps": max(len(item.steps) - 1, 0),
        "energy": last.energy if last else None,
        "fmax": last.fmax if last else None,
        "fmax_target": item.summary.get("fmax_target"),
        "residual": last.residual if last else None,
        "estimate": _per_atom(last, item),
        "seconds": sum(step.seconds for step in item.steps),
        "curves": _svg(relaxation_figure(item.steps, item.summary.get("fmax_target"))) if last else None,
        "scene": json.dumps(scene(atoms, site)) if atoms is not None else None,
    }


def _per_atom(last: RelaxStep | None, item: Relaxation) -> float | None:
    """The calculator's own estimate of its energy error, meV/atom."""
    if last is None or last.energy_error is None:
        return None
    return 1000.0 * last.energy_error / len(last.positions)


def scene(atoms: ase.Atoms, site: Sequence[float] | None = None) -> dict[str, Any]:
    """Atoms, bonds and cell edges for the viewer; Angstrom, wrapped so that `site` is in the middle."""
    shown = atoms.copy()
    cell = shown.cell[:]
    middle = cell.sum(axis=0) / 2
    shift = middle - np.asarray(site) if site is not None else np.zeros(3)
    shown.positions += shift
    shown.wrap()
    radii = covalent_radii[shown.numbers]
    i, j, offset = neighbor_list("ijS", shown, list(_BOND_SCALE * radii))
    bonds = [[int(a), int(b)] for a, b, s in zip(i, j, offset, strict=True) if a < b and not s.any()]
    corners = [[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    edges = [
        (p, q)
        for p in range(8)
        for q in range(p + 1, 8)
        if np.abs(np.subtract(corners[p], corners[q])).sum() == 1
    ]
    return {
        "positions": np.round(shown.positions - middle, 3).tolist(),
        "radii": np.round(0.45 * radii, 3).tolist(),
        "colors": [_color(int(z)) for z in shown.numbers],
        "symbols": shown.get_chemical_symbols(),
        "bonds": bonds,
        "corners": np.round(np.array(corners) @ cell - middle, 3).tolist(),
        "edges": edges,
        "site": [0.0, 0.0, 0.0] if site is not None else None,
        "size": float(np.linalg.norm(cell.sum(axis=0)) / 2),
    }


def _color(number: int) -> str:
    red, green, blue = (round(255 * float(c)) for c in jmol_colors[number])
    return f"#{red:02x}{green:02x}{blue:02x}"


def _levels_view(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The two states of a defect, energies in eV from the valence edge."""
    by_band = {level["band"]: level for level in content["levels"]}
    states = [(which, by_band[content[f"{which}_band"]]) for which in ("occupied", "empty")]
    return {"name": name, "gap": content["gap_ev"], "atoms": content["atoms"], "states": states}


def _problems(run: Run) -> list[str]:
    """What did not go as it should, in words."""
    lines = []
    for item in run.relaxations:
        status = item.summary.get("status")
        if status != "converged":
            reached = f", largest force {item.steps[-1].fmax:.3f} eV/Å" if item.steps else ""
            reason = f": {item.summary['reason']}" if item.summary.get("reason") else ""
            lines.append(f"{item.name}: {status}{reached}{reason}")
    return lines


def _comparison(run: Run) -> list[Mapping[str, Any]]:
    if run.defects is not None:
        return list(run.defects.get("comparison", []))
    return [run.demo["relaxed"]] if run.demo is not None else []


def _references(run: Run) -> list[tuple[str, Mapping[str, Any]]]:
    content = run.defects or run.demo or {}
    return sorted(content.get("references", {}).items())


def _settings(run: Run) -> list[tuple[str, str]]:
    """Plain settings of the engines and relaxations."""
    rows: list[tuple[str, str]] = []
    seen = set()
    for item in run.relaxations:
        engine = json.dumps(item.summary.get("engine", {}), sort_keys=True)
        if engine not in seen:
            seen.add(engine)
            rows.append((f"engine of {item.name}", engine))
    for key in ("optimizer", "max_displacement", "fmax_target"):
        values = sorted({str(item.summary[key]) for item in run.relaxations if key in item.summary})
        if values:
            rows.append((key.replace("_", " "), ", ".join(values)))
    return rows


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed as a package"


def _png(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _svg(figure: Figure) -> str:
    """A figure as inline SVG, encoded as a data address."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    figure.savefig(buffer, format="svg")
    return base64.b64encode(buffer.getvalue().encode("utf-8")).decode("ascii")
