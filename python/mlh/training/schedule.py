"""The learning rate: warm-up, then a cosine of the progress or steps down at plateaus of the validation
error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mlh.training.config import OptimizerConfig


@dataclass(frozen=True)
class Plateau:
    """Lowers the rate by a factor when the validation error has not improved for some evaluations."""

    factor: float = 1.0
    best: float = math.inf
    waiting: int = 0

    def after(self, error: float, config: OptimizerConfig) -> Plateau:
        """With one more validation error."""
        if error < self.best * (1.0 - 1e-3):
            return replace(self, best=error, waiting=0)
        if self.waiting + 1 > config.plateau_evaluations:
            return replace(self, factor=self.factor * config.plateau_factor, waiting=0)
        return replace(self, waiting=self.waiting + 1)


def learning_rate(config: OptimizerConfig, step: int, progress: float, plateau: Plateau) -> float:
    """Rate of the next step; step counts from 0, progress runs from 0 to 1."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if config.schedule == "plateau":
        return max(config.learning_rate * warm * plateau.factor, config.final_learning_rate)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * warm * cosine
