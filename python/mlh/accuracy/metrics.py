"""Errors of predicted matrix elements, in meV.

raw MAE = mean |dH_pred - dH_ref| over all stored elements (both directions of a pair, on-site included).
Aligned: the same after adding c S, c chosen to minimise the squared error over all elements (H + c S has the
eigenvectors of H).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlh.common.units import BOHR_ANGSTROM, HARTREE_EV
from mlh.network.graph import GraphInput

if TYPE_CHECKING:
    from mlh.dataset.sample import BasisRecord, Sample
    from mlh.dft.system import System

MEV = 1000.0 * HARTREE_EV
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """Errors in meV; `aligned_mae_mev` and `shift_mev` are None without overlap matrices."""

    mae_mev: float
    rmse_mev: float
    max_mev: float
    onsite_mae_mev: float
    offsite_mae_mev: float
    zero_mae_mev: float
    aligned_mae_mev: float | None
    shift_mev: float | None
    by_pair: Mapping[str, float]
    by_distance: Mapping[str, float]
    by_size: Mapping[str, float]
    n_samples: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Case:
    """One structure: reference and predicted dH, (nnz,) or of two spins (2, nnz), in Hartree; overlap (nnz,)
    optional."""

    graph: GraphInput
    reference: Array
    predicted: Array
    overlap: Array | None = None


def evaluate(cases: Iterable[Case], distance_step: float = 1.0) -> Metrics:
    """Metrics over all elements of all cases; by_distance in bins of `distance_step` Bohr."""
    sums: dict[str, list[float]] = {}
    total = {
        "n": 0.0,
        "abs": 0.0,
        "square": 0.0,
        "zero": 0.0,
        "max": 0.0,
        "aligned": 0.0,
        "shift": 0.0,
        "cases": 0.0,
    }
    with_overlap = True
    sizes: set[int] = set()
    for case in cases:
        spins = np.atleast_2d(case.reference)
        predicted = np.broadcast_to(np.atleast_2d(case.predicted), spins.shape)
        total["cases"] += 1
        sizes.add(len(case.graph.numbers))
        with_overlap = with_overlap and case.overlap is not None
        for reference, found in zip(spins, predicted, strict=True):
            error = (found - reference) * MEV
            total["n"] += len(error)
            total["abs"] += float(np.abs(error).sum())
            total["square"] += float(error @ error)
            total["zero"] += float(np.abs(reference).sum()) * MEV
            total["max"] = max(total["max"], float(np.abs(error).max()))
            if case.overlap is not None:
                c = -float(error @ case.overlap) / float(case.overlap @ case.overlap)
                total["aligned"] += float(np.abs(error + c * case.overlap).sum())
                total["shift"] += abs(c) / len(spins)
            _by_class(case.graph, np.abs(error), distance_step, sums)
    if total["cases"] == 0:
        raise ValueError("cases: expected at least one structure, got none")
    mean = {key: s / n for key, (s, n) in sums.items()}
    return Metrics(
        mae_mev=total["abs"] / total["n"],
        rmse_mev=float(np.sqrt(total["square"] / total["n"])),
        max_mev=total["max"],
        onsite_mae_mev=mean["on-site"],
        offsite_mae_mev=mean.get("off-site", 0.0),
        zero_mae_mev=total["zero"] / total["n"],
        aligned_mae_mev=total["aligned"] / total["n"] if with_overlap else None,
        shift_mev=total["shift"] / total["cases"] if with_overlap else None,
        by_pair={k.removeprefix("pair "): v for k, v in sorted(mean.items()) if k.startswith("pair ")},
        by_distance={k.removeprefix("r "): v for k, v in sorted(mean.items()) if k.startswith("r ")},
        by_size={str(n): mean[f"atoms {n}"] for n in sorted(sizes)},
        n_samples=int(total["cases"]),
    )


def _by_class(graph: GraphInput, error: Array, step: float, sums: dict[str, list[float]]) -> None:
    """Add the sums of |error| and the numbers of elements per kind of block and per distance."""
    count = np.diff(graph.offset).astype(np.float64)
    per_pair = np.add.reduceat(error, graph.offset[:-1])
    r = np.linalg.norm(graph.vectors, axis=1)
    site = np.arange(graph.n_pairs) == graph.reverse
    z = np.sort(np.column_stack([graph.numbers[graph.atom_i], graph.numbers[graph.atom_j]]), axis=1)
    everything = np.ones(len(site), dtype=bool)
    labels = {"on-site": site, "off-site": ~site, f"atoms {len(graph.numbers)}": everything}
    for a, b in np.unique(z, axis=0):
        kind = (z[:, 0] == a) & (z[:, 1] == b)
        labels[f"pair {a}-{b}"] = kind & ~site
        if a == b:
            labels[f"pair {a}"] = kind & site
    for k in np.unique((r[~site] // step).astype(int)):
        labels[f"r {k * step:05.2f}-{(k + 1) * step:05.2f}"] = ~site & ((r // step).astype(int) == k)
    for name, mask in labels.items():
        entry = sums.setdefault(name, [0.0, 0.0])
        entry[0] += float(per_pair[mask].sum())
        entry[1] += float(count[mask].sum())


def system_of_sample(
    sample: Sample, record: BasisRecord, settings: Mapping[str, Any] | None = None
) -> System:
    """The System of a sample in the basis that the record names, at the level of theory of `settings`
    (cutoff_ry, xc, kpts, integration; those absent take the defaults of System) and at the k points of the
    sample itself.

    Raises DatasetError when the basis as loaded here, or the Pattern, is not that of the file.
    """
    from ase import Atoms

    from mlh.basis.families import load_basis
    from mlh.dataset.store import DatasetError
    from mlh.dft.system import System
    from mlh.matrix.kpoints import recorded_kpoints

    basis = load_basis(record.name, record.orbitals).subset(record.species)
    other = [s.symbol for s in basis.species if record.species[s.symbol].digest != s.digest]
    if other:
        raise DatasetError(
            f"basis: {record.name} as loaded here differs from that of the data set for {', '.join(other)}"
        )
    atoms = Atoms(
        sample.graph.numbers,
        positions=sample.graph.positions * BOHR_ANGSTROM,
        cell=sample.graph.cell * BOHR_ANGSTROM,
        pbc=True,
    )
    options = {
        key: value
        for key, value in (settings or {}).items()
        if key in ("cutoff_ry", "xc", "kpts", "integration")
    }
    options |= {"charge": sample.graph.charge, "nspin": 1 if sample.spin_dh is None else 2}
    if "kpts" in sample.info:  # a source may have its own
        options["kpts"] = sample.info["kpts"]
    if "kpts" in options:
        options["kpts"] = recorded_kpoints(options["kpts"])
    system = System(atoms, basis, **options)
    if system.pattern.nnz != len(sample.dh):
        raise DatasetError(
            f"pattern: expected {len(sample.dh)} elements, got {system.pattern.nnz}: "
            "a pair lies on the cutoff"
        )
    return system


def overlap_of_sample(sample: Sample, record: BasisRecord) -> Array:
    """Overlap matrix (nnz,) of a sample from the compiled core, in the basis the record names."""
    overlap: Array = system_of_sample(sample, record).overlap().data[0]
    return overlap
