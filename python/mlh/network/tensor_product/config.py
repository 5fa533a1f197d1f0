"""Sizes of the network "tensor-product"."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mlh.network.config import NetworkConfig

_TERM = re.compile(r"(\d+)x(\d+)([eo])")

PAPER_FEATURES = "64x0e+64x0o+32x1o+16x1e+12x2o+25x2e+18x3o+9x3e+4x4o+9x4e"
"""Node features of Zhang et al.'s network; with them go three layers, l <= 4 and 64 Bessel functions."""

_ELSEWHERE = {
    "charge_channels": "knows neutral cells without spin",
    "long_range_channels": "is strictly local",
}


class TensorProductConfig(NetworkConfig):
    """Sizes of the network. Lengths in Bohr."""

    architecture: Literal["tensor-product"] = "tensor-product"
    features: str = Field(
        PAPER_FEATURES,
        description="irreps of the node features (those that the blocks need are added); the paper's",
    )
    layers: int = Field(3, ge=1, description="orbital convolutions")
    edge_lmax: int = Field(4, ge=0, description="largest l of the harmonics of an edge")
    message_cutoff: float | None = Field(
        11.0, gt=0, description="Bohr; neighbours that send messages; none: every pair of the Pattern"
    )
    n_radial: int = Field(64, ge=1, description="Bessel functions of the distance")
    radial_width: int = Field(
        64, ge=1, description="hidden numbers between these and the weights of a product"
    )
    n_knots: int = Field(32, ge=4, description="knots in the distance of the fitted means and sizes")
    chunk: int = Field(512, ge=1, description="pairs or edges processed at once")
    recompute: bool = Field(
        False, description="make products again on the way back: less memory in training, a third more time"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_the_other(cls, raw: Any) -> Any:
        """What edge-frames has and this one has not, in words."""
        for key, words in _ELSEWHERE.items():
            if isinstance(raw, dict) and key in raw:
                raise ValueError(
                    f"expected no {key}: the network tensor-product {words}; "
                    f"network.architecture: edge-frames takes {key}"
                )
        return raw

    @field_validator("features")
    @classmethod
    def _irreps(cls, text: str) -> str:
        """Irreps, each once; read without e3nn, which takes longer to import than all else."""
        plain = text.replace(" ", "")
        terms = [_TERM.fullmatch(term) for term in plain.split("+")]
        kinds = [term[2] + term[3] for term in terms if term and int(term[1]) > 0]
        if len(kinds) != len(terms) or len(set(kinds)) != len(kinds) or "0e" not in kinds:
            raise ValueError(
                f"expected irreps, each once, 0e among them, as {PAPER_FEATURES!r}, got {text!r}"
            )
        return plain
