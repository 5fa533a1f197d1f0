"""Crystals of silica, and silicon, from published lattice parameters and Wyckoff positions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import ase
import numpy as np
import spglib
from ase.spacegroup import crystal as build_crystal
from numpy.typing import NDArray

from mlh.structures.cell import require_cell


@dataclass(frozen=True)
class CrystalData:
    """One published crystal structure: lattice (Angstrom, degrees) and one atom per occupied orbit."""

    name: str
    spacegroup: int
    cell: tuple[float, float, float, float, float, float]
    sites: tuple[tuple[str, tuple[float, float, float]], ...]
    n_atoms: int
    reference: str


_TABLE = (
    CrystalData(
        "alpha-quartz",
        154,
        (4.9160, 4.9160, 5.4054, 90.0, 90.0, 120.0),
        (("Si", (0.4697, 0.0, 2 / 3)), ("O", (0.4135, 0.2669, 0.1191 + 2 / 3))),
        9,
        "Levien, Prewitt, Weidner, American Mineralogist 65, 920 (1980); P3_2 21",
    ),
    CrystalData(
        "alpha-cristobalite",
        92,
        (4.9717, 4.9717, 6.9223, 90.0, 90.0, 90.0),
        (("Si", (0.3003, 0.3003, 0.0)), ("O", (0.2392, 0.1044, 0.1787))),
        12,
        "Downs, Palmer, American Mineralogist 79, 9 (1994); P4_1 2_1 2",
    ),
    CrystalData(
        "beta-cristobalite",
        122,
        (7.131 / math.sqrt(2.0), 7.131 / math.sqrt(2.0), 7.131, 90.0, 90.0, 90.0),
        (("Si", (0.0, 0.0, 0.0)), ("O", (0.09, 0.25, 0.125))),
        12,
        "ordered I-42d model: O'Keeffe, Hyde, Acta Crystallographica B 32, 2923 (1976)",
    ),
    CrystalData(
        "tridymite",
        194,
        (5.052, 5.052, 8.270, 90.0, 90.0, 120.0),
        (("Si", (1 / 3, 2 / 3, 0.0620)), ("O", (1 / 3, 2 / 3, 0.25)), ("O", (0.5, 0.0, 0.0))),
        12,
        "high tridymite: Kihara, Zeitschrift fuer Kristallographie 148, 237 (1978); P6_3/mmc",
    ),
    CrystalData(
        "coesite",
        15,
        (7.1356, 12.3692, 7.1736, 90.0, 120.34, 90.0),
        (
            ("Si", (0.14033, 0.10833, 0.07227)),
            ("Si", (0.50682, 0.15799, 0.54077)),
            ("O", (0.0, 0.0, 0.0)),
            ("O", (0.5, 0.11643, 0.75)),
            ("O", (0.26603, 0.12338, 0.94023)),
            ("O", (0.31147, 0.10379, 0.32797)),
            ("O", (0.01740, 0.21178, 0.47845)),
        ),
        48,
        "Levien, Prewitt, American Mineralogist 66, 324 (1981); C2/c",
    ),
    CrystalData(
        "silicon",
        227,
        (5.431020511, 5.431020511, 5.431020511, 90.0, 90.0, 90.0),
        (("Si", (0.0, 0.0, 0.0)),),
        8,
        "lattice parameter: CODATA 2018, Rev. Mod. Phys. 93, 025010 (2021); Fd-3m",
    ),
)

CRYSTALS: Mapping[str, CrystalData] = MappingProxyType({entry.name: entry for entry in _TABLE})


def crystal(name: str, repeat: tuple[int, int, int] = (1, 1, 1)) -> ase.Atoms:
    """Supercell of a crystal of `CRYSTALS`: conventional cell repeated along its three vectors (Angstrom)."""
    if name not in CRYSTALS:
        raise ValueError(f"crystal: expected one of {sorted(CRYSTALS)}, got {name!r}")
    if len(repeat) != 3 or any(int(count) != count or count < 1 for count in repeat):
        raise ValueError(f"repeat: expected three positive integers, got {repeat!r}")
    data = CRYSTALS[name]
    atoms = built_crystal(data).repeat(tuple(int(count) for count in repeat))
    atoms.info["source"] = f"{name}:{'x'.join(str(count) for count in repeat)}"
    atoms.info["reference"] = data.reference
    return atoms


def built_crystal(data: CrystalData) -> ase.Atoms:
    """The conventional cell of published data."""
    symbols = [symbol for symbol, _ in data.sites]
    positions = [position for _, position in data.sites]
    unit = build_crystal(symbols, positions, spacegroup=data.spacegroup, cellpar=list(data.cell))
    if len(unit) != data.n_atoms:
        raise RuntimeError(f"crystal {data.name}: expected {data.n_atoms} atoms, got {len(unit)}")
    # A fresh Atoms drops ASE's bookkeeping arrays ("spacegroup_kinds"), which would travel into every file.
    return ase.Atoms(unit.get_chemical_symbols(), unit.get_positions(), cell=unit.cell[:], pbc=True)


def inequivalent_sites(
    atoms: ase.Atoms, species: str | None = None, symprec: float = 1e-3
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First atom of every symmetry orbit and the size of the orbit, both (n_orbits,), by spglib.

    `species` keeps the orbits of one element; `symprec` is spglib's tolerance in Angstrom.
    """
    require_cell(atoms, "inequivalent sites")
    cell = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    if dataset is None:
        raise RuntimeError(f"inequivalent_sites: spglib found no symmetry at symprec={symprec} A")
    representatives, counts = np.unique(np.asarray(dataset.equivalent_atoms), return_counts=True)
    if species is not None:
        keep = [atoms.symbols[int(index)] == species for index in representatives]
        representatives, counts = representatives[keep], counts[keep]
    return representatives.astype(np.int64), counts.astype(np.int64)
