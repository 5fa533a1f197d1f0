"""Sampling of the Brillouin zone: Monkhorst-Pack meshes folded by time reversal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KPoints:
    """Fractional k points (nk, 3) and weights (nk,) that sum to 1."""

    points: FloatArray
    weights: FloatArray

    def __post_init__(self) -> None:
        points, weights = np.asarray(self.points, float), np.asarray(self.weights, float)
        if points.ndim != 2 or points.shape[1] != 3 or weights.shape != (len(points),) or not len(points):
            raise ValueError(
                f"points, weights: expected shapes (nk, 3) and (nk,), got {points.shape} and {weights.shape}"
            )
        if abs(weights.sum() - 1.0) > 1e-10 or (weights <= 0).any():
            raise ValueError(f"weights: expected positive values that sum to 1, got {weights}")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "weights", weights)

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def gamma_only(self) -> bool:
        """True for the single point k = 0."""
        return len(self) == 1 and not self.points.any()


KPointsSpec = KPoints | Sequence[int] | Mapping[str, Any] | None


def monkhorst_pack(size: Sequence[int], gamma: bool = False) -> KPoints:
    """k_j = (2 j - n - 1) / (2 n), j = 1..n, per direction (Phys. Rev. B 13, 5188), folded with k ~ -k.

    gamma=True shifts even meshes so that they contain k = 0. Conventions as in ASE.
    """
    if len(size) != 3 or any(int(n) != n or n < 1 for n in size):
        raise ValueError(f"size: expected three positive integers, got {tuple(size)}")
    axes = []
    for n in (int(n) for n in size):
        k = (2.0 * np.arange(1, n + 1) - n - 1) / (2 * n)
        axes.append(k + 0.5 / n if gamma and n % 2 == 0 else k)
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    weights: dict[tuple[int, ...], float] = {}
    for k in mesh:
        key, mirror = (_wrapped(sign * k) for sign in (1, -1))
        chosen = mirror if mirror in weights else key
        weights[chosen] = weights.get(chosen, 0.0) + 1.0 / len(mesh)
    points = np.array(list(weights), dtype=np.float64) * _RESOLUTION
    return KPoints(points, np.array(list(weights.values())))


_RESOLUTION = 1e-12


def _wrapped(k: FloatArray) -> tuple[int, ...]:
    """k in (-1/2, 1/2] in units of the resolution, as integers that can be compared exactly."""
    wrapped = k - np.ceil(k - 0.5 - 1e-9)
    return tuple(int(x) for x in np.round(wrapped / _RESOLUTION))


def as_kpoints(spec: KPointsSpec) -> KPoints:
    """KPoints from None (Gamma), (n1, n2, n3), {"size": (n1, n2, n3), "gamma": bool} or KPoints."""
    if isinstance(spec, KPoints):
        return spec
    if spec is None:
        return KPoints(np.zeros((1, 3)), np.ones(1))
    if isinstance(spec, Mapping):
        unknown = set(spec) - {"size", "gamma"}
        if unknown or "size" not in spec:
            raise ValueError(f"kpts: expected the keys 'size' and 'gamma', got {sorted(spec)}")
        return monkhorst_pack(spec["size"], bool(spec.get("gamma", False)))
    return monkhorst_pack(spec)
