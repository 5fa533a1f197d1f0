"""OpenMX files: orbitals and pseudopotentials of its database, and the matrices of its calculations."""

from mlh.openmx.basis import OpenMXSpecies, load_openmx_basis
from mlh.openmx.scfout import ScfOut, read_scfout
from mlh.openmx.text import OpenMXFormatError

__all__ = ["OpenMXFormatError", "OpenMXSpecies", "ScfOut", "load_openmx_basis", "read_scfout"]
