"""Data sets of labelled structures in one HDF5 file (docs/data_format.md).

    writer = DatasetWriter("sio2.h5", basis, settings)    # a new file, or one of equal basis and settings
    sample = Sample.from_system(system, dh, energies, forces, origin="host-a/site-12", group="host-a")
    writer.append(sample)

    data = Dataset("sio2.h5")
    sample = data[0]
    parts = data.split(seed=0, by="group")

dH is stored for one of each two mutually reversed pairs (H_ji(-R) = H_ij(R)^T). A sample is marked complete
after everything else of it is on disk; its checksum is verified when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from mlh.common.choices import Precision, check_choice
from mlh.common.files import intact
from mlh.dataset.choices import Compression, SplitBy
from mlh.dataset.sample import MATRICES, BasisRecord, Sample, unique_elements
from mlh.network.graph import GraphInput

FORMAT, VERSION = "mlh-dataset", 2
_NEUTRAL = 1
"""Version of files without charged or polarised samples, which readers of before understand."""
_GRAPH_ARRAYS = ("numbers", "positions", "cell", "atom_i", "atom_j", "pair_cell", "reverse")
_DTYPES = {
    "numbers": "<i4",
    "atom_i": "<i4",
    "atom_j": "<i4",
    "pair_cell": "<i4",
    "reverse": "<i4",
    "positions": "<f8",
    "cell": "<f8",
    "forces": "<f8",
}

Array = NDArray[np.float64]


class DatasetError(RuntimeError):
    """A data set that cannot be read or does not fit, in words."""


class DatasetWriter:
    """Appends samples to a data set. The file is open only while a sample is written."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        basis: Any,
        settings: Mapping[str, Any],
        dtype: Precision = "float32",
        compression: Compression = "gzip",
        level: int = 4,
    ) -> None:
        """basis: a `mlh.Basis` or a BasisRecord; settings: level of theory as JSON values; dtype of dH in the
        file; compression of arrays of more than 1000 elements, level 1 (fast) to 9 of gzip.

        An existing file must have the same basis and settings.
        """
        self.path = Path(path)
        self.basis = basis if isinstance(basis, BasisRecord) else BasisRecord.of(basis)
        self.settings = json.dumps(dict(settings), sort_keys=True)
        check_choice("dtype", dtype, Precision)
        check_choice("compression", compression, Compression)
        if not 1 <= level <= 9:
            raise ValueError(f"level: expected 1 to 9, got {level}")
        self.dtype = dtype
        self._filters: dict[str, Any] = {}
        if compression != "none":
            self._filters = {"compression": compression, "shuffle": True}
        if compression == "gzip":
            self._filters["compression_opts"] = level
        if self.path.exists():
            self._check()
        else:
            self._create()

    def _create(self) -> None:
        with h5py.File(self.path, "x", libver="latest") as file:
            file.attrs.update(
                {
                    "format": FORMAT,
                    "version": _NEUTRAL,
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "units": "Hartree, Bohr",
                    "basis": self.basis.as_json(),
                    "settings": self.settings,
                    "quantity": "dH = H - H_Harris, blocks of the pairs p <= reverse[p] in their order",
                }
            )
            file.create_group("samples")

    def _check(self) -> None:
        with _open(self.path) as file:
            _check_format(self.path, file)
            basis = BasisRecord.from_json(str(file.attrs["basis"]))
            if basis.fingerprint != self.basis.fingerprint:
                raise DatasetError(
                    f"{self.path}: expected the basis {self.basis.name} {self.basis.fingerprint[:12]}, "
                    f"got {basis.name} {basis.fingerprint[:12]}; a data set has one basis"
                )
            if str(file.attrs["settings"]) != self.settings:
                raise DatasetError(
                    f"{self.path}: expected the settings {self.settings}, got {file.attrs['settings']}"
                )

    def append(self, sample: Sample) -> int:
        """Write one sample; returns its index."""
        own, _ = unique_elements(sample.graph)
        arrays = _sample_arrays(sample)
        arrays["dh"] = sample.dh[own].astype("<f4" if self.dtype == "float32" else "<f8")
        for name in MATRICES[1:]:
            matrix = getattr(sample, name)
            if matrix is not None:
                arrays[name] = matrix[own].astype(arrays["dh"].dtype)
        state = {"charge": sample.graph.charge, "moment": sample.graph.moment}
        state = state if any(state.values()) or sample.spin_dh is not None else {}
        record = json.dumps(
            {
                "energies": dict(sample.energies),
                "origin": sample.origin,
                "group": sample.group,
                "info": dict(sample.info),
                **state,
            },
            sort_keys=True,
        )
        with h5py.File(self.path, "r+", libver="latest") as file:
            if state:
                file.attrs["version"] = VERSION
            samples = file["samples"]
            index = len(samples)
            group = samples.create_group(f"{index:07d}")
            for name, array in arrays.items():
                filters = self._filters if array.size > 1000 else {}
                group.create_dataset(name, data=array, **filters)
            group.attrs["record"] = record
            group.attrs["checksum"] = _checksum(arrays, record)
            file.flush()
            group.attrs["complete"] = True
        return index


