"""A three-dimensional cell for structures that are not periodic in all directions."""

from __future__ import annotations

import logging

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from numpy.typing import NDArray

from mlh.basis.species import Basis
from mlh.common.units import BOHR_ANGSTROM

logger = logging.getLogger(__name__)


class PeriodicBox:
    """Adds vacuum in non-periodic directions and keeps the same box along a trajectory.

    Along a non-periodic direction neighbouring images must be at least twice the largest orbital cutoff
    apart, so that no orbital reaches an image. A missing cell vector is added with that gap (and a message);
    a cell vector that is too short is an error. The box is kept while the gap stays above 90 % of it, so
    that the integration grid does not jump during a relaxation.
    """

    def __init__(self) -> None:
        self._kept: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None

    def periodic(self, atoms: Atoms, basis: Basis) -> Atoms:
        """The atoms with a complete cell, positions untouched."""
        if atoms.pbc.all() and atoms.cell.rank == 3:
            return atoms
        required = 2.0 * max(basis[s].cutoff for s in set(atoms.get_chemical_symbols())) * BOHR_ANGSTROM
        missing = [axis for axis in range(3) if not atoms.cell[axis].any()]
        for axis in range(3):
            if atoms.pbc[axis] and axis in missing:
                raise ValueError(f"atoms: expected a cell vector in the periodic direction {axis}, got none")
        cell = self._cell(atoms, missing, required)
        for axis in (a for a in range(3) if not atoms.pbc[a]):
            gap = _thickness(cell, axis) - _extent(atoms, cell, axis)
            if axis not in missing and gap < required:
                raise ValueError(
                    f"atoms: direction {axis} is not periodic; expected at least {required:.2f} Angstrom "
                    f"between images (twice the longest orbital), got {gap:.2f}; add vacuum or set pbc"
                )
        boxed = atoms.copy()
        boxed.set_cell(cell)
        boxed.pbc = True
        return boxed

    def _cell(self, atoms: Atoms, missing: list[int], required: float) -> NDArray[np.float64]:
        """The cell with vectors added for the missing directions, the kept one while it is large enough."""
        if not missing:
            return np.array(atoms.cell.array)
        if self._kept is not None and np.array_equal(self._kept[0], atoms.numbers):
            kept = self._kept[1]
            given = [axis for axis in range(3) if axis not in missing]
            roomy = all(_thickness(kept, a) - _extent(atoms, kept, a) >= 0.9 * required for a in missing)
            if roomy and np.allclose(kept[given], atoms.cell.array[given]):
                return kept
        cell = np.array(complete_cell(atoms.cell.array))
        for axis in missing:
            direction = cell[axis] / np.linalg.norm(cell[axis])
            cell[axis] = direction * (np.ptp(atoms.positions @ direction) + required)
        logger.warning(
            "non-periodic direction(s) %s without a cell vector: a box of %s Angstrom was added",
            missing,
            np.round([np.linalg.norm(cell[a]) for a in missing], 2).tolist(),
        )
        self._kept = (atoms.numbers.copy(), cell)
        return cell


def _thickness(cell: NDArray[np.float64], axis: int) -> float:
    """Distance between the two faces of the cell that a vector connects, Angstrom."""
    normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    return float(abs(np.linalg.det(cell)) / np.linalg.norm(normal))


def _extent(atoms: Atoms, cell: NDArray[np.float64], axis: int) -> float:
    """Extent of the atoms along the normal of the two faces that a vector connects, Angstrom."""
    normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    return float(np.ptp(atoms.positions @ (normal / np.linalg.norm(normal))))
