"""Rigid shifts of a cell by parts of a grid step: what the egg box is measured with."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.system import System

FloatArray = NDArray[np.float64]


def grid_parts(random: int) -> FloatArray:
    """Shifts in grid steps, (n, 3): quarters along the first and the third axis, and random ones."""
    quarters = np.array([0.25, 0.5, 0.75])
    first, third = np.zeros((3, 3)), np.zeros((3, 3))
    first[:, 0], third[:, 2] = quarters, quarters
    return np.concatenate((np.zeros((1, 3)), first, third, np.random.default_rng(0).random((random, 3))))


def shifted_atoms(atoms: Atoms, system: System, random: int = 3) -> list[Atoms]:
    """The atoms moved by `grid_parts` of the grid steps of the system."""
    steps = system.cell / np.array(system.grid_shape)[:, None] * BOHR_ANGSTROM
    moved = []
    for part in grid_parts(random):
        copy = atoms.copy()
        copy.positions += part @ steps
        moved.append(copy)
    return moved
