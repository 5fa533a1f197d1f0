"""Files of matrices (HDF5) and of grid functions (cube, xsf)."""

from mlh.io.cube import write_cube
from mlh.io.hdf5 import MatrixFile, read_atoms, read_basis_name, read_matrices, read_theory, write_matrices
from mlh.io.volumetric import read_volumetric, write_volumetric
from mlh.io.xsf import read_xsf, write_xsf

__all__ = [
    "MatrixFile",
    "read_atoms",
    "read_basis_name",
    "read_matrices",
    "read_theory",
    "read_volumetric",
    "read_xsf",
    "write_cube",
    "write_matrices",
    "write_volumetric",
    "write_xsf",
]
