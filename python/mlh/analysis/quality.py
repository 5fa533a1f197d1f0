"""Quality of a tetrahedral network (a-SiO2): coordination, bond lengths and angles, density."""

from __future__ import annotations

from dataclasses import dataclass

import ase
import numpy as np
from ase.neighborlist import neighbor_list
from ase.units import kg, m
from numpy.typing import NDArray


@dataclass(frozen=True)
class NetworkStatistics:
    """Bonds between `center` and `bridge` atoms shorter than a cutoff; lengths Angstrom, angles degrees."""

    density: float  # g/cm^3
    center_coordination: dict[int, int]  # coordination number -> number of atoms
    bridge_coordination: dict[int, int]
    bond_mean: float
    bond_std: float
    bridge_center_bridge: tuple[float, float]  # O-Si-O: mean, standard deviation
    center_bridge_center: tuple[float, float]  # Si-O-Si

    @property
    def is_perfect(self) -> bool:
        """Every centre four-coordinated, every bridge two-coordinated."""
        return set(self.center_coordination) == {4} and set(self.bridge_coordination) == {2}


def network_statistics(
    atoms: ase.Atoms, center: str = "Si", bridge: str = "O", cutoff: float = 2.0
) -> NetworkStatistics:
    """Statistics of the network of `center`-`bridge` bonds shorter than `cutoff` (Angstrom)."""
    symbols = np.asarray(atoms.get_chemical_symbols())
    if not {center, bridge} <= set(symbols):
        raise ValueError(f"atoms: expected both {center} and {bridge}, got {atoms.get_chemical_formula()}")
    first, lengths, vectors = neighbor_list("idD", atoms, {(center, bridge): cutoff})
    if len(first) == 0:
        raise ValueError(f"atoms: expected {center}-{bridge} bonds shorter than {cutoff} A, got none")
    counts = np.bincount(first, minlength=len(atoms))
    grams_per_cm3 = atoms.get_masses().sum() / atoms.get_volume() * (m**3 / kg) * 1e-3
    return NetworkStatistics(
        density=float(grams_per_cm3),
        center_coordination=_histogram(counts[symbols == center]),
        bridge_coordination=_histogram(counts[symbols == bridge]),
        bond_mean=float(lengths.mean()),
        bond_std=float(lengths.std()),
        bridge_center_bridge=_angles(first, vectors, np.flatnonzero(symbols == center)),
        center_bridge_center=_angles(first, vectors, np.flatnonzero(symbols == bridge)),
    )


def _histogram(values: NDArray[np.int64]) -> dict[int, int]:
    numbers, counts = np.unique(values, return_counts=True)
    return {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}


def _angles(
    first: NDArray[np.int64], vectors: NDArray[np.float64], vertices: NDArray[np.int64]
) -> tuple[float, float]:
    """Mean and standard deviation of all bond angles at `vertices` (degrees); NaN without any."""
    values: list[float] = []
    for vertex in vertices:
        bonds = vectors[first == vertex]
        unit = bonds / np.linalg.norm(bonds, axis=1)[:, None]
        upper = np.triu_indices(len(unit), 1)
        values.extend(np.degrees(np.arccos(np.clip((unit @ unit.T)[upper], -1.0, 1.0))))
    return (float(np.mean(values)), float(np.std(values))) if values else (float("nan"), float("nan"))
