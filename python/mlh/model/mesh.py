"""The k points of a model's labels, carried to other cells by their density."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlh.common.units import ANGSTROM
from mlh.matrix.kpoints import KPointsSpec, as_kpoints, recorded_kpoints

ROOM = 1.02
"""Cells that are smaller than those of the labels by this factor in length still have as many points."""


def mesh_of_labels(labels: Iterable[tuple[NDArray[np.float64], Any]]) -> dict[str, Any]:
    """A spacing for the meshes of labels, given as cell (rows, Bohr) and record of the mesh.

    The largest spacing that occurs: a cell of the labels has at most the points that its label had. Empty
    where there is a label without a record.
    """
    spacing, gamma = 0.0, True
    for cell, record in labels:
        spec = recorded_kpoints(record)
        if isinstance(spec, Mapping):
            size, gamma = spec.get("size"), gamma and bool(spec.get("gamma", True))
        else:
            size = spec
        if size is None or not isinstance(size, list | tuple):
            return {}
        lengths = 2.0 * np.pi * ANGSTROM * np.linalg.norm(np.linalg.inv(cell), axis=0)
        spacing = max(spacing, float((lengths / np.asarray(size)).max()))
    return {"spacing": round(ROOM * spacing, 6), "gamma": gamma} if spacing else {}


def mesh_of_card(settings: Mapping[str, Any], carried: Mapping[str, Any]) -> KPointsSpec | None:
    """The k points of a card: what was carried over from its labels, else those that fit every cell; None
    where the card does not say in which cells its labels had theirs."""
    if carried:
        return dict(carried)
    if "kpts" not in settings:
        return None if "source" in settings else (1, 1, 1)
    spec = recorded_kpoints(settings["kpts"])
    if isinstance(spec, Mapping) and "spacing" in spec:
        return spec
    return (1, 1, 1) if as_kpoints(spec).gamma_only else None
