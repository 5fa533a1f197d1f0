"""A three-dimensional cell for structures that are not periodic in all directions.

Images of a molecule meet through its dipole p, on a lattice of N cells of the tensor T (`dipole_tensor`):
E = p T p / 2 per cell, -2 pi p^2 / (3 V) in a cube (Makov, Payne, Phys. Rev. B 51, 4014 (1995)): 9 meV for
water in 8 Angstrom. T vanishes along the long edge of a square prism 1.3988 times as long as the others.
"""

from __future__ import annotations

import logging
from itertools import product

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from numpy.typing import NDArray
from scipy.special import erfc

from mlh.basis.species import Basis
from mlh.common.units import BOHR_ANGSTROM, DEBYE_ANGSTROM, HARTREE_EV

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

EXTRA_GAP = 3.0
"""Angstrom between images beyond the reach of their orbitals, for the multipoles above the dipole: water and
CH3CN in turned boxes are 1.7 and 1.9 meV off the limit without, 0.5 and 0.3 meV with it."""

PROLATE = 1.3988
"""Edge along the dipole over the others, where a lattice of such dipoles has no energy."""

TOLERANCE = 3e-4 / HARTREE_EV
"""Hartree; energy between the dipoles of images above which a box is turned."""

WARN = 1e-3 / HARTREE_EV
"""Hartree; the same above which a box of the user is worth a word."""

PERIODIC = "periodic_directions"
"""In the info of atoms in a box: which directions are periodic without it."""


class PeriodicBox:
    """Adds vacuum in non-periodic directions and keeps the same box along a trajectory.

    Along a non-periodic direction neighbouring images must be at least twice the largest orbital cutoff
    apart, so that no orbital reaches an image. A missing cell vector is added with that gap and `EXTRA_GAP`
    (and a message); a cell vector that is too short is an error. A box around a molecule is turned along its
    dipole once that is known (`settle`). The box is kept while the gap stays above 90 % of it, so that the
    integration grid does not jump during a relaxation.
    """

    def __init__(self) -> None:
        self._kept: tuple[NDArray[np.int64], FloatArray] | None = None
        self._settled = False

    def periodic(self, atoms: Atoms, basis: Basis) -> Atoms:
        """The atoms with a complete cell, positions untouched."""
        if atoms.pbc.all() and atoms.cell.rank == 3:
            return atoms
        required = _reach(atoms, basis)
        missing = [axis for axis in range(3) if not atoms.cell[axis].any()]
        for axis in range(3):
            if atoms.pbc[axis] and axis in missing:
                raise ValueError(f"atoms: expected a cell vector in the periodic direction {axis}, got none")
        cell = self._cell(atoms, missing, required + EXTRA_GAP)
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
        boxed.info[PERIODIC] = [bool(flag) for flag in atoms.pbc]
        return boxed

    def settle(self, atoms: Atoms, basis: Basis, dipole: FloatArray) -> bool:
        """Whether the calculation is to be repeated, in a box turned along the dipole (3,), e Bohr.

        Once for a molecule without cell vectors, at its first geometry. In a box of the user it is said what
        the images do.
        """
        if atoms.pbc.any():
            return False
        own = None if atoms.cell.any() else self._kept
        if self._settled or (own is None and atoms.cell.rank < 3):
            return False
        self._settled = True
        cell = atoms.cell.array if own is None else own[1]
        energy = 0.5 * float(dipole @ dipole_tensor(cell / BOHR_ANGSTROM) @ dipole)
        debye = float(np.linalg.norm(dipole)) * BOHR_ANGSTROM / DEBYE_ANGSTROM
        size = f"dipole {debye:.2f} Debye: its images change the energy"
        if own is None:
            if abs(energy) > WARN:
                text = "%s by about %.1f meV in this box; without a cell they are made to cancel"
                logger.warning(text, size, energy * HARTREE_EV * 1e3)
            return False
        if abs(energy) <= TOLERANCE:
            return False
        turned = _prism(atoms, dipole, _reach(atoms, basis) + EXTRA_GAP)
        self._kept = (own[0], turned)
        logger.warning(
            "%s by %.1f meV; again in a box of %s Angstrom along it, where they cancel",
            size,
            energy * HARTREE_EV * 1e3,
            np.round(np.linalg.norm(turned, axis=1), 2).tolist(),
        )
        return True

    def _cell(self, atoms: Atoms, missing: list[int], gap: float) -> FloatArray:
        """The cell with vectors added for the missing directions, the kept one while it is large enough."""
        if not missing:
            return np.array(atoms.cell.array)
        if self._kept is not None and np.array_equal(self._kept[0], atoms.numbers):
            kept = self._kept[1]
            given = [axis for axis in range(3) if axis not in missing]
            roomy = all(_thickness(kept, a) - _extent(atoms, kept, a) >= 0.9 * gap for a in missing)
            if roomy and np.allclose(kept[given], atoms.cell.array[given]):
                return kept
        cell = np.array(complete_cell(atoms.cell.array))
        for axis in missing:
            direction = cell[axis] / np.linalg.norm(cell[axis])
            cell[axis] = direction * (np.ptp(atoms.positions @ direction) + gap)
        logger.warning(
            "non-periodic direction(s) %s without a cell vector: a box of %s Angstrom was added",
            missing,
            np.round([np.linalg.norm(cell[a]) for a in missing], 2).tolist(),
        )
        self._kept, self._settled = (atoms.numbers.copy(), cell), False
        return cell


