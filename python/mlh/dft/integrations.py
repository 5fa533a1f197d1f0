"""Integration methods by name, for command lines and files."""

from __future__ import annotations

from collections.abc import Mapping

from mlh.dft.terms.contract import Integration
from mlh.dft.terms.spheres import SphereIntegration
from mlh.openmx.integration import OpenMXIntegration

DEFAULT_INTEGRATION = "spheres"

INTEGRATIONS: Mapping[str, Integration] = {
    DEFAULT_INTEGRATION: SphereIntegration(),
    "openmx": OpenMXIntegration(),
    "openmx-grid-vna": OpenMXIntegration(neutral_atom="grid"),
}
"""`openmx`: as OpenMX 3.9 by default; `openmx-grid-vna`: with scf.ProExpn.VNA off."""


def as_integration(spec: Integration | str | None) -> Integration:
    """An integration method from its name, or itself; None: the default."""
    if spec is None:
        return INTEGRATIONS[DEFAULT_INTEGRATION]
    if isinstance(spec, str):
        if spec not in INTEGRATIONS:
            raise ValueError(f"integration: expected one of {', '.join(INTEGRATIONS)}, got {spec!r}")
        return INTEGRATIONS[spec]
    return spec
