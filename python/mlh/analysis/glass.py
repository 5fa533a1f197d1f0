"""Quality report of a disordered structure: coordination, pair distributions, angles, rings, density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
from ase.neighborlist import neighbor_list
from ase.units import kg, m
from numpy.typing import NDArray

from mlh.analysis.bonds import (
    Angles,
    Bonds,
    bond_angles,
    bond_lengths,
    coordination,
    find_bonds,
    ring_counts,
)
from mlh.structures.cell import require_cell
from mlh.structures.recipe import Experiment, NetworkElements, load_recipe, recipes

_R_MAX, _R_STEP, _R_WIDTH = 6.0, 0.02, 0.05  # Angstrom


@dataclass(frozen=True)
class PairDistribution:
    """g(r) of one pair of elements; r in Angstrom, each distance smeared by a Gaussian of 0.05 A."""

    r: NDArray[np.float64]
    g: NDArray[np.float64]


@dataclass(frozen=True)
class GlassReport:
    """What a structure looks like; lengths Angstrom, angles degrees, density g/cm^3, rings per cell."""

    formula: str
    n_atoms: int
    cell: tuple[float, ...]  # lengths and angles
    density: float
    coordination: dict[str, dict[int, int]]
    bonds: dict[str, NDArray[np.float64]]
    angles: dict[str, Angles]
    rings: dict[int, int]
    pairs: dict[str, PairDistribution]
    experiment: tuple[Experiment, ...]

    def quantity(self, name: str) -> tuple[float, float] | None:
        """Mean and standard deviation of "density", "bond O-Si", "angle O-Si-O" or "distance O-Si-O" (between
        the ends of that angle); None where the structure has none. Elements may come in either order."""
        kind, _, species = name.partition(" ")
        if kind == "density":
            return self.density, 0.0
        elements = species.split("-")
        key = "-".join(sorted(elements)) if kind == "bond" else "-".join(_ordered_ends(elements))
        values = {
            "bond": self.bonds.get(key),
            "angle": self.angles[key].degrees if key in self.angles else None,
            "distance": self.angles[key].ends if key in self.angles else None,
        }.get(kind)
        return None if values is None else (float(values.mean()), float(values.std()))

    def is_network(self, elements: NetworkElements) -> bool:
        """Every former has its number of bonds, every bridge two, and no two formers share an edge."""
        formers = sum(self.coordination.get(elements.former, {}).values())
        expected = {elements.former: {elements.coordination: formers}}
        if elements.bridge is not None:
            bridges = sum(self.coordination.get(elements.bridge, {}).values())
            expected[elements.bridge] = {2: bridges}
        return self.coordination == expected and self.rings.get(2, 0) == 0

    def to_dict(self) -> dict[str, Any]:
        """Numbers without the raw lists, for JSON."""
        return {
            "formula": self.formula,
            "atoms": self.n_atoms,
            "cell": list(self.cell),
            "density_g_cm3": self.density,
            "coordination": {
                element: {str(number): atoms for number, atoms in counts.items()}
                for element, counts in self.coordination.items()
            },
            "bond_angstrom": {pair: _moments(values) for pair, values in self.bonds.items()},
            "angle_degrees": {kind: _moments(angles.degrees) for kind, angles in self.angles.items()},
            "distance_of_ends_angstrom": {kind: _moments(a.ends) for kind, a in self.angles.items()},
            "rings_per_cell": {str(size): count for size, count in self.rings.items()},
            "edge_sharing_pairs": self.rings.get(2, 0),
            "experiment": [
                {**entry.model_dump(), "structure": self.quantity(entry.quantity)}
                for entry in self.experiment
            ],
            "pair_distributions": {
                pair: {"r_angstrom": d.r.tolist(), "g": np.round(d.g, 5).tolist()}
                for pair, d in self.pairs.items()
            },
        }


def glass_report(atoms: ase.Atoms) -> GlassReport:
    """Measure a periodic structure. Experimental values are those of the shipped recipe with the same
    elements, where there is one."""
    require_cell(atoms, "coordination, rings and density")
    bonds = find_bonds(atoms)
    return GlassReport(
        formula=atoms.get_chemical_formula(),
        n_atoms=len(atoms),
        cell=tuple(float(x) for x in atoms.cell.cellpar()),
        density=float(atoms.get_masses().sum() / atoms.get_volume() * (m**3 / kg) * 1e-3),
        coordination=coordination(bonds),
        bonds=bond_lengths(bonds),
        angles=bond_angles(bonds),
        rings=ring_counts(bonds),
        pairs=pair_distributions(atoms),
        experiment=measured_values(bonds),
    )


def pair_distributions(
    atoms: ase.Atoms, r_max: float = _R_MAX, step: float = _R_STEP, width: float = _R_WIDTH
) -> dict[str, PairDistribution]:
    """Partial g_ab(r) = V / (4 pi r^2 N_a N_b) sum_ij delta(r - r_ij), periodic images included, the delta
    a Gaussian of standard deviation `width`."""
    symbols = np.asarray(atoms.get_chemical_symbols())
    i, j, distance = neighbor_list("ijd", atoms, r_max + 4.0 * width)
    r = np.arange(step, r_max + 0.5 * step, step)
    elements = sorted(set(symbols.tolist()))
    out = {}
    for a, b in ((a, b) for k, a in enumerate(elements) for b in elements[k:]):
        chosen = distance[(symbols[i] == a) & (symbols[j] == b)]
        smeared = _gaussians(r, chosen, width)
        n_pairs = float((symbols == a).sum() * (symbols == b).sum())
        out[f"{a}-{b}"] = PairDistribution(r, atoms.get_volume() / (4 * np.pi * r**2 * n_pairs) * smeared)
    return out


def measured_values(bonds: Bonds) -> tuple[Experiment, ...]:
    """Experimental values of the shipped recipe with the elements of a structure."""
    present = set(bonds.symbols.tolist())
    for name in recipes():
        recipe = load_recipe(name)
        if set(recipe.network.symbols) == present:
            return recipe.experiment
    return ()


def _gaussians(r: NDArray[np.float64], centers: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Sum of normalised Gaussians at `centers`, in blocks that keep the memory small."""
    total = np.zeros_like(r)
    for begin in range(0, len(centers), 2000):
        x = (r[:, None] - centers[None, begin : begin + 2000]) / width
        total += np.exp(-0.5 * x**2).sum(axis=1)
    return np.asarray(total / (width * np.sqrt(2.0 * np.pi)))


def _ordered_ends(elements: list[str]) -> list[str]:
    """end-center-end with the ends in alphabetical order."""
    low, high = sorted((elements[0], elements[-1]))
    return [low, *elements[1:-1], high]


def _moments(values: NDArray[np.float64]) -> dict[str, float | int]:
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "count": len(values),
    }
