"""Files: matrices (HDF5), structures with energies and forces (extended xyz), grid functions (cube)."""

from mlh.io.cube import write_cube
from mlh.io.extxyz import read_extxyz, write_extxyz
from mlh.io.hdf5 import MatrixFile, read_matrices, write_matrices

__all__ = ["MatrixFile", "read_extxyz", "read_matrices", "write_cube", "write_extxyz", "write_matrices"]
