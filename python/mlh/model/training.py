"""Training: configuration -> folder with model.npz, log.jsonl, config.yaml, metrics.json, learning_curve.png.

Loss in meV over all matrix elements of dH; AdamW; learning rate warmed up and decayed by a cosine of the
steps or of the wall time; exponential average of the weights for evaluation and for the model file. Ctrl-C
and SIGTERM write a checkpoint; the same command goes on from it. A run that counts steps goes on exactly as
if it had not stopped.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from rich.console import Console

from mlh.model.baseline import fit_normalisation, mean_blocks
from mlh.model.blocks import Blocks, data_from_blocks
from mlh.model.checkpoint import load_checkpoint, save_checkpoint
from mlh.model.config import TrainingConfig, save_config
from mlh.model.dataset import Dataset, DatasetError, Sample
from mlh.model.evaluate import MEV, Case, Metrics, evaluate, overlap_of_sample
from mlh.model.modelfile import ModelCard, save_model
from mlh.model.network import HamiltonianNetwork
from mlh.model.prepared import PreparedSamples, element_counts, error_sums
from mlh.model.warmstart import start_from


@dataclass(frozen=True)
class TrainingResult:
    """Outcome of `train`: the model file, validation and test metrics (None when interrupted), steps done."""

    model: Path
    steps: int
    finished: bool
    validation: Metrics | None
    test: Metrics | None


def train(
    config: TrainingConfig, console: Console | None = None, stop: Callable[[], bool] = lambda: False
) -> TrainingResult:
    """Run or go on with a training; `stop` is asked after every step (besides the signals)."""
    console = console or Console(stderr=True)
    torch.set_num_threads(config.threads)
    config.output.mkdir(parents=True, exist_ok=True)
    _same_config(config)
    with Dataset(config.dataset) as dataset:
        run = _Run(config, dataset, console)
        return run.execute(stop)


def _same_config(config: TrainingConfig) -> None:
    """Save the resolved configuration; refuse to go on in the folder of another one."""
    path = config.output / "config.yaml"
    if path.exists() and (config.output / "checkpoint.npz").exists():
        from mlh.model.config import load_config

        before = load_config(path)
        ignored = {
            "steps",
            "max_minutes",
            "evaluate_every_steps",
            "checkpoint_minutes",
            "threads",
            "cache_gb",
            "output",
        }
        different = _differences(before.model_dump(exclude=ignored), config.model_dump(exclude=ignored))
        if different:
            raise ValueError(
                f"output: {config.output} holds the checkpoint of another configuration "
                f"({'; '.join(different)}); choose another folder or remove it"
            )
    save_config(config, path)


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Settings that differ, as "key: value there, value here"."""
    lines: list[str] = []
    for key, value in now.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            lines += _differences(old, value, f"{prefix}{key}.")
        elif old != value:
            lines.append(f"{prefix}{key}: {old} there, {value} here")
    return lines


