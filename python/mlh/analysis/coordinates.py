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
_STRAIN_LIMIT = 0.3  # beyond, two cells are no strains of each other but other choices of the vectors


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


def cell_strain(atoms: ase.Atoms, reference: ase.Atoms) -> float:
    """Largest principal strain from the cell of the reference to that of the atoms; 0 for equal cells.

    Of F = C_ref^-1 C the stretches are the singular values, so that a rotation is no strain. Infinite for a
    cell with a missing vector.
    """
    if np.allclose(atoms.cell[:], reference.cell[:], atol=_CELL_TOLERANCE):
        return 0.0
    if not (atoms.cell.volume and reference.cell.volume):
        return float("inf")
    stretches = np.linalg.svd(np.linalg.solve(reference.cell[:], atoms.cell[:]), compute_uv=False)
    return float(np.abs(stretches - 1.0).max())


def in_cell_of(atoms: ase.Atoms, reference: ase.Atoms) -> ase.Atoms:
    """The atoms at their fractional coordinates in the cell of the reference, so that both can be compared.

    Only for strains of one cell: ValueError where the cells differ by more than 30 %.
    """
    strain = cell_strain(atoms, reference)
    if strain == 0.0:
        return atoms
    if not strain <= _STRAIN_LIMIT:
        raise ValueError(
            f"cells: expected strains of at most {_STRAIN_LIMIT:.0%} between them, got {strain:.0%} from "
            f"{_shape_text(reference)} to {_shape_text(atoms)}"
        )
    moved = atoms.copy()
    moved.set_constraint()
    moved.set_cell(reference.cell, scale_atoms=True)
    return moved


def _shape_text(atoms: ase.Atoms) -> str:
    return "(" + ", ".join(f"{x:.4f}" for x in atoms.cell.cellpar()) + ")"


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
