"""mlh: energies, forces and electronic structure from a machine-learned Kohn-Sham Hamiltonian.

    Structure + Basis -> Pattern -> S, T, Vnl, Vna, H0 -> (+ dH from the network) = H
      -> D, W (solver) -> n(r) -> Energies -> Forces

Atomic units (Hartree, Bohr) everywhere except in the ASE calculators and in files (eV, Angstrom).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlh.common import fork
from mlh.common.version import VERSION

if TYPE_CHECKING:
    from mlh.basis.families import load_basis
    from mlh.basis.species import Basis, Species
    from mlh.calculators import DFTCalculator, MLHCalculator
    from mlh.common.terminal import progress
    from mlh.dft.energies import Energies, Forces, Stress
    from mlh.dft.grid_function import GridFunction
    from mlh.dft.system import System
    from mlh.dft.theory import Theory
    from mlh.matrix.block_matrix import BlockMatrix, Pattern
    from mlh.model.model import load_model, predict
    from mlh.openmx import load_openmx_basis, read_scfout
    from mlh.openmx.integration import OpenMXIntegration
    from mlh.report.citations import cite
    from mlh.scf.loop import SCFResult, scf
    from mlh.solver import Dense, Localized, Purification, Solution, solve

__version__ = VERSION

# `mlh.scf` is the function, `mlh.scf.loop` its module: the (empty) room is loaded now and its name freed,
# because Python binds a room to its name once, when it is first loaded.
import_module("mlh.scf")
del globals()["scf"]

fork.register()

_LAZY = {
    "Basis": "mlh.basis.species",
    "BlockMatrix": "mlh.matrix.block_matrix",
    "DFTCalculator": "mlh.calculators",
    "Energies": "mlh.dft.energies",
    "Forces": "mlh.dft.energies",
    "GridFunction": "mlh.dft.grid_function",
    "Localized": "mlh.solver",
    "MLHCalculator": "mlh.calculators",
    "OpenMXIntegration": "mlh.openmx.integration",
    "Dense": "mlh.solver",
    "Pattern": "mlh.matrix.block_matrix",
    "Purification": "mlh.solver",
    "SCFResult": "mlh.scf.loop",
    "Solution": "mlh.solver",
    "Species": "mlh.basis.species",
    "Stress": "mlh.dft.energies",
    "System": "mlh.dft.system",
    "Theory": "mlh.dft.theory",
    "cite": "mlh.report.citations",
    "load_basis": "mlh.basis.families",
    "load_model": "mlh.model.model",
    "load_openmx_basis": "mlh.openmx",
    "predict": "mlh.model.model",
    "progress": "mlh.common.terminal",
    "read_scfout": "mlh.openmx",
    "scf": "mlh.scf.loop",
    "solve": "mlh.solver",
}
"""Public names loaded on first use, so that `import mlh` and `mlh --help` stay quick."""

__all__ = [
    "Basis",
    "BlockMatrix",
    "DFTCalculator",
    "Dense",
    "Energies",
    "Forces",
    "GridFunction",
    "Localized",
    "MLHCalculator",
    "OpenMXIntegration",
    "Pattern",
    "Purification",
    "SCFResult",
    "Solution",
    "Species",
    "Stress",
    "System",
    "Theory",
    "__version__",
    "cite",
    "load_basis",
    "load_model",
    "load_openmx_basis",
    "predict",
    "progress",
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
