"""Sampling of the Brillouin zone: Gamma-centred and Monkhorst-Pack meshes folded by time reversal.

An even Monkhorst-Pack mesh leaves Gamma out and breaks the symmetry of fcc, rhombohedral and hexagonal cells;
meshes are Gamma-centred unless the other kind is asked for. Files of before hold bare lists of three numbers,
which mean Monkhorst-Pack: `kpoints_record` and `recorded_kpoints` are the way in and out of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlh.matrix.symmetry import Symmetry

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KPoints:
    """Fractional k points (nk, 3) and weights (nk,) that sum to 1.

    symmetry: the operations that make the stars of these points a whole mesh, `whole`; what is summed over
    the points is symmetrised with it.
    """

    points: FloatArray
    weights: FloatArray
    symmetry: Symmetry | None = field(default=None, repr=False, compare=False)
    whole: KPoints | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        points, weights = np.asarray(self.points, float), np.asarray(self.weights, float)
        if points.ndim != 2 or points.shape[1] != 3 or weights.shape != (len(points),) or not len(points):
            raise ValueError(
                f"points, weights: expected shapes (nk, 3) and (nk,), got {points.shape} and {weights.shape}"
            )
        if abs(weights.sum() - 1.0) > 1e-10 or (weights <= 0).any():
            raise ValueError(f"weights: expected positive values that sum to 1, got {weights}")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "weights", weights)

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def gamma_only(self) -> bool:
        """True for the single point k = 0."""
        return len(self) == 1 and not self.points.any()


KPointsSpec = KPoints | Sequence[int] | Mapping[str, Any] | None


def monkhorst_pack(size: Sequence[int], gamma: bool = False) -> KPoints:
    """k_j = (2 j - n - 1) / (2 n), j = 1..n, per direction (Phys. Rev. B 13, 5188), folded with k ~ -k.

    gamma=True shifts even meshes so that they contain k = 0. Conventions as in ASE.
    """
    if len(size) != 3 or any(int(n) != n or n < 1 for n in size):
        raise ValueError(f"size: expected three positive integers, got {tuple(size)}")
    mesh = _mesh(size, gamma)
    weights: dict[tuple[int, ...], float] = {}
    for k in mesh:
        key, mirror = (_wrapped(sign * k) for sign in (1, -1))
        chosen = mirror if mirror in weights else key
        weights[chosen] = weights.get(chosen, 0.0) + 1.0 / len(mesh)
    points = np.array(list(weights), dtype=np.float64) * _RESOLUTION
    return KPoints(points, np.array(list(weights.values())))


def _mesh(size: Sequence[int], gamma: bool) -> FloatArray:
    """All points of the mesh, (n1 n2 n3, 3), the last axis fastest."""
    axes = []
    for n in (int(n) for n in size):
        k = (2.0 * np.arange(1, n + 1) - n - 1) / (2 * n)
        axes.append(k + 0.5 / n if gamma and n % 2 == 0 else k)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


_RESOLUTION = 1e-12


def _wrapped(k: FloatArray) -> tuple[int, ...]:
    """k in (-1/2, 1/2] in units of the resolution, as integers that can be compared exactly."""
    wrapped = k - np.ceil(k - 0.5 - 1e-9)
    return tuple(int(x) for x in np.round(wrapped / _RESOLUTION))


def as_kpoints(spec: KPointsSpec) -> KPoints:
    """KPoints from None (Gamma), (n1, n2, n3) (Gamma-centred), a mapping or KPoints.

    Mappings: {"size": (n1, n2, n3), "gamma": False} is the Monkhorst-Pack mesh; {"points": ..., "weights":
    ...} are k points of one's own. A spacing needs a cell first, see `with_cell`.
    """
    if isinstance(spec, KPoints):
        return spec
    if spec is None:
        return KPoints(np.zeros((1, 3)), np.ones(1))
    if not isinstance(spec, Mapping):
        return monkhorst_pack(spec, gamma=True)
    keys = set(spec)
    if keys == {"points", "weights"}:
        return KPoints(spec["points"], spec["weights"])
    if "spacing" in keys:
        raise ValueError(f"kpts: a spacing needs a cell to become a mesh, got {dict(spec)}; see with_cell")
    if keys - {"size", "gamma"} or "size" not in keys:
        raise ValueError(
            "kpts: expected the keys 'size' or 'spacing', and 'gamma' (or 'points' and 'weights'), "
            f"got {sorted(spec)}"
        )
    return monkhorst_pack(spec["size"], bool(spec.get("gamma", True)))


def reduced(spec: KPointsSpec, symmetry: Symmetry | None) -> KPointsSpec:
    """The irreducible points of a mesh: one of every star, with the weight of the star.

    Only the operations that take the mesh into itself count. Points of one's own are not reduced.
    """
    if symmetry is None or spec is None or isinstance(spec, KPoints):
        return spec
    whole = as_kpoints(spec)
    if len(whole) == 1:
        return spec
    size, gamma = (spec["size"], spec.get("gamma", True)) if isinstance(spec, Mapping) else (spec, True)
    mesh = _mesh(size, bool(gamma))
    n = np.array([int(m) for m in size])
    shift = mesh[0] * n  # of the numbers of the mesh, the same for all points
    # k.x = k'.(W x): k' = k W^-1, and the inverses of a group are the group.
    numbers = np.einsum("ka,gab->gkb", mesh, symmetry.rotations) * n - shift
    nearest = np.round(numbers)
    kept = np.abs(numbers - nearest).max(axis=(1, 2)) < 1e-6
    group = symmetry.subgroup(kept)
    stars = np.concatenate([nearest[kept], np.round(-nearest[kept] - 2 * shift)]).astype(np.int64) % n
    flat = (stars[..., 0] * n[1] + stars[..., 1]) * n[2] + stars[..., 2]
    first, counts = np.unique(flat.min(axis=0), return_counts=True)
    if len(group) == 1 or len(first) == len(whole):
        return spec
    own = flat[int(np.flatnonzero((group.rotations == np.eye(3, dtype=int)).all(axis=(1, 2)))[0])]
    place = np.argsort(own)[first]
    return KPoints(mesh[place], counts / len(mesh), group, whole)


_SLACK = 1e-4
"""Of one point: cells that differ by the digits of a file have the same mesh."""


def with_cell(spec: KPointsSpec, cell: Any, pbc: Sequence[bool] = (True, True, True)) -> KPointsSpec:
    """A specification that no longer depends on the cell (rows, Angstrom): {"spacing": s} becomes a mesh.

    n_i = ceil(|b_i| / s) points along every reciprocal vector b_i (2 pi included; 1 along directions that are
    not periodic), s in 1/Angstrom as KSPACING of VASP. Anything else is returned as it is.
    """
    if isinstance(spec, KPoints) or not isinstance(spec, Mapping) or "spacing" not in spec:
        return spec
    if set(spec) - {"spacing", "gamma"}:
        raise ValueError(f"kpts: expected only 'gamma' beside 'spacing', got {sorted(spec)}")
    spacing = spec["spacing"]
    if isinstance(spacing, bool) or not isinstance(spacing, int | float) or not 0.0 < spacing < np.inf:
        raise ValueError(f"kpts: expected a positive spacing in 1/Angstrom, got {spacing!r}")
    lengths = 2.0 * np.pi * np.linalg.norm(np.linalg.inv(np.asarray(cell, dtype=np.float64)), axis=0)
    n1, n2, n3 = (
        max(1, int(np.ceil(length / spacing - _SLACK))) if periodic else 1
        for length, periodic in zip(lengths, pbc, strict=True)
    )
    return (n1, n2, n3) if spec.get("gamma", True) else {"size": (n1, n2, n3), "gamma": False}


def kpoints_record(spec: KPointsSpec) -> list[int] | dict[str, Any]:
    """As JSON and HDF5 files hold it; equal meshes have equal records.

    [n1, n2, n3] is a Monkhorst-Pack mesh, as in all files of before; of odd numbers it is Gamma-centred too.
    """
    if spec is None:
        return [1, 1, 1]
    if isinstance(spec, KPoints):
        return {"points": spec.points.tolist(), "weights": spec.weights.tolist()}
    if isinstance(spec, Mapping):
        if "size" not in spec:
            return {name: np.asarray(value).tolist() for name, value in sorted(spec.items())}
        size, gamma = spec["size"], bool(spec.get("gamma", True))
    else:
        size, gamma = spec, True
    numbers = [int(n) for n in size]
    even = any(n % 2 == 0 for n in numbers)
    return {"size": numbers, "gamma": True} if gamma and even else numbers


def recorded_kpoints(record: Any) -> KPointsSpec:
    """The inverse of `kpoints_record`, for files of before too: their lists are Monkhorst-Pack meshes."""
    if record is None or isinstance(record, KPoints):
        return record
    if not isinstance(record, Mapping):
        size = tuple(int(n) for n in record)
        return {"size": size, "gamma": False} if any(n % 2 == 0 for n in size) else size
    return {"gamma": False, **record} if "size" in record else dict(record)
