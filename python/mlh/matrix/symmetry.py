"""Space-group operations on matrices, forces and stresses, so that the irreducible k points are enough.

An operation x -> W x + w (fractional; Q = the Cartesian form of W) takes atom i to atom i' in cell L_i and
the pair (i, j, R) to (i', j', W R + L_j - L_i). With T_mm' of Y_m'(Q^-1 r) = sum_m T_mm' Y_m(r), per shell of
an atom,

    (g M)_{i'j'}(R') = T_i M_ij(R) T_j^T,    M_sym = 1/|G| sum_g g M.

A density matrix summed over irreducible points with the weights of their stars becomes that of the whole
mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlh.matrix.block_matrix import BlockMatrix, Pattern

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TOLERANCE = 2e-5
"""Bohr. Positions that are equivalent only within more than this lower the symmetry: everything symmetrised
would be wrong by about as much."""

OVERLAP_TOLERANCE = 2e-5
"""Largest |S - S_sym| of an overlap matrix with the symmetry."""

_HARMONICS: tuple[Callable[[FloatArray, FloatArray, FloatArray], Sequence[FloatArray]], ...] = (
    lambda x, y, z: (np.ones_like(x),),
    lambda x, y, z: (x, y, z),
    lambda x, y, z: (
        (2 * z * z - x * x - y * y) / np.sqrt(12),
        (x * x - y * y) / 2,
        x * y,
        x * z,
        y * z,
    ),
    lambda x, y, z: (
        z * (2 * z * z - 3 * x * x - 3 * y * y) / np.sqrt(60),
        x * (4 * z * z - x * x - y * y) / np.sqrt(40),
        y * (4 * z * z - x * x - y * y) / np.sqrt(40),
        z * (x * x - y * y) / 2,
        x * y * z,
        x * (x * x - 3 * y * y) / np.sqrt(24),
        y * (3 * x * x - y * y) / np.sqrt(24),
    ),
)
"""Real harmonics in the order of docs/architecture.md, up to a common factor of each l."""


def harmonic_rotation(l: int, Q: FloatArray) -> FloatArray:
    """T (2l+1, 2l+1), orthogonal: Y_m'(Q^-1 r) = sum_m T_mm' Y_m(r)."""
    points = np.random.default_rng(l).standard_normal((4 * (2 * l + 1), 3))
    here = np.stack(_HARMONICS[l](*points.T), axis=1)
    there = np.stack(_HARMONICS[l](*(points @ Q).T), axis=1)  # Q^-1 r = Q^T r
    return np.asarray(np.linalg.lstsq(here, there, rcond=None)[0])


@dataclass(frozen=True, eq=False)
class Symmetry:
    """A group of operations of one geometry.

    rotations: W (ng, 3, 3) integers. images: atom i goes to images[g, i] (ng, natoms), in cell shifts[g, i]
    (ng, natoms, 3). shells: l of every shell of every atom. cell: rows, Bohr.
    """

    pattern: Pattern
    cell: FloatArray
    rotations: IntArray
    images: IntArray
    shifts: IntArray
    shells: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.rotations)

    def subgroup(self, chosen: NDArray[np.bool_]) -> Symmetry:
        """Some of the operations, which must be a group themselves."""
        parts = self.rotations[chosen], self.images[chosen], self.shifts[chosen]
        return Symmetry(self.pattern, self.cell, *parts, self.shells)

    @cached_property
    def cartesian(self) -> FloatArray:
        """Q (ng, 3, 3)."""
        return np.asarray(self.cell.T @ self.rotations @ np.linalg.inv(self.cell.T))

    @cached_property
    def _transforms(self) -> dict[tuple[int, ...], FloatArray]:
        """T of all orbitals of an atom, (ng, n, n), by its shells."""
        top = max(max(shells) for shells in self.shells)
        of_l = [np.stack([harmonic_rotation(l, Q) for Q in self.cartesian]) for l in range(top + 1)]
        found = {}
        for shells in set(self.shells):
            n = sum(2 * l + 1 for l in shells)
            T, start = np.zeros((len(self), n, n)), 0
            for l in shells:
                stop = start + 2 * l + 1
                T[:, start:stop, start:stop] = of_l[l]
                start = stop
            found[shells] = T
        return found

    @cached_property
    def _sources(self) -> IntArray:
        """(ng, n_pairs): the pair that each pair is the image of; -1 where it lies beyond the Pattern.

        That happens within rounding of the cutoff of the orbitals, where all matrices of operators vanish.
        """
        p = self.pattern
        i, j = np.asarray(p.atom_i, dtype=np.int64), np.asarray(p.atom_j, dtype=np.int64)
        R = np.asarray(p.cell, dtype=np.int64)
        low, n = R.min(axis=0) - 1, int(p.n_atoms)
        extent = R.max(axis=0) - low + 2

        def keys(i: IntArray, j: IntArray, R: IntArray) -> IntArray:
            inside = np.clip(R - low, 0, extent - 1)
            plane = (i * n + j) * extent[0] + inside[:, 0]
            return np.asarray((plane * extent[1] + inside[:, 1]) * extent[2] + inside[:, 2])

        known = keys(i, j, R)
        order = np.argsort(known)
        sources = np.full((len(self), len(i)), -1, dtype=np.int64)
        for g, W in enumerate(self.rotations):
            image = keys(
                self.images[g, i], self.images[g, j], R @ W.T + self.shifts[g, j] - self.shifts[g, i]
            )
            at = order[np.clip(np.searchsorted(known[order], image), 0, len(order) - 1)]
            found = known[at] == image
            sources[g, at[found]] = np.flatnonzero(found)
        return sources

    @cached_property
    def _kinds(self) -> list[tuple[tuple[int, ...], tuple[int, ...], IntArray]]:
        """Pairs of atoms of the same shells: both shells and the numbers of the pairs."""
        names = sorted(set(self.shells))
        kind = np.array([names.index(shells) for shells in self.shells])
        a, b = kind[np.asarray(self.pattern.atom_i)], kind[np.asarray(self.pattern.atom_j)]
        return [
            (names[s], names[t], np.flatnonzero((a == s) & (b == t))) for s, t in set(zip(a, b, strict=True))
        ]

    @cached_property
    def _stages(self) -> list[list[int]]:
        """Representatives of the cosets along a chain of subgroups {1} < K1 < K2 < ... < G.

        The average over G is that over the cosets of its largest K of the average over K, and so on: 11
        operations in place of 48 for the cube.
        """
        number = {W.tobytes(): g for g, W in enumerate(self.rotations)}
        product = np.array([[number[(V @ W).tobytes()] for W in self.rotations] for V in self.rotations])
        group, stages = [number[np.eye(3, dtype=np.int64).tobytes()]], []
        while len(group) < len(self):
            others = [g for g in range(len(self)) if g not in group]
            larger = min((_closed([*group, g], product) for g in others), key=len)
            left, representatives = set(larger), []
            while left:
                g = min(left)
                representatives.append(g)
                left -= set(product[g, group].tolist())
            group = larger
            stages.append(representatives)
        return stages

    def matrix(self, M: BlockMatrix) -> BlockMatrix:
        """1/|G| sum_g g M."""
        for stage in self._stages:
            M = self._average(M, stage)
        return M

    def _average(self, M: BlockMatrix, operations: Sequence[int]) -> BlockMatrix:
        """The mean of g M over some operations."""
        data = np.zeros_like(M.data)
        offset = np.asarray(self.pattern.offset, dtype=np.int64)
        place = np.empty(len(offset) - 1, dtype=np.int64)
        for left, right, pairs in self._kinds:
            T_left, T_right = self._transforms[left], self._transforms[right]
            n, m = T_left.shape[1], T_right.shape[1]
            where = offset[pairs][:, None] + np.arange(n * m)
            blocks = M.data[:, where].reshape(len(M.data), len(pairs), n, m)
            place[pairs] = np.arange(len(pairs))
            total = np.zeros((len(M.data), len(pairs), m, n))  # transposed
            count = np.zeros(len(pairs))
            for g in operations:
                source = self._sources[g, pairs]
                known = source >= 0
                taken = blocks[:, place[np.where(known, source, pairs)]] @ T_right[g].T
                total += (taken.swapaxes(2, 3) @ T_left[g].T) * known[:, None, None]
                count += known
            data[:, where] = (
                (total / count[:, None, None]).swapaxes(2, 3).reshape(len(data), len(pairs), n * m)
            )
        return BlockMatrix(self.pattern, data)

    def error(self, M: BlockMatrix) -> float:
        """Largest |M - M_sym|."""
        return (M - self.matrix(M)).max_abs()

    def per_atom(self, values: FloatArray) -> FloatArray:
        """Average of scalars (natoms,) over equivalent atoms."""
        return np.asarray(values[self.images].mean(axis=0), dtype=np.float64)

    def vectors(self, F: FloatArray) -> FloatArray:
        """1/|G| sum_g Q F of vectors on the atoms (natoms, 3)."""
        total = np.zeros_like(F)
        for Q, image in zip(self.cartesian, self.images, strict=True):
            total[image] += F @ Q.T
        return total / len(self)

    def tensor(self, sigma: FloatArray) -> FloatArray:
        """1/|G| sum_g Q sigma Q^T of a tensor of the cell (3, 3)."""
        return np.asarray((self.cartesian @ sigma @ self.cartesian.swapaxes(1, 2)).mean(axis=0))


def _closed(members: list[int], product: IntArray) -> list[int]:
    """The group that some elements of a group generate."""
    found = set(members)
    while True:
        some = sorted(found)
        products = set(product[np.ix_(some, some)].ravel().tolist())
        if products <= found:
            return some
        found |= products


def find_symmetry(
    pattern: Pattern,
    cell: FloatArray,
    positions: FloatArray,
    kinds: Sequence[object],
    shells: Sequence[Sequence[int]],
) -> Symmetry | None:
    """The space group by spglib, or None when there is only the identity.

    cell (rows), positions: Bohr. kinds: one label per atom; equal ones may be exchanged. In a supercell of a
    perfect crystal the operations that keep the atom of highest site symmetry, because those with the
    translations inside the cell are as many as its primitive cells.
    """
    import spglib

    labels = list(dict.fromkeys(kinds))
    numbers = [labels.index(kind) + 1 for kind in kinds]
    fractional = positions @ np.linalg.inv(cell)
    found = spglib.get_symmetry((cell, fractional, numbers), symprec=TOLERANCE)
    if found is None or len(found["rotations"]) == 1:
        return None
    rotations = np.asarray(found["rotations"], dtype=np.int64)
    moved = np.einsum("gab,ib->gia", rotations, fractional) + found["translations"][:, None]
    images, shifts = np.empty(moved.shape[:2], dtype=np.int64), np.empty(moved.shape, dtype=np.int64)
    same = np.equal.outer(np.array(numbers), np.array(numbers))
    for g, points in enumerate(moved):
        apart = points[:, None] - fractional[None]
        distance = np.linalg.norm((apart - np.round(apart)) @ cell, axis=2)
        images[g] = np.where(same, distance, np.inf).argmin(axis=1)
        shifts[g] = np.round(points - fractional[images[g]])
    group = Symmetry(pattern, cell, rotations, images, shifts, tuple(tuple(map(int, s)) for s in shells))
    if len(np.unique(rotations.reshape(-1, 9), axis=0)) < len(rotations):
        stays = images == np.arange(len(positions))
        group = group.subgroup(stays[:, stays.sum(axis=0).argmax()])
    return group if len(group) > 1 else None
