"""The network: blocks <-> equivariant parts, data sets, training, model files, predictions. See
docs/model.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlh.model.committee import Committee
    from mlh.model.config import TrainingConfig, load_config
    from mlh.model.dataset import Dataset, DatasetWriter
    from mlh.model.evaluate import Case, Metrics
    from mlh.model.network import HamiltonianNetwork
    from mlh.model.predict import Model, load_model
    from mlh.model.sample import Sample
    from mlh.model.sizes import NetworkConfig
    from mlh.model.training import TrainingResult, train

_LAZY = {
    "Case": "evaluate",
    "Committee": "committee",
    "Dataset": "dataset",
    "DatasetWriter": "dataset",
    "HamiltonianNetwork": "network",
    "Metrics": "evaluate",
    "Model": "predict",
    "NetworkConfig": "sizes",
    "Sample": "sample",
    "TrainingConfig": "config",
    "TrainingResult": "training",
    "load_config": "config",
    "load_model": "predict",
    "train": "training",
}

__all__ = [
    "Case",
    "Committee",
    "Dataset",
    "DatasetWriter",
    "HamiltonianNetwork",
    "Metrics",
    "Model",
    "NetworkConfig",
    "Sample",
    "TrainingConfig",
    "TrainingResult",
    "load_config",
    "load_model",
    "train",
]


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'mlh.model' has no attribute {name!r}")
    return getattr(import_module(f"mlh.model.{module}"), name)
