"""Tables (Markdown) and pictures of `mlh accuracy`, from the content of accuracy.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from mlh.report.figure import Figure
from mlh.report.fitted_table import value_text
from mlh.report.plots import force_panel

PAPER = "arXiv 2604.07197"
# Text, Figs. 3 to 6 of the paper: oxygen vacancies in a-SiO2, unseen structures, no refinement.
PAPER_POINTS = {("vacancy", 95): ("0.72", "-", "3.0e-04", "1.0", "27")}
PAPER_LARGER = ("-", "-", "-", "below 1.2", "about 25")  # hosts and vacancies of 95 to 576 atoms
# By atoms of the host: energy of host, of vacancy (meV/atom), dQ of both, E_f MAE (meV), coordinates (A).
PAPER_RELAXED = {
    96: ("0.66", "0.85", "below 2", "below 2", "16", "mostly below 0.01"),
    216: ("0.34", "0.41", "1.3", "below 4", "26", "mostly below 0.02"),
    384: ("-", "1.1", "-", "-", "45", "-"),
}
RADII = ("3", "5", "7", "9", "12")
_COLORS = ("#1f4e79", "#c1440e", "#5a8f29", "#7b4fa3")


def accuracy_markdown(content: Mapping[str, Any], paper: bool = False) -> str:
    """The tables as Markdown; with `paper` each beside the numbers of the paper."""
    parts = ["## The same geometry by the model and by DFT", _points_table(content, paper)]
    if content["relaxations"]:
        parts += ["## Relaxations", _relaxed_table(content, paper)]
        parts += ["## Formation energies", _formation_table(content)]
    parts += ["## Wall time", _time_table(content)]
    if content["failures"]:
        failed = "\n".join(f"* {name}: {reason}" for name, reason in content["failures"].items())
        parts += ["## Not finished", failed]
    return "\n\n".join(parts) + "\n"


def accuracy_figure(content: Mapping[str, Any]) -> Figure:
    """Estimated against true energy error, forces, and formation energies when there are any."""
    points = list(content["points"].values())
    pairs = _formation_pairs(content)
    figure = Figure(figsize=(12.6 if pairs else 8.4, 3.9), layout="constrained")
    axes = figure.subplots(1, 3 if pairs else 2)
    calibration_panel(axes[0], points)
    last = max((k for p in points for k in p["model"]), key=int)
    first = min((k for p in points for k in p["model"]), key=int)
    for steps, axis in ((first, axes[1]),):
        model = np.concatenate([np.ravel(p["model"][steps]["forces"]) for p in points])
        dft = np.concatenate([np.ravel(p["dft"]["forces"]) for p in points])
        force_panel(axis, model, dft)
        axis.set_title(
            f"forces, refine {steps}: MAE {1000 * np.abs(model - dft).mean():.1f} meV/Å", fontsize=10
        )
    if pairs:
        _formation_panel(axes[2], pairs)
    figure.suptitle(f"{content['model']}: {len(points)} geometries, refine {first} to {last}")
    return figure


def _style(steps: int) -> dict[str, Any]:
    """Of a number of refining steps, the same in every panel."""
    return {"color": _COLORS[steps % len(_COLORS)], "marker": "so^D"[steps % 4], "alpha": 0.8}


def calibration_panel(axis: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    """The model's own estimate of its energy error against the true one, meV/atom, logarithmic."""
    low, high = np.inf, 0.0
    levels = sorted({steps for point in points for steps in point["model"]}, key=int)
    for steps in levels:
        rows = [(p["model"][steps], p["n_atoms"]) for p in points if steps in p["model"]]
        estimate = 1000.0 * np.array([r["energy_error_estimate"] / n for r, n in rows])
        # Files of before have energies without correction only.
        true = 1000.0 * np.array([r.get("energy_error_uncorrected", r["energy_error"]) / n for r, n in rows])
        shown = np.maximum(true, 1e-3)
        axis.scatter(estimate, shown, s=16, label=f"refine {steps}", linewidths=0, **_style(int(steps)))
        low = min(low, float(estimate.min()), float(shown.min()))
        high = max(high, float(estimate.max()), float(shown.max()))
    limits = (0.5 * low, 2.0 * high)
    axis.plot(limits, limits, color="0.6", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_yscale("log")
    for side in (axis.xaxis, axis.yaxis):  # matplotlib writes 2, 3, 4 and 6 times 10^n into each other
        side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        side.set_major_formatter("{x:g}")
        side.set_minor_formatter(NullFormatter())
    axis.set_xlim(*limits)
    axis.set_ylim(*limits)
    axis.set_xlabel("estimated energy error (meV/atom)")
    axis.set_ylabel("true energy error (meV/atom)")
    axis.legend(frameon=False, fontsize=8)
    axis.set_title("error estimate", fontsize=10)


def _formation_panel(axis: Axes, pairs: Sequence[tuple[int, float, float]]) -> None:
    values = [value for _, model, dft in pairs for value in (model, dft)]
    limits = (min(values) - 0.2, max(values) + 0.2)
    axis.plot(limits, limits, color="0.6", linewidth=0.8)
    for steps in sorted({p[0] for p in pairs}):
        chosen = [p for p in pairs if p[0] == steps]
        error = 1000.0 * float(np.mean([abs(m - d) for _, m, d in chosen]))
        axis.scatter(
            [d for _, _, d in chosen],
            [m for _, m, _ in chosen],
            s=24,
            label=f"refine {steps}: MAE {error:.0f} meV",
            linewidths=0,
            **_style(steps),
        )
    axis.set_xlim(*limits)
    axis.set_ylim(*limits)
    axis.set_aspect("equal")
    axis.set_xlabel("formation energy, DFT (eV)")
    axis.set_ylabel("formation energy, model (eV)")
    axis.set_title("relaxed vacancies", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _formation_pairs(content: Mapping[str, Any]) -> list[tuple[int, float, float]]:
    return [
        (run["refine"], row["formation_energy"], row["formation_energy_reference"])
        for run in content["relaxations"].values()
        for row in run["vacancies"]
        if row["formation_energy_error"] is not None
    ]


def _points_table(content: Mapping[str, Any], paper: bool) -> str:
    head = (
        *("structures", "atoms", "number", "refine", "H MAE meV", "aligned meV", "density MAE e/A^3"),
        *("energy meV/atom", "force MAE meV/A", "estimated energy error meV/atom"),
    )
    groups: dict[tuple[str, int, str], list[Mapping[str, Any]]] = {}
    for point in content["points"].values():
        groups.setdefault((point["kind"], point["n_atoms"], point["state"]), []).append(point)
    rows = []
    for (kind, atoms, state), points in sorted(groups.items(), key=lambda g: (g[0][1], g[0])):
        for steps in sorted({s for p in points for s in p["model"]}, key=int):
            found = [p["model"][steps] for p in points if steps in p["model"]]
            rows.append(
                (
                    *(f"{kind}, {state}", str(atoms), str(len(found)), steps),
                    _mean((r["hamiltonian"]["mae_mev"] for r in found), 3),
                    _mean((r["hamiltonian"]["aligned_mae_mev"] for r in found), 3),
                    f"{np.mean([r['density_mae'] for r in found]):.1e}",
                    _mean((abs(r["energy_error"]) * 1000.0 / atoms for r in found), 3),
                    _mean((r["force_mae"] * 1000.0 for r in found), 1),
                    _mean((r["energy_error_estimate"] * 1000.0 / atoms for r in found), 3),
                )
            )
    if paper:
        for (kind, atoms), values in PAPER_POINTS.items():
            rows.append((f"*paper ({PAPER}): {kind}*", str(atoms), "1", "0", *values, "-"))
        rows.append((f"*paper ({PAPER}): both*", "95-576", "-", "0", *PAPER_LARGER, "-"))
    return _table(head, rows)


def _relaxed_table(content: Mapping[str, Any], paper: bool) -> str:
    head = (
        *(
            "host",
            "atoms",
            "vacancies",
            "refine",
            "host energy meV/atom",
            "vacancy energy meV/atom",
            "host dQ",
        ),
        *("vacancy dQ", "E_f MAE meV", *(f"MAE({r} A)" for r in RADII), "converged"),
    )
    rows = []
    for run in content["relaxations"].values():
        found = run["vacancies"]
        if not found:
            continue
        rows.append(
            (
                *(run["host"], str(run["n_atoms"]), str(len(found)), str(run["refine"])),
                f"{1000.0 * found[0]['host_energy_error_per_atom']:.3f}",
                _mean((1000.0 * r["energy_error_per_atom"] for r in found), 3),
                f"{found[0]['host_dQ']:.2f}",
                _mean((r["dQ"] for r in found), 2),
                _mean((abs(1000.0 * _known(r["formation_energy_error"])) for r in found), 1),
                *(_mean((_known(r["coordinate_mae"][radius]) for r in found), 4) for radius in RADII),
                "yes" if run["converged"] else "no",
            )
        )
    if paper:
        for atoms, (host, vacancy, host_q, q, formation, coordinates) in PAPER_RELAXED.items():
            text = (f"*paper ({PAPER})*", str(atoms), "-", "0", host, vacancy, host_q, q, formation)
            rows.append((*text, coordinates, *[""] * (len(RADII) - 1), ""))
    note = "dQ in sqrt(amu) A, MAE of coordinates in A around the vacancy, both without rigid translation."
    return _table(head, rows) + f"\n\n{note}"


def _formation_table(content: Mapping[str, Any]) -> str:
    rows = [
        (
            *(run["host"], str(row["site"]), str(run["refine"])),
            value_text(row["formation_energy"], 3),
            value_text(row["formation_energy_reference"], 3),
            value_text(row["formation_energy_error"], 1, 1000.0),
        )
        for run in content["relaxations"].values()
        for row in run["vacancies"]
    ]
    return _table(("host", "site", "refine", "E_f model eV", "E_f DFT eV", "error meV"), rows)


def _time_table(content: Mapping[str, Any]) -> str:
    groups: dict[int, list[Mapping[str, Any]]] = {}
    for point in content["points"].values():
        groups.setdefault(point["n_atoms"], []).append(point)
    levels = sorted({s for point in content["points"].values() for s in point["model"]}, key=int)
    rows = []
    for atoms, points in sorted(groups.items()):
        times = [_mean((p["model"][s]["seconds"] for p in points if s in p["model"]), 1) for s in levels]
        steps = np.mean([p["dft"]["scf_steps"] for p in points])
        rows.append((str(atoms), *times, _mean((p["dft"]["seconds"] for p in points), 1), f"{steps:.0f}"))
    head = ("atoms", *(f"model, refine {s}: s" for s in levels), "DFT from nothing: s", "its steps")
    text = _table(head, rows) + "\n\nMeans of energy and forces at one geometry."
    for run in content["relaxations"].values():
        minutes = {name: seconds / 60.0 for name, seconds in run["seconds"].items()}
        text += (
            f"\n\nRelaxations of {run['host']}, refine {run['refine']}: model {minutes['model']:.1f} min "
            f"({_plus(run['steps']['model'])} steps), "
            f"DFT {minutes['dft']:.1f} min ({_plus(run['steps']['dft'])})."
        )
    return text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _mean(values: Iterable[float], digits: int) -> str:
    known = [v for v in values if np.isfinite(v)]
    return f"{np.mean(known):.{digits}f}" if known else "-"


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _plus(steps: Sequence[int]) -> str:
    return " + ".join(map(str, steps))
