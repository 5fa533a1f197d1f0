"""The k mesh of OpenMX 3.9."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlh.matrix.kpoints import KPoints

_SHIFT = 1e-6 * np.array([1.0, -1.0, 2.0])


def openmx_kpoints(size: Sequence[int]) -> KPoints:
    """k_d = -1/2 + (2 i + 1) / (2 N_d) + (1, -1, 2)_d 1e-6 for N_d > 1, else 0; the first half only.

    In lexicographic order (last axis fastest), every point standing for k and -k; the centre of a mesh of
    odd numbers stands for itself. Because of the shift the half is not equivalent to the whole: 5e-6 in the
    density matrix of quartz.
    """
    if len(size) != 3 or any(int(n) != n or n < 1 for n in size):
        raise ValueError(f"size: expected three positive integers, got {tuple(size)}")
    axes = [
        -0.5 + (2.0 * np.arange(n) + 1.0) / (2 * n) + shift if n > 1 else np.zeros(1)
        for n, shift in zip((int(n) for n in size), _SHIFT, strict=True)
    ]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    total = len(mesh)
    kept = (total + 1) // 2
    weights = np.full(kept, 2.0 / total)
    if total % 2:
        weights[-1] = 1.0 / total
    return KPoints(mesh[:kept], weights)
