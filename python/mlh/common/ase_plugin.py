"""The calculators of mlh under their names in ASE: the entry point `ase.plugins` of pyproject.toml.

ASE finds them in an installed package (`ase info --plugins`), without importing them before they are used:

    from ase._4.plugins import plugins
    {plugin.name: plugin for plugin in plugins.calculators}["mlh"].implementation      # MLHCalculator

That registry is experimental. `ase.calculators.calculator.get_calculator_class("mlh")`, the older one, knows
what has been imported: `import mlh.calculators` registers the same names there.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

CALCULATORS = {"mlh": "mlh.calculators.MLHCalculator", "mlh-dft": "mlh.calculators.DFTCalculator"}
"""Name in ASE: class."""


def __getattr__(name: str) -> Any:
    """`__ase_plugins__`, made when ASE asks for it."""
    if name != "__ase_plugins__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    plugin = import_module("ase._4.plugins.plugin").CalculatorPlugin
    return {plugin(title, implementation=path) for title, path in CALCULATORS.items()}


def register_calculators(classes: dict[str, type]) -> None:
    """Make classes known to `get_calculator_class`; what is known already stays."""
    from ase.calculators.calculator import external_calculators, register_calculator_class

    for name, kind in classes.items():
        if name not in external_calculators:
            register_calculator_class(name, kind)
