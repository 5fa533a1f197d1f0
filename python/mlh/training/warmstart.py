"""Start a training from the weights of a finished model."""

from __future__ import annotations

import os

from mlh.dataset.sample import BasisRecord
from mlh.model.card import ModelError, read_model
from mlh.network.contract import HamiltonianNetwork


def start_from(network: HamiltonianNetwork, name: str | os.PathLike[str], basis: BasisRecord) -> None:
    """Copy weights and fitted means of a model (path or shipped name) into `network`.

    Raises ModelError when the model has other sizes, other elements or another basis than the training.
    """
    source, card = read_model(name)
    if source.config != network.config:
        theirs, ours = source.config.model_dump(), network.config.model_dump()
        keys = [k for k in {**theirs, **ours} if theirs.get(k) != ours.get(k)]
        different = [f"{k}: {theirs.get(k)!r} there, {ours.get(k)!r} here" for k in keys]
        raise ModelError(f"init: {name} has other network sizes ({'; '.join(different)})")
    ours_numbers = [o.number for o in network.orbitals]
    if [o.number for o in source.orbitals] != ours_numbers:
        raise ModelError(f"init: {name} is a model of elements {card.elements}, the data has {ours_numbers}")
    for symbol, record in card.basis.species.items():
        if symbol in basis.species and basis.species[symbol].digest != record.digest:
            raise ModelError(f"init: {name} was trained with other radial functions of {symbol}")
    # In double, so that no digit is lost before the run's precision.
    network.double().load_state_dict(source.state_dict())
