"""Vibrations by central differences of the forces: Hessian, frequencies, modes.

    H_ia,jb = -(F_jb(tau_ia + d) - F_jb(tau_ia - d)) / 2d,    M^-1/2 H M^-1/2 e = w^2 e

H is symmetric where the forces are a gradient, and its rows sum to zero where nothing changes with a rigid
translation: what is missing to both is told beside the result. Of the atoms of a defect alone, the others
stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ase
import numpy as np
from ase import units
from ase.constraints import FixAtoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from mlh.dynamics.evaluation import Geometry

Array = NDArray[np.float64]

AT_REST = -1
"""The key of the geometry without displacement."""

RIGID = 0.5
"""Share of rigid motion above which a mode is one."""


def moving_atoms(
    atoms: ase.Atoms, center: Sequence[float] | None = None, radius: float | None = None
) -> list[int]:
    """Indices of the atoms that vibrate: those that are not fixed, within `radius` of `center` (Angstrom).

    A radius without a centre is around the place of the defect that a structure names (`defect_position`).
    """
    chosen = np.ones(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms):
            name = type(constraint).__name__
            raise ValueError(f"constraints: expected atoms that are fixed, or none, got {name}")
        chosen[constraint.index] = False
    if center is not None and radius is None:
        raise ValueError("radius: expected together with a center")
    if radius is not None:
        if not radius > 0.0:
            raise ValueError(f"radius: expected a positive number in Angstrom, got {radius}")
        place = atoms.info.get("defect_position") if center is None else center
        if place is None:
            raise ValueError("center: expected together with a radius; the structure names no defect")
        away = atoms.positions - np.asarray(place, dtype=float)
        chosen &= find_mic(away, atoms.cell, atoms.pbc)[1] <= radius
    found: list[int] = np.flatnonzero(chosen).tolist()
    if not found:
        raise ValueError("atoms: expected at least one that vibrates, got none (all fixed, or out of reach)")
    return found


def displacements(atoms: ase.Atoms, moving: Sequence[int], step: float) -> list[Geometry]:
    """The geometry at rest, and each coordinate of the moving atoms a step forth and back.

    Key of coordinate c (of 3 per moving atom): 2 c forth, 2 c + 1 back.
    """
    bare = atoms.copy()
    bare.calc = None
    bare.set_constraint()
    found = [Geometry(AT_REST, bare)]
    for number, atom in enumerate(moving):
        for axis in range(3):
            for back in (0, 1):
                moved = bare.copy()
                moved.positions[atom, axis] += -step if back else step
                found.append(Geometry(2 * (3 * number + axis) + back, moved))
    return found


def label(key: int, moving: Sequence[int], symbols: Sequence[str]) -> str:
    """What a key is, in words: O5 x+."""
    if key == AT_REST:
        return "at rest"
    coordinate, back = divmod(key, 2)
    atom = moving[coordinate // 3]
    return f"{symbols[atom]}{atom} {'xyz'[coordinate % 3]}{'-' if back else '+'}"


@dataclass(frozen=True, eq=False)
class Modes:
    """Vibrations of the moving atoms.

    hessian: symmetric (3m, 3m), eV/Angstrom^2. frequencies: (3m,) cm^-1, imaginary ones negative, ascending.
    vectors: (3m, m, 3), displacements of the moving atoms, mass-weighted ones orthonormal. rigid: share of
    translations (of molecules also rotations) in each mode, 0 where atoms are held. asymmetry: largest
    |H - H^T|; acoustic: largest |sum over atoms of a row|, None where atoms are held.
    """

    moving: tuple[int, ...]
    hessian: Array
    frequencies: Array
    vectors: Array
    weights: Array  # (3m, m): share of each atom in the mode, sum 1
    rigid: Array
    asymmetry: float
    acoustic: float | None
    fmax: float  # at rest, of the moving atoms, eV/Angstrom

    @property
    def vibrations(self) -> NDArray[np.bool_]:
        """Modes that are no rigid motion."""
        return np.asarray(self.rigid < RIGID)

    @property
    def zero_point_energy(self) -> float:
        """Half the quanta of all real vibrations, eV."""
        real = self.frequencies[self.vibrations & (self.frequencies > 0.0)]
        return float(0.5 * real.sum() * units.invcm)

    def participation(self) -> Array:
        """Atoms that take part in each mode, 1 / sum of the squares of their shares."""
        return np.asarray(1.0 / (self.weights**2).sum(axis=1))


def modes_of(atoms: ase.Atoms, moving: Sequence[int], forces: Mapping[int, Array], step: float) -> Modes:
    """From the forces (natoms, 3) of all `displacements`."""
    count = 3 * len(moving)
    raw = np.empty((count, count))
    for c in range(count):
        change = (forces[2 * c] - forces[2 * c + 1])[list(moving)]
        raw[c] = -change.reshape(-1) / (2.0 * step)
    hessian = 0.5 * (raw + raw.T)
    masses = np.repeat(atoms.get_masses()[list(moving)], 3)
    root = np.sqrt(masses)
    squares, columns = np.linalg.eigh(hessian / np.outer(root, root))
    quantum = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm  # cm^-1 per sqrt(eV/A^2/u)
    frequencies = np.sign(squares) * np.sqrt(np.abs(squares)) * quantum
    whole = len(moving) == len(atoms)
    rigid = _rigid_motions(atoms, root) if whole else np.zeros((count, 0))
    eigenvectors = columns.T
    sums = raw.reshape(count, -1, 3).sum(axis=1)
    return Modes(
        moving=tuple(moving),
        hessian=hessian,
        frequencies=frequencies,
        vectors=(eigenvectors / root).reshape(count, -1, 3),
        weights=(eigenvectors**2).reshape(count, -1, 3).sum(axis=2),
        rigid=((eigenvectors @ rigid) ** 2).sum(axis=1),
        asymmetry=float(np.abs(raw - raw.T).max()),
        acoustic=float(np.abs(sums).max()) if whole else None,
        fmax=float(np.linalg.norm(forces[AT_REST][list(moving)], axis=1).max()),
    )


def _rigid_motions(atoms: ase.Atoms, root: Array) -> Array:
    """Orthonormal mass-weighted translations, and rotations of what is periodic nowhere (3m, 3 to 6)."""
    axes = np.eye(3)
    motions = [np.tile(axis, len(atoms)) for axis in axes]
    if not atoms.pbc.any():
        away = atoms.positions - atoms.get_center_of_mass()
        motions += [np.cross(axis, away).reshape(-1) for axis in axes]
    weighted = np.array(motions).T * root[:, None]
    vectors, sizes, _ = np.linalg.svd(weighted, full_matrices=False)
    return np.asarray(vectors[:, sizes > 1e-6 * sizes[0]])  # a linear molecule has two rotations
