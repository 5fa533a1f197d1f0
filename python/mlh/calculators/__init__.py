"""ASE calculators, the engines that make them from plain settings, and electronic states of either."""

from __future__ import annotations

from mlh.calculators.base import HamiltonianModel
from mlh.calculators.dft import DFTCalculator
from mlh.calculators.mlh import MLHCalculator
from mlh.common.ase_plugin import register_calculators

register_calculators({"mlh": MLHCalculator, "mlh-dft": DFTCalculator})

__all__ = ["DFTCalculator", "HamiltonianModel", "MLHCalculator"]
