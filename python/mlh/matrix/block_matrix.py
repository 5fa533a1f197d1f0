"""Block-sparse matrices in the orbital basis: one `Pattern` (from the core) and one contiguous array.

M_ij(R)[a, b] = <phi_{i,a}(r - tau_i) | O | phi_{j,b}(r - tau_j - R)>, stored for every pair (i, j, R) of the
Pattern, n_i x n_j row-major at `pattern.offset[p]`. At a k point, M(k)_ij = sum_R exp(2 pi i k.R) M_ij(R).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, overload
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from mlh._core import Pattern

__all__ = ["BlockMatrix", "Pattern", "PatternIndex", "pattern_index", "real_phases"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class PatternIndex:
    """Where every stored number of a Pattern goes in a dense matrix; each part is made once, when it is asked
    for: with 10,000 atoms one of them is a gigabyte."""

    def __init__(self, pattern: Pattern) -> None:
        n = np.asarray(pattern.n_orbitals, dtype=np.int64)
        self.atom_start: IntArray = np.concatenate([[0], np.cumsum(n)])
        """(natoms + 1,) first orbital of each atom."""
        self.n_orbitals = int(self.atom_start[-1])
        """Orbitals in the cell."""
        # Copies, not the Pattern: its weak key would never go.
        self._size = n
        self._i, self._j, self._reverse, self._offset = (
            np.array(part, dtype=np.int64)
            for part in (pattern.atom_i, pattern.atom_j, pattern.reverse, pattern.offset)
        )

    @cached_property
    def pair(self) -> IntArray:
        """(nnz,) pair that an element belongs to."""
        return np.repeat(np.arange(len(self._i), dtype=np.int64), np.diff(self._offset))

    @cached_property
    def flat(self) -> IntArray:
        """(nnz,) row * n_orbitals + column of an element in the dense matrix of one cell."""
        first = self.atom_start[self._i] * self.n_orbitals + self.atom_start[self._j]
        return self._elements(first, lambda a, b, _n: a * self.n_orbitals + b)

    @cached_property
    def transpose(self) -> IntArray:
        """(nnz,) position of M_ji(-R)[b, a] for the element M_ij(R)[a, b]."""
        return self._elements(self._offset[self._reverse], lambda a, b, n: b * n + a)

    def _elements(self, first: IntArray, inside: Callable[[IntArray, IntArray, int], IntArray]) -> IntArray:
        """first of the pair + inside(a, b, rows) of every element, for all blocks of one shape at a time."""
        out = np.empty(int(self._offset[-1]), dtype=np.int64)
        rows, columns = self._size[self._i], self._size[self._j]
        for n, m in np.unique(np.stack([rows, columns], axis=1), axis=0).tolist():
            pairs = np.flatnonzero((rows == n) & (columns == m))
            a, b = np.divmod(np.arange(n * m), m)
            values = first[pairs][:, None] + inside(a, b, n)
            if len(pairs) == len(rows):
                return values.ravel()
            out[self._offset[pairs][:, None] + np.arange(n * m)] = values
        return out


_INDEX: WeakKeyDictionary[Pattern, PatternIndex] = WeakKeyDictionary()


def pattern_index(pattern: Pattern) -> PatternIndex:
    """The cached `PatternIndex` of a Pattern."""
    index = _INDEX.get(pattern)
    if index is None:
        index = _INDEX[pattern] = PatternIndex(pattern)
    return index


LARGE = 30_000_000
"""Stored numbers of one matrix above which what can be made again is not kept: 0.24 GB each."""


class OnPattern(Protocol):
    """What makes matrices of one geometry."""

    @property
    def pattern(self) -> Pattern: ...


OwnerT = TypeVar("OwnerT", bound=OnPattern)
MadeT = TypeVar("MadeT")


class kept_unless_large(Generic[OwnerT, MadeT]):
    """A property made once and kept, as `cached_property`, but made anew each time where matrices are large:
    two-centre integrals of a few thousand atoms take seconds, and each of their matrices gigabytes."""

    def __init__(self, make: Callable[[OwnerT], MadeT]) -> None:
        self._make, self.__doc__ = make, make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> kept_unless_large[OwnerT, MadeT]: ...
    @overload
    def __get__(self, instance: OwnerT, owner: type) -> MadeT: ...
    def __get__(self, instance: OwnerT | None, owner: type) -> MadeT | kept_unless_large[OwnerT, MadeT]:
        if instance is None:
            return self
        kept: dict[str, MadeT] = instance.__dict__
        if self._name in kept:
            return kept[self._name]
        made = self._make(instance)
        if instance.pattern.nnz <= LARGE:
            kept[self._name] = made
        return made


def real_phases(kpt: Sequence[float] | FloatArray | None) -> bool:
    """True when exp(2 pi i k.R) is +1 or -1 for every R: Gamma and the zone-boundary points."""
    if kpt is None:
        return True
    twice = 2.0 * np.asarray(kpt, dtype=np.float64)
    return bool(np.allclose(twice, np.round(twice), atol=1e-12))


class BlockMatrix:
    """A matrix on a Pattern. `data` has shape (nspin, nnz), float64, and is read-only.

    nspin is 1 (S, T, Vnl, H0; spin-unpolarised H and D) or 2 (spin up, spin down). Elementwise operations
    between a one-spin and a two-spin matrix apply the former to both spins.
    """

    __slots__ = ("__weakref__", "data", "pattern")

    def __init__(self, pattern: Pattern, data: NDArray[Any]) -> None:
        array = np.asarray(data)
        if array.ndim == 1:
            array = array[None, :]
        fits = array.ndim == 2 and array.shape[0] in (1, 2) and array.shape[1] == pattern.nnz
        if array.dtype != np.float64 or not fits:
            raise ValueError(
                f"data: expected a float64 array of shape (1 or 2, {pattern.nnz}), "
                f"got {array.dtype} of shape {np.shape(data)}"
            )
        view = np.ascontiguousarray(array).view()
        view.flags.writeable = False
        self.pattern = pattern
        self.data: FloatArray = view

    @classmethod
    def zeros(cls, pattern: Pattern, nspin: int = 1) -> BlockMatrix:
        """All blocks zero."""
        return cls(pattern, np.zeros((nspin, pattern.nnz)))

    @classmethod
    def from_dense_gamma(cls, pattern: Pattern, matrices: FloatArray) -> BlockMatrix:
        """Blocks of dense Gamma matrices, shape (nspin, n, n) or (n, n): every image gets the same block.

        This is the density matrix of a Gamma-only calculation, D_ij(R) = sum_i f c c^T for all R.
        """
        index = pattern_index(pattern)
        dense = np.asarray(matrices, dtype=np.float64)
        dense = dense[None] if dense.ndim == 2 else dense
        if dense.ndim != 3 or dense.shape[1:] != (index.n_orbitals, index.n_orbitals):
            raise ValueError(
                f"matrices: expected shape (nspin, {index.n_orbitals}, {index.n_orbitals}), "
                f"got {np.shape(matrices)}"
            )
        return cls(pattern, dense.reshape(len(dense), -1)[:, index.flat])

    @property
    def nspin(self) -> int:
        """Number of spin components stored."""
        return int(self.data.shape[0])

    def block(self, p: int, spin: int = 0) -> FloatArray:
        """Block of pair p, shape (n_i, n_j): a read-only view."""
        pattern = self.pattern
        n_i = int(pattern.n_orbitals[pattern.atom_i[p]])
        n_j = int(pattern.n_orbitals[pattern.atom_j[p]])
        begin = int(pattern.offset[p])
        return self.data[spin, begin : begin + n_i * n_j].reshape(n_i, n_j)

    def spin(self, spin: int) -> BlockMatrix:
        """One spin component with nspin 1; both components of an unpolarised matrix are the same."""
        return BlockMatrix(self.pattern, self.data[spin if self.nspin == 2 else 0])

    def spin_sum(self) -> BlockMatrix:
        """Sum over spin components, nspin 1: the total density matrix."""
        return self if self.nspin == 1 else BlockMatrix(self.pattern, self.data.sum(axis=0))

    def zeros_like(self) -> BlockMatrix:
        """Zero matrix with the same pattern and nspin."""
        return BlockMatrix.zeros(self.pattern, self.nspin)

    def transpose(self) -> BlockMatrix:
        """(M^T)_ij(R) = M_ji(-R)^T."""
        return BlockMatrix(self.pattern, self.data[:, pattern_index(self.pattern).transpose])

    def symmetrised(self) -> BlockMatrix:
        """(M + M^T) / 2."""
        return 0.5 * (self + self.transpose())

    def symmetry_error(self) -> float:
        """Largest |M_ij(R) - M_ji(-R)^T|."""
        transposed = self.data[:, pattern_index(self.pattern).transpose]
        return float(np.abs(self.data - transposed).max(initial=0.0))

    def dot(self, other: BlockMatrix) -> float:
        """Sum of products over spins and stored blocks: Tr D^T H per cell. One thread, fixed order."""
        a, b = np.broadcast_arrays(self.data, self._data_of(other))
        return float(np.einsum("sp,sp->", a, b, optimize=False))

    def max_abs(self) -> float:
        """Largest absolute element."""
        return max(float(self.data.max(initial=0.0)), -float(self.data.min(initial=0.0)))

    def rms(self) -> float:
        """Root mean square over the stored elements."""
        squares = np.einsum("sp,sp->", self.data, self.data, optimize=False)  # one thread, nothing beside it
        return float(np.sqrt(squares / max(self.data.size, 1)))

    def to_dense(self, kpt: Sequence[float] | FloatArray | None = None, spin: int = 0) -> NDArray[Any]:
        """Dense (n, n) M(k) = sum_R exp(2 pi i k.R) M(R), k fractional; real where all phases are +-1."""
        index = pattern_index(self.pattern)
        n = index.n_orbitals
        values = self.data[spin if self.nspin == 2 else 0]
        if kpt is None:
            return np.bincount(index.flat, weights=values, minlength=n * n).reshape(n, n)
        phase = np.exp(2j * np.pi * (np.asarray(self.pattern.cell) @ np.asarray(kpt, dtype=np.float64)))
        real = np.bincount(index.flat, weights=values * phase.real[index.pair], minlength=n * n)
        if real_phases(kpt):
            return real.reshape(n, n)
        imaginary = np.bincount(index.flat, weights=values * phase.imag[index.pair], minlength=n * n)
        return (real + 1j * imaginary).reshape(n, n)

    def to_sparse_gamma(self, spin: int = 0) -> csr_matrix:
        """The (n, n) matrix at Gamma, for products with a few vectors where a dense one would not fit."""
        index = pattern_index(self.pattern)
        n = index.n_orbitals
        values = self.data[spin if self.nspin == 2 else 0]
        return csr_matrix((values, np.divmod(index.flat, n)), shape=(n, n))

    def _data_of(self, other: BlockMatrix) -> FloatArray:
        if other.pattern is not self.pattern and not same_pattern(other.pattern, self.pattern):
            raise ValueError("other: expected a matrix on the same pattern, got one on another pattern")
        return other.data

    def __add__(self, other: BlockMatrix) -> BlockMatrix:
        return BlockMatrix(self.pattern, self.data + self._data_of(other))

    def __sub__(self, other: BlockMatrix) -> BlockMatrix:
        return BlockMatrix(self.pattern, self.data - self._data_of(other))

    def __mul__(self, factor: float) -> BlockMatrix:
        return BlockMatrix(self.pattern, self.data * float(factor))

    __rmul__ = __mul__

    def __neg__(self) -> BlockMatrix:
        return BlockMatrix(self.pattern, -self.data)

    def __repr__(self) -> str:
        return f"BlockMatrix(nspin={self.nspin}, pairs={self.pattern.n_pairs}, elements={self.pattern.nnz})"


def same_pattern(a: Pattern, b: Pattern) -> bool:
    """True when two patterns store the same blocks in the same places."""
    return a is b or (
        a.n_pairs == b.n_pairs
        and a.nnz == b.nnz
        and np.array_equal(a.atom_j, b.atom_j)
        and np.array_equal(a.cell, b.cell)
        and np.array_equal(a.atom_i, b.atom_i)
        and np.array_equal(a.n_orbitals, b.n_orbitals)
    )


def transfer(matrix: BlockMatrix, pattern: Pattern) -> BlockMatrix:
    """The matrix on another pattern of the same atoms: blocks present in both are copied, new ones are zero.

    A step of a relaxation makes pairs enter and leave the Pattern; those blocks are small there by
    construction, so that dH = H - H0 carried over is the best start of the next self-consistency.
    """
    old = matrix.pattern
    if same_pattern(old, pattern):
        return BlockMatrix(pattern, matrix.data)
    if not np.array_equal(old.n_orbitals, pattern.n_orbitals):
        raise ValueError("pattern: expected the same atoms and orbitals as the matrix has, got others")
    keys_old, keys_new = _pair_keys(old, pattern)
    order = np.argsort(keys_old)
    position = np.clip(np.searchsorted(keys_old[order], keys_new), 0, len(order) - 1)
    source = order[position]
    found = keys_old[source] == keys_new
    index = pattern_index(pattern)
    local = np.arange(pattern.nnz) - np.asarray(pattern.offset)[index.pair]
    take = found[index.pair]
    data = np.zeros((matrix.nspin, pattern.nnz))
    data[:, take] = matrix.data[:, (np.asarray(old.offset)[source][index.pair] + local)[take]]
    return BlockMatrix(pattern, data)


def _pair_keys(a: Pattern, b: Pattern) -> tuple[IntArray, IntArray]:
    """One integer per pair (i, j, R), the same pair giving the same integer in both patterns."""
    cells = np.concatenate([np.asarray(a.cell), np.asarray(b.cell)]).astype(np.int64)
    low = cells.min(axis=0)
    extent = cells.max(axis=0) - low + 1
    n_atoms = int(a.n_atoms)

    def keys(p: Pattern) -> IntArray:
        R = np.asarray(p.cell, dtype=np.int64) - low
        key = np.asarray(p.atom_i, dtype=np.int64) * n_atoms + np.asarray(p.atom_j, dtype=np.int64)
        for axis in range(3):
            key = key * extent[axis] + R[:, axis]
        return key

    return keys(a), keys(b)
