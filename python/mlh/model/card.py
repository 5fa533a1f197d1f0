"""Model files: one .npz with every array (no pickle) and a JSON card; refused in words where they do not fit.

card.json entry: format, version, network (sizes), basis (record), xc, cutoff_ry, kpts, dataset fingerprint,
metrics, closest (shortest training distance per pair of elements), versions of mlh and torch, date.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlh.common.files import DamagedFileError, intact
from mlh.common.npz import write_npz
from mlh.common.version import VERSION as MLH_VERSION
from mlh.dataset.sample import BasisRecord
from mlh.network.architectures import build_network, read_network_config
from mlh.network.config import NetworkConfig

if TYPE_CHECKING:
    import torch

    from mlh.network.contract import HamiltonianNetwork

FORMAT, VERSION = "mlh-model", 3
_NEUTRAL = 2
"""Version of models of neutral cells, which earlier versions of mlh read."""
SHIPPED = Path(__file__).parent.parent / "data" / "models"


class ModelError(RuntimeError):
    """A model file that cannot be used, in words."""


@dataclass(frozen=True)
class ModelCard:
    """What a model is, besides its weights. settings: level of theory of the labels (cutoff_ry, xc, ...);
    metrics: of the test set; closest: "Z1-Z2" -> shortest distance (Bohr) in the training set."""

    network: NetworkConfig
    basis: BasisRecord
    settings: Mapping[str, Any]
    dataset: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    closest: Mapping[str, float] = field(default_factory=dict)
    elements: tuple[int, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    k_mesh: Mapping[str, Any] = field(default_factory=dict)
    """The mesh of the labels as a spacing (`mlh.model.mesh`); empty in cards of before."""
    charges: Mapping[str, int] = field(default_factory=dict)
    """Of a model that knows charges: number of samples of the training set by charge, "+1"."""

    def as_json(self) -> str:
        """JSON text of the card."""
        network = self.network.model_dump(mode="json")
        content = {
            "format": FORMAT,
            "version": VERSION if network.get("charge_channels") else _NEUTRAL,
            "network": network,
            "basis": json.loads(self.basis.as_json()),
            "settings": dict(self.settings),
            "dataset": self.dataset,
            "metrics": dict(self.metrics),
            "closest": dict(self.closest),
            "elements": list(self.elements),
            "versions": dict(self.versions),
            "created": self.created,
            "k_mesh": dict(self.k_mesh),
        }
        if self.charges:
            content["charges"] = dict(self.charges)
        return json.dumps(content, indent=1)

    def _repr_html_(self) -> str:
        from mlh.model.description import card_html

        return card_html(self)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The inverse of `as_json`."""
        raw = json.loads(text)
        if raw.get("format") != FORMAT:
            raise ModelError(f"card: expected format {FORMAT!r}, got {raw.get('format')!r}")
        if raw["version"] > VERSION:
            raise ModelError(f"card: expected version <= {VERSION}, got {raw['version']}: update mlh")
        return cls(
            _network_config(raw["network"]),
            BasisRecord.from_json(json.dumps(raw["basis"])),
            raw["settings"],
            raw["dataset"],
            raw["metrics"],
            raw["closest"],
            tuple(raw["elements"]),
            raw["versions"],
            raw["created"],
            raw.get("k_mesh", {}),
            raw.get("charges", {}),
        )


def _network_config(raw: Mapping[str, Any]) -> NetworkConfig:
    """Settings of the network of a card."""
    try:
        return read_network_config(raw)
    except ValueError as error:
        raise ModelError(f"card: {error}") from error


def make_network(card: ModelCard) -> HamiltonianNetwork:
    """Network of a card with fresh weights."""
    sets = card.basis.orbital_sets
    return build_network([sets[z] for z in card.elements], card.network)


def save_model(path: str | os.PathLike[str], network: HamiltonianNetwork, card: ModelCard) -> None:
    """Write weights and card to one .npz file, in one move (complete or absent)."""
    import torch

    target = Path(path)
    versions = {"mlh": MLH_VERSION, "torch": torch.__version__}
    stamped = ModelCard(
        card.network,
        card.basis,
        card.settings,
        card.dataset,
        card.metrics,
        card.closest,
        card.elements,
        versions,
        datetime.now(UTC).isoformat(timespec="seconds"),
        card.k_mesh,
        card.charges,
    )
    arrays = {f"weights/{name}": value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    arrays["card"] = np.frombuffer(stamped.as_json().encode(), dtype=np.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_npz(target, arrays)


def find_model(name: str | os.PathLike[str]) -> Path:
    """A model file: a path, a folder that holds model.npz, or the name of a shipped model."""
    path = Path(name)
    if path.is_dir() and (path / "model.npz").is_file():
        return path / "model.npz"
    if path.is_file():
        return path
    shipped = SHIPPED / f"{name}.npz"
    if shipped.is_file():
        return shipped
    known = sorted(p.stem for p in SHIPPED.glob("*.npz")) if SHIPPED.is_dir() else []
    raise ModelError(
        f"model: no file {str(name)!r} and no shipped model of that name "
        f"(shipped: {', '.join(known) if known else 'none'})"
    )


def model_digest(name: str | os.PathLike[str]) -> str:
    """What a model is identified by: sha256 (12 digits) over its file, or the files of a committee."""
    digest = hashlib.sha256()
    for part in str(name).split(","):
        digest.update(find_model(part.strip()).read_bytes())
    return digest.hexdigest()[:12]


def read_card(name: str | os.PathLike[str]) -> ModelCard:
    """Card of a model file, without its weights."""
    path = find_model(name)
    try:
        with intact(path, "expected a model file"), np.load(path, allow_pickle=False) as archive:
            return ModelCard.from_json(archive["card"].tobytes().decode())
    except DamagedFileError as error:
        raise ModelError(str(error)) from error


def read_model(
    name: str | os.PathLike[str], dtype: torch.dtype | None = None
) -> tuple[HamiltonianNetwork, ModelCard]:
    """Network (evaluation mode; FP64 by default) and card of a model file."""
    import torch

    path = find_model(name)
    try:
        with intact(path, "expected a model file"), np.load(path, allow_pickle=False) as archive:
            card = ModelCard.from_json(archive["card"].tobytes().decode())
            state = {
                key.removeprefix("weights/"): torch.from_numpy(archive[key].copy())
                for key in archive.files
                if key.startswith("weights/")
            }
    except DamagedFileError as error:
        raise ModelError(str(error)) from error
    network = make_network(card).double()  # so that no stored digit is lost on the way in
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path}: weights do not fit the card ({error})") from error
    return network.to(dtype or torch.float64).eval(), card
