"""Energies and forces of a data set as extended xyz, for codes that train force fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ase
import numpy as np

from mlh.common.units import BOHR_ANGSTROM, HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.dataset.sample import Sample
from mlh.dataset.store import Dataset
from mlh.structures.files import with_labels

FREE_ATOM = "IsolatedAtom"
"""What MACE calls frames whose energies it counts from (`config_type`)."""


def labelled_frames(data: Dataset, charge: float | None = None) -> Iterator[ase.Atoms]:
    """REF_energy (eV, total), REF_forces (eV/A); in `info` what says where a sample comes from. charge: only
    samples of this charge (e)."""
    for k in range(len(data)):
        if charge is None or data.charge(k) == charge:
            yield _frame(data[k])


def free_atom_frame(element: str, energy: float) -> ase.Atoms:
    """A free atom, energy in eV; in a cell, which some readers expect."""
    atom = ase.Atoms(element, [[10.0, 10.0, 10.0]], cell=[20.0, 20.0, 20.0], pbc=True)
    return with_labels(atom, energy, np.zeros((1, 3)), {"config_type": FREE_ATOM})


def _frame(sample: Sample) -> ase.Atoms:
    graph = sample.graph
    atoms = ase.Atoms(
        graph.numbers, graph.positions * BOHR_ANGSTROM, cell=graph.cell * BOHR_ANGSTROM, pbc=True
    )
    state = {"charge": graph.charge, "moment": graph.moment}
    info: dict[str, Any] = {"config_type": _kind(sample.info), "group": sample.group, "origin": sample.origin}
    info |= {key: sample.info[key] for key in ("split", "host_hash", "defect_site") if key in sample.info}
    info |= {key: value for key, value in state.items() if value}
    energy = sample.total_energy * HARTREE_EV
    return with_labels(atoms, energy, sample.forces * HARTREE_BOHR_EV_ANGSTROM, info)


def _kind(info: Mapping[str, Any]) -> str:
    """host, or the kind of defect (vacancy, substitution, ...)."""
    return str(info.get("defect_kind", "host"))
