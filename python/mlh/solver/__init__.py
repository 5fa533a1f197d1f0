"""From H and S to the density matrix."""

from mlh.solver.dense import OverlapFactor, Solution
from mlh.solver.inverse_factor import InverseFactor, PurificationError
from mlh.solver.methods import METHODS, Factor, Method, as_method, check_method, factorise, solve
from mlh.solver.occupations import Occupations, Smearing, occupy
from mlh.solver.purification import THRESHOLD, PurificationReport, PurifiedState
from mlh.solver.state import State, projected_w, residual_energy

__all__ = [
    "METHODS",
    "THRESHOLD",
    "Factor",
    "InverseFactor",
    "Method",
    "Occupations",
    "OverlapFactor",
    "PurificationError",
    "PurificationReport",
    "PurifiedState",
    "Smearing",
    "Solution",
    "State",
    "as_method",
    "check_method",
    "factorise",
    "occupy",
    "projected_w",
    "residual_energy",
    "solve",
]
