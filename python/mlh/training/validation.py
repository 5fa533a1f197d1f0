"""Errors of the averaged weights on samples of a data set, during and after a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from mlh.accuracy.metrics import Case, Metrics, evaluate, overlap_of_sample
from mlh.common.terminal import say
from mlh.dataset.store import DatasetError
from mlh.network.blocks import spin_data
from mlh.network.contract import HamiltonianNetwork
from mlh.network.devices import Ranks
from mlh.network.topology import Geometry, Topology
from mlh.training.prepared import PreparedSamples

Array = NDArray[np.float64]


def flat_prediction(
    network: HamiltonianNetwork, topology: Topology, geometry: Geometry, means: bool = False
) -> Array:
    """dH by spin, (1 or 2, nnz), Hartree, without gradients; means: of the fitted means alone (geometry with
    frames)."""
    with torch.no_grad():
        blocks = network.mean_blocks(topology, geometry) if means else network(topology, geometry)
        return spin_data(topology, blocks, network.orbitals)


def spread(indices: Sequence[int], n: int) -> list[int]:
    """At most n of the indices, spread evenly."""
    count = min(n, len(indices))
    return [indices[round(k)] for k in np.linspace(0, len(indices) - 1, count)]


class Validation:
    """Metrics of one network; each process predicts its share of the samples, the first one sums up."""

    def __init__(
        self, samples: PreparedSamples, network: HamiltonianNetwork, console: Console, ranks: Ranks
    ) -> None:
        """samples: all of a data set, so that an index is that of the data set."""
        self.samples, self.dataset = samples, samples.dataset
        self.network, self.console, self.ranks = network, console, ranks
        self._overlaps: dict[int, Array | None] = {}

    def metrics(self, indices: Sequence[int], means: bool = False) -> Metrics | None:
        """Metrics on these samples at the first process; None elsewhere, and without samples."""
        if not indices:
            return None
        mine = []
        for k in self.ranks.share(indices):
            topology, geometry, _ = self.samples[k]
            predicted = flat_prediction(self.network, topology, geometry, means)
            mine.append((predicted, self._overlap(k)))
        gathered = self.ranks.gather(mine)
        if not self.ranks.first:
            return None
        cases = []
        for k, (predicted, overlap) in zip(indices, gathered, strict=True):
            sample = self.dataset[k]
            cases.append(Case(sample.graph, sample.spins, predicted, overlap))
        return evaluate(cases)

    def _overlap(self, index: int) -> Array | None:
        """Overlap matrix for the aligned error, or None (said once) where the basis cannot be loaded."""
        if index not in self._overlaps:
            try:
                self._overlaps[index] = overlap_of_sample(self.dataset[index], self.dataset.basis)
            except (ImportError, KeyError, ValueError, DatasetError) as error:
                if not self._overlaps:
                    say(self.console, f"no aligned MAE: {error}")
                self._overlaps[index] = None
        return self._overlaps[index]


def physics_of(validation: Validation, indices: Sequence[int]) -> dict[str, Any] | None:
    """Energies, forces and residuals on these samples (JSON values), or None where they cannot be computed.

    Kept in the model card: a later prediction with a much larger residual is outside the domain of the model.
    """
    from mlh.accuracy.physics import evaluate_sample, summarise

    if not indices:
        return None
    dataset = validation.dataset
    try:
        cases = []
        for k in indices:
            topology, geometry, _ = validation.samples[k]
            predicted = flat_prediction(validation.network, topology, geometry)
            cases.append(evaluate_sample(dataset[k], predicted, dataset.basis, dataset.settings))
    except (ImportError, KeyError, ValueError, DatasetError) as error:
        say(validation.console, f"no energies and forces of the model: {error}")
        return None
    return summarise(cases).as_dict()
