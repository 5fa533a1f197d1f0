"""LBFGS that starts from a model Hessian of the structure instead of a multiple of the unit matrix.

    H0 = sum_{i<j} k_ij u_ij u_ij^T (+ on the diagonal blocks, - off them) + c 1
    k_ij = k0 exp(alpha (r_ref^2 - r_ij^2))

with the stretch constants k0, alpha, r_ref by row of the periodic table of R. Lindh, A. Bernhardsson,
G. Karlstroem, P. A. Malmqvist, Chem. Phys. Lett. 241, 423 (1995). It knows that bonds are stiff and
everything else is soft, which the unit matrix makes LBFGS learn step by step: a network of SiO4
tetrahedra relaxes in less than half of the steps. No line search (see `mlh.workflow.relax`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import ase
import numpy as np
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from scipy.sparse import coo_array, eye_array
from scipy.sparse.linalg import splu

from mlh.units import BOHR_ANGSTROM, HARTREE_EV

FloatArray = NDArray[np.float64]

_STRETCH = 0.45 * HARTREE_EV / BOHR_ANGSTROM**2  # k0, eV/Angstrom^2
_ALPHA = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]])  # 1/Bohr^2
_REFERENCE = np.array([[1.35, 2.10, 2.53], [2.10, 2.87, 3.40], [2.53, 3.40, 3.40]])  # Bohr
_LARGEST = 100.0  # eV/Angstrom^2: atoms that start too close are not stiffer than any bond
_CUTOFF = 4.0  # Angstrom; k_ij is negligible beyond
_SOFT = 3.0  # c, eV/Angstrom^2: bond angles and everything else
_MEMORY = 100
_SMALLEST_CURVATURE = 1e-3  # eV/Angstrom^2 along a step; less says nothing about a minimum


def model_hessian(atoms: ase.Atoms) -> coo_array:
    """H0 (3 n, 3 n), eV/Angstrom^2, sparse, symmetric, positive definite."""
    i, j, vectors = neighbor_list("ijD", atoms, _CUTOFF)
    row = np.digitize(atoms.numbers, [3, 11])  # 0: H, He; 1: Li to Ne; 2: all heavier
    alpha, reference = _ALPHA[row[i], row[j]], _REFERENCE[row[i], row[j]]
    square = (vectors**2).sum(axis=1)
    constants = _STRETCH * np.exp(alpha * (reference**2 - square / BOHR_ANGSTROM**2))
    # Every pair is listed in both directions: half of it each time.
    scale = 0.5 * np.minimum(constants, _LARGEST) / np.maximum(square, 1e-12)
    blocks = scale[:, None, None] * vectors[:, :, None] * vectors[:, None, :]
    axis = np.arange(3)
    rows, columns, values = [], [], []
    for first, second, sign in ((i, i, 1.0), (j, j, 1.0), (i, j, -1.0), (j, i, -1.0)):
        rows.append(np.broadcast_to((3 * first)[:, None, None] + axis[:, None], blocks.shape))
        columns.append(np.broadcast_to((3 * second)[:, None, None] + axis, blocks.shape))
        values.append(sign * blocks)
    size = 3 * len(atoms)
    stretch = coo_array(
        (
            np.concatenate(values, axis=None),
            (np.concatenate(rows, axis=None), np.concatenate(columns, axis=None)),
        ),
        shape=(size, size),
    )
    return coo_array(stretch + _SOFT * eye_array(size))


class ModelHessianLBFGS:
    """Moves the atoms of an ASE structure with a calculator; used like an optimiser of ASE."""

    def __init__(self, atoms: ase.Atoms, maxstep: float) -> None:
        self._atoms = atoms
        self._maxstep = maxstep
        self._solver = splu(model_hessian(atoms).tocsc())
        self._pairs: deque[tuple[FloatArray, FloatArray]] = deque(
            maxlen=_MEMORY
        )  # steps, changes of gradient

    def irun(self, fmax: float, steps: int) -> Iterator[bool]:
        """Yields after every geometry, the first included: are all forces below `fmax` (eV/Angstrom)?"""
        positions, gradient = self._state()
        yield self._small(gradient, fmax)
        for _ in range(steps):
            if self._small(gradient, fmax):
                return
            self._atoms.set_positions((positions + self._step(gradient)).reshape(-1, 3))
            new_positions, new_gradient = self._state()
            moved, change = new_positions - positions, new_gradient - gradient
            if moved @ change > _SMALLEST_CURVATURE * (moved @ moved):
                self._pairs.append((moved, change))
            positions, gradient = new_positions, new_gradient
            yield self._small(gradient, fmax)

    def _state(self) -> tuple[FloatArray, FloatArray]:
        """Positions and gradient, flat copies."""
        positions = np.array(self._atoms.get_positions(), dtype=np.float64).ravel()
        return positions, -np.array(self._atoms.get_forces(), dtype=np.float64).ravel()

    @staticmethod
    def _small(gradient: FloatArray, fmax: float) -> bool:
        return bool(np.linalg.norm(gradient.reshape(-1, 3), axis=1).max() <= fmax)

    def _step(self, gradient: FloatArray) -> FloatArray:
        """-H^-1 g by the two-loop recursion (Nocedal, Math. Comp. 35, 773 (1980)), limited to `maxstep`."""
        vector = gradient.copy()
        weights = []
        for moved, change in reversed(self._pairs):
            weights.append((moved @ vector) / (moved @ change))
            vector -= weights[-1] * change
        vector = np.asarray(self._solver.solve(vector), dtype=np.float64)
        for (moved, change), weight in zip(self._pairs, reversed(weights), strict=True):
            vector += moved * (weight - (change @ vector) / (moved @ change))
        longest = float(np.linalg.norm(vector.reshape(-1, 3), axis=1).max())
        return -vector * min(1.0, self._maxstep / longest)
