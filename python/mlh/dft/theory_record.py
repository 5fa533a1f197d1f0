"""A level of theory as files hold it, complete enough to go on from: plain JSON values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlh.basis.families import load_basis, recorded_orbitals
from mlh.dft.integrations import integration_name, integration_names
from mlh.dft.mesh import GridMesh
from mlh.dft.system import System
from mlh.dft.theory import Theory
from mlh.matrix.kpoints import kpoints_record, recorded_kpoints


def theory_record(theory: Theory, system: System) -> dict[str, Any]:
    """What a calculation of this system was, with what the theory leaves to cell, basis and atoms."""
    return {
        "basis": system.basis.name,
        "orbitals": recorded_orbitals(system.basis),
        "cutoff_ry": system.cutoff_ry,
        "kpts": kpoints_record(system.k_mesh),
        "xc": system.xc,
        "spin": system.nspin == 2,
        "total_moment": theory.total_moment,
        "charge": theory.charge,
        "dispersion": theory.dispersion,
        "smearing_ev": theory.smearing_ev,
        "smearing": theory.smearing,
        "integration": integration_name(system.integration),
        "grid": system.mesh.describe(),
        "grid_held": theory.grid_shape is not None,
        "symmetry": theory.symmetry,
    }


def theory_of_record(record: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> Theory:
    """The level of theory of a record, with fields of `Theory` that are to be others."""
    changes = dict(changes or {})
    fields: dict[str, Any] = {
        name: record[name]
        for name in ("cutoff_ry", "xc", "spin", "total_moment", "smearing_ev", "smearing", "symmetry")
    }
    fields["dispersion"] = record.get("dispersion")
    fields["charge"] = record.get("charge", 0.0)  # files of before are neutral
    fields["kpts"] = recorded_kpoints(record["kpts"])
    if "basis" not in changes:
        fields["basis"] = load_basis(record["basis"], record["orbitals"] or None)
    if record["integration"] in integration_names():
        fields["integration"] = record["integration"]
    elif "integration" not in changes:
        raise ValueError(f"integration: expected one to be given, the file has {record['integration']}")
    if record["grid_held"] and "cutoff_ry" not in changes:
        fields["grid_shape"] = _mesh(record["grid"])
    return Theory(**{**fields, **changes})


def _mesh(described: Any) -> GridMesh:
    """The inverse of `GridMesh.describe`."""
    if isinstance(described, Mapping):
        first, second, third = (tuple(row) for row in described["axes"])
        return GridMesh(tuple(described["points"]), (first, second, third))
    return GridMesh(tuple(described))
