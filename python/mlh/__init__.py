"""mlh: energies, forces and electronic structure from a machine-learned Kohn-Sham Hamiltonian.

    Structure + Basis -> Pattern -> S, T, Vnl, Vna, H0 -> (+ dH from the network) = H
      -> D, W (solver) -> n(r) -> Energies -> Forces

Atomic units (Hartree, Bohr) everywhere except in the ASE calculators and in files (eV, Angstrom).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# `mlh.scf` is the function: the submodule of the same name must be loaded before the name is bound.
from mlh.scf import SCFResult, scf
from mlh.solver import Solution, solve

if TYPE_CHECKING:
    from mlh.calculators import DFTCalculator, MLHCalculator
    from mlh.energies import Energies, Forces, Stress
    from mlh.grid_function import GridFunction
    from mlh.io.openmx import load_openmx_basis, read_scfout
    from mlh.model.predict import load_model, predict
    from mlh.pattern import BlockMatrix, Pattern
    from mlh.pseudo.library import load_basis
    from mlh.species import Basis, Species
    from mlh.system import System
    from mlh.terms.openmx import OpenMXIntegration

__version__ = "0.1.0"

_LAZY = {
    "Basis": "mlh.species",
    "BlockMatrix": "mlh.pattern",
    "DFTCalculator": "mlh.calculators",
    "Energies": "mlh.energies",
    "Forces": "mlh.energies",
    "GridFunction": "mlh.grid_function",
    "MLHCalculator": "mlh.calculators",
    "OpenMXIntegration": "mlh.terms.openmx",
    "Pattern": "mlh.pattern",
    "Species": "mlh.species",
    "Stress": "mlh.energies",
    "System": "mlh.system",
    "load_basis": "mlh.pseudo.library",
    "load_model": "mlh.model.predict",
    "load_openmx_basis": "mlh.io.openmx",
    "predict": "mlh.model.predict",
    "read_scfout": "mlh.io.openmx",
}
"""Public names loaded on first use, so that `import mlh` and `mlh --help` stay quick."""

__all__ = [
    "Basis",
    "BlockMatrix",
    "DFTCalculator",
    "Energies",
    "Forces",
    "GridFunction",
    "MLHCalculator",
    "OpenMXIntegration",
    "Pattern",
    "SCFResult",
    "Solution",
    "Species",
    "Stress",
    "System",
    "__version__",
    "load_basis",
    "load_model",
    "load_openmx_basis",
    "predict",
    "read_scfout",
    "scf",
    "solve",
]


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'mlh' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
