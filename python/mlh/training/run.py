"""Training: configuration -> folder with model.npz, log.jsonl, config.yaml, metrics.json, learning_curve.png.

Loss in meV over the matrix elements of dH; AdamW; learning rate warmed up and decayed with the steps or with
the wall time; exponential average of the weights for evaluation and for the model file. Ctrl-C and SIGTERM
write a checkpoint; the same command goes on from it. A run that counts steps goes on exactly as if it had not
stopped. Under torchrun every process takes a share of each batch (`mlh.network.devices`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from mlh.accuracy.metrics import Metrics
from mlh.common.files import write_text
from mlh.common.terminal import say, terminal
from mlh.dataset.store import Dataset
from mlh.model.card import ModelCard, save_model
from mlh.model.mesh import mesh_of_labels
from mlh.network.devices import open_ranks
from mlh.training.batches import Order, draw
from mlh.training.checkpoint import load_checkpoint, save_checkpoint
from mlh.training.config import TrainingConfig, save_config
from mlh.training.interrupt import stop_signals
from mlh.training.learner import Learner, add_gradients, descend, make_learner
from mlh.training.monitor import Monitor
from mlh.training.prepared import PreparedSamples
from mlh.training.progress import Progress
from mlh.training.schedule import learning_rate
from mlh.training.setup import Setup, refuse_other_config, set_up
from mlh.training.validation import Validation, physics_of, spread


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
        with Dataset(config.dataset) as dataset:
            if ranks.first:
                refuse_other_config(config)
            setup, network = set_up(config, dataset, ranks, console)
            if ranks.first:
                save_config(config, config.output / "config.yaml")
            return _run(setup, make_learner(setup, network), stop)


def _run(setup: Setup, learner: Learner, stop: Callable[[], bool]) -> TrainingResult:
    """From the checkpoint, where there is one, to the end."""
    config, monitor = setup.config, Monitor(setup.config.output, setup.console)
    every = PreparedSamples(
        setup.dataset,
        range(len(setup.dataset)),
        learner.network,
        setup.dtype,
        config.cache_gb * 1e9,
        setup.device,
    )
    validation = Validation(every, learner.average, setup.console, setup.ranks)
    progress = _start(setup, learner, monitor)
    _header(setup, learner, validation, monitor)
    progress = _steps(setup, learner, validation, monitor, progress, stop)
    _save(setup, learner, progress)
    return _finish(setup, learner, validation, monitor, progress)


def _steps(
    setup: Setup,
    learner: Learner,
    validation: Validation,
    monitor: Monitor,
    progress: Progress,
    stop: Callable[[], bool],
) -> Progress:
    """Step by step to the end of the run or of the patience of who asks to stop."""
    config = setup.config
    start = last_saved = time.monotonic()
    before, recent, stopping = progress.elapsed, list[float](), False
    with stop_signals(setup.console, alone=setup.ranks.size == 1) as signalled, monitor:
        while progress.part(config) < 1.0 and not stopping:
            elapsed = before + time.monotonic() - start
            mae, progress, stopping = _step(setup, learner, progress, elapsed, lambda: signalled() or stop())
            recent.append(mae)
            monitor.step(progress.step, mae, progress.part(config), progress.minutes_left(config))
            if progress.step % config.evaluate_every_steps == 0:
                progress = _evaluate(setup, learner, validation, monitor, progress, float(np.mean(recent)))
                recent = []
            if time.monotonic() - last_saved > 60 * config.checkpoint_minutes:
                _save(setup, learner, progress)
                last_saved = time.monotonic()
    return progress


def _step(
    setup: Setup, learner: Learner, progress: Progress, elapsed: float, stop: Callable[[], bool]
) -> tuple[float, Progress, bool]:
    """One step on a batch: its raw MAE in meV, the progress with the first process's time, whether any
    process was asked to stop after this step.
    """
    config, ranks = setup.config, setup.ranks
    settings, step = config.optimizer, progress.step
    rate = learning_rate(settings, step, progress.part(config), progress.plateau)
    sizes = [setup.train.sizes[k] for k in range(len(setup.train))]
    batch, order = draw(progress.order, sizes, settings.batch)
    mae = add_gradients(setup, learner, batch, step)
    extra = torch.tensor([mae, elapsed if ranks.first else 0.0, float(stop())], dtype=torch.float64)
    mae, elapsed, asked = ranks.sum_gradients(learner.network.parameters(), extra).tolist()
    descend(learner, settings, rate, step)
    return mae, progress.after_step(order, elapsed), asked > 0


def _watched(setup: Setup) -> list[int]:
    """The validation samples that are evaluated during training, spread evenly."""
    return spread(setup.parts["validation"], setup.config.evaluate_samples)


def _header(setup: Setup, learner: Learner, validation: Validation, monitor: Monitor) -> None:
    """Say what the data are, and the errors that training has to beat."""
    means = validation.metrics(_watched(setup), means=True)
    if means is not None:
        sizes = ", ".join(f"{len(indices)} {name}" for name, indices in setup.parts.items())
        weights = sum(p.numel() for p in learner.network.parameters())
        monitor.header(f"{setup.dataset.path}: {sizes} samples; {weights} weights", means)


def _evaluate(
    setup: Setup,
    learner: Learner,
    validation: Validation,
    monitor: Monitor,
    progress: Progress,
    train_mae: float,
) -> Progress:
    """Evaluate; the validation error, which the schedule and the warnings need, goes to all processes."""
    m = validation.metrics(_watched(setup))
    error = torch.tensor([0.0 if m is None else m.mae_mev], dtype=torch.float64, device=setup.device)
    mae = float(setup.ranks.sum(error))
    if m is not None:
        entry = {
            "step": progress.step,
            "minutes": progress.elapsed / 60,
            "learning_rate": learner.optimizer.param_groups[0]["lr"],
            "train_mae_mev": train_mae,
        }
        monitor.evaluation(entry, m, progress.minutes_left(setup.config))
        monitor.warn(progress.part(setup.config), train_mae, mae, progress.best)
    return progress.after_evaluation(mae, setup.config.optimizer)


def _checkpoint(setup: Setup) -> Path:
    return setup.config.output / "checkpoint.npz"


def _save(setup: Setup, learner: Learner, progress: Progress) -> None:
    """Write a checkpoint; the first process does."""
    if setup.ranks.first:
        state = {**progress.as_state(), "dataset": setup.dataset.fingerprint()}
        save_checkpoint(_checkpoint(setup), learner.network, learner.average, learner.optimizer, state)


def _start(setup: Setup, learner: Learner, monitor: Monitor) -> Progress:
    """Where the checkpoint left off, or the beginning."""
    if not _checkpoint(setup).exists():
        return Progress(Order.start(setup.config.seed))
    state = load_checkpoint(_checkpoint(setup), learner.network, learner.average, learner.optimizer)
    if state["dataset"] != setup.dataset.fingerprint():
        raise ValueError(
            f"dataset: {setup.dataset.path} has changed since the checkpoint in {setup.config.output}"
        )
    progress = Progress.of_state(state)
    if setup.ranks.first:
        monitor.forget_after(progress.step)
    say(setup.console, f"going on from step {progress.step}")
    return progress


def _card(setup: Setup, learner: Learner, metrics: dict[str, Any]) -> ModelCard:
    """Card of the averaged weights."""
    dataset = setup.dataset
    return ModelCard(
        learner.network.config,
        dataset.basis,
        dataset.settings,
        dataset.fingerprint(),
        metrics,
        setup.train.closest,
        tuple(o.number for o in learner.network.orbitals),
        k_mesh=mesh_of_labels(dataset.mesh(i) for i in setup.parts["train"]),
        charges=_charges(setup) if learner.network.charged else {},
    )


def _charges(setup: Setup) -> dict[str, int]:
    """Number of training samples by charge."""
    of_sample = [setup.dataset.charge(index) for index in setup.parts["train"]]
    return {f"{charge:+g}" if charge else "0": of_sample.count(charge) for charge in sorted(set(of_sample))}


def _finish(
    setup: Setup, learner: Learner, validation: Validation, monitor: Monitor, progress: Progress
) -> TrainingResult:
    """Model file; final metrics and the plot when the run is complete."""
    config, parts, path = setup.config, setup.parts, setup.config.output / "model.npz"
    finished = progress.part(config) >= 1.0
    of_validation = validation.metrics(parts["validation"]) if finished else None
    of_test = validation.metrics(parts["test"]) if finished else None
    if not setup.ranks.first:
        return TrainingResult(path, progress.step, finished, None, None)
    metrics: dict[str, Any] = {
        "steps": progress.step,
        "minutes": progress.elapsed / 60,
        "n_train": len(parts["train"]),
    }
    if of_validation is not None:
        metrics |= {"validation": of_validation.as_dict(), "mae_mev": (of_test or of_validation).mae_mev}
        metrics["test"] = of_test.as_dict() if of_test is not None else None
        unseen = spread(parts["test"] or parts["validation"], config.physics_samples)
        metrics["physics"] = physics_of(validation, unseen)
        write_text(config.output / "metrics.json", json.dumps(metrics, indent=1))
        monitor.plot()
    save_model(path, learner.average, _card(setup, learner, metrics))
    if of_validation is not None:
        which = ("test", of_test) if of_test is not None else ("validation", of_validation)
        say(setup.console, f"{which[0]} MAE {which[1].mae_mev:.4f} meV; model: {path}")
    return TrainingResult(path, progress.step, finished, of_validation, of_test)
