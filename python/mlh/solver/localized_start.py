"""Localized functions to start from, from H and S alone: bonds and lone pairs of a small basis.

    H_ii v = e S_ii v                levels of every atom alone: those below one energy make the small basis
    F = S_m^(-1/2) H_m S_m^(-1/2)    the small basis, orthonormal (Loewdin); P its projector by purification
    P_ii x = n x,  n > 0.8           one-centre functions; Q is P less what they span
    Q_(ij)(ij) x = n x,  n > 0.5     two-centre functions, the fullest first, if they are new; then n > 0.15
    C = B S_m^(-1/2) P x

as in a search for natural bonds (Foster and Weinhold, JACS 102, 7211 (1980)). Nothing here needs to be
accurate: it only has to be near the right space, with functions that are short and far from dependent. The
energy below which levels of atoms count is in the widest gap of all atoms' levels between N_occ and 2 N_occ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from mlh._core import BlockSparse, sparse_combine, sparse_product
from mlh.solver.localized_functions import Cuts, LocalizedError, inverse, symmetrised
from mlh.solver.spectrum import spectral_bounds

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

GROUP = 16
"""Functions of a group, the columns of a block: one register of single-precision numbers."""

SMALL = Cuts(2e-3, 1e-3, 5e-4)
"""Thresholds in the small basis."""

ONE_CENTRE = 0.8
"""Occupation from which an eigenvector of P_ii is taken."""

TWO_CENTRE = (0.5, 0.15)
"""Occupations from which one of two atoms is a candidate; the second: states of defects on more atoms."""

NEW = 0.3
"""Part of the norm of a candidate that those before must leave."""

BONDED = 0.05
"""Norm of P_ij from which two atoms are looked at together."""


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A symmetric matrix of the small basis as dense blocks of pairs of atoms, those of some size."""

    block: dict[tuple[int, int], FloatArray]
    size: list[int]

    @classmethod
    def of(cls, A: BlockSparse, groups: Groups, limit: float) -> Blocks:
        """Blocks i <= j above the limit, and all i = i; rows of atoms as in the small basis."""
        rows, columns, values = A.select([(A, limit)]).blocks()
        sizes, out, start = A.row_sizes, {}, 0
        for I, J in zip(rows, columns, strict=True):
            count = sizes[I] * sizes[J]
            block = values[start : start + count].reshape(sizes[I], sizes[J])
            start += count
            if J < I:
                continue
            for i in groups.members[I]:
                for j in groups.members[J]:
                    part = block[groups.part(i), groups.part(j)]
                    if j == i or (j > i and np.linalg.norm(part) > limit):
                        out[i, j] = part
        return cls(out, groups.size)

    def pair(self, i: int, j: int) -> FloatArray:
        """The matrix of two atoms."""
        off = self.block[i, j]
        return np.block([[self.block[i, i], off], [off.T, self.block[j, j]]])


@dataclass(frozen=True, slots=True)
class Groups:
    """Consecutive atoms in groups of at most 16 functions."""

    size: list[int]
    """Functions of every atom."""
    group: list[int]
    first: list[int]
    """First function of an atom in its group."""
    members: list[list[int]]

    @classmethod
    def of(cls, size: list[int]) -> Groups:
        """Atoms are not split."""
        group: list[int] = []
        first: list[int] = []
        members: list[list[int]] = [[]]
        filled = 0
        for i, n in enumerate(size):
            if n > 0 and filled > 0 and filled + n > GROUP:
                members.append([])
                filled = 0
            group.append(len(members) - 1)
            first.append(filled)
            members[-1].append(i)
            filled += n
        return cls(size, group, first, members)

    def part(self, i: int) -> slice:
        """Functions of an atom in its group."""
        return slice(self.first[i], self.first[i] + self.size[i])

    @property
    def sizes(self) -> list[int]:
        """Functions of every group."""
        return [sum(self.size[i] for i in m) for m in self.members]


def diagonal_blocks(A: BlockSparse) -> list[FloatArray]:
    """The blocks A_ii."""
    unit = sparse_combine(0.0, A, 0.0, A, 1.0, 0.0)
    rows, _, values = sparse_product(unit, A, 0.0, -1.0, False, wanted=unit).blocks()
    out, start = [np.zeros((n, n)) for n in A.row_sizes], 0
    for i in rows:
        n = A.row_sizes[i]
        out[i] = values[start : start + n * n].reshape(n, n)
        start += n * n
    return out


