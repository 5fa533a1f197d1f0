"""How far a training is: values that a step and an evaluation replace, and that a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mlh.training.batches import Order
from mlh.training.config import OptimizerConfig, TrainingConfig
from mlh.training.schedule import Plateau


@dataclass(frozen=True)
class Progress:
    """Steps done, seconds used (in earlier starts too), best validation MAE (meV), batches to come."""

    order: Order
    step: int = 0
    elapsed: float = 0.0
    best: float = math.inf
    plateau: Plateau = field(default_factory=Plateau)

    def part(self, config: TrainingConfig) -> float:
        """0 .. 1 of the run, by the clock or by the steps."""
        if config.max_minutes is not None:
            return self.elapsed / (60 * config.max_minutes)
        return self.step / config.steps

    def minutes_left(self, config: TrainingConfig) -> float:
        """Of the run as far as it was until now; nan at the start."""
        part = self.part(config)
        return self.elapsed * (1 / part - 1) / 60 if part > 0 else math.nan

    def after_step(self, order: Order, elapsed: float) -> Progress:
        """One step further."""
        return replace(self, order=order, step=self.step + 1, elapsed=elapsed)

    def after_evaluation(self, error: float, config: OptimizerConfig) -> Progress:
        """With one more validation error (meV)."""
        return replace(self, best=min(self.best, error), plateau=self.plateau.after(error, config))

    def as_state(self) -> dict[str, Any]:
        """JSON values for the checkpoint."""
        return {
            "step": self.step,
            "elapsed": self.elapsed,
            "best": self.best,
            "plateau": asdict(self.plateau),
            "order": [list(batch) for batch in self.order.waiting],
            "rng": dict(self.order.rng),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Progress:
        """The inverse of `as_state`."""
        order = Order(tuple(tuple(batch) for batch in state["order"]), state["rng"])
        return cls(order, state["step"], state["elapsed"], state["best"], Plateau(**state["plateau"]))
