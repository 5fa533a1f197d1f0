"""From H and S to the density matrix."""

from mlh.solver.contract import Continuing, Filling, Prepared, Solver
from mlh.solver.dense import Dense, OverlapFactor, Solution
from mlh.solver.inverse_factor import InverseFactor, PurificationError
from mlh.solver.localized import Localized, LocalizedReport, LocalizedState
from mlh.solver.localized_functions import LocalizedError
from mlh.solver.methods import as_solver, register_solver, solve, solver_names
from mlh.solver.occupations import Occupations, Smearing, occupy
from mlh.solver.purification import THRESHOLD, Purification, PurificationReport, PurifiedState
from mlh.solver.state import Responding, Response, SecondResponding, State, projected_w, residual_energy

__all__ = [
    "THRESHOLD",
    "Continuing",
    "Dense",
    "Filling",
    "InverseFactor",
    "Localized",
    "LocalizedError",
    "LocalizedReport",
    "LocalizedState",
    "Occupations",
    "OverlapFactor",
    "Prepared",
    "Purification",
    "PurificationError",
    "PurificationReport",
    "PurifiedState",
    "Responding",
    "Response",
    "SecondResponding",
    "Smearing",
    "Solution",
    "Solver",
    "State",
    "as_solver",
    "occupy",
    "projected_w",
    "register_solver",
    "residual_energy",
    "solve",
    "solver_names",
]
