"""From H and S to the density matrix."""

from mlh.solver.dense import OverlapFactor, Solution, projected_w, residual_energy, solve
from mlh.solver.kpoints import KPoints, KPointsSpec, as_kpoints, monkhorst_pack
from mlh.solver.occupations import Occupations, Smearing, occupy

__all__ = [
    "KPoints",
    "KPointsSpec",
    "Occupations",
    "OverlapFactor",
    "Smearing",
    "Solution",
    "as_kpoints",
    "monkhorst_pack",
    "occupy",
    "projected_w",
    "residual_energy",
    "solve",
]
