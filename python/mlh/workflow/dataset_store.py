"""From finished calculations to the HDF5 data set of `mlh.model.dataset`, and a report on such a file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mlh.model.dataset import Dataset, DatasetWriter
from mlh.model.graph import graph_from_arrays
from mlh.model.sample import BasisRecord, Sample
from mlh.system import System
from mlh.units import HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.workflow.dataset_config import DatasetConfig
from mlh.workflow.dataset_plan import elements_of
from mlh.workflow.labels import Label, load_engine_basis


def store_hdf5(path: Path, config: DatasetConfig, labels: Iterable[tuple[Label, dict[str, Any]]]) -> int:
    """Write the data set under another name and move it to `path` when complete; returns its samples."""
    settings = config.engine.settings()
    basis = load_engine_basis(settings, elements_of(config))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    writer = DatasetWriter(
        temporary, BasisRecord.of(basis, settings.orbitals), {**settings.as_dict(), "name": config.name}
    )
    count = 0
    try:
        for label, record in labels:
            system = System(label.atoms, basis, settings.cutoff_ry, record["kpts"], settings.xc)
            writer.append(_sample(system, label, record))
            count += 1
        if count:
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _sample(system: System, label: Label, record: Mapping[str, Any]) -> Sample:
    """Group: the host, so that a split by group never has one host on both sides."""
    step = f"/step-{record['relax_step']}" if "relax_step" in record else ""
    info = {**record, "scf_steps": label.scf_steps, "residual": label.residual, "seconds": label.seconds}
    return Sample(
        graph_from_arrays(label.atoms.numbers, system.positions, system.cell, system.pattern),
        label.delta_h,
        label.energies.as_dict(),
        label.forces,
        origin=f"{record['job']}{step}",
        group=str(record["source"]),
        info=info,
    )


def dataset_report(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What is in a data set, as plain JSON values; every sample is read and its checksum verified."""
    with Dataset(path) as data:
        problems = data.verify()
        samples = list(data)
        basis, settings = data.basis, data.settings
    compositions = [_composition(sample) for sample in samples]
    report: dict[str, Any] = {
        "path": str(path),
        "samples": len(samples),
        "basis": basis.name,
        "basis_fingerprint": basis.fingerprint,
        "settings": settings,
        "sources": _sources(samples),
        "compositions": dict(Counter(_formula(composition) for composition in compositions)),
        "ranges": _ranges(samples) if samples else {},
        "warnings": [*problems, *_warnings(compositions)],
    }
    return report


def _composition(sample: Sample) -> Counter[str]:
    return Counter(chemical_symbols[int(number)] for number in sample.graph.numbers)


def _formula(composition: Mapping[str, int]) -> str:
    return "".join(f"{element}{count}" for element, count in sorted(composition.items()))


def _sources(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """One row per group of samples, in the order of their first appearance."""
    rows: list[dict[str, Any]] = []
    for group in dict.fromkeys(sample.group for sample in samples):
        members = [sample for sample in samples if sample.group == group]
        rows.append(
            {
                "source": group,
                "split": str(members[0].info.get("split", "")),
                "samples": len(members),
                "atoms": sorted({len(sample.graph.numbers) for sample in members}),
                "kinds": sorted({_kind(sample.info) for sample in members}),
            }
        )
    return rows


def _kind(info: Mapping[str, Any]) -> str:
    return f"{info.get('defect_kind', 'host')} {info.get('kind', '')}".strip()


def _ranges(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Smallest, mean and largest value over the samples."""
    values = {
        "energy per atom (eV)": [s.total_energy * HARTREE_EV / len(s.graph.numbers) for s in samples],
        "mean |dH| (meV)": [1000.0 * HARTREE_EV * float(np.abs(s.dh).mean()) for s in samples],
        "largest |dH| (eV)": [HARTREE_EV * float(np.abs(s.dh).max()) for s in samples],
        "largest force (eV/A)": [
            HARTREE_BOHR_EV_ANGSTROM * float(np.linalg.norm(s.forces, axis=1).max()) for s in samples
        ],
        "matrix elements": [float(s.graph.nnz) for s in samples],
    }
    return {name: [min(v), float(np.mean(v)), max(v)] for name, v in values.items()}


def _warnings(compositions: Sequence[Mapping[str, int]]) -> list[str]:
    """Problems of the data for training, in words."""
    if not compositions:
        return ["the data set holds no samples"]
    elements = sorted({element for composition in compositions for element in composition})
    matrix = np.array([[composition.get(element, 0) for element in elements] for composition in compositions])
    rank = int(np.linalg.matrix_rank(matrix))
    if rank < len(elements):
        return [
            f"the compositions have rank {rank} for {len(elements)} elements: reference energies of the "
            "elements are not determined (a force field trained on this would be off by a constant per atom)"
        ]
    return []
