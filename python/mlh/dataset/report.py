"""What is in a data set and whether it is fit for training, as plain JSON values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mlh.common.units import HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV
from mlh.dataset.choices import SplitBy
from mlh.dataset.sample import Sample
from mlh.dataset.store import Dataset, DatasetError

OUTLIER = 6.0  # robust standard deviations: one normal sample in 5e8
_BINS = 40
_FORCE_BINS = 10.0 ** np.arange(-4.0, 2.01, 0.1)  # eV/Angstrom


@dataclass(frozen=True)
class _Summary:
    """What the report keeps of one sample, so that the matrices need not be in memory together."""

    index: int
    origin: str
    group: str
    info: Mapping[str, Any]
    composition: Mapping[str, int]
    values: Mapping[str, float]
    forces: NDArray[np.float64]  # (n,) eV/Angstrom
    blocks: Mapping[str, tuple[int, float, float, float]]  # elements, sum |dH|, sum dH^2, max |dH|; Hartree
    neighbors: Mapping[str, NDArray[np.int64]]  # per element: pairs of every atom


def dataset_report(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Counts, compositions, distributions, outliers, neighbors and splits; every sample is read once, its
    checksum verified. eV, Angstrom."""
    with Dataset(path) as data:
        problems = [f"sample {name} was not completely written" for name in data.incomplete]
        summaries: list[_Summary] = []
        for index in range(len(data)):
            try:
                summaries.append(_summary(index, data[index]))
            except (DatasetError, ValueError) as error:
                problems.append(str(error))
        content = {
            "path": str(path),
            "bytes": os.path.getsize(path),
            "samples": len(summaries),
            "fingerprint": data.fingerprint(),
            "basis": data.basis.name,
            "basis_fingerprint": data.basis.fingerprint,
            "settings": data.settings,
            "splits": {by: _split(data, by) for by in ("group", "trajectory", "random")}
            if not problems
            else {},
        }
    if not summaries:
        return {**content, "warnings": [*problems, "the data set holds no samples"]}
    compositions = composition_matrix([summary.composition for summary in summaries])
    outliers = _outliers(summaries)
    return {
        **content,
        "sources": _sources(summaries),
        "compositions": dict(Counter(_formula(summary.composition) for summary in summaries)),
        "composition_matrix": compositions,
        "distributions": _distributions(summaries),
        "dh_by_block": _blocks(summaries),
        "neighbors": _neighbors(summaries),
        "outliers": outliers,
        "warnings": [*problems, *_warnings(compositions, outliers, len(summaries))],
    }


