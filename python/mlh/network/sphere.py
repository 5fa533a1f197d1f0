"""Real spherical harmonics of every architecture: e3nn's.

Y_lm, m = -l..l (sin |m| phi for m < 0, cos m phi for m > 0), no Condon-Shortley phase: e3nn's functions and
order, whose axes (x, y, z) are our (y, z, x).
"""

from __future__ import annotations

from functools import cache

import torch
from e3nn import o3

AXES = [1, 2, 0]  # of ours that are e3nn's x, y, z


@cache
def rows(lmax: int) -> o3.Irreps:
    """The rows of node features, "1x0e+1x1o+1x2e+..": every channel is a function on the sphere."""
    return o3.Irreps.spherical_harmonics(lmax)


def harmonics(
    lmax: int, vectors: torch.Tensor, *, normalize: bool = True, normalization: str = "component"
) -> torch.Tensor:
    """Y_lm (n, (lmax+1)^2) of vectors (n, 3), of their directions if `normalize`; differentiable.

    normalization: sum_m Y_lm^2 of unit vectors is 2l+1 ("component"), 1 ("norm"), (2l+1)/(4 pi) ("integral").
    """
    degrees = list(range(lmax + 1))
    values: torch.Tensor = o3.spherical_harmonics(degrees, vectors[:, AXES], normalize, normalization)
    return values
