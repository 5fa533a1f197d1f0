"""Files: matrices (HDF5), structures with energies and forces (extended xyz), grid functions (cube, xsf)."""

from mlh.io.cube import write_cube
from mlh.io.extxyz import read_extxyz, write_extxyz
from mlh.io.hdf5 import MatrixFile, read_matrices, write_matrices
from mlh.io.volumetric import read_volumetric, write_volumetric
from mlh.io.xsf import read_xsf, write_xsf

__all__ = [
    "MatrixFile",
    "read_extxyz",
    "read_matrices",
    "read_volumetric",
    "read_xsf",
    "write_cube",
    "write_extxyz",
    "write_matrices",
    "write_volumetric",
    "write_xsf",
]
