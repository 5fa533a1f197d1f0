"""Test MAE against the number of training samples: chosen by the model of the round before, or at random.

    PYTHONPATH=python .venv/bin/python bench/python/selection_curve.py CONFIG.yaml --start 30 --add 30 \
        --rounds 4 --minutes 10 --repeats 2 --out selection

CONFIG.yaml: a training configuration (data set, network, optimizer, split with a test part). Its training
part is the pool: all of it is labelled already, so that no DFT is needed to see what choosing would have
saved. Round 0 trains on `--start` samples drawn at random, for both. Then, `--rounds` times, its model
scores the rest of the pool as `mlh dataset select --by residual` does (it does not look at the labels), so
many as `--add` says are added by its rules and a new model is trained from the start; and beside it as many
drawn at random. The same network, steps or minutes, validation and test samples for every point;
`--repeats` does all of it with other draws. Writes OUT/selection.json and OUT/selection.png after every
point; every point is a folder with its data set, training log and scores; what is finished is not done
again, an interrupted training goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from rich.console import Console

from mlh.calculators.engines import ModelEngine
from mlh.common.files import read_json, write_json
from mlh.common.units import BOHR_ANGSTROM
from mlh.dataset.store import Dataset, DatasetWriter
from mlh.labelling.candidates import Candidate
from mlh.labelling.scores import Score, Scorer, score_all
from mlh.labelling.selection import Rules, choose
from mlh.structures import structure_hash
from mlh.training.config import TrainingConfig, load_config
from mlh.training.run import train

CONSOLE = Console(stderr=True)


def candidate(data: Dataset, index: int) -> Candidate:
    """A sample of the pool without its label; label: its number in the data set."""
    numbers, positions, cell = data.geometry(index)
    atoms = Atoms(numbers, positions * BOHR_ANGSTROM, cell=cell * BOHR_ANGSTROM, pbc=True)
    record = data.record(index)
    trajectory = str(record["info"].get("job", record["origin"]))
    return Candidate(atoms, data.charge(index), str(index), trajectory, structure_hash(atoms), "")


def write_subset(source: Path, parts: dict[str, Sequence[int]], target: Path) -> None:
    """A data set of some samples, each bound to its part."""
    if target.exists():
        return
    partial = target.with_suffix(".part")
    partial.unlink(missing_ok=True)
    with Dataset(source) as data:
        writer = DatasetWriter(partial, data.basis, data.settings, compression="lzf")
        for part, indices in parts.items():
            for index in indices:
                sample = data[index]
                writer.append(replace(sample, info={**sample.info, "split": part}))
    partial.rename(target)


def point(
    base: TrainingConfig, parts: dict[str, list[int]], chosen: list[int], folder: Path
) -> dict[str, Any]:
    """Train with the chosen samples; test metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    write_subset(base.dataset, {**parts, "train": chosen}, folder / "data.h5")
    result = folder / "metrics.json"
    if not result.exists():
        changes = {"dataset": folder / "data.h5", "output": folder, "physics_samples": 0}
        if not train(base.model_copy(update=changes), CONSOLE).finished:
            raise SystemExit("interrupted; the same command goes on from here")
    metrics = json.loads(result.read_text(encoding="utf-8"))
    return {
        "n_train": metrics["n_train"],
        "steps": metrics["steps"],
        "minutes": metrics["minutes"],
        **{
            key: metrics["test"][key] for key in ("mae_mev", "onsite_mae_mev", "offsite_mae_mev", "n_samples")
        },
    }


def chosen_by(model: Path, pool: list[Candidate], rules: Rules, processes: int) -> list[int]:
    """Numbers of the samples that the model knows least of."""
    scorer = Scorer.of(ModelEngine(str(model)), "residual")
    print(f"{len(pool)} samples are scored by {model}", flush=True)
    scores = score_all(pool, scorer, model.parent / "scores.jsonl", processes=processes, on_score=told)
    choice = choose(pool, scores, "residual", rules)
    if len(choice.chosen) < rules.count:
        raise SystemExit(
            f"the pool has {len(choice.chosen)} of {rules.count} samples; fewer rounds, or a smaller --add"
        )
    return [int(c.label) for c in choice.chosen]


