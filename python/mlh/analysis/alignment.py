"""One energy zero for a defect cell and its host.

Eigenvalues of two cells have no common zero: the average potential depends on the atoms in the cell. Far from
a defect the potential is that of the host, so the on-site energies of the atoms there,

    e_A = <phi_A,s| H |phi_A,s>   (first s orbital),

differ by a constant: the shift (as core levels are used for, e.g. C. Freysoldt et al., Rev. Mod. Phys. 86,
253 (2014), section II.C).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray

from mlh.analysis.state import ElectronicState
from mlh.common.units import HARTREE_EV
from mlh.matrix.block_matrix import pattern_index

FloatArray = NDArray[np.float64]

_SAME_CELL = 5e-5  # Angstrom
_SAME_SITE = 1.0  # Angstrom; an atom that moved further has no partner in the host


@dataclass(frozen=True, slots=True)
class Alignment:
    """shift: mean of e_A(defect) - e_A(host) of `n_atoms` atoms beyond `distance` from the centre; spread:
    standard deviation, which says how well one constant describes them. eV, Angstrom."""

    shift: float
    spread: float
    n_atoms: int
    distance: float


def align(
    defect: ElectronicState, host: ElectronicState, center: ArrayLike, fraction: float = 0.7
) -> Alignment:
    """Shift of the levels of a defect cell against those of its host, from the atoms further from the centre
    than `fraction` of the farthest one."""
    pairs = check_host(defect.atoms, host.atoms)
    _, distances = find_mic(
        defect.atoms.positions - np.asarray(center, dtype=float), defect.atoms.cell, defect.atoms.pbc
    )
    limit = fraction * float(np.max(distances))
    far = [(a, b) for a, b in pairs if distances[a] > limit]
    if len(far) < 2:
        raise ValueError(f"host: expected at least two common atoms far from the defect, got {len(far)}")
    here, there = onsite_energies(defect), onsite_energies(host)
    differences = np.array([here[a] - there[b] for a, b in far]) * HARTREE_EV
    return Alignment(float(differences.mean()), float(differences.std()), len(far), limit)


def check_host(defect: Atoms, host: Atoms) -> list[tuple[int, int]]:
    """`matching_atoms`, after an error for a host in another cell."""
    if not np.allclose(defect.cell.array, host.cell.array, atol=_SAME_CELL):
        raise ValueError("host: expected the cell of the defect structure, got another one")
    return matching_atoms(defect, host)


def onsite_energies(state: ElectronicState) -> FloatArray:
    """<phi_s|H|phi_s> of the first s orbital of every atom, averaged over spins, (natoms,) Hartree."""
    pattern, index = state.system.pattern, pattern_index(state.system.pattern)
    home = (np.asarray(pattern.cell) == 0).all(axis=1)
    own = np.flatnonzero((np.asarray(pattern.atom_i) == np.asarray(pattern.atom_j)) & home)
    energies = np.empty(len(index.atom_start) - 1)
    energies[np.asarray(pattern.atom_i)[own]] = state.H.data.mean(axis=0)[np.asarray(pattern.offset)[own]]
    return energies


def matching_atoms(defect: Atoms, host: Atoms) -> list[tuple[int, int]]:
    """(atom of the defect cell, atom of the host): by the array "host_index" that `mlh vacancies` writes,
    else the nearest atom of the same element within 1 Angstrom."""
    if "host_index" in defect.arrays:
        index = np.asarray(defect.arrays["host_index"], dtype=int)
        if index.max(initial=-1) >= len(host):
            raise ValueError(
                f"host: expected the structure that the defect was made from (atom {index.max()}), "
                f"got one of {len(host)} atoms"
            )
        return [(a, int(b)) for a, b in enumerate(index) if b >= 0 and defect.numbers[a] == host.numbers[b]]
    pairs = []
    for a, position in enumerate(defect.positions):
        same = np.flatnonzero(host.numbers == defect.numbers[a])
        if len(same):
            _, distances = find_mic(host.positions[same] - position, host.cell, host.pbc)
            if np.min(distances) < _SAME_SITE:
                pairs.append((a, int(same[int(np.argmin(distances))])))
    return pairs