def dipole_tensor(cell: FloatArray) -> FloatArray:
    """T (3, 3), Bohr^-3: equal dipoles p on the points of a lattice have the energy p T p / 2 per point.

    cell: vectors as rows, Bohr. Ewald's sum without surface (tin foil), as every periodic calculation has it.
    """
    eta = np.sqrt(np.pi) / np.cbrt(abs(np.linalg.det(cell)))
    count = np.array([n for n in product(range(-6, 7), repeat=3) if any(n)])
    G = count @ (2.0 * np.pi * np.linalg.inv(cell).T)
    g2 = np.sum(G**2, axis=1)
    weight = 4.0 * np.pi / abs(np.linalg.det(cell)) * np.exp(-g2 / (4.0 * eta**2)) / g2
    R = count @ cell
    r = np.linalg.norm(R, axis=1)
    gauss = 2.0 * eta / np.sqrt(np.pi) * np.exp(-((eta * r) ** 2)) / r**2
    near = np.sum(erfc(eta * r) / r**3 + gauss)
    slope = 3.0 * erfc(eta * r) / r**5 + gauss * (2.0 * eta**2 + 3.0 / r**2)
    own = near - 4.0 * eta**3 / (3.0 * np.sqrt(np.pi))
    tensor: FloatArray = own * np.eye(3) + (G.T * weight) @ G - (R.T * slope) @ R
    return tensor


def _prism(atoms: Atoms, dipole: FloatArray, gap: float) -> FloatArray:
    """Cell vectors (3, 3), Angstrom, of a square prism along the dipole, with at least `gap` on every side.

    The vector nearest to the dipole turns to it, the others as little as they can: a dipole along an axis
    keeps the axes.
    """
    long = int(np.argmax(np.abs(dipole)))
    axes = np.eye(3)
    axes[long] = dipole / np.linalg.norm(dipole) * np.sign(dipole[long])
    second, third = (long + 1) % 3, (long + 2) % 3
    axes[second] -= axes[long] * (axes[second] @ axes[long])
    axes[second] /= np.linalg.norm(axes[second])
    axes[third] = np.cross(axes[long], axes[second])
    sides = np.ptp(atoms.positions @ axes.T, axis=0) + gap
    sides[long] /= PROLATE
    edges = np.full(3, sides.max())
    edges[long] *= PROLATE
    cell: FloatArray = axes * edges[:, None] + 0.0  # no -0.0
    return cell


def _reach(atoms: Atoms, basis: Basis) -> float:
    """Twice the longest orbital of the atoms, Angstrom."""
    return 2.0 * max(basis[s].cutoff for s in set(atoms.get_chemical_symbols()) - {"X"}) * BOHR_ANGSTROM


def _thickness(cell: FloatArray, axis: int) -> float:
    """Distance between the two faces of the cell that a vector connects, Angstrom."""
    normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    return float(abs(np.linalg.det(cell)) / np.linalg.norm(normal))


def _extent(atoms: Atoms, cell: FloatArray, axis: int) -> float:
    """Extent of the atoms along the normal of the two faces that a vector connects, Angstrom."""
    normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    return float(np.ptp(atoms.positions @ (normal / np.linalg.norm(normal))))
