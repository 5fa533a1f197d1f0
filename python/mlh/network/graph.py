"""The network's input: a structure with the pairs of its Pattern, as plain arrays.

Nothing here needs the compiled core: `graph_from_system` copies the arrays that `mlh._core.Pattern` shows,
and `build_graph` makes the same arrays (same order) from positions alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlh.network.orbitals import OrbitalSet

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GraphInput:
    """Structure and pairs (i, j, R); Bohr.

    numbers (n,), positions (n, 3), cell (3, 3) rows; atom_i, atom_j (P,), pair_cell (P, 3), offset (P+1,) of
    the blocks in the flat data, reverse (P,): index of (j, i, -R). charge (e) and moment (N_up - N_down) of
    the cell.
    """

    numbers: Index
    positions: Array
    cell: Array
    atom_i: Index
    atom_j: Index
    pair_cell: Index
    offset: Index
    reverse: Index
    charge: float = 0.0
    moment: float = 0.0

    def __post_init__(self) -> None:
        for name in ("numbers", "atom_i", "atom_j", "pair_cell", "offset", "reverse"):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.int64))
        for name in ("positions", "cell"):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.float64))
        n, pairs = len(self.numbers), len(self.atom_i)
        expected = {
            "positions": (n, 3),
            "cell": (3, 3),
            "atom_j": (pairs,),
            "pair_cell": (pairs, 3),
            "offset": (pairs + 1,),
            "reverse": (pairs,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {getattr(self, name).shape}")
        if not np.isfinite([self.charge, self.moment]).all():
            raise ValueError(f"charge, moment: expected finite numbers, got {self.charge} and {self.moment}")
        if pairs and not (
            np.array_equal(self.atom_i[self.reverse], self.atom_j)
            and np.array_equal(self.pair_cell[self.reverse], -self.pair_cell)
        ):
            raise ValueError("reverse: expected the index of (j, i, -R) for every pair, got another pair")

    @property
    def n_pairs(self) -> int:
        """Number of ordered pairs, self pairs included."""
        return len(self.atom_i)

    @property
    def nnz(self) -> int:
        """Number of matrix elements of all blocks."""
        return int(self.offset[-1])

    @property
    def vectors(self) -> Array:
        """tau_j + R - tau_i of every pair, (P, 3)."""
        shift = self.pair_cell @ self.cell
        out: Array = self.positions[self.atom_j] + shift - self.positions[self.atom_i]
        return out

    @property
    def unique(self) -> Index:
        """Pairs p with p <= reverse[p]: the on-site pairs and one of each two mutually reversed pairs."""
        return np.flatnonzero(np.arange(self.n_pairs) <= self.reverse)


def graph_from_arrays(
    numbers: ArrayLike,
    positions: ArrayLike,
    cell: ArrayLike,
    pattern: Any,
    charge: float = 0.0,
    moment: float = 0.0,
) -> GraphInput:
    """Graph from anything with the attributes of a Pattern: atom_i, atom_j, cell, offset, reverse."""
    return GraphInput(
        np.asarray(numbers),
        np.asarray(positions),
        np.asarray(cell),
        pattern.atom_i,
        pattern.atom_j,
        pattern.cell,
        pattern.offset,
        pattern.reverse,
        charge,
        moment,
    )


def graph_from_system(system: Any, moment: float = 0.0) -> GraphInput:
    """Graph of a `mlh.System`: its symbols, positions and cell (Bohr), its Pattern and its charge."""
    from ase.data import atomic_numbers

    numbers = [atomic_numbers[symbol] for symbol in system.symbols]
    charge = float(getattr(system, "charge", 0.0))
    return graph_from_arrays(numbers, system.positions, system.cell, system.pattern, charge, moment)


def orbital_sets(basis: Any, symbols: Iterable[str] | None = None) -> dict[int, OrbitalSet]:
    """Atomic number -> orbitals of every species of a `mlh.Basis` (of `symbols` only if given)."""
    from ase.data import atomic_numbers

    wanted = None if symbols is None else set(symbols)
    out: dict[int, OrbitalSet] = {}
    for species in basis.species:
        if wanted is None or species.symbol in wanted:
            number = atomic_numbers[species.symbol]
            out[number] = OrbitalSet(number, tuple(o.l for o in species.orbitals), float(species.cutoff))
    return out


def build_graph(
    numbers: ArrayLike, positions: ArrayLike, cell: ArrayLike, orbitals: Mapping[int, OrbitalSet]
) -> GraphInput:
    """All ordered pairs with |tau_j + R - tau_i| < r_c,i + r_c,j of a crystal, in the order of the core's
    Pattern.

    Quadratic in the number of atoms times images: for tests and small cells; production uses the core's
    arrays.
    """
    z = np.asarray(numbers, dtype=np.int64)
    tau, a = np.asarray(positions, dtype=np.float64), np.asarray(cell, dtype=np.float64)
    missing = sorted(set(z.tolist()) - set(orbitals))
    if missing:
        raise ValueError(f"numbers: expected elements {sorted(orbitals)}, got {missing} too")
    cutoff = np.array([orbitals[int(k)].cutoff for k in z])
    size = np.array([orbitals[int(k)].size for k in z])
    heights = 1.0 / np.linalg.norm(np.linalg.inv(a), axis=0)
    fractional = tau @ np.linalg.inv(a)
    spread = fractional.max(axis=0) - fractional.min(axis=0)
    images = np.ceil(2 * cutoff.max() / heights + spread).astype(int)
    ranges = [np.arange(-k, k + 1) for k in images]
    shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    rows: list[NDArray[np.int64]] = []
    for i in range(len(z)):
        delta = tau[None, :, :] + (shifts @ a)[:, None, :] - tau[i]
        near = np.linalg.norm(delta, axis=2) < cutoff[i] + cutoff[None, :]
        s, j = np.nonzero(near)
        row = np.column_stack([np.full(len(j), i), j, shifts[s]])
        rows.append(row[np.lexsort(row.T[::-1])])
    table = np.concatenate(rows)
    index = {tuple(row): p for p, row in enumerate(table.tolist())}
    reverse = np.array([index[(j, i, -x, -y, -w)] for i, j, x, y, w in table.tolist()])
    blocks = size[table[:, 0]] * size[table[:, 1]]
    return GraphInput(
        z, tau, a, table[:, 0], table[:, 1], table[:, 2:], np.concatenate([[0], np.cumsum(blocks)]), reverse
    )
