"""From finished calculations to the HDF5 data set of `mlh.dataset.store`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from mlh.common.files import complete_or_absent
from mlh.dataset.sample import BasisRecord, Sample, spin_parts
from mlh.dataset.store import DatasetWriter
from mlh.dft.system import System
from mlh.labelling.config import DatasetConfig
from mlh.labelling.labels import Label, load_engine_basis
from mlh.labelling.plan import elements_of
from mlh.matrix.kpoints import recorded_kpoints
from mlh.network.graph import graph_from_arrays


def store_hdf5(path: Path, config: DatasetConfig, labels: Iterable[tuple[Label, dict[str, Any]]]) -> int:
    """Write the data set under another name and move it to `path` when complete; returns its samples."""
    remaining = iter(labels)
    first = next(remaining, None)
    if first is None:
        return 0
    settings = config.engine.settings()
    basis = load_engine_basis(settings, elements_of(config))
    theory = replace(settings.theory, basis=basis)
    count = 0
    with complete_or_absent(path) as temporary:
        writer = DatasetWriter(
            temporary,
            BasisRecord.of(basis, settings.orbitals),
            {**settings.as_dict(), "name": config.name},
            **config.storage.model_dump(),
        )
        for label, record in chain([first], remaining):
            level = replace(theory, kpts=recorded_kpoints(record["kpts"]))
            writer.append(_sample(System.of(label.atoms, level), label, record))
            count += 1
    return count


def _sample(system: System, label: Label, record: Mapping[str, Any]) -> Sample:
    """Group: the host (the source, where the record names no group), so that a split by group never has one
    host on both sides."""
    step = f"/step-{record['relax_step']}" if "relax_step" in record else ""
    mean, difference = spin_parts(label.delta_h)
    kept = {key: value for key, value in record.items() if key != "group"}
    info = {**kept, "scf_steps": label.scf_steps, "residual": label.residual, "seconds": label.seconds}
    if label.levels:
        info["levels"] = dict(label.levels)
    return Sample(
        graph_from_arrays(
            *(label.atoms.numbers, system.positions, system.cell, system.pattern),
            *(label.charge, label.moment),
        ),
        mean,
        label.energies.as_dict(),
        label.forces,
        origin=f"{record['job']}{step}",
        group=str(record.get("group") or record["source"]),
        info=info,
        spin_dh=difference,
    )
