"""Preconditioning of self-consistency: the charge response of a metal, on the atoms.

A long-wave error v of the input Hamiltonian comes back from one step as (1 - g chi) v with g ~ 4 pi / G^2:
in a long metallic cell 100 v and more, and plain mixing diverges ("charge sloshing"). Kerker's remedy (PRB
23, 3082 (1981)) divides by 1 + k^2 / G^2. The same is done here with Gaussian charges q_I on the atoms in
place of plane waves and with the local density of states N_I at the Fermi level in place of a chosen k:

    chi_IJ = -N_I delta_IJ + N_I N_J / sum N,    g_IJ = int int rho_I rho_J / |r - r'|
    v_I = sum_a D_aa R_aa / sum_a D_aa (a on I, both spins),    (1 - g chi) u = v,    q = chi u
    P R = R + <phi| V_H[q] |phi>

so that the metallic part of a slab is screened and its vacuum left alone, and where no states lie at the
Fermi level P = 1. The cost is one matrix of a smooth potential per step.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mlh.matrix.block_matrix import BlockMatrix, Pattern, pattern_index
from mlh.solver import OverlapFactor, Solution

FloatArray = NDArray[np.float64]

CHARGE_WIDTH = 1.5
"""Standard deviation of the Gaussian charges, Bohr: about the extent of a valence shell."""

MIN_BROADENING = 0.01
"""Smallest broadening of the local density of states, Hartree: few k points sample it coarsely."""

MIN_STATES = 1e-3
"""States per Hartree and cell below which nothing is screened."""


class ChargeSpace(Protocol):
    """What screening needs of a system; `mlh.System` is one."""

    @property
    def pattern(self) -> Pattern: ...
    @property
    def grid_cell(self) -> FloatArray: ...
    @property
    def positions(self) -> FloatArray: ...
    @property
    def grid_shape(self) -> tuple[int, ...]: ...
    def potential_matrix(self, v: FloatArray) -> BlockMatrix: ...


class AtomicCharges:
    """Gaussian charges on the atoms of a periodic cell: their interaction and potential (Hartree)."""

    def __init__(self, space: ChargeSpace) -> None:
        self._space = space

    @cached_property
    def _waves(self) -> tuple[NDArray[np.int64], FloatArray, NDArray[Any]]:
        """Place in the half mesh of rfftn, G^2 and exp(-i G.tau_I) (n_G, natoms) of every wave used.

        Waves at half of an even number of points stand for G and another vector: where the charges would need
        them the mesh is too coarse for these charges, and they are left out.
        """
        shape = self._space.grid_shape
        axes = [np.fft.fftfreq(n, 1.0 / n) for n in shape[:2]] + [np.fft.rfftfreq(shape[2], 1.0 / shape[2])]
        integers = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        G = integers @ (2.0 * np.pi * np.linalg.inv(self._space.grid_cell).T)
        square = np.einsum("gi,gi->g", G, G)
        whole = (2.0 * np.abs(integers) != shape).all(axis=1)
        used = np.flatnonzero((square > 1e-12) & (square < (4.0 / CHARGE_WIDTH) ** 2) & whole)
        return used, square[used], np.exp(-1j * (G[used] @ self._space.positions.T))

    def _coulomb(self, charges: int) -> FloatArray:
        """4 pi / (V G^2) times the form factor exp(-G^2 sigma^2 / 2) of this many charges."""
        square = self._waves[1]
        volume = abs(np.linalg.det(self._space.grid_cell))
        return np.asarray(4.0 * np.pi / (volume * square) * np.exp(-0.5 * charges * CHARGE_WIDTH**2 * square))

    @cached_property
    def interaction(self) -> FloatArray:
        """g_IJ (natoms, natoms): potential energy between unit charges and all images."""
        used, _, phases = self._waves
        n3 = self._space.grid_shape[2]
        column = used % (n3 // 2 + 1)
        # The half mesh holds one of G and -G, except in its first plane.
        count = np.where(column == 0, 1.0, 2.0)
        weighted = phases * (count * self._coulomb(2))[:, None]
        return np.asarray((weighted.conj().T @ phases).real, dtype=np.float64)

    def potential(self, q: FloatArray) -> FloatArray:
        """V_H of charges q (natoms,) on the uniform grid."""
        shape = self._space.grid_shape
        used, _, phases = self._waves
        spectrum = np.zeros(shape[0] * shape[1] * (shape[2] // 2 + 1), dtype=np.complex128)
        spectrum[used] = self._coulomb(1) * (phases @ q)
        half = spectrum.reshape(shape[0], shape[1], -1)
        values = scipy.fft.irfftn(half, s=shape, norm="forward", overwrite_x=True)
        return np.asarray(values, dtype=np.float64)


class Screening:
    """P above for one geometry; calling it preconditions a residual at the states of a solution."""

    def __init__(self, space: ChargeSpace, factor: OverlapFactor, width: float) -> None:
        self._space, self._factor = space, factor
        self._broadening = max(MIN_BROADENING, width)
        self._charges = AtomicCharges(space)

    @cached_property
    def _diagonal(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Place of the on-site diagonal elements in the data, and the atom of each orbital."""
        pattern = self._space.pattern
        n_orbitals = np.asarray(pattern.n_orbitals, dtype=np.int64)
        atom = np.repeat(np.arange(len(n_orbitals)), n_orbitals)
        index = pattern_index(pattern)
        home = (np.asarray(pattern.cell) == 0).all(axis=1)[index.pair]
        place = np.flatnonzero(home & (index.flat % (index.n_orbitals + 1) == 0))
        return place, atom

    def __call__(self, residual: BlockMatrix, solution: Solution) -> BlockMatrix:
        """P R; R itself where there is nothing to screen."""
        states = local_density_of_states(solution, self._factor, self._diagonal[1], self._broadening)
        total = float(states.sum())
        if total < MIN_STATES:
            return residual
        v = self._atomic_potential(residual, solution.D)
        chi = np.outer(states, states) / total - np.diag(states)
        screened = np.linalg.solve(np.eye(len(v)) - self._charges.interaction @ chi, v)
        return residual + self._space.potential_matrix(self._charges.potential(chi @ screened))

    def _atomic_potential(self, R: BlockMatrix, D: BlockMatrix) -> FloatArray:
        """v_I: what the electrons of each atom feel of R."""
        place, atom = self._diagonal
        weight = D.data[:, place]
        felt = (weight * R.data[:, place]).sum(axis=0)
        return np.asarray(np.bincount(atom, felt) / np.bincount(atom, weight.sum(axis=0)), dtype=np.float64)


def local_density_of_states(
    solution: Solution, factor: OverlapFactor, orbital_atom: NDArray[np.int64], width: float
) -> FloatArray:
    """N_I at the Fermi level (natoms,), states of both spins per Hartree, by Mulliken populations.

    Levels are broadened by the derivative of the Fermi function of this width (Hartree).
    """
    result = np.zeros(int(orbital_atom[-1]) + 1)
    for spin in range(solution.nspin):
        for k, weight in enumerate(solution.kpts.weights):
            x = (solution.eigenvalues[spin, k] - solution.fermi_levels[spin]) / width
            slope = 0.25 * solution.degeneracy / (width * np.cosh(np.clip(0.5 * x, -300.0, 300.0)) ** 2)
            near = slope > 1e-8 / width
            if not near.any():
                continue
            c, lower = solution.coefficients[spin][k][:, near], factor.lower[k]
            populations = (c.conj() * (lower @ (lower.conj().T @ c))).real @ slope[near]
            result += weight * np.bincount(orbital_atom, populations, len(result))
    symmetry = solution.kpts.symmetry
    return np.maximum(result if symmetry is None else symmetry.per_atom(result), 0.0)
