"""Strains and random displacements: how one structure becomes many for training."""

from __future__ import annotations

import ase
import numpy as np
from numpy.typing import ArrayLike, NDArray


def deform(atoms: ase.Atoms, deformation: ArrayLike) -> ase.Atoms:
    """Cell and atoms under r -> F r, `deformation` F (3, 3); fractional coordinates stay."""
    matrix = np.asarray(deformation, dtype=float)
    if matrix.shape != (3, 3):
        raise ValueError(f"deformation: expected shape (3, 3), got {matrix.shape}")
    if np.linalg.det(matrix) <= 0.0:
        raise ValueError(f"deformation: expected a positive determinant, got {np.linalg.det(matrix):.3g}")
    result = atoms.copy()
    # Rows of the cell are vectors: (F a)^T = a^T F^T.
    result.set_cell(atoms.cell[:] @ matrix.T, scale_atoms=False)
    result.set_positions(atoms.positions @ matrix.T, apply_constraint=False)
    return result


def strain(atoms: ase.Atoms, tensor: ArrayLike) -> ase.Atoms:
    """Cell and atoms under the symmetric strain e (3, 3): F = 1 + e."""
    matrix = np.asarray(tensor, dtype=float)
    if matrix.shape != (3, 3) or not np.allclose(matrix, matrix.T, atol=1e-12):
        raise ValueError(f"strain: expected a symmetric (3, 3) tensor, got {matrix.tolist()}")
    return deform(atoms, np.eye(3) + matrix)


def scale_volume(atoms: ase.Atoms, factor: float) -> ase.Atoms:
    """Isotropic change of the volume: V -> factor V."""
    if not 0.2 < factor < 5.0:
        raise ValueError(f"volume factor: expected between 0.2 and 5, got {factor}")
    return deform(atoms, np.eye(3) * factor ** (1.0 / 3.0))


def random_strain(atoms: ase.Atoms, amplitude: float, seed: int | np.random.Generator) -> ase.Atoms:
    """Random symmetric strain; each of its six components uniform in [-amplitude, amplitude]."""
    if not 0.0 <= amplitude < 0.3:
        raise ValueError(f"strain amplitude: expected between 0 and 0.3, got {amplitude}")
    values = np.random.default_rng(seed).uniform(-amplitude, amplitude, size=6)
    tensor = np.zeros((3, 3))
    tensor[np.triu_indices(3)] = values
    return strain(atoms, tensor + np.triu(tensor, 1).T)


def rattle(
    atoms: ase.Atoms, amplitude: float, seed: int | np.random.Generator, max_factor: float = 3.0
) -> ase.Atoms:
    """Normal displacements of standard deviation `amplitude` (Angstrom) per Cartesian component.

    Components beyond `max_factor` standard deviations are drawn again, so that no rare draw
    puts two atoms on top of each other; the mean displacement is removed. Constraints hold: what is fixed
    stays where it is.
    """
    if not 0.0 <= amplitude < 1.0:
        raise ValueError(f"rattle amplitude: expected between 0 and 1 Angstrom, got {amplitude}")
    displacement = _truncated_normal(np.random.default_rng(seed), (len(atoms), 3), max_factor) * amplitude
    displacement -= displacement.mean(axis=0)
    result = atoms.copy()
    result.set_positions(atoms.positions + displacement)
    return result


def _truncated_normal(
    generator: np.random.Generator, shape: tuple[int, int], max_factor: float
) -> NDArray[np.float64]:
    """Standard normal numbers with |x| <= max_factor, by drawing the others again."""
    if max_factor < 1.0:
        raise ValueError(f"max_factor: expected at least 1, got {max_factor}")
    values = generator.normal(size=shape)
    while (outside := np.abs(values) > max_factor).any():
        values[outside] = generator.normal(size=int(outside.sum()))
    return values
