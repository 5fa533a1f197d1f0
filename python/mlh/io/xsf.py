"""XSF files (XCrySDen, VESTA) of functions on the uniform grid, any cell.

A general grid of XSF holds the points of the far faces too: n + 1 points along a periodic direction, the last
equal to the first, over the full lattice vectors (XCrySDen's format description, section "General grids").
Lengths in Angstrom; the values are written as they are (atomic units), the first index runs fastest.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

import numpy as np
from ase import Atoms
from ase.io.xsf import read_xsf as ase_read_xsf
from numpy.typing import NDArray

from mlh.common.files import complete_or_absent, intact, refuse_existing
from mlh.common.units import ANGSTROM, BOHR_ANGSTROM
from mlh.dft.grid_function import GridFunction

FloatArray = NDArray[np.float64]


def write_xsf(
    path: str | os.PathLike[str],
    atoms: Atoms,
    function: GridFunction,
    comment: str = "mlh",
    overwrite: bool = False,
) -> None:
    """Write a GridFunction with its structure; the cell is that of the grid."""
    target = Path(path)
    refuse_existing([target], overwrite)
    with complete_or_absent(target) as temporary, open(temporary, "w", encoding="ascii") as file:
        _write(file, atoms, function, comment)


def _write(file: TextIO, atoms: Atoms, function: GridFunction, comment: str) -> None:
    cell = function.cell * BOHR_ANGSTROM
    vectors = "".join(f"  {x:.10f} {y:.10f} {z:.10f}\n" for x, y, z in cell)
    file.write(f"# {' '.join(comment.split())}\nCRYSTAL\nPRIMVEC\n{vectors}PRIMCOORD\n  {len(atoms)} 1\n")
    for symbol, (x, y, z) in zip(atoms.get_chemical_symbols(), atoms.positions, strict=True):
        file.write(f"  {symbol:2s} {x:.10f} {y:.10f} {z:.10f}\n")
    values = np.pad(function.values, ((0, 1), (0, 1), (0, 1)), mode="wrap")
    n1, n2, n3 = values.shape
    file.write(f"BEGIN_BLOCK_DATAGRID_3D\n mlh\n BEGIN_DATAGRID_3D_values\n  {n1} {n2} {n3}\n  0.0 0.0 0.0\n")
    file.write(vectors)
    flat = values.ravel(order="F")
    full = len(flat) // 6 * 6
    np.savetxt(file, flat[:full].reshape(-1, 6), fmt="%.7e")
    if full < len(flat):
        np.savetxt(file, flat[None, full:], fmt="%.7e")
    file.write(" END_DATAGRID_3D\nEND_BLOCK_DATAGRID_3D\n")


def read_xsf(path: str | os.PathLike[str]) -> tuple[Atoms, GridFunction]:
    """Structure and periodic grid function of an XSF file; the doubled points are dropped."""
    with intact(path), open(path, encoding="utf-8") as file:
        values, origin, vectors, atoms = ase_read_xsf(file, read_data=True)
    if np.abs(origin).max() > 1e-6:
        raise ValueError(f"{path}: expected a grid that starts at the origin, got {origin.tolist()}")
    inner = np.asarray(values, dtype=np.float64)[:-1, :-1, :-1]
    return atoms, GridFunction(np.ascontiguousarray(inner), np.asarray(vectors) * ANGSTROM)