def told(there: int, total: int, score: Score) -> None:
    """Every tenth score."""
    if there % 10 == 0 or there == total:
        print(f"{there}/{total} {score.residual_rms_ev} {score.failed}", flush=True)


def plot(points: list[dict[str, Any]], path: Path) -> None:
    """MAE against the number of samples; the points of all repetitions and lines through their means."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for kind, marker in (("random", "o"), ("chosen", "s")):
        rows = [(p["n_train"], p["mae_mev"]) for p in points if p["kind"] == kind or p["round"] == 0]
        sizes = sorted({n for n, _ in rows})
        if not rows:
            continue
        means = [statistics.fmean(mae for n, mae in rows if n == size) for size in sizes]
        (line,) = axes.loglog(sizes, means, "-", label=kind)
        axes.plot(*zip(*rows, strict=True), marker, color=line.get_color(), markersize=4)
    ticks = sorted({p["n_train"] for p in points})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("training structures")
    axes.set_ylabel("MAE of H on the test part (meV)")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=150)


class Curve:
    """The points so far, written after each."""

    def __init__(self, base: TrainingConfig, arguments: argparse.Namespace) -> None:
        self.base, self.arguments, self.points = base, arguments, list[dict[str, Any]]()
        with Dataset(base.dataset) as data:
            fractions = (base.split.validation, base.split.test)
            self.parts = data.split(base.split.seed, base.split.by, fractions)
            if not self.parts["test"]:
                raise SystemExit("split: expected a test part")
            self.pool = {k: candidate(data, k) for k in self.parts["train"]}

    def add(self, kind: str, repeat: int, number: int, chosen: list[int]) -> Path:
        """Train one point; returns its model."""
        folder = self.arguments.out / f"{kind}-{repeat}-{len(chosen)}"
        found = point(self.base, self.parts, chosen, folder)
        self.points.append({"kind": kind, "repeat": repeat, "round": number, **found})
        write_json(self.arguments.out / "selection.json", {"points": self.points})
        plot(self.points, self.arguments.out / "selection.png")
        print(json.dumps(self.points[-1]), flush=True)
        return folder / "model.npz"

    def run(self, repeat: int) -> None:
        """All rounds of one draw."""
        a = self.arguments
        order = [int(k) for k in np.random.default_rng(repeat).permutation(list(self.pool))]
        if len(order) < a.start + a.rounds * a.add:
            raise SystemExit(
                f"the training part has {len(order)} samples, {a.start + a.rounds * a.add} are asked for"
            )
        chosen = order[: a.start]
        model = self.add("random", repeat, 0, chosen)
        for number in range(1, a.rounds + 1):
            rest = [self.pool[k] for k in order if k not in set(chosen)]
            rules = Rules(a.add, a.per_trajectory, a.apart)
            chosen = chosen + chosen_by(model, rest, rules, a.processes)
            model = self.add("chosen", repeat, number, chosen)
            self.add("random", repeat, number, order[: len(chosen)])


def require_same(base: TrainingConfig, arguments: argparse.Namespace) -> None:
    """Points of other settings do not belong on this curve."""
    own = {key: getattr(arguments, key) for key in ("start", "add", "per_trajectory", "apart")}
    now = {**own, "training": base.model_dump(mode="json")}
    path = arguments.out / "settings.json"
    if path.exists() and read_json(path) != now:
        raise SystemExit(f"{arguments.out}: has points with other settings ({path}); choose another --out")
    write_json(path, now)


def main() -> None:
    """Read the arguments, run the points that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--start", type=int, required=True, help="samples of round 0")
    parser.add_argument("--add", type=int, required=True, help="samples of every round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--per-trajectory", type=int, default=4)
    parser.add_argument("--apart", type=float, default=0.0, help="A; see mlh dataset select")
    parser.add_argument(
        "--minutes", type=float, help="wall time of each training; default: the steps of CONFIG"
    )
    parser.add_argument("--processes", type=int, default=1, help="of the scoring")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], help="override one setting of CONFIG")
    arguments = parser.parse_args()
    base = load_config(arguments.config, arguments.set)
    base = base.model_copy(update={"max_minutes": arguments.minutes or base.max_minutes})
    require_same(base, arguments)
    curve = Curve(base, arguments)
    for repeat in range(arguments.repeats):
        curve.run(repeat)


if __name__ == "__main__":
    main()
