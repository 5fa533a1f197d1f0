"""Several data sets of one basis and one level of theory as one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py

from mlh.common.files import complete_or_absent, refuse_existing
from mlh.dataset.store import Dataset, DatasetError, DatasetWriter


@dataclass(frozen=True)
class MergeReport:
    """Samples of the new file, and how many were left out because they were there already."""

    path: Path
    n_samples: int
    n_repeated: int


def merge_datasets(
    sources: Sequence[str | os.PathLike[str]], target: str | os.PathLike[str], *, overwrite: bool = False
) -> MergeReport:
    """Copy the samples of all sources, in their order, to a new file; one sample is never there twice.

    Raises DatasetError where a source is damaged or not fully written, or where basis or settings differ;
    FileExistsError where the target exists. The target appears only when it is complete.
    """
    if len(sources) < 2:
        raise ValueError(f"sources: expected at least two data sets, got {len(sources)}")
    path = Path(target)
    refuse_existing([path], overwrite)
    seen: set[str] = set()
    n_repeated = 0
    with complete_or_absent(path) as partial:
        for source in sources:
            with Dataset(source) as data:
                if problems := data.verify():
                    raise DatasetError(f"{source}: {len(problems)} damaged samples; first: {problems[0]}")
                # The name of a data set is no part of its level of theory.
                writer = DatasetWriter(partial, data.basis, {**data.settings, "name": path.stem})
            n_repeated += _copy(Path(source), writer.path, seen)
    return MergeReport(path, len(seen), n_repeated)


def _copy(source: Path, target: Path, seen: set[str]) -> int:
    """Appends the samples whose checksum is not in `seen`; returns how many were."""
    repeated = 0
    with h5py.File(source, "r") as old, h5py.File(target, "r+", libver="latest") as new:
        for name in sorted(old["samples"]):
            checksum = str(old["samples"][name].attrs["checksum"])
            if checksum in seen:
                repeated += 1
                continue
            old.copy(old["samples"][name], new["samples"], name=f"{len(seen):07d}")
            seen.add(checksum)
    return repeated
