"""OpenMX files: orbitals and pseudopotentials of its database, and the matrices of its calculations."""

from mlh.io.openmx.basis import OpenMXSpecies, load_openmx_basis
from mlh.io.openmx.scfout import ScfOut, read_scfout
from mlh.io.openmx.text import OpenMXFormatError

__all__ = ["OpenMXFormatError", "OpenMXSpecies", "ScfOut", "load_openmx_basis", "read_scfout"]
