"""Functions on the uniform real-space grid of a cell, and the Poisson equation there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

import mlh._core as _core

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class GridFunction:
    """f at the points sum_d k_d a_d / n_d of a periodic cell. `values` (n1, n2, n3); `cell` rows in Bohr."""

    values: FloatArray
    cell: FloatArray

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.cell.shape != (3, 3):
            raise ValueError(
                "values, cell: expected shapes (n1, n2, n3) and (3, 3), "
                f"got {self.values.shape}, {self.cell.shape}"
            )

    @property
    def volume_element(self) -> float:
        """Bohr^3 per point."""
        return float(abs(np.linalg.det(self.cell)) / self.values.size)

    def integral(self) -> float:
        """Sum over the points times the volume element."""
        return float(self.values.sum() * self.volume_element)

    def __sub__(self, other: GridFunction) -> GridFunction:
        if self.values.shape != other.values.shape or not np.allclose(self.cell, other.cell, atol=1e-10):
            shapes = f"{self.values.shape}, got {other.values.shape}"
            raise ValueError(f"other: expected the same cell and grid {shapes}")
        return GridFunction(self.values - other.values, self.cell)


def hartree_potential(density: FloatArray, cell: FloatArray) -> FloatArray:
    """V(G) = 4 pi n(G) / G^2, V(0) = 0: Poisson equation of a periodic density (n1, n2, n3), Hartree.

    The neutralising background of a density with a net charge is implied by V(0) = 0. 1/G^2 of the waves at
    half of an even number of points: `_waves`.
    """
    workers = _core.get_num_threads()
    spectrum = scipy.fft.rfftn(density, workers=workers)
    spectrum *= _inverse_laplacian(density.shape, cell)
    potential: FloatArray = scipy.fft.irfftn(spectrum, s=density.shape, workers=workers, overwrite_x=True)
    return potential


def hartree_strain(density: FloatArray, cell: FloatArray) -> FloatArray:
    """dE/deps of E = (V/2) sum_G 4 pi |n(G)|^2 / G^2 at fixed values on the points, (3, 3) Hartree.

    E delta_ab + V sum_G 4 pi |n(G)|^2 G_a G_b / G^4: the volume, and dG^2/deps_ab = -2 G_a G_b. The values on
    the points are kept, not the charge.
    """
    spectrum = scipy.fft.rfftn(density, workers=_core.get_num_threads())
    intensity = np.abs(spectrum) ** 2
    # rfftn keeps half of the spectrum: planes but the first (and the last of an even mesh) count twice.
    intensity[:, :, 1 : (density.shape[2] + 1) // 2] *= 2.0
    reciprocal = _reciprocal(cell)
    volume = abs(np.linalg.det(cell)) / float(density.size) ** 2
    energy, moments, signs = 0.0, np.zeros((3, 3)), _waves(density.shape, reciprocal)
    for index in signs:
        square = _square(index, reciprocal)
        weight = intensity / square
        energy += float(weight.sum()) / len(signs)
        weight /= square
        moments += _moments(weight, index) / len(signs)
    strain: FloatArray = 2.0 * np.pi * volume * energy * np.eye(3)
    strain += 4.0 * np.pi * volume * reciprocal.T @ moments @ reciprocal
    return strain


def _moments(weight: FloatArray, index: Sequence[FloatArray]) -> FloatArray:
    """sum of weight m_a m_b, (3, 3)."""
    x, y, z = index
    xy, xz, yz = weight.sum(axis=2), weight.sum(axis=1), weight.sum(axis=0)
    return np.array(
        [
            [x**2 @ xy.sum(axis=1), x @ xy @ y, x @ xz @ z],
            [x @ xy @ y, y**2 @ xy.sum(axis=0), y @ yz @ z],
            [x @ xz @ z, y @ yz @ z, z**2 @ xz.sum(axis=0)],
        ]
    )


def _inverse_laplacian(shape: tuple[int, ...], cell: FloatArray) -> FloatArray:
    """4 pi / G^2 on the half mesh of rfftn, 0 at G = 0."""
    reciprocal = _reciprocal(cell)
    signs = _waves(shape, reciprocal)
    result: FloatArray = 4.0 * np.pi / len(signs) / _square(signs[0], reciprocal)
    for index in signs[1:]:
        result += 4.0 * np.pi / len(signs) / _square(index, reciprocal)
    return result


def _reciprocal(cell: FloatArray) -> FloatArray:
    """Rows b_d, 1/Bohr."""
    return np.asarray(2.0 * np.pi * np.linalg.inv(cell).T, dtype=np.float64)


def _waves(shape: tuple[int, ...], reciprocal: FloatArray) -> list[list[FloatArray]]:
    """The indices m_d of G = sum_d m_d b_d on the half mesh of rfftn, in each of its equally good readings.

    On an even number of points the wave N/2 is also the wave -N/2. A function of G is the mean over both,
    which is the real part of a transform of all waves (as OpenMX does it): G and -G get the same, so that the
    operator is symmetric, and no axis is read otherwise than another. Where the reciprocal vectors are
    orthogonal, |G| is the same in both and one will do.
    """
    metric = reciprocal @ reciprocal.T
    full: list[FloatArray] = [np.asarray(np.fft.fftfreq(n, 1.0 / n), dtype=np.float64) for n in shape[:2]]
    axes = [*full, np.asarray(np.fft.rfftfreq(shape[2], 1.0 / shape[2]), dtype=np.float64)]
    orthogonal = np.abs(metric - np.diag(np.diag(metric))).max() < 1e-14 * metric.max()
    if orthogonal or all(n % 2 for n in shape):
        return [axes]
    return [
        [np.where(2.0 * np.abs(m) == n, sign * np.abs(m), m) for m, n in zip(axes, shape, strict=True)]
        for sign in (1.0, -1.0)
    ]


def _square(index: Sequence[FloatArray], reciprocal: FloatArray) -> FloatArray:
    """G^2 on the half mesh, infinite at G = 0."""
    x, y, z = np.meshgrid(*index, indexing="ij", sparse=True)
    metric = reciprocal @ reciprocal.T
    square: FloatArray = (
        metric[0, 0] * x**2
        + metric[1, 1] * y**2
        + metric[2, 2] * z**2
        + 2.0 * (metric[0, 1] * x * y + metric[0, 2] * x * z + metric[1, 2] * y * z)
    )
    square[0, 0, 0] = np.inf
    return square
