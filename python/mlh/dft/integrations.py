"""Integration methods by name, for command lines and files.

A method is one module with an `INTEGRATIONS` table and one line of `_MODULES`, or one call of
`register_integration`.
"""

from __future__ import annotations

from importlib import import_module

from mlh.basis.families import default_integration
from mlh.basis.species import Basis
from mlh.dft.terms.contract import Integration

DEFAULT_INTEGRATION = "spheres"

_MODULES = {
    "spheres": "mlh.dft.terms.spheres",
    "openmx": "mlh.openmx.integration",
    "openmx-grid-vna": "mlh.openmx.integration",
}
"""Where the methods are; a module is loaded when one of its methods is asked for."""

_registered: dict[str, Integration] = {}


def register_integration(name: str, method: Integration) -> None:
    """Make an integration method available by name; the name must be free."""
    if name in integration_names():
        raise ValueError(f"name: expected other than {', '.join(integration_names())}, got {name!r}")
    _registered[name] = method


def integration_names() -> tuple[str, ...]:
    """Names of all methods."""
    return (*_MODULES, *(name for name in _registered if name not in _MODULES))


def as_integration(spec: Integration | str | None, basis: Basis | None = None) -> Integration:
    """An integration method from its name, or itself; None: the one that belongs to the basis."""
    if spec is None:
        spec = (None if basis is None else default_integration(basis)) or DEFAULT_INTEGRATION
    if not isinstance(spec, str):
        return spec
    if spec not in _registered:
        if spec not in _MODULES:
            raise ValueError(f"integration: expected one of {', '.join(integration_names())}, got {spec!r}")
        _registered[spec] = import_module(_MODULES[spec]).INTEGRATIONS[spec]
    return _registered[spec]


def integration_name(method: Integration) -> str:
    """The name of a method, for files; its options in words where it has none."""
    for name in integration_names():
        if as_integration(name) == method:
            return name
    return repr(method)
