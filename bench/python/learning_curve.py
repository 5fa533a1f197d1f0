"""Test MAE against the number of training samples, for dH = H - H0 and, with --plain, for H - (T + Vnl +
Vna).

    PYTHONPATH=python .venv/bin/python bench/python/learning_curve.py CONFIG.yaml --samples 20 40 80 160 \
        --minutes 10 --out curve --plain

CONFIG.yaml: a training configuration (data set, network, optimizer, split with a test part). Same network,
same steps or minutes, same test structures for every point; a smaller training set is a subset of a larger
one. What is plotted is the MAE of the elements of H, so that both targets can be compared. Writes
OUT/curve.json and OUT/curve.png; every point is a folder with its training log; a point that is finished is
not done again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from mlh.accuracy.metrics import system_of_sample
from mlh.dataset.sample import Sample
from mlh.dataset.store import Dataset, DatasetWriter
from mlh.training.config import TrainingConfig, load_config
from mlh.training.run import train

TARGETS = {"dh": "H - H0 (Harris)", "plain": "H - (T + Vnl + Vna)"}


def plain_dataset(source: Path, target: Path) -> None:
    """Copy of a data set whose target is H - (T + Vnl + Vna): what a network without H0 has to learn."""
    partial = target.with_suffix(".part")
    partial.unlink(missing_ok=True)
    with Dataset(source) as data:
        writer = DatasetWriter(partial, data.basis, {**data.settings, "target": TARGETS["plain"]})
        for k in track(range(len(data)), description="H0 of every sample", console=Console(stderr=True)):
            sample = data[k]
            system = system_of_sample(sample, data.basis, data.settings)
            known = system.kinetic() + system.nonlocal_potential() + system.neutral_atom_potential()
            extra = (system.harris_hamiltonian() - known).data[0]
            writer.append(
                Sample(
                    sample.graph,
                    sample.dh + extra,
                    sample.energies,
                    sample.forces,
                    sample.origin,
                    sample.group,
                    sample.info,
                )
            )
    partial.rename(target)


def point(base: TrainingConfig, target: str, n: int, out: Path) -> dict[str, Any]:
    """Train with n samples; test metrics and the number of steps."""
    folder = out / f"{target}-{n}"
    result = folder / "metrics.json"
    if not result.exists():
        split = base.split.model_copy(update={"train_samples": n})
        changes: dict[str, Any] = {"output": folder, "split": split, "physics_samples": 0}
        if target == "plain":
            changes["dataset"] = out / "plain.h5"
        if not train(base.model_copy(update=changes), Console(stderr=True)).finished:
            raise SystemExit("interrupted; the same command goes on from here")
    metrics = json.loads(result.read_text(encoding="utf-8"))
    test = metrics["test"] or metrics["validation"]
    return {
        "target": target,
        "n_train": metrics["n_train"],
        "steps": metrics["steps"],
        "minutes": metrics["minutes"],
        "mae_mev": test["mae_mev"],
        "onsite_mae_mev": test["onsite_mae_mev"],
        "offsite_mae_mev": test["offsite_mae_mev"],
        "zero_mae_mev": test["zero_mae_mev"],
        "n_test": test["n_samples"],
    }


def plot(points: list[dict[str, Any]], path: Path) -> None:
    """MAE against the number of samples, both logarithmic, with the exponent of a power law."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for target, label in TARGETS.items():
        rows = sorted((p["n_train"], p["mae_mev"]) for p in points if p["target"] == target)
        if not rows:
            continue
        n, mae = np.array(rows).T
        slope = f", exponent {np.polyfit(np.log(n), np.log(mae), 1)[0]:.2f}" if len(n) > 1 else ""
        axes.loglog(n, mae, "o-", label=f"{label}{slope}")
        for x, y in rows:
            axes.annotate(f"{y:.3g}", (x, y), textcoords="offset points", xytext=(4, 5), fontsize="small")
    axes.set_xlabel("training structures")
    axes.set_ylabel("MAE of H on unseen structures (meV)")
    sizes = sorted({p["n_train"] for p in points})
    axes.set_xticks(sizes, [str(n) for n in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.3, which="both")
    axes.margins(x=0.12, y=0.15)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Read the arguments, run the points that are missing, write JSON and PNG after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--samples", type=int, nargs="+", required=True)
    parser.add_argument("--minutes", type=float, help="wall time of each point; default: the steps of CONFIG")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plain", action="store_true", help="also learn H - (T + Vnl + Vna)")
    parser.add_argument("--set", action="append", default=[], help="override one setting of CONFIG")
    arguments = parser.parse_args()
    base = load_config(arguments.config, arguments.set)
    base = base.model_copy(update={"max_minutes": arguments.minutes or base.max_minutes})
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.plain and not (arguments.out / "plain.h5").exists():
        plain_dataset(base.dataset, arguments.out / "plain.h5")
    points: list[dict[str, Any]] = []
    for target in TARGETS if arguments.plain else ("dh",):
        for n in sorted(arguments.samples):
            points.append(point(base, target, n, arguments.out))
            content = {"config": str(arguments.config), "points": points}
            (arguments.out / "curve.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
            plot(points, arguments.out / "curve.png")
            print(json.dumps(points[-1]), flush=True)


if __name__ == "__main__":
    main()