class _Run:
    """State of one training."""

    def __init__(self, config: TrainingConfig, dataset: Dataset, console: Console) -> None:
        self.config, self.dataset, self.console = config, dataset, console
        if dataset.incomplete:
            console.print(
                f"[yellow]{len(dataset.incomplete)} samples were not completely written and are left out"
            )
        self.parts = dataset.split(
            config.split.seed, config.split.by, (config.split.validation, config.split.test)
        )
        torch.manual_seed(config.seed)
        self.dtype = torch.float32 if config.precision == "float32" else torch.float64
        numbers = sorted({int(z) for k in self.parts["train"] for z in dataset[k].graph.numbers})
        sets = dataset.basis.orbital_sets
        self.network = HamiltonianNetwork([sets[z] for z in numbers], config.network)
        limit = config.cache_gb * 1e9
        self.train = PreparedSamples(dataset, self.parts["train"], self.network, self.dtype, limit)
        if config.init is None:
            fit_normalisation(self.network, self.train)
        else:
            start_from(self.network, config.init, dataset.basis)
            for _ in self.train:  # fills the cache and the shortest distances, as the fit does
                pass
        self.prepared = {
            part: PreparedSamples(dataset, self.parts[part], self.network, self.dtype, limit)
            for part in ("validation", "test")
        }
        self.references: dict[int, Sample] = {}
        self.network.to(self.dtype)
        self.average = deepcopy(self.network)
        o = config.optimizer
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=o.learning_rate, weight_decay=o.weight_decay, betas=(0.9, 0.99)
        )
        self.step, self.elapsed, self.best = 0, 0.0, math.inf
        self.rng = np.random.default_rng(config.seed)
        self.order: list[int] = []
        self.log_path = config.output / "log.jsonl"
        self.checkpoint_path = config.output / "checkpoint.npz"
        self.overlaps: dict[int, Any] = {}
        self.interrupted = False

    def execute(self, stop: Callable[[], bool]) -> TrainingResult:
        """The loop."""
        if self.checkpoint_path.exists():
            self._restore()
        self._print_header()
        previous = (
            {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)} if _main() else {}
        )
        start, before, last_saved = time.monotonic(), self.elapsed, time.monotonic()
        recent: list[float] = []
        try:
            while self._progress() < 1.0 and not (self.interrupted or stop()):
                recent.append(self._take_step())
                self.elapsed = before + time.monotonic() - start
                if self.step % self.config.evaluate_every_steps == 0:
                    self._report(recent)
                    recent = []
                if time.monotonic() - last_saved > 60 * self.config.checkpoint_minutes:
                    self._save()
                    last_saved = time.monotonic()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        self._save()
        return self._finish()

    def _take_step(self) -> float:
        """One optimiser step on `batch` structures; returns their raw MAE in meV."""
        config = self.config
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        mae = 0.0
        for _ in range(config.optimizer.batch):
            if not self.order:
                self.order = [int(k) for k in self.rng.permutation(len(self.train))]
            topology, geometry, reference = self.train[self.order.pop()]
            loss, raw = self._loss(self.network(topology, geometry), reference)
            (loss / config.optimizer.batch).backward()  # type: ignore[no-untyped-call]
            mae += raw / config.optimizer.batch
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.optimizer.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"step {self.step}: the gradient is not finite; lower optimizer.learning_rate"
            )
        self.optimizer.step()
        self.step += 1
        self._average_weights()
        return mae

    def _loss(self, predicted: Blocks, reference: Blocks) -> tuple[torch.Tensor, float]:
        """Loss and raw MAE in meV."""
        loss = self.config.loss
        sums = error_sums(predicted, reference)
        n = float(sum(element_counts(reference)))
        mae = (loss.onsite * sums["site_abs"] + sums["pair_abs"]) / n
        rmse = torch.sqrt((loss.onsite * sums["site_square"] + sums["pair_square"]) / n)
        raw = float(sums["site_abs"].detach() + sums["pair_abs"].detach()) / n * MEV
        return (loss.mae_weight * mae + loss.rmse_weight * rmse) * MEV, raw

    def _average_weights(self) -> None:
        """EMA with a shorter memory during the first steps."""
        decay = min(self.config.optimizer.ema, self.step / (self.step + 10.0))
        with torch.no_grad():
            for a, p in zip(self.average.parameters(), self.network.parameters(), strict=True):
                a.lerp_(p, 1.0 - decay)

    def _progress(self) -> float:
        """0 .. 1 of the run."""
        c = self.config
        return self.elapsed / (60 * c.max_minutes) if c.max_minutes is not None else self.step / c.steps

    def _learning_rate(self) -> float:
        o = self.config.optimizer
        warm = min(1.0, (self.step + 1) / max(o.warmup_steps, 1))
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(self._progress(), 1.0)))
        return o.final_learning_rate + (o.learning_rate - o.final_learning_rate) * warm * cosine

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self.console.print("stopping after this step; a checkpoint is written")

    def metrics(self, part: str, zero: bool = False) -> Metrics:
        """Metrics of the averaged weights (or of the fitted means alone) on one part of the data."""
        cases = []
        for k, (topology, geometry, _) in zip(self.parts[part], self.prepared[part], strict=True):
            if k not in self.references:
                self.references[k] = self.dataset[k]
            with torch.no_grad():
                blocks = (
                    mean_blocks(self.average, topology, geometry)
                    if zero
                    else self.average(topology, geometry)
                )
                predicted = data_from_blocks(topology, blocks, self.average.orbitals).double().numpy()
            sample = self.references[k]
            cases.append(Case(sample.graph, sample.dh, predicted, self._overlap(k)))
        return evaluate(cases)

    def _overlap(self, index: int) -> Any:
        if index not in self.overlaps:
            try:
                self.overlaps[index] = overlap_of_sample(self.references[index], self.dataset.basis)
            except (ImportError, KeyError, ValueError, DatasetError) as error:
                if not self.overlaps:
                    self.console.print(f"no aligned MAE: {error}")
                self.overlaps[index] = None
        return self.overlaps[index]

    def _print_header(self) -> None:
        sizes = {name: len(indices) for name, indices in self.parts.items()}
        weights = sum(p.numel() for p in self.network.parameters())
        means = self.metrics("validation", zero=True)
        self.console.print(
            f"{self.dataset.path}: {sizes}; {weights} weights; validation MAE of dH = 0: "
            f"{means.zero_mae_mev:.3f} meV, of the fitted means: {means.mae_mev:.3f} meV"
        )

    def _report(self, recent: list[float]) -> None:
        """One line for people, one for machines."""
        m = self.metrics("validation")
        self.best = min(self.best, m.mae_mev)
        progress = self._progress()
        left = self.elapsed * (1 / progress - 1) / 60 if progress > 0 else math.nan
        entry = {
            "step": self.step,
            "minutes": self.elapsed / 60,
            "learning_rate": self._learning_rate(),
            "train_mae_mev": float(np.mean(recent)) if recent else None,
            **m.as_dict(),
        }
        with open(self.log_path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        aligned = f", aligned {m.aligned_mae_mev:.4f}" if m.aligned_mae_mev is not None else ""
        self.console.print(
            f"step {self.step:6d}  {self.elapsed / 60:6.1f} min  train {np.mean(recent):8.4f}  "
            f"validation MAE {m.mae_mev:8.4f} meV (on-site {m.onsite_mae_mev:.3f}, "
            f"off-site {m.offsite_mae_mev:.4f}{aligned})  "
            f"rate {self._learning_rate():.1e}  {left:.1f} min left",
            highlight=False,
        )

    def _save(self) -> None:
        state = {
            "step": self.step,
            "elapsed": self.elapsed,
            "best": self.best,
            "order": self.order,
            "rng": self.rng.bit_generator.state,
            "dataset": self.dataset.fingerprint(),
        }
        save_checkpoint(self.checkpoint_path, self.network, self.average, self.optimizer, state)

    def _restore(self) -> None:
        state = load_checkpoint(self.checkpoint_path, self.network, self.average, self.optimizer)
        if state["dataset"] != self.dataset.fingerprint():
            raise ValueError(
                f"dataset: {self.dataset.path} has changed since the checkpoint in {self.config.output}"
            )
        self.step, self.elapsed, self.best = state["step"], state["elapsed"], state["best"]
        self.order = state["order"]
        self.rng.bit_generator.state = state["rng"]
        self.console.print(f"going on from step {self.step}")

    def _card(self, metrics: dict[str, Any]) -> ModelCard:
        numbers = tuple(o.number for o in self.network.orbitals)
        return ModelCard(
            self.config.network,
            self.dataset.basis,
            self.dataset.settings,
            self.dataset.fingerprint(),
            metrics,
            self.train.closest,
            numbers,
        )

    def _finish(self) -> TrainingResult:
        """Model file; final metrics and the plot when the run is complete."""
        path = self.config.output / "model.npz"
        finished = self._progress() >= 1.0
        validation = self.metrics("validation") if finished else None
        test = self.metrics("test") if finished and self.parts["test"] else None
        metrics: dict[str, Any] = {
            "steps": self.step,
            "minutes": self.elapsed / 60,
            "n_train": len(self.parts["train"]),
        }
        if validation is not None:
            metrics |= {"validation": validation.as_dict(), "mae_mev": (test or validation).mae_mev}
            metrics["test"] = test.as_dict() if test is not None else None
            (self.config.output / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
            self._plot()
        save_model(path, self.average, self._card(metrics))
        if finished and test is not None:
            self.console.print(f"test MAE {test.mae_mev:.4f} meV; model: {path}")
        return TrainingResult(path, self.step, finished, validation, test)

    def _plot(self) -> None:
        """learning_curve.png from the log."""
        if not self.log_path.exists():
            return
        from matplotlib.figure import Figure

        rows = [json.loads(line) for line in self.log_path.read_text(encoding="utf-8").splitlines()]
        figure = Figure(figsize=(5, 3.5), layout="constrained")
        axes = figure.subplots()
        steps = [row["step"] for row in rows]
        axes.semilogy(steps, [row["train_mae_mev"] for row in rows], label="training")
        axes.semilogy(steps, [row["mae_mev"] for row in rows], label="validation")
        axes.set_xlabel("step")
        axes.set_ylabel("MAE of dH (meV)")
        axes.legend()
        figure.savefig(self.config.output / "learning_curve.png", dpi=150)


def _main() -> bool:
    """Signals can only be set in the main thread."""
    import threading

    return threading.current_thread() is threading.main_thread()
