"""Gaussian cube files of functions on the uniform grid (densities, potentials, orbitals)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.cube import write_cube as ase_write_cube

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
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target}: exists; choose another name or overwrite=True")
    frame = atoms.copy()
    frame.set_cell(function.cell * BOHR_ANGSTROM)
    frame.pbc = True
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="ascii") as file:
            ase_write_cube(file, frame, data=np.asarray(function.values), comment=comment)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
