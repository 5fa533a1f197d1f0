"""Configuration of a training run: YAML, unknown keys refused, single values overridden by "a.b=c"."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from mlh.common.choices import Precision
from mlh.common.deprecation import CHANNELS
from mlh.common.examples import example
from mlh.common.files import read_yaml, write_text
from mlh.dataset.choices import SplitBy
from mlh.network.architectures import read_network_config
from mlh.network.config import NetworkConfig


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitConfig(_Strict):
    """How samples are divided. by="group" keeps all samples of one host together, "trajectory" all geometries
    of one relaxation."""

    by: SplitBy = "group"
    validation: float = Field(0.1, gt=0, lt=1)
    test: float = Field(0.1, ge=0, lt=1)
    seed: int = 0
    train_samples: int | None = Field(
        None, ge=1, description="only so many training samples; fewer are a subset of more (learning curves)"
    )


class OptimizerConfig(_Strict):
    """AdamW with warm-up, then cosine decay of the learning rate or steps down at plateaus of the validation
    error; weights averaged (EMA) for evaluation.
    """

    learning_rate: float = Field(3e-3, gt=0)
    final_learning_rate: float = Field(1e-6, gt=0)
    schedule: Literal["cosine", "plateau"] = "cosine"
    plateau_evaluations: int = Field(5, ge=1, description="evaluations without progress before a step down")
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    warmup_steps: int = Field(50, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(5.0, gt=0, description="largest norm of the gradient (loss in meV)")
    ema: float = Field(0.99, ge=0, lt=1)
    batch: int = Field(1, ge=1, description="structures per step, all processes together")


class LossConfig(_Strict):
    """mae_weight * MAE + rmse_weight * RMSE in meV over all matrix elements; on-site errors are multiplied by
    onsite; wavefunction * (coupling of occupied and virtual states, `mlh.training.wavefunction`).

    Of the pairs beyond far_distance (Bohr) a random far_fraction enters each step, with 1 / far_fraction as
    weight.
    """

    mae_weight: float = Field(1.0, ge=0)
    rmse_weight: float = Field(0.0, ge=0)
    onsite: float = Field(1.0, gt=0)
    wavefunction: float = Field(0.0, ge=0)
    far_distance: float = Field(8.0, gt=0)
    far_fraction: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _all_pairs_for_states(self) -> LossConfig:
        if self.wavefunction and self.far_fraction < 1:
            raise ValueError("expected far_fraction = 1 together with wavefunction, which needs every pair")
        return self


def _network(raw: Any) -> Any:
    """Settings of the architecture that `raw` names."""
    return read_network_config(raw) if isinstance(raw, Mapping) else raw


class TrainingConfig(_Strict):
    """Everything of a run. Either `steps` or `max_minutes` (wall time; the schedule follows the clock) ends
    it.
    """

    dataset: Path
    output: Path
    init: str | None = Field(
        None, description="model (path or shipped name) whose weights and fitted means the run starts from"
    )
    network: Annotated[SerializeAsAny[NetworkConfig], BeforeValidator(_network)] = Field(
        default_factory=lambda: read_network_config({})
    )
    split: SplitConfig = SplitConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    steps: int = Field(10000, ge=1)
    max_minutes: float | None = Field(None, gt=0)
    evaluate_every_steps: int = Field(200, ge=1)
    evaluate_samples: int = Field(
        32, ge=1, description="validation samples of an evaluation during training; at the end all are used"
    )
    physics_samples: int = Field(
        4,
        ge=0,
        description="test (else validation) samples whose energies and forces go into the model card",
    )
    checkpoint_minutes: float = Field(5.0, gt=0)
    precision: Precision = "float32"
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda or cuda:N")
    threads: int = Field(2, ge=1, description="of this machine; parallel processes share them")
    seed: int = 0
    cache_gb: float = Field(
        4.0, ge=0, description="memory for prepared samples; the rest is prepared at every use"
    )


class ConfigError(ValueError):
    """A configuration that is not valid, in words."""


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> TrainingConfig:
    """TrainingConfig of a YAML file or a shipped example.

    overrides: such as "optimizer.learning_rate=1e-3" (values are YAML).
    """
    try:
        raw = read_yaml(example(path)) or {}
    except OSError as error:
        raise ConfigError(f"{path}: not a readable YAML file ({error})") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping at the top level, got {type(raw).__name__}")
    for override in overrides:
        _apply(raw, override)
    try:
        config = TrainingConfig(**raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(_reasons(error))}") from error
    if {"channels", "lmax"} & (set(raw.get("network") or ()) - set(config.network.model_dump())):
        CHANNELS.warn()  # an architecture of somebody else may have settings of these names
    return config


def _reasons(error: ValidationError, prefix: str = "") -> Iterator[str]:
    """A line per setting; those of an architecture come as an error inside the error of `network`."""
    for e in error.errors():
        key = prefix + ".".join(map(str, e["loc"]))
        inner = e.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            yield from _reasons(inner, f"{key}.")
        else:
            yield f"{key}: {e['msg']}"


def _apply(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"overrides: expected key.subkey=value, got {override!r}")
    *parents, last = key.split(".")
    node = raw
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"overrides: {override}: {parent} is not a group of settings")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"overrides: expected a value in YAML, got {override!r}") from error
    if isinstance(parsed, str):  # YAML 1.1 reads 1e-3 as text
        with contextlib.suppress(ValueError):
            parsed = float(parsed)
    node[last] = parsed


def save_config(config: TrainingConfig, path: Path) -> None:
    """Resolved configuration as YAML."""
    write_text(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Settings that differ, as "key: value there, value here"."""
    lines: list[str] = []
    for key, value in now.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            lines += differences(old, value, f"{prefix}{key}.")
        elif old != value:
            lines.append(f"{prefix}{key}: {old} there, {value} here")
    return lines
