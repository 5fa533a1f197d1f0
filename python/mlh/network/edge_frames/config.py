"""Sizes of the network "edge-frames"."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from mlh.network.config import NetworkConfig

_TERM = re.compile(r"(\d+)x(\d+)([eo])")


def natural_features(channels: int, lmax: int) -> str:
    """So many functions on the sphere as irreps: "32x0e+32x1o+32x2e"."""
    return "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(lmax + 1))


class EdgeFramesConfig(NetworkConfig):
    """Sizes of the network. Lengths in Bohr."""

    architecture: Literal["edge-frames"] = "edge-frames"
    features: str = Field(
        natural_features(32, 4),
        description="irreps of the node features: every l up to the largest, of natural parity, each as "
        "often (raised to the l that the on-site blocks need); `channels` and `lmax` say the same",
    )
    layers: int = Field(2, ge=0, description="message-passing layers")
    message_cutoff: float = Field(11.0, gt=0, description="Bohr; neighbours that send messages")
    density_cutoff: float | None = Field(
        None,
        gt=0,
        description="Bohr; neighbours in the atomic densities; default: message_cutoff",
    )
    message_m_max: int = Field(2, ge=0, description="largest order |m| about the edge that messages carry")
    long_range_channels: int = Field(
        4, ge=0, description="fields of learned charges; 0: strictly local network"
    )
    long_range_sigma: float = Field(3.0, gt=0, description="Bohr; smearing of the learned charges")
    charge_channels: int = Field(
        0,
        ge=0,
        description="weights over the atoms that carry charge and moment of the cell; 0: a model of neutral "
        "cells without spin",
    )
    n_radial: int = Field(10, ge=1, description="radial functions of the neighbour densities and messages")
    pair_widths: tuple[int, ...] = Field(
        (128, 64, 48, 24, 16), description="hidden channels of M = 0, 1, .. of pairs"
    )
    n_knots: int = Field(32, ge=4, description="knots in the distance of the pair functions")
    chunk: int = Field(8192, ge=1, description="pairs or edges processed at once when no gradient is needed")

    @model_validator(mode="before")
    @classmethod
    def _features_of_sizes(cls, raw: Any) -> Any:
        """`channels` and `lmax` (files of before have them) as irreps."""
        if not isinstance(raw, dict) or not {"channels", "lmax"} & set(raw):
            return raw
        if "features" in raw:
            raise ValueError(
                f"expected features or channels and lmax, got both (features: {raw['features']})"
            )
        given = {"channels": 32, "lmax": 4} | {k: raw[k] for k in ("channels", "lmax") if k in raw}
        for name, least in (("channels", 1), ("lmax", 0)):
            value = given[name]
            if not isinstance(value, int) or value < least:
                raise ValueError(f"expected {name}, an integer of at least {least}, got {value!r}")
        rest = {k: v for k, v in raw.items() if k not in ("channels", "lmax")}
        return {**rest, "features": natural_features(given["channels"], given["lmax"])}

    @field_validator("features")
    @classmethod
    def _natural(cls, text: str) -> str:
        """The irreps that the network has: read without e3nn, which takes longer to import than all else."""
        terms = [_TERM.fullmatch(term.strip()) for term in text.split("+")]
        channels = int(terms[0][1]) if terms[0] else 0
        plain = text.replace(" ", "")
        if channels < 1 or plain != natural_features(channels, len(terms) - 1):
            raise ValueError(
                "expected irreps of natural parity, every l as often, such as "
                f"{natural_features(32, 2)!r}, got {text!r}"
            )
        return plain

    @model_serializer(mode="wrap")
    def _plain(self, values: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What neutral networks do not have is not in their files."""
        content: dict[str, Any] = values(self)
        return (
            content if self.charge_channels else {k: v for k, v in content.items() if k != "charge_channels"}
        )

    @property
    def channels(self) -> int:
        """Channels per l of the node features."""
        return int(self.features.split("x", 1)[0])

    @property
    def lmax(self) -> int:
        """Largest l of the node features."""
        return self.features.count("+")

    def raised_to(self, lmax: int) -> EdgeFramesConfig:
        """The same with every l up to at least `lmax`."""
        if lmax <= self.lmax:
            return self
        return self.model_copy(update={"features": natural_features(self.channels, lmax)})

    @property
    def reach(self) -> tuple[float, float]:
        """Cutoffs of the neighbour densities and of the messages, Bohr."""
        return self.density_cutoff or self.message_cutoff, self.message_cutoff

    @property
    def sigma(self) -> float | None:
        """Smearing of the long-range part, None without one."""
        return self.long_range_sigma if self.long_range_channels else None
