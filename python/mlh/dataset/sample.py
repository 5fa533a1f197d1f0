"""One labelled structure, and what a file keeps of the basis it was labelled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlh.network.graph import GraphInput, graph_from_system, orbital_sets
from mlh.network.orbitals import OrbitalSet

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SpeciesRecord:
    """What a file keeps of one species: enough to lay out blocks and to recognise its radial functions."""

    number: int
    shells: tuple[int, ...]
    cutoff: float
    digest: str

    @property
    def orbitals(self) -> OrbitalSet:
        """Layout of the orbitals."""
        return OrbitalSet(self.number, self.shells, self.cutoff)


@dataclass(frozen=True)
class BasisRecord:
    """Name, orbital choice (as given to `mlh.load_basis`), fingerprint and species of a Basis."""

    name: str
    fingerprint: str
    species: Mapping[str, SpeciesRecord]
    orbitals: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, basis: Any, orbitals: Mapping[str, str] | None = None) -> BasisRecord:
        """Record of a `mlh.Basis`; orbitals: the overrides it was loaded with."""
        sets = orbital_sets(basis)
        by_number = {o.number: o for o in sets.values()}
        from ase.data import atomic_numbers

        species = {}
        for s in basis.species:
            o = by_number[atomic_numbers[s.symbol]]
            species[s.symbol] = SpeciesRecord(o.number, o.shells, o.cutoff, s.digest)
        return cls(basis.name, basis.fingerprint, species, dict(orbitals or {}))

    def as_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> BasisRecord:
        """The inverse of `as_json`."""
        raw = json.loads(text)
        species = {
            k: SpeciesRecord(v["number"], tuple(v["shells"]), v["cutoff"], v["digest"])
            for k, v in raw["species"].items()
        }
        return cls(raw["name"], raw["fingerprint"], species, raw["orbitals"])

    @property
    def orbital_sets(self) -> dict[int, OrbitalSet]:
        """Atomic number -> layout."""
        return {s.number: s.orbitals for s in self.species.values()}


MATRICES = ("dh", "h0", "spin_dh")
"""Matrices of a sample, all in the order of the Pattern."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled structure, atomic units: dh (nnz,) = H - H_Harris on the Pattern of `graph`.

    Of a spin-polarised label dh is the mean of both spins and spin_dh (nnz,) half of up minus down, None
    otherwise. Charge and moment are those of the graph.

    energies: contributions by name; forces (n, 3); origin: where it comes from (host, site, trajectory,
    step); group: samples of one group never end up in both training and test; info: further JSON values.
    """

    graph: GraphInput
    dh: Array
    energies: Mapping[str, float]
    forces: Array
    origin: str
    group: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    h0: Array | None = None
    spin_dh: Array | None = None

    def __post_init__(self) -> None:
        for name in MATRICES:
            value = getattr(self, name)
            if value is None:
                continue
            array = np.asarray(value, dtype=np.float64).reshape(-1)
            if array.shape != (self.graph.nnz,):
                raise ValueError(
                    f"{name}: expected {self.graph.nnz} elements (one spin), got {np.shape(value)}"
                )
            if not np.isfinite(array).all():
                raise ValueError(
                    f"{name}: expected finite numbers, got {int((~np.isfinite(array)).sum())} that are not"
                )
            object.__setattr__(self, name, array)
        if np.shape(self.forces) != (len(self.graph.numbers), 3):
            raise ValueError(
                f"forces: expected shape {(len(self.graph.numbers), 3)}, got {np.shape(self.forces)}"
            )

    @property
    def spins(self) -> Array:
        """dH by spin, (nspin, nnz)."""
        if self.spin_dh is None:
            return self.dh[None]
        return np.stack([self.dh + self.spin_dh, self.dh - self.spin_dh])

    @property
    def total_energy(self) -> float:
        """Sum of the contributions, Hartree."""
        return float(sum(self.energies.values()))

    @classmethod
    def from_system(
        cls,
        system: Any,
        dh: Array,
        energies: Mapping[str, float],
        forces: Array,
        *,
        origin: str,
        group: str = "",
        info: Mapping[str, Any] | None = None,
        h0: Array | None = None,
        moment: float = 0.0,
    ) -> Sample:
        """Sample of a `mlh.System`; dh: data of H - system.harris_hamiltonian(), (nnz,) or (nspin, nnz);
        moment: N_up - N_down."""
        mean, difference = spin_parts(np.asarray(dh, dtype=np.float64))
        return cls(
            graph_from_system(system, moment),
            mean,
            dict(energies),
            np.asarray(forces),
            origin,
            group,
            dict(info or {}),
            h0,
            difference,
        )


def spin_parts(dh: Array) -> tuple[Array, Array | None]:
    """Mean of both spins and half of up minus down of (2, nnz); the same and None of (nnz,) or (1, nnz)."""
    if dh.ndim == 1 or len(dh) == 1:
        return dh.reshape(-1), None
    return 0.5 * (dh[0] + dh[1]), 0.5 * (dh[0] - dh[1])


def unique_elements(graph: GraphInput) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions in the flat data of the elements of the unique pairs, and those of their transposes."""
    size = {int(z): 0 for z in np.unique(graph.numbers)}
    blocks = np.diff(graph.offset)
    for z in size:
        own = (graph.numbers[graph.atom_i] == z) & (np.arange(graph.n_pairs) == graph.reverse)
        size[z] = int(np.sqrt(blocks[np.flatnonzero(own)[0]]))
    n_orbitals = np.array([size[int(z)] for z in graph.numbers], dtype=np.int64)
    unique = graph.unique
    pair = np.repeat(unique, blocks[unique])
    local = np.arange(len(pair)) - np.repeat(np.cumsum(blocks[unique]) - blocks[unique], blocks[unique])
    n_i, n_j = n_orbitals[graph.atom_i[pair]], n_orbitals[graph.atom_j[pair]]
    a, b = local // n_j, local % n_j
    return graph.offset[pair] + local, graph.offset[graph.reverse[pair]] + b * n_i + a