def small_basis(H: BlockSparse, S: BlockSparse, n_occupied: int) -> tuple[BlockSparse, Groups]:
    """B, atoms by groups of functions: the low levels of every atom alone."""
    pairs = [scipy.linalg.eigh(h, s) for h, s in zip(diagonal_blocks(H), diagonal_blocks(S), strict=True)]
    levels = np.sort(np.concatenate([e for e, _ in pairs]))
    last = min(levels.size - 1, 2 * n_occupied + 1)
    if last <= n_occupied:
        raise LocalizedError(
            f"n_electrons: expected more than {n_occupied} orbitals to choose from, got {levels.size}"
        )
    k = n_occupied + 1 + int(np.argmax(np.diff(levels[n_occupied : last + 1])))
    limit = 0.5 * (levels[k - 1] + levels[k])
    size = [int((e < limit).sum()) for e, _ in pairs]
    groups = Groups.of(size)
    values = []
    own = [i for i, n in enumerate(size) if n > 0]
    for i in own:
        block = np.zeros((len(pairs[i][0]), groups.sizes[groups.group[i]]))
        block[:, groups.part(i)] = pairs[i][1][:, : size[i]]
        values.append(block.ravel())
    column = np.array([groups.group[i] for i in own], dtype=np.int32)
    B = BlockSparse.assemble(H, groups.sizes, np.array(own, dtype=np.int32), column, np.concatenate(values))
    return B, groups


def inverse_root(S: BlockSparse, cuts: Cuts) -> BlockSparse:
    """S^(-1/2) by Newton and Schulz: Y <- Y T, Z <- T Z, T = (3 - Z Y)/2 from Y = S, Z = 1 (scaled)."""
    _, high = spectral_bounds(S.apply, S.n_orbitals)
    scale = 1.0 / high
    Y = sparse_combine(scale, S, 0.0, S, 0.0, 0.0)
    Z = sparse_combine(0.0, S, 0.0, S, 1.0, 0.0)
    before = np.inf
    for _ in range(40):
        ZY = cuts.small(Z, Y)
        off = sparse_combine(1.0, ZY, 0.0, ZY, -1.0, 0.0)
        error = float(np.sqrt(off.dot(off) / off.n_orbitals))
        if error < 1e-2 or (before < 0.3 and error > 0.9 * before):
            break
        before = error
        T = sparse_combine(-0.5, ZY, 0.0, ZY, 1.5, 0.0)
        Y, Z = symmetrised(cuts.small(Y, T)), symmetrised(cuts.small(T, Z))
    return sparse_combine(float(np.sqrt(scale)), Z, 0.0, Z, 0.0, 0.0)


