"""How far two relaxed structures are from each other.

dQ = sqrt(sum_a m_a |dR_a|^2), in sqrt(amu) Angstrom (A. Alkauskas, Q. Yan, C. G. Van de Walle,
Phys. Rev. B 90, 075202 (2014)), with dR_a by minimum image. Atoms are matched one to one by their
order; anything that cannot be matched is an error, never cut to the shorter list.
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray

DEFAULT_RADII = (3.0, 5.0, 7.0, 9.0, 12.0)  # Angstrom
_CELL_TOLERANCE = 1e-6  # Angstrom


def displacements(
    atoms: ase.Atoms, reference: ase.Atoms, remove_translation: bool = False
) -> NDArray[np.float64]:
    """dR_a = R_a - R_a(reference) by minimum image, (natoms, 3) Angstrom.

    `remove_translation` takes out the mass-weighted mean, the rigid drift that costs no energy.
    """
    if len(atoms) != len(reference):
        raise ValueError(
            f"displacements: expected equal numbers of atoms, got {len(atoms)} and {len(reference)}"
        )
    if not np.array_equal(atoms.numbers, reference.numbers):
        first = int(np.flatnonzero(atoms.numbers != reference.numbers)[0])
        raise ValueError(
            f"displacements: expected the same elements in the same order, got {atoms.symbols[first]} and "
            f"{reference.symbols[first]} for atom {first}"
        )
    if not np.allclose(atoms.cell[:], reference.cell[:], atol=_CELL_TOLERANCE):
        raise ValueError(
            f"displacements: expected equal cells, got {atoms.cell[:].tolist()} and "
            f"{reference.cell[:].tolist()}"
        )
    vectors, _ = find_mic(atoms.positions - reference.positions, reference.cell, reference.pbc)
    vectors = np.asarray(vectors, dtype=np.float64)
    if remove_translation:
        vectors = vectors - np.average(vectors, axis=0, weights=reference.get_masses())
    return vectors


def configuration_coordinate(
    atoms: ase.Atoms, reference: ase.Atoms, remove_translation: bool = False
) -> float:
    """dQ = sqrt(sum_a m_a |dR_a|^2) in sqrt(amu) Angstrom."""
    vectors = displacements(atoms, reference, remove_translation)
    return float(np.sqrt((reference.get_masses()[:, None] * vectors**2).sum()))


def coordinate_mae(
    atoms: ase.Atoms,
    reference: ase.Atoms,
    center: ArrayLike,
    radii: Sequence[float] = DEFAULT_RADII,
    remove_translation: bool = False,
) -> dict[float, float | None]:
    """Mean |dR| per Cartesian component (Angstrom) of the atoms within each radius of `center`.

    Distances are minimum-image distances in `reference`; None where a sphere holds no atom.
    """
    point = np.asarray(center, dtype=float)
    if point.shape != (3,):
        raise ValueError(f"center: expected shape (3,), got {point.shape}")
    vectors = np.abs(displacements(atoms, reference, remove_translation))
    _, distances = find_mic(reference.positions - point, reference.cell, reference.pbc)
    result: dict[float, float | None] = {}
    for radius in radii:
        inside = np.asarray(distances) <= radius
        result[float(radius)] = float(vectors[inside].mean()) if inside.any() else None
    return result
