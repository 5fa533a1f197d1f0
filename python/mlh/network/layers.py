"""Small pieces of layers that architectures share."""

from __future__ import annotations

import torch

SILU_GAIN = 1.6790  # 1 / rms of silu of a unit normal
SMALL = 0.1  # factor on the heads' last weights at the start: training begins near the fitted means


def soft_norm(x: torch.Tensor) -> torch.Tensor:
    """x sqrt(2 / (1 + mean of x^2 over components and channels)): unit size kept, large values bounded,
    smooth.
    """
    return x * torch.sqrt(2.0 / (1.0 + (x * x).mean(dim=tuple(range(1, x.dim())), keepdim=True)))
