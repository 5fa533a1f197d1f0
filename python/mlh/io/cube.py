"""Gaussian cube files of functions on the uniform grid (densities, potentials, orbitals)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.cube import write_cube as ase_write_cube

from mlh.common.files import complete_or_absent, refuse_existing
from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.grid_function import GridFunction


def write_cube(
    path: str | os.PathLike[str],
    atoms: Atoms,
    function: GridFunction,
    comment: str = "mlh",
    overwrite: bool = False,
) -> None:
    """Write a GridFunction as it is (atomic units: electrons/Bohr^3 for a density) with its structure.

    The cell of the file is the periodic cell of the grid, point (0, 0, 0) at the origin.
    """
    target = Path(path)
    refuse_existing([target], overwrite)
    frame = atoms.copy()
    frame.set_cell(function.cell * BOHR_ANGSTROM)
    frame.pbc = True
    with complete_or_absent(target) as temporary, open(temporary, "w", encoding="ascii") as file:
        ase_write_cube(file, frame, data=np.asarray(function.values), comment=comment)