def _sample_arrays(sample: Sample) -> dict[str, NDArray[Any]]:
    arrays = {name: np.asarray(getattr(sample.graph, name)).astype(_DTYPES[name]) for name in _GRAPH_ARRAYS}
    arrays["forces"] = np.asarray(sample.forces).astype(_DTYPES["forces"])
    return arrays


def _checksum(arrays: Mapping[str, NDArray[Any]], record: str) -> str:
    digest = hashlib.sha256(record.encode())
    for name in sorted(arrays):
        digest.update(f"|{name}:{arrays[name].dtype.str}:{arrays[name].shape}|".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such data set") from None
    except OSError as error:
        raise DatasetError(f"{path}: not a readable HDF5 file ({error})") from error


def _check_format(path: Path, file: h5py.File) -> None:
    if file.attrs.get("format") != FORMAT or "samples" not in file:
        raise DatasetError(f"{path}: expected the format {FORMAT!r}, got {file.attrs.get('format')!r}")
    if int(file.attrs["version"]) > VERSION:
        raise DatasetError(f"{path}: expected version <= {VERSION}, got {file.attrs['version']}: update mlh")


class Dataset(Sequence[Sample]):
    """Read-only view of a data set. Samples that were not completely written are left out and named in
    `incomplete`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = _open(self.path)
        with intact(self.path):
            _check_format(self.path, self._file)
            self.basis = BasisRecord.from_json(str(self._file.attrs["basis"]))
            self.settings: dict[str, Any] = json.loads(str(self._file.attrs["settings"]))
            names = sorted(self._file["samples"])
            self._names = [n for n in names if bool(self._file["samples"][n].attrs.get("complete", False))]
        self.incomplete = [n for n in names if n not in set(self._names)]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Sample]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        """Sample by index; raises DatasetError when its checksum does not match."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index: expected {-len(self)} .. {len(self) - 1}, got {index}")
        return self._read(self._names[index])

    def record(self, index: int) -> dict[str, Any]:
        """energies, origin, group and info of a sample without reading its arrays."""
        record: dict[str, Any] = json.loads(str(self._file["samples"][self._names[index]].attrs["record"]))
        return record

    def mesh(self, index: int) -> tuple[NDArray[np.float64], Any]:
        """Cell (rows, Bohr) and k mesh of one sample, as files hold it; the mesh of the settings where it has
        none of its own."""
        cell = self._file["samples"][self._names[index]]["cell"][...]
        info = self.record(index).get("info", {})
        return cell, info.get("kpts", self.settings.get("kpts"))

    def geometry(self, index: int) -> tuple[NDArray[np.int64], Array, Array]:
        """Atomic numbers, positions and cell (rows), Bohr, of one sample without its matrices, unchecked."""
        sample = self._file["samples"][self._names[index]]
        numbers, positions, cell = (sample[name][...] for name in ("numbers", "positions", "cell"))
        return numbers.astype(np.int64), positions, cell

    @cached_property
    def elements(self) -> list[int]:
        """Atomic numbers that occur in any sample, ascending."""
        samples = self._file["samples"]
        return sorted({int(z) for name in self._names for z in np.unique(samples[name]["numbers"][...])})

    def _read(self, name: str) -> Sample:
        group = self._file["samples"][name]
        try:
            arrays = {key: group[key][...] for key in group}
            record = str(group.attrs["record"])
            checksum = str(group.attrs["checksum"])
        except (OSError, KeyError, RuntimeError) as error:
            raise DatasetError(f"{self.path}: sample {name} is damaged ({error})") from error
        if _checksum(arrays, record) != checksum:
            raise DatasetError(f"{self.path}: sample {name} is damaged (checksum does not match)")
        sizes = {z: o.size for z, o in self.basis.orbital_sets.items()}
        per_atom = np.array([sizes[int(z)] for z in arrays["numbers"]], dtype=np.int64)
        offset = np.concatenate([[0], np.cumsum(per_atom[arrays["atom_i"]] * per_atom[arrays["atom_j"]])])
        content = json.loads(record)
        # Files of before have the charge of all samples in their settings, and no moments.
        graph = GraphInput(
            **{key: arrays[key] for key in _GRAPH_ARRAYS},
            offset=offset,
            charge=float(content.get("charge", self.settings.get("charge", 0.0))),
            moment=float(content.get("moment", self.settings.get("total_moment", 0.0))),
        )
        own, transposed = unique_elements(graph)
        full: dict[str, Array] = {}
        for key in MATRICES:
            if key in arrays:
                full[key] = np.empty(graph.nnz)
                full[key][own] = full[key][transposed] = arrays[key]
        return Sample(
            graph,
            full["dh"],
            content["energies"],
            arrays["forces"],
            content["origin"],
            content["group"],
            content["info"],
            full.get("h0"),
            full.get("spin_dh"),
        )

    def charges(self) -> dict[float, int]:
        """Number of samples by charge."""
        found: dict[float, int] = {}
        for index in range(len(self)):
            charge = self.charge(index)
            found[charge] = found.get(charge, 0) + 1
        return dict(sorted(found.items()))

    def charge(self, index: int) -> float:
        """Of the cell of a sample, e; files of before have that of all in their settings."""
        return float(self.record(index).get("charge", self.settings.get("charge", 0.0)))

    def polarised(self) -> int:
        """Number of spin-polarised samples."""
        return sum("spin_dh" in self._file["samples"][name] for name in self._names)

    def require_trainable(self, charged: bool = False) -> None:
        """DatasetError where samples are spin-polarised or charged, which neutral networks do not know, or
        where those for a network that knows both do not say what moment they have."""
        polarised, charges = self.polarised(), self.charges()
        if charged:
            silent = [
                k
                for k, name in enumerate(self._names)
                if "spin_dh" in self._file["samples"][name] and "moment" not in self.record(k)
            ]
            if silent and "total_moment" not in self.settings:
                raise DatasetError(
                    f"{self.path}: {len(silent)} spin-polarised samples do not say what moment they have (a "
                    "file of before): label them again"
                )
            return
        advice = "network.charge_channels: 2 makes a network that knows charge and spin"
        if set(charges) - {0.0}:
            got = ", ".join(f"{charge:+g}" for charge in charges if charge)
            raise DatasetError(
                f"{self.path}: expected samples of charge 0, as this network is neutral, got {got}; {advice}"
            )
        if polarised:
            raise DatasetError(
                f"{self.path}: {polarised} of {len(self)} samples are spin-polarised; this network is "
                f"spin-unpolarised, expected none; {advice}"
            )

    def verify(self) -> list[str]:
        """Problems of all samples in words; empty when the file is sound."""
        problems = [f"sample {name} was not completely written" for name in self.incomplete]
        for name in self._names:
            try:
                self._read(name)
            except (DatasetError, ValueError) as error:
                problems.append(str(error))
        return problems

    def fingerprint(self) -> str:
        """sha256 over basis, settings and the checksums of the samples in order."""
        digest = hashlib.sha256((str(self._file.attrs["basis"]) + str(self._file.attrs["settings"])).encode())
        for name in self._names:
            digest.update(str(self._file["samples"][name].attrs["checksum"]).encode())
        return digest.hexdigest()

    def split(
        self,
        seed: int = 0,
        by: SplitBy = "group",
        fractions: tuple[float, float] = (0.1, 0.1),
    ) -> dict[str, list[int]]:
        """Indices of "train", "validation", "test"; fractions: validation, test (of samples, nearly).

        by="group": all samples of one group (host) go to the same part; "trajectory": all geometries of one
        relaxation; "random": each sample by itself, so that neighbors on a trajectory may be divided.
        Parts with a positive fraction are never empty unless there are too few groups, which is an error.

        Sources that the configuration of the build gave to "validation" or "test" are that part, and nothing
        is drawn for it.
        """
        check_choice("by", by, SplitBy)
        parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
        free: dict[str, list[int]] = {}
        for k in range(len(self)):
            record = self.record(k)
            if (named := record["info"].get("split")) in ("validation", "test"):
                parts[named].append(k)
            else:
                free.setdefault(str(k) if by == "random" else _key(record, by), []).append(k)
        names = sorted(free)
        drawn = {
            part: fraction
            for part, fraction in zip(("validation", "test"), fractions, strict=True)
            if fraction > 0 and not parts[part]
        }
        wanted = len(drawn) + 1
        if len(names) < wanted:
            raise DatasetError(
                f"{self.path}: expected at least {wanted} groups for a split by {by}, got {len(names)}"
                + ("; use by='random' for samples of one host" if by == "group" else "")
            )
        order = np.random.default_rng(seed).permutation(len(names))
        remaining = [names[k] for k in order]
        n_free = sum(map(len, free.values()))
        for part, fraction in drawn.items():
            while len(parts[part]) < max(round(fraction * n_free), 1) and len(remaining) > 1:
                parts[part] += free[remaining.pop()]
        parts["train"] = [k for name in remaining for k in free[name]]
        return {name: sorted(indices) for name, indices in parts.items()}

    def split_hash(self, parts: Mapping[str, Sequence[int]]) -> str:
        """sha256 over the checksums of the samples of every part: equal for the same samples in the same
        parts, wherever they lie in the file."""
        samples = self._file["samples"]
        sums = {
            part: sorted(str(samples[self._names[k]].attrs["checksum"]) for k in indices)
            for part, indices in parts.items()
        }
        return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def _key(record: Mapping[str, Any], by: Literal["group", "trajectory"]) -> str:
    """What samples that must stay together have in common: the host, or the job that made the trajectory."""
    return str(record["group"] if by == "group" else record["info"].get("job", record["origin"]))