def composition_matrix(compositions: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """Different compositions as rows over the elements, their number of samples, and the rank: with a rank
    below the number of elements, sum_e n_e E_e = E does not determine the reference energies E_e."""
    elements = sorted({element for composition in compositions for element in composition})
    counted = Counter(tuple(composition.get(e, 0) for e in elements) for composition in compositions)
    rows = sorted(counted)
    return {
        "elements": elements,
        "rows": [list(row) for row in rows],
        "samples": [counted[row] for row in rows],
        "rank": int(np.linalg.matrix_rank(np.array(rows))),
    }


def _summary(index: int, sample: Sample) -> _Summary:
    symbols = np.array([chemical_symbols[int(number)] for number in sample.graph.numbers])
    forces = HARTREE_BOHR_EV_ANGSTROM * np.linalg.norm(sample.forces, axis=1)
    levels = sample.info.get("levels", {})
    values = {
        "energy per atom (eV)": sample.total_energy * HARTREE_EV / len(symbols),
        "largest force (eV/A)": float(forces.max()),
        "mean |dH| (meV)": 1000.0 * HARTREE_EV * float(np.abs(sample.dh).mean()),
        "largest |dH| (eV)": HARTREE_EV * float(np.abs(sample.dh).max()),
        "matrix elements": float(sample.graph.nnz),
    }
    if "homo" in levels and "lumo" in levels:
        values["gap (eV)"] = HARTREE_EV * (levels["lumo"] - levels["homo"])
    pairs = np.bincount(sample.graph.atom_i, minlength=len(symbols)) - 1  # without the atom itself
    return _Summary(
        index=index,
        origin=sample.origin,
        group=sample.group,
        info=sample.info,
        composition=Counter(symbols.tolist()),
        values=values,
        forces=forces,
        blocks=_block_sums(sample, symbols),
        neighbors={str(element): pairs[symbols == element] for element in np.unique(symbols)},
    )


def _block_sums(sample: Sample, symbols: NDArray[np.str_]) -> dict[str, tuple[int, float, float, float]]:
    """Sums over all blocks of one kind: "O on-site", "O-Si" (both directions)."""
    graph, size = sample.graph, np.abs(sample.dh)
    begin = graph.offset[:-1]
    absolute, square = np.add.reduceat(size, begin), np.add.reduceat(size**2, begin)
    largest, elements = np.maximum.reduceat(size, begin), np.diff(graph.offset)
    first, second = np.sort([symbols[graph.atom_i], symbols[graph.atom_j]], axis=0)
    own = np.arange(graph.n_pairs) == graph.reverse
    names = np.where(own, np.char.add(first, " on-site"), np.char.add(np.char.add(first, "-"), second))
    out = {}
    for name in np.unique(names):
        chosen = names == name
        out[str(name)] = (
            int(elements[chosen].sum()),
            float(absolute[chosen].sum()),
            float(square[chosen].sum()),
            float(largest[chosen].max()),
        )
    return out


def _formula(composition: Mapping[str, int]) -> str:
    return "".join(f"{element}{count}" for element, count in sorted(composition.items()))


def _sources(summaries: Sequence[_Summary]) -> list[dict[str, Any]]:
    """One row per group of samples, in the order of their first appearance."""
    rows: list[dict[str, Any]] = []
    for group in dict.fromkeys(summary.group for summary in summaries):
        members = [summary for summary in summaries if summary.group == group]
        rows.append(
            {
                "source": group,
                "split": str(members[0].info.get("split", "")),
                "samples": len(members),
                "trajectories": len({summary.info.get("job", summary.origin) for summary in members}),
                "atoms": sorted({sum(summary.composition.values()) for summary in members}),
                "kinds": sorted({_kind(summary.info) for summary in members}),
            }
        )
    return rows


def _kind(info: Mapping[str, Any]) -> str:
    return f"{info.get('defect_kind', 'host')} {info.get('kind', '')}".strip()


def _distributions(summaries: Sequence[_Summary]) -> dict[str, dict[str, Any]]:
    """Moments and histogram over the samples; forces also over all atoms, in logarithmic bins."""
    names = dict.fromkeys(name for summary in summaries for name in summary.values)
    out = {}
    for name in names:
        values = np.array([summary.values[name] for summary in summaries if name in summary.values])
        out[name] = _moments(values, np.histogram_bin_edges(values, _BINS))
    energies = np.array([summary.values["energy per atom (eV)"] for summary in summaries])
    formulas = np.array([_formula(summary.composition) for summary in summaries])
    for formula in np.unique(formulas):
        energies[formulas == formula] -= energies[formulas == formula].mean()
    name = "energy per atom - mean of its composition (eV)"
    out[name] = _moments(energies, np.histogram_bin_edges(energies, _BINS))
    forces = np.concatenate([summary.forces for summary in summaries])
    out["force on an atom (eV/A)"] = _moments(forces, _FORCE_BINS)
    return out


def _moments(values: NDArray[np.float64], edges: NDArray[np.float64]) -> dict[str, Any]:
    """The outermost bins hold what lies beyond them."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return {
        "min": float(values.min()),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "max": float(values.max()),
        "std": float(values.std()),
        "count": len(values),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _blocks(summaries: Sequence[_Summary]) -> dict[str, dict[str, float]]:
    """Mean, root mean square and largest |dH| (meV) by kind of block; on-site blocks first."""
    names = sorted(
        {name for summary in summaries for name in summary.blocks}, key=lambda n: ("-" in n[:3], n)
    )
    out = {}
    for name in names:
        parts = np.array([summary.blocks[name] for summary in summaries if name in summary.blocks])
        count, unit = parts[:, 0].sum(), 1000.0 * HARTREE_EV
        out[name] = {
            "elements": float(count),
            "mean": unit * float(parts[:, 1].sum() / count),
            "rms": unit * float(np.sqrt(parts[:, 2].sum() / count)),
            "max": unit * float(parts[:, 3].max()),
        }
    return out


def _neighbors(summaries: Sequence[_Summary]) -> dict[str, dict[str, float]]:
    """Pairs of an atom within the cutoffs of the basis, images included, itself not."""
    elements = sorted({element for summary in summaries for element in summary.neighbors})
    out = {}
    for element in elements:
        counts = np.concatenate([s.neighbors[element] for s in summaries if element in s.neighbors])
        out[element] = {"min": float(counts.min()), "mean": float(counts.mean()), "max": float(counts.max())}
    return out


def _outliers(summaries: Sequence[_Summary]) -> list[dict[str, Any]]:
    """Values further than OUTLIER robust standard deviations (1.4826 times the median absolute deviation)
    from the median: energies and |dH| of the samples of equal composition, forces of all."""
    found: list[dict[str, Any]] = []
    formulas = [_formula(summary.composition) for summary in summaries]
    for name in ("energy per atom (eV)", "largest force (eV/A)", "mean |dH| (meV)"):
        labels = [""] * len(summaries) if "force" in name else formulas
        for label in dict.fromkeys(labels):
            members = [s for s, own in zip(summaries, labels, strict=True) if own == label]
            values = np.array([summary.values[name] for summary in members])
            median = float(np.median(values))
            sigma = 1.4826 * float(np.median(np.abs(values - median)))
            if len(members) < 8 or sigma == 0.0:  # too few to say what is usual
                continue
            for summary, value in zip(members, values.tolist(), strict=True):
                if abs(value - median) > OUTLIER * sigma:
                    found.append(
                        {
                            "sample": summary.index,
                            "origin": summary.origin,
                            "quantity": name,
                            "value": value,
                            "median": median,
                            "deviations": (value - median) / sigma,
                        }
                    )
    return found


def _split(data: Dataset, by: SplitBy) -> dict[str, Any]:
    """Sizes and hash of the 8:1:1 split with seed 0, or why there is none."""
    try:
        parts = data.split(0, by)
    except DatasetError as error:
        return {"error": str(error)}
    sizes = {part: len(indices) for part, indices in parts.items()}
    return {"seed": 0, **sizes, "hash": data.split_hash(parts)}


def _warnings(compositions: Mapping[str, Any], outliers: Sequence[Any], samples: int) -> list[str]:
    """Problems of the data for training, in words."""
    found = []
    rank, elements = compositions["rank"], compositions["elements"]
    if rank < len(elements):
        found.append(
            f"the compositions have rank {rank} for {len(elements)} elements: reference energies of the "
            "elements are not determined (a force field trained on this would be off by a constant per atom)"
        )
    if outliers:
        unusual = len({outlier["sample"] for outlier in outliers})
        found.append(f"{unusual} of {samples} samples are outliers: look at them before training")
    return found
