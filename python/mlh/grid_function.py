"""Functions on the uniform real-space grid of a cell, and the Poisson equation there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mlh import _core

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

    The neutralising background of a density with a net charge is implied by V(0) = 0.
    """
    workers = _core.get_num_threads()
    spectrum = scipy.fft.rfftn(density, workers=workers)
    spectrum *= _inverse_laplacian(density.shape, cell)
    potential: FloatArray = scipy.fft.irfftn(spectrum, s=density.shape, workers=workers, overwrite_x=True)
    return potential


def _inverse_laplacian(shape: tuple[int, ...], cell: FloatArray) -> FloatArray:
    """4 pi / G^2 on the half mesh of rfftn, 0 at G = 0."""
    reciprocal = 2.0 * np.pi * np.linalg.inv(cell).T
    index = [np.fft.fftfreq(n, 1.0 / n) for n in shape[:2]] + [np.fft.rfftfreq(shape[2], 1.0 / shape[2])]
    # G = sum_d m_d b_d, so G^2 is a quadratic form of the integer indices.
    metric = reciprocal @ reciprocal.T
    x, y, z = np.meshgrid(*index, indexing="ij", sparse=True)
    square = (
        metric[0, 0] * x**2
        + metric[1, 1] * y**2
        + metric[2, 2] * z**2
        + 2.0 * (metric[0, 1] * x * y + metric[0, 2] * x * z + metric[1, 2] * y * z)
    )
    square[0, 0, 0] = np.inf
    result: FloatArray = 4.0 * np.pi / square
    return result
