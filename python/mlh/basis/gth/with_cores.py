"""The embedded basis set "gth-nlcc-pbe": pseudopotentials with partial cores, orbitals in three sizes."""

from __future__ import annotations

from mlh.basis.families import BasisFamily
from mlh.basis.gth.library import load, record

FAMILY = BasisFamily("gth-nlcc-pbe", load, record, integration="spheres")
