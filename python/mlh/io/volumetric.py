"""Functions on the uniform grid in cube or xsf files, chosen by the name of the file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.cube import read_cube as ase_read_cube

from mlh.common.files import intact
from mlh.common.units import ANGSTROM
from mlh.dft.grid_function import GridFunction
from mlh.io.cube import write_cube
from mlh.io.xsf import read_xsf, write_xsf

SUFFIXES = (".cube", ".xsf")


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a volumetric file, or an error that lists them."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")
    return suffix


def write_volumetric(
    path: str | os.PathLike[str],
    atoms: Atoms,
    function: GridFunction,
    comment: str = "mlh",
    overwrite: bool = False,
) -> None:
    """Write a GridFunction (atomic units) with its structure."""
    write = write_cube if check_suffix(path) == ".cube" else write_xsf
    write(path, atoms, function, comment, overwrite)


def read_volumetric(path: str | os.PathLike[str]) -> tuple[Atoms, GridFunction]:
    """Structure and grid function of a file that covers one periodic cell from the origin."""
    if check_suffix(path) == ".xsf":
        return read_xsf(path)
    with intact(path), open(path, encoding="utf-8") as file:
        content = ase_read_cube(file, read_data=True)
    if np.abs(content["origin"]).max() > 1e-6:
        raise ValueError(f"{path}: expected a grid that starts at the origin, got {content['origin']}")
    values = np.asarray(content["data"], dtype=np.float64)
    cell = np.asarray(content["spacing"]) * np.array(values.shape)[:, None] * ANGSTROM
    return content["atoms"], GridFunction(values, cell)