def projector(F: BlockSparse, n_occupied: int, cuts: Cuts) -> BlockSparse:
    """The projector on the lowest states of F, about: trace-correcting purification."""
    low, high = spectral_bounds(F.apply, F.n_orbitals)
    width = high - low
    X = sparse_combine(-1.0 / width, F, 0.0, F, high / width, cuts.metric)
    left: list[float] = []
    while len(left) < 60:
        square = cuts.small(X, X, symmetric=True)
        trace, trace_square = X.trace(), square.trace()
        left.append(trace - trace_square)
        whole = abs(trace - n_occupied) < 0.1 + 1e-3 * n_occupied
        if whole and left[-1] < 0.01:
            return X
        # The floor of truncation; a level in the middle of the gap may hold it for some steps before.
        if whole and len(left) > 24 and left[-1] > 0.5 * left[-8]:
            return X
        squared = abs(trace_square - n_occupied) < abs(2.0 * trace - trace_square - n_occupied)
        X = square if squared else sparse_combine(2.0, X, -1.0, square, 0.0, cuts.metric)
    raise LocalizedError(
        "H: no gap among the lowest levels of atoms to start localized functions from; use purification or "
        "the dense solver"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A function on one or two atoms of the small basis."""

    occupation: float
    atoms: tuple[int, ...]
    vector: FloatArray

    @property
    def centre(self) -> int:
        """The atom with most of it."""
        if len(self.atoms) == 1:
            return self.atoms[0]
        n = self.vector.size - self.split
        return self.atoms[0] if (self.vector[:n] ** 2).sum() >= 0.5 else self.atoms[1]

    split: int = 0
    """Functions of the second atom."""


def one_centre(P: Blocks, n_atoms: int) -> list[Candidate]:
    """Full functions of single atoms."""
    out = []
    for i in range(n_atoms):
        if (i, i) in P.block:
            n, v = np.linalg.eigh(P.block[i, i])
            out += [Candidate(float(n[k]), (i,), v[:, k]) for k in np.flatnonzero(n > ONE_CENTRE)]
    return out


def two_centre(Q: Blocks, limit: float) -> list[Candidate]:
    """Functions of two atoms, or left on one, the fullest first."""
    out: list[Candidate] = []
    for (i, j), off in Q.block.items():
        if (i, i) not in Q.block or (j, j) not in Q.block:
            continue
        atoms, split = ((i,), 0) if i == j else ((i, j), off.shape[1])
        n, v = np.linalg.eigh(off if i == j else Q.pair(i, j))
        out += [Candidate(float(n[k]), atoms, v[:, k], split) for k in np.flatnonzero(n > limit)]
    # Ties of symmetric crystals are broken by the atoms, not by rounding.
    return sorted(out, key=lambda c: (-round(c.occupation, 3), c.atoms))


def assembled(functions: list[Candidate], small: Groups) -> tuple[BlockSparse, Groups]:
    """X, the small basis by groups of functions (in order of their atoms), and what the columns are."""
    counts = np.bincount([f.centre for f in functions], minlength=len(small.size))
    columns = Groups.of([int(n) for n in counts])
    blocks: dict[tuple[int, int], FloatArray] = {}
    filled = [0] * len(small.size)
    sizes_row, sizes_column = small.sizes, columns.sizes
    for f in functions:
        c = f.centre
        J, place = columns.group[c], columns.first[c] + filled[c]
        filled[c] += 1
        start = 0
        for i in f.atoms:
            I, n = small.group[i], small.size[i]
            if (I, J) not in blocks:
                blocks[I, J] = np.zeros((sizes_row[I], sizes_column[J]))
            blocks[I, J][small.part(i), place] += f.vector[start : start + n]
            start += n
    keys = sorted(blocks)
    row, column = (np.array([k[d] for k in keys], dtype=np.int32) for d in (0, 1))
    values = np.concatenate([blocks[k].ravel() for k in keys])
    return BlockSparse.assemble(sizes_row, sizes_column, row, column, values).to_single(), columns


def chosen(candidates: list[Candidate], Q: BlockSparse, small: Groups, count: int) -> list[Candidate]:
    """The first `count` candidates that those before leave something of, in the metric of Q."""
    X, columns = assembled(candidates, small)
    rows, cols, values = SMALL.multiply(X.transpose(), SMALL.multiply(Q, X, 1e-3), 1e-2, True).blocks()
    sizes = X.column_sizes
    first = np.concatenate([[0], np.cumsum(sizes)])
    entries, start = [], 0
    for I, J in zip(rows, cols, strict=True):
        block = values[start : start + sizes[I] * sizes[J]].reshape(sizes[I], sizes[J])
        start += block.size
        a, b = np.nonzero(np.abs(block) > 1e-2)
        entries.append((first[I] + a, first[J] + b, block[a, b]))
    i, j, v = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    gram = scipy.sparse.csr_array((v, (i, j)), shape=(len(candidates), len(candidates)))
    # Place of every candidate among the columns of X.
    filled = [0] * len(small.size)
    place = []
    for c in candidates:
        place.append(int(first[columns.group[c.centre]]) + columns.first[c.centre] + filled[c.centre])
        filled[c.centre] += 1
    taken = np.zeros(len(candidates), dtype=bool)
    out: list[Candidate] = []
    for candidate, p in zip(candidates, place, strict=True):
        if len(out) == count:
            break
        begin, end = gram.indptr[p], gram.indptr[p + 1]
        columns_, row = gram.indices[begin:end], gram.data[begin:end]
        own = float(row[columns_ == p].sum())
        near = columns_[taken[columns_]]
        left = own
        if near.size:
            g = row[taken[columns_]]
            left -= float(g @ np.linalg.lstsq(gram[near][:, near].toarray(), g, rcond=1e-6)[0])
        if left > NEW * own:
            taken[p] = True
            out.append(candidate)
    return out


def start_functions(H: BlockSparse, S: BlockSparse, n_occupied: int) -> BlockSparse:
    """C of N_occ localized functions, atoms by groups of functions, in single precision.

    H, S: double precision, atoms by atoms.
    """
    B, small = small_basis(H, S, n_occupied)
    transposed = B.transpose()
    Hm = sparse_product(transposed, sparse_product(H, B, 0.0, 0.0, False), 0.0, 0.0, True).to_single()
    Sm = sparse_product(transposed, sparse_product(S, B, 0.0, 0.0, False), 0.0, 0.0, True).to_single()
    root = inverse_root(Sm, SMALL)
    F = symmetrised(SMALL.small(SMALL.small(root, Hm), root))
    P = projector(F, n_occupied, SMALL)
    functions = one_centre(Blocks.of(P, small, BONDED), len(small.size))
    functions = sorted(functions, key=lambda f: (-round(f.occupation, 3), f.atoms))[:n_occupied]
    for limit in TWO_CENTRE:
        if len(functions) < n_occupied:
            functions = functions + _bonds(P, functions, small, n_occupied - len(functions), limit)
    if len(functions) < n_occupied:
        raise LocalizedError(
            f"H: found {len(functions)} of {n_occupied} localized functions to start from (lone pairs and "
            "bonds of two atoms); use purification or the dense solver"
        )
    X, columns = assembled(functions, small)
    PX = SMALL.multiply(root, SMALL.multiply(P, X, 1e-3), 1e-3)
    C = SMALL.multiply(B.to_single(), PX, SMALL.functions)
    return _by_energy(C, H.to_single(), S.to_single(), columns)


def fits(C: BlockSparse, S: BlockSparse, n_occupied: int) -> bool:
    """Whether functions of another geometry are as many, of the same atoms with the same orbitals."""
    size, other = (dict(zip(A.atoms, A.row_sizes, strict=True)) for A in (C, S))
    return size == other and C.n_columns == n_occupied


def carried(C: BlockSparse, S: BlockSparse, cuts: Cuts) -> BlockSparse:
    """Functions of another geometry on the rows of S: they ride on their atoms, without small blocks, which
    otherwise would stay for ever."""
    row = np.empty(len(S.atoms), dtype=np.int32)
    row[np.asarray(S.atoms)] = np.arange(len(S.atoms), dtype=np.int32)
    rows, columns, values = C.select([(C, cuts.functions)]).blocks()
    place = row[np.asarray(C.atoms)[rows]]
    order = np.lexsort((columns, place))
    sizes = np.asarray(C.row_sizes)[rows] * np.asarray(C.column_sizes)[columns]
    end = np.cumsum(sizes)
    parts = [values[end[k] - sizes[k] : end[k]] for k in order]
    moved = BlockSparse.assemble(S, C.column_sizes, place[order], columns[order], np.concatenate(parts))
    return cuts.kept(moved)


def _bonds(
    P: BlockSparse, functions: list[Candidate], small: Groups, count: int, limit: float
) -> list[Candidate]:
    """At most `count` functions of what those before leave of P."""
    Q = P
    if functions:
        X, _ = assembled(functions, small)
        PX = SMALL.multiply(P, X, 1e-3)
        K = inverse(SMALL.small(X.transpose(), PX, symmetric=True), None, SMALL)
        Q = sparse_combine(
            1.0, P, -1.0, symmetrised(SMALL.small(SMALL.small(PX, K), PX.transpose())), 0.0, 0.0
        )
    found = two_centre(Blocks.of(Q, small, BONDED), limit)
    return chosen(found, Q, small, count) if found else []


def _by_energy(C: BlockSparse, H: BlockSparse, S: BlockSparse, columns: Groups) -> BlockSparse:
    """The functions of every atom rotated to diagonal energies, and normalised."""
    transposed = C.transpose()
    Hc = diagonal_blocks(SMALL.small(transposed, SMALL.multiply(H, C, 1e-3), symmetric=True))
    Sc = diagonal_blocks(SMALL.small(transposed, SMALL.multiply(S, C, 1e-3), symmetric=True))
    blocks = []
    for g, members in enumerate(columns.members):
        U = np.zeros_like(Hc[g])
        for i in members:
            if columns.size[i] > 0:
                own = columns.part(i)
                U[own, own] = scipy.linalg.eigh(Hc[g][own, own], Sc[g][own, own])[1]
        blocks.append(U.ravel())
    place = np.arange(len(blocks), dtype=np.int32)
    sizes = columns.sizes
    rotation = BlockSparse.assemble(sizes, sizes, place, place, np.concatenate(blocks)).to_single()
    return sparse_product(C, rotation, 0.0, SMALL.functions, False)
