"""Levels of a point defect: which states sit on it, where they lie in the gap, how localised they are.

Shares p_Ai of the atoms in a state (Mulliken), IPR_i = sum_A p_Ai^2 / (sum_A p_Ai)^2, weight on the atoms
around the defect P_i = sum_(A at the site) p_Ai, and the overlap population of those atoms,
O_i = sum_(A < B at the site) 2 Re[c_Ai^+ S_AB c_Bi]: positive in a bonding state, negative in an
antibonding one. The occupied (empty) defect state is the one with the largest sum_(A at the site) p_Ai^2
below (above) the gap: at an oxygen vacancy in SiO2 the bonding and antibonding states of the Si-Si dimer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray

from mlh.analysis.alignment import Alignment, align
from mlh.analysis.bands import band_edges
from mlh.analysis.mulliken import atom_shares, orbital_labels, participation
from mlh.analysis.orbitals import StateIndex, homo_index
from mlh.analysis.state import ElectronicState
from mlh.common.units import HARTREE_EV
from mlh.structures.shell import first_shell

FloatArray = NDArray[np.float64]

BOND = 1.3  # neighbours: closer than this times the sum of covalent radii
LOCALISED = 1.0 / 3.0  # a state with more of itself on the site does not count as a band edge of the cell


@dataclass(frozen=True, slots=True)
class DefectSite:
    """Centre (Cartesian, Angstrom) and the atoms around it."""

    center: tuple[float, float, float]
    atoms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DefectLevel:
    """One state. energy: eV above the valence edge; main_atoms: (atom, share), the largest first."""

    index: StateIndex
    energy: float
    occupation: float
    ipr: float
    site_share: float
    site_participation: float
    overlap_population: float
    in_gap: bool
    main_atoms: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class DefectLevels:
    """Levels around the gap with the edges they are given relative to (eV, in the defect cell's zero).

    occupied, empty: the defect's states below and above the gap. alignment: None when the edges are those of
    the delocalised states of the defect cell itself.
    """

    site: DefectSite
    levels: tuple[DefectLevel, ...]
    occupied: DefectLevel
    empty: DefectLevel
    valence_edge: float
    conduction_edge: float
    alignment: Alignment | None

    @property
    def gap(self) -> float:
        """Between the edges, eV."""
        return self.conduction_edge - self.valence_edge

    @property
    def in_gap(self) -> tuple[DefectLevel, ...]:
        """Levels strictly between the edges."""
        return tuple(level for level in self.levels if level.in_gap)


def defect_site(
    atoms: Atoms, center: ArrayLike | None = None, around: Sequence[int] | None = None
) -> DefectSite:
    """The atoms around a defect: given ones, those bonded to a position, or those of the provenance that
    `mlh vacancies` and `point_defect` write (an added atom belongs to its own site). Where the provenance
    says that the defect is there and no atom is bonded to it, as around V_O(2+), the nearest ones of other
    elements than the removed one, which had bonds to it."""
    if around is not None:
        chosen = tuple(int(i) for i in around)
        if not chosen or not all(0 <= i < len(atoms) for i in chosen):
            raise ValueError(f"around: expected atoms of 0 to {len(atoms) - 1}, got {list(around)}")
        start = atoms.positions[chosen[0]]
        vectors, _ = find_mic(atoms.positions[list(chosen)] - start, atoms.cell, atoms.pbc)
        return DefectSite(_triple(start + np.mean(vectors, axis=0)), chosen)
    if center is None and "defect_position" not in atoms.info:
        raise ValueError(
            "center: expected a position or the atoms around the defect, because the structure does not say "
            "where its defect is (defect_position among its info)"
        )
    point = np.asarray(atoms.info["defect_position"] if center is None else center, dtype=float)
    if point.shape != (3,):
        raise ValueError(f"center: expected three coordinates in Angstrom, got shape {point.shape}")
    _, distances = find_mic(atoms.positions - point, atoms.cell, atoms.pbc)
    reach = BOND * (covalent_radii[atoms.numbers] + _radius_at(atoms, int(np.argmin(distances))))
    found = tuple(int(i) for i in np.flatnonzero((distances < reach) & (atoms.numbers > 0)))
    if not found and center is None:
        found = tuple(sorted(first_shell(atoms, point, str(atoms.info.get("defect_removed", "")))[0]))
    if not found:
        raise ValueError(
            f"center: expected atoms within bonding distance of {point.round(3).tolist()}, got none "
            f"(the nearest is {np.min(distances):.2f} Angstrom away)"
        )
    return DefectSite(_triple(point), found)


def _radius_at(atoms: Atoms, nearest: int) -> float:
    """Covalent radius of what was or is at the site; without provenance that of the nearest atom."""
    for key in ("defect_added", "defect_removed"):
        symbol = str(atoms.info.get(key, "none"))
        if symbol in atomic_numbers:
            return float(covalent_radii[atomic_numbers[symbol]])
    return float(covalent_radii[atoms.numbers[nearest]])


def _triple(x: FloatArray) -> tuple[float, float, float]:
    return float(x[0]), float(x[1]), float(x[2])


def defect_levels(
    state: ElectronicState,
    site: DefectSite,
    host: ElectronicState | None = None,
    spin: int = 0,
    k: int = 0,
    window: float = 6.0,
) -> DefectLevels:
    """The states within `window` (eV) of the gap at one spin and k point, and the two of the defect.

    host: state of the perfect cell with the same settings; its band edges are carried over with `align`.
    Without it the edges are the highest filled and the lowest empty state that have less than a third of
    themselves on the site.
    """
    if not window > 0.0:
        raise ValueError(f"window: expected a positive width in eV, got {window}")
    energies = state.solution.eigenvalues[spin, k] * HARTREE_EV
    shares = atom_shares(state, spin, k)
    on_site = list(site.atoms)
    share, weight = shares[on_site].sum(axis=0), (shares[on_site] ** 2).sum(axis=0)
    homo = homo_index(state, spin, k)
    if homo + 1 >= len(energies):
        raise ValueError("state: expected empty states, got a basis that is completely filled")
    low, high = energies[homo] - window, energies[homo + 1] + window
    bands = np.flatnonzero((energies >= low) & (energies <= high))
    filled, empty = bands[bands <= homo], bands[bands > homo]
    alignment = None if host is None else align(state, host, site.center)
    if host is None or alignment is None:
        valence, conduction = _own_edges(energies, share, filled, empty)
    else:
        edges = band_edges(host.solution.eigenvalues, host.kpts.points, host.solution)
        if edges.valence is None or edges.conduction is None:
            raise ValueError("host: expected a structure with a gap, got a metal")
        valence = edges.valence.energy + alignment.shift
        conduction = edges.conduction.energy + alignment.shift
    ratio = participation(shares)
    overlap = _overlap_population(state, site, spin, k)

    def describe(band: int) -> DefectLevel:
        order = np.argsort(-shares[:, band], kind="stable")[:4]
        return DefectLevel(
            index=StateIndex(spin, k, band),
            energy=float(energies[band] - valence),
            occupation=float(state.solution.occupations[spin, k, band]),
            ipr=float(ratio[band]),
            site_share=float(share[band]),
            site_participation=float(weight[band]),
            overlap_population=float(overlap[band]),
            in_gap=bool(valence + 1e-6 < energies[band] < conduction - 1e-6),
            main_atoms=tuple((int(a), float(shares[a, band])) for a in order),
        )

    levels = tuple(describe(int(band)) for band in bands)
    chosen = [int(group[weight[group].argmax()]) for group in (filled, empty)]
    return DefectLevels(
        site=site,
        levels=levels,
        occupied=describe(chosen[0]),
        empty=describe(chosen[1]),
        valence_edge=float(valence),
        conduction_edge=float(conduction),
        alignment=alignment,
    )


def describe_levels(state: ElectronicState, levels: DefectLevels) -> dict[str, Any]:
    """Plain values of the levels around the gap."""
    alignment = levels.alignment

    def number(level: DefectLevel) -> int:
        return state.solution.band_number(level.index.spin, level.index.band)

    return {
        "site": list(levels.site.center),
        "atoms": [f"{state.system.symbols[a]}{a}" for a in levels.site.atoms],
        "edges_of": "the host" if alignment is not None else "delocalised states of this cell",
        "gap_ev": levels.gap,
        "valence_edge_ev": levels.valence_edge,
        "alignment": None
        if alignment is None
        else {
            "shift_ev": alignment.shift,
            "spread_ev": alignment.spread,
            "n_atoms": alignment.n_atoms,
            "beyond_angstrom": alignment.distance,
        },
        "occupied_band": number(levels.occupied),
        "empty_band": number(levels.empty),
        "in_gap_bands": [number(level) for level in levels.in_gap],
        "levels": [
            {
                "band": number(level),
                "energy_ev": level.energy,
                "below_conduction_edge_ev": levels.gap - level.energy,
                "occupation": level.occupation,
                "ipr": level.ipr,
                "site_share": level.site_share,
                "overlap_population": level.overlap_population,
                "in_gap": level.in_gap,
                "main_atoms": {f"{state.system.symbols[a]}{a}": share for a, share in level.main_atoms},
            }
            for level in levels.levels
        ],
    }


def _own_edges(
    energies: FloatArray, share: FloatArray, filled: NDArray[np.int64], empty: NDArray[np.int64]
) -> tuple[float, float]:
    below, above = filled[share[filled] < LOCALISED], empty[share[empty] < LOCALISED]
    if not len(below) or not len(above):
        raise ValueError(
            "site: expected states away from the site on both sides of the gap, got none; give a host, fewer "
            "atoms around the site, or a wider window"
        )
    return float(energies[below].max()), float(energies[above].min())


def _overlap_population(state: ElectronicState, site: DefectSite, spin: int, k: int) -> FloatArray:
    """sum over pairs of different atoms at the site of c_A^+ S_AB c_B, both orders, (nbands,)."""
    labels = orbital_labels(state.system)
    rows = np.flatnonzero(np.isin(labels.atom, site.atoms))
    different = labels.atom[rows][:, None] != labels.atom[rows][None, :]
    S = state.overlap_at(k)[rows][:, rows]
    S = (S.toarray() if hasattr(S, "toarray") else S) * different
    c = state.solution.coefficients[spin][k][rows]
    return np.asarray((c.conj() * (S @ c)).real.sum(axis=0))
