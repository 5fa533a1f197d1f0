"""Training: configuration -> folder with model.npz, log.jsonl, config.yaml, metrics.json, learning_curve.png.

Loss in meV over the matrix elements of dH; AdamW; learning rate warmed up and decayed with the steps or with
the wall time; exponential average of the weights for evaluation and for the model file. Ctrl-C and SIGTERM
write a checkpoint; the same command goes on from it. A run that counts steps goes on exactly as if it had not
stopped. Under torchrun every process takes a share of each batch (`mlh.network.devices`).
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mlh.accuracy.metrics import Metrics
from mlh.common.files import write_text
from mlh.common.terminal import say, terminal, working
from mlh.dataset.store import Dataset
from mlh.model.card import ModelCard, save_model
from mlh.model.mesh import mesh_of_labels
from mlh.network.architectures import build_network
from mlh.network.contract import HamiltonianNetwork
from mlh.network.devices import Ranks, open_ranks, pick_device
from mlh.training.batches import choose_pairs, epoch
from mlh.training.checkpoint import load_checkpoint, save_checkpoint
from mlh.training.config import OptimizerConfig, TrainingConfig, differences, load_config, save_config
from mlh.training.loss import structure_loss
from mlh.training.monitor import Monitor
from mlh.training.prepared import PreparedSamples
from mlh.training.schedule import Plateau, learning_rate
from mlh.training.validation import Validation, physics_of, spread
from mlh.training.warmstart import start_from
from mlh.training.wavefunction import ReferenceStates, reference_states

# Settings that may change when a run goes on from its checkpoint: when it ends, what it shows, where it runs.
FREE_TO_CHANGE = {
    "steps",
    "max_minutes",
    "evaluate_every_steps",
    "evaluate_samples",
    "physics_samples",
    "checkpoint_minutes",
    "threads",
    "cache_gb",
    "output",
}


FIT_SAMPLES = 64  # enough for means and sizes; bounds the memory of the fit


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
    with open_ranks(config.device) as ranks:
        if config.optimizer.batch % ranks.size:
            raise ValueError(
                f"optimizer.batch: expected a multiple of the number of processes, {ranks.size}, "
                f"got {config.optimizer.batch}"
            )
        console = (console or terminal()) if ranks.first else Console(quiet=True)
        torch.set_num_threads(max(config.threads // ranks.local_size, 1))
        if ranks.first:
            config.output.mkdir(parents=True, exist_ok=True)
            _same_config(config)
        with Dataset(config.dataset) as dataset:
            return _Run(config, dataset, console, ranks).execute(stop)


def _same_config(config: TrainingConfig) -> None:
    """Save the resolved configuration; refuse to go on in the folder of another one."""
    path = config.output / "config.yaml"
    if path.exists() and (config.output / "checkpoint.npz").exists():
        before = load_config(path)
        different = differences(
            before.model_dump(exclude=FREE_TO_CHANGE), config.model_dump(exclude=FREE_TO_CHANGE)
        )
        if different:
            raise ValueError(
                f"output: {config.output} holds the checkpoint of another configuration "
                f"({'; '.join(different)}); choose another folder or remove it"
            )
    save_config(config, path)


def _parts_of(dataset: Dataset, config: TrainingConfig) -> dict[str, list[int]]:
    """Indices of the training, validation and test samples; enough training samples for one batch."""
    split = config.split
    parts = dataset.split(split.seed, split.by, (split.validation, split.test))
    if split.train_samples is not None:
        order = np.random.default_rng(split.seed).permutation(parts["train"])
        parts["train"] = sorted(order[: split.train_samples].tolist())
    if config.optimizer.batch > len(parts["train"]):
        raise ValueError(
            f"optimizer.batch: expected at most the number of training samples, "
            f"{len(parts['train'])}, got {config.optimizer.batch}"
        )
    return parts


def _adamw(network: HamiltonianNetwork, settings: OptimizerConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.99),
        fused=True,
    )


class _Run:
    """State of one training in one process."""

    def __init__(self, config: TrainingConfig, dataset: Dataset, console: Console, ranks: Ranks) -> None:
        self.config, self.dataset, self.console, self.ranks = config, dataset, console, ranks
        dataset.require_unpolarised()
        if dataset.incomplete:
            missing = f"{len(dataset.incomplete)} samples were not completely written and are left out"
            say(console, missing, style="yellow")
        self.parts = _parts_of(dataset, config)
        torch.manual_seed(config.seed)
        self.device = pick_device(config.device, ranks)
        self.dtype = torch.float32 if config.precision == "float32" else torch.float64
        sets = dataset.basis.orbital_sets
        self.network = build_network([sets[z] for z in dataset.elements], config.network)
        limit = config.cache_gb * 1e9
        self._prepare(limit)
        self.average = deepcopy(self.network)
        self.optimizer = _adamw(self.network, config.optimizer)
        self.step, self.elapsed, self.best = 0, 0.0, math.inf
        self.plateau = Plateau()
        self.rng = np.random.default_rng(config.seed)
        self.order: list[list[int]] = []
        self.states: dict[int, ReferenceStates] = {}
        self.checkpoint_path = config.output / "checkpoint.npz"
        self.interrupted = False
        self.monitor = Monitor(config.output, console)
        every = PreparedSamples(dataset, range(len(dataset)), self.network, self.dtype, limit, self.device)
        self.validation = Validation(every, self.average, console, ranks)

    def _prepare(self, limit: float) -> None:
        """Read the samples, fit what is fitted, and bring the network to its device."""
        config = self.config
        self.train = PreparedSamples(
            self.dataset, self.parts["train"], self.network, self.dtype, limit, self.device
        )
        with working(self.console, "reading the training samples"):
            for _ in self.train:  # also for the shortest distances and the sizes
                pass
        if config.init is not None:
            start_from(self.network, config.init, self.dataset.basis)
        else:
            with working(self.console, "fitting the means"):
                self.network.fit(self.train.some(FIT_SAMPLES))
        self.network.to(self.dtype).to(self.device)
        self.ranks.copy_from_first(self.network)

    def execute(self, stop: Callable[[], bool]) -> TrainingResult:
        """The loop."""
        if self.checkpoint_path.exists():
            self._restore()
        means = self.validation.metrics(self._watched(), means=True)
        if means is not None:
            sizes = ", ".join(f"{len(indices)} {name}" for name, indices in self.parts.items())
            weights = sum(p.numel() for p in self.network.parameters())
            self.monitor.header(f"{self.dataset.path}: {sizes} samples; {weights} weights", means)
        start, before, last_saved = time.monotonic(), self.elapsed, time.monotonic()
        recent: list[float] = []
        with _stop_signals(self._on_signal), self.monitor:
            stopping = False
            while self._progress() < 1.0 and not stopping:
                elapsed = before + time.monotonic() - start
                mae, self.elapsed, stopping = self._take_step(elapsed, stop)
                recent.append(mae)
                self.monitor.step(self.step, mae, self._progress(), self._minutes_left())
                if self.step % self.config.evaluate_every_steps == 0:
                    self._report(recent)
                    recent = []
                if time.monotonic() - last_saved > 60 * self.config.checkpoint_minutes:
                    self._save()
                    last_saved = time.monotonic()
        self._save()
        return self._finish()

    def _take_step(self, elapsed: float, stop: Callable[[], bool]) -> tuple[float, float, bool]:
        """One optimiser step on `batch` structures: their raw MAE in meV, the first process's elapsed time,
        whether any process was asked to stop after this step.
        """
        config = self.config
        rate = learning_rate(config.optimizer, self.step, self._progress(), self.plateau)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        mae = 0.0
        for position, index in self.ranks.share(enumerate(self._next_batch())):
            loss, raw = self._structure(index, position)
            (loss / config.optimizer.batch).backward()  # type: ignore[no-untyped-call]
            mae += raw / config.optimizer.batch
        own_time = elapsed if self.ranks.first else 0.0
        asked = float(self.interrupted or stop())
        extra = torch.tensor([mae, own_time, asked], dtype=torch.float64)
        agreed = self.ranks.sum_gradients(self.network.parameters(), extra).tolist()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.optimizer.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"step {self.step}: the gradient is not finite; lower optimizer.learning_rate"
            )
        self.optimizer.step()
        self.step += 1
        self._average_weights()
        return agreed[0], agreed[1], agreed[2] > 0

    def _next_batch(self) -> list[int]:
        if not self.order:
            sizes = [self.train.sizes[k] for k in range(len(self.train))]
            self.order = epoch(sizes, self.config.optimizer.batch, self.rng)
        return self.order.pop()

    def _structure(self, index: int, position: int) -> tuple[torch.Tensor, float]:
        """Loss and raw MAE of one training structure; position: its place in the batch."""
        topology, geometry, reference = self.train[index]
        loss = self.config.loss
        rng = np.random.default_rng([self.config.seed, self.step, position])
        chosen = choose_pairs(topology, geometry, loss.far_distance, loss.far_fraction, rng)
        states = self._reference_states(index) if loss.wavefunction else None
        predicted = self.network(topology, geometry, None if chosen is None else chosen.rows)
        return structure_loss(predicted, reference, loss, chosen, states)

    def _reference_states(self, index: int) -> ReferenceStates:
        if index not in self.states:
            topology = self.train[index][0]
            self.states[index] = reference_states(
                self.dataset[self.parts["train"][index]],
                self.dataset.basis,
                self.dataset.settings,
                topology,
                self.network.orbitals,
                self.dtype,
                self.device,
            )
        return self.states[index]

    def _average_weights(self) -> None:
        """EMA with a shorter memory during the first steps."""
        decay = min(self.config.optimizer.ema, self.step / (self.step + 10.0))
        averages = [p.detach() for p in self.average.parameters()]
        weights = [p.detach() for p in self.network.parameters()]
        get_ema_multi_avg_fn(decay)(averages, weights, self.step)  # type: ignore[no-untyped-call]

    def _progress(self) -> float:
        """0 .. 1 of the run."""
        c = self.config
        return self.elapsed / (60 * c.max_minutes) if c.max_minutes is not None else self.step / c.steps

    def _minutes_left(self) -> float:
        progress = self._progress()
        return self.elapsed * (1 / progress - 1) / 60 if progress > 0 else math.nan

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted and self.ranks.size == 1:
            raise KeyboardInterrupt  # torchrun sends a second signal by itself
        self.interrupted = True
        say(self.console, "stopping after this step; a checkpoint is written")

    def _watched(self) -> list[int]:
        """The validation samples that are evaluated during training, spread evenly."""
        return spread(self.parts["validation"], self.config.evaluate_samples)

    def _report(self, recent: list[float]) -> None:
        """Evaluate; the validation error, which the schedule and the warnings need, goes to all processes."""
        m = self.validation.metrics(self._watched())
        error = torch.tensor([0.0 if m is None else m.mae_mev], dtype=torch.float64, device=self.device)
        mae = float(self.ranks.sum(error))
        self.plateau.update(mae, self.config.optimizer)
        train_mae = float(np.mean(recent))
        if m is not None:
            entry = {
                "step": self.step,
                "minutes": self.elapsed / 60,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "train_mae_mev": train_mae,
            }
            self.monitor.evaluation(entry, m, self._minutes_left())
            self.monitor.warn(self._progress(), train_mae, mae, self.best)
        self.best = min(self.best, mae)

    def _save(self) -> None:
        if not self.ranks.first:
            return
        state = {
            "step": self.step,
            "elapsed": self.elapsed,
            "best": self.best,
            "plateau": self.plateau.as_dict(),
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
        self.plateau = Plateau(**state["plateau"])
        self.order = state["order"]
        self.rng.bit_generator.state = state["rng"]
        if self.ranks.first:
            self.monitor.forget_after(self.step)
        say(self.console, f"going on from step {self.step}")

    def _card(self, metrics: dict[str, Any]) -> ModelCard:
        numbers = tuple(o.number for o in self.network.orbitals)
        return ModelCard(
            self.network.config,
            self.dataset.basis,
            self.dataset.settings,
            self.dataset.fingerprint(),
            metrics,
            self.train.closest,
            numbers,
            k_mesh=mesh_of_labels(self.dataset.mesh(i) for i in self.parts["train"]),
        )

    def _finish(self) -> TrainingResult:
        """Model file; final metrics and the plot when the run is complete."""
        path = self.config.output / "model.npz"
        finished = self._progress() >= 1.0
        metrics: dict[str, Any] = {
            "steps": self.step,
            "minutes": self.elapsed / 60,
            "n_train": len(self.parts["train"]),
        }
        validation = test = None
        if finished:
            validation = self.validation.metrics(self.parts["validation"])
            test = self.validation.metrics(self.parts["test"])
        if not self.ranks.first:
            return TrainingResult(path, self.step, finished, None, None)
        if validation is not None:
            metrics |= {"validation": validation.as_dict(), "mae_mev": (test or validation).mae_mev}
            metrics["test"] = test.as_dict() if test is not None else None
            unseen = spread(self.parts["test"] or self.parts["validation"], self.config.physics_samples)
            metrics["physics"] = physics_of(self.validation, unseen)
            write_text(self.config.output / "metrics.json", json.dumps(metrics, indent=1))
            self.monitor.plot()
        save_model(path, self.average, self._card(metrics))
        if validation is not None:
            which = ("test", test) if test is not None else ("validation", validation)
            say(self.console, f"{which[0]} MAE {which[1].mae_mev:.4f} meV; model: {path}")
        return TrainingResult(path, self.step, finished, validation, test)


@contextmanager
def _stop_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGINT and SIGTERM go to `handler`; signals can only be set in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
