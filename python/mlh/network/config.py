"""What the settings of every architecture have in common: a model card keeps them, a training sets them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class NetworkConfig(BaseModel):
    """Settings of a network: the name of its architecture, and what each architecture adds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str
