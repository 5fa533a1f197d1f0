"""`read_scfout`: matrices of a finished OpenMX 3.9 calculation on mlh's Pattern.

The ``.scfout`` of OpenMX 3.9 (format 3) is a sequence of little-endian int32 and float64 without record
marks: neighbour lists, H per spin, S, position and momentum matrices, density matrices per spin, scalars,
and the input file. Block (i, h) is <phi_i(r - tau_i) | O | phi_j(r - tau_j - R)>, as in mlh. Sizes are
compared with the length of the file before anything is allocated.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

import mlh._core as _core
from mlh.basis.species import Basis
from mlh.common.units import ANGSTROM, BOHR_ANGSTROM
from mlh.matrix.block_matrix import BlockMatrix, Pattern
from mlh.openmx.basis import OpenMXSpecies, parse_orbitals
from mlh.openmx.inputfile import Definitions, read_definitions
from mlh.openmx.pairs import Pairs, check_distances, pair_positions
from mlh.openmx.records import Records
from mlh.openmx.text import OpenMXFormatError

FORMAT = 3
"""The version that OpenMX 3.9 writes."""

SOLVERS = {1: "Recursion", 2: "Cluster", 3: "Band", 4: "NEGF", 5: "DC", 6: "GDC", 7: "Cluster-DIIS"}

_ASYMMETRY = 1e-6
"""Relative; OpenMX leaves 1e-9."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ScfOut:
    """A finished OpenMX calculation. Matrices on the Pattern of `atoms` in `basis`, as `System` builds it.

    atoms: positions in Angstrom by mlh's constants, so that Bohr radii are those of the file. H: Hartree.
    D: of both spins together when nspin = 1, (up, down) when nspin = 2. chemical_potential: Hartree.
    temperature: of the electrons, Kelvin. n_electrons, total_spin: of the cell, as OpenMX prints them.
    dipole_core, dipole_background: Debye. solver: OpenMX's name of its eigenvalue solver.
    definitions: orbitals and potentials of the run. input_lines: its input file.
    """

    atoms: Atoms
    basis: Basis
    S: BlockMatrix
    H: BlockMatrix
    D: BlockMatrix
    chemical_potential: float
    temperature: float
    n_electrons: float
    total_spin: float
    dipole_core: tuple[float, float, float]
    dipole_background: tuple[float, float, float]
    solver: str
    definitions: Definitions
    input_lines: tuple[str, ...]

    @property
    def pattern(self) -> Pattern:
        """The pairs that the matrices are stored on."""
        return self.S.pattern


def read_scfout(path: str | os.PathLike[str], basis: Basis) -> ScfOut:
    """Read a ``.scfout`` file of a collinear OpenMX 3.9 calculation in the given basis.

    OpenMXFormatError names the file and the place of what is damaged or not supported (other versions,
    non-collinear spin); ValueError when the basis is not that of the calculation.
    """
    source = Path(path)
    with open(source, "rb") as file:
        records = Records(file, source)
        header = _read_header(records)
        geometry = _read_geometry(records, header)
        nnz = int(geometry.pairs.start[-1])
        H = records.doubles(header.nspin * nnz, "Hamiltonian").reshape(header.nspin, nnz)
        S = records.doubles(nnz, "overlap").reshape(1, nnz)
        records.skip(8 * nnz * 3 * header.position_orders, "position matrices")
        records.skip(8 * nnz * 3, "momentum matrices")
        D = records.doubles(header.nspin * nnz, "density matrix").reshape(header.nspin, nnz)
        records.skip(8 * nnz * 2, "imaginary density matrix")
        solver = int(records.ints(1, "solver")[0])
        scalars = records.doubles(10, "scalars")
        lines = _read_lines(records)
    definitions = read_definitions(lines, f"{source}, input file at its end")
    if len(definitions.symbols) != header.n_atoms:
        raise OpenMXFormatError(
            f"{source}: expected {header.n_atoms} atoms in the input file at its end, "
            f"got {len(definitions.symbols)}"
        )
    used = _check_basis(source, basis, definitions, geometry.n_orbitals)
    cutoff = np.array([used[s].cutoff for s in definitions.symbols])
    atoms = Atoms(
        list(definitions.symbols),
        geometry.positions * BOHR_ANGSTROM,
        cell=geometry.cell * BOHR_ANGSTROM,
        pbc=True,
    )
    try:
        check_distances(geometry.pairs, geometry.cell, geometry.positions, cutoff)
        pattern = _pattern(atoms, used)
        place = pair_positions(geometry.pairs, pattern, geometry.cell, geometry.positions, cutoff)
    except ValueError as error:
        raise OpenMXFormatError(f"{source}, neighbour lists: {error}") from None

    def matrix(name: str, values: Array) -> BlockMatrix:
        result = BlockMatrix(pattern, np.where(place >= 0, values[:, place], 0.0))
        error = result.symmetry_error()
        if error > _ASYMMETRY * max(1.0, result.max_abs()):
            raise OpenMXFormatError(
                f"{source}, {name}: expected M_ij(R) = M_ji(-R)^T, got {error:.1e} between"
            )
        return result

    return ScfOut(
        atoms=atoms,
        basis=used,
        S=matrix("overlap", S),
        H=matrix("Hamiltonian", H),
        D=matrix("density matrix", D if header.nspin == 2 else 2.0 * D),
        chemical_potential=float(scalars[0]),
        temperature=float(scalars[1]),
        dipole_core=(float(scalars[2]), float(scalars[3]), float(scalars[4])),
        dipole_background=(float(scalars[5]), float(scalars[6]), float(scalars[7])),
        n_electrons=float(scalars[8]),
        total_spin=float(scalars[9]),
        solver=SOLVERS.get(solver, str(solver)),
        definitions=definitions,
        input_lines=lines,
    )


def read_scfout_input(path: str | os.PathLike[str]) -> tuple[Definitions, tuple[str, ...]]:
    """Species and lines of the input file that a ``.scfout`` ends with; the matrices are passed over."""
    source = Path(path)
    with open(source, "rb") as file:
        records = Records(file, source)
        header = _read_header(records)
        nnz = int(_read_geometry(records, header).pairs.start[-1])
        blocks = header.nspin + 1 + 3 * (header.position_orders + 1) + header.nspin + 2
        records.skip(8 * nnz * blocks + 4 + 80, "matrices and scalars")
        lines = _read_lines(records)
    return read_definitions(lines, f"{source}, input file at its end"), lines


@dataclass(frozen=True)
class _Header:
    n_atoms: int
    nspin: int
    n_cells: int
    position_orders: int


@dataclass(frozen=True)
class _Geometry:
    cell: Array  # (3, 3) rows, Bohr
    positions: Array  # (n, 3) Bohr
    n_orbitals: NDArray[np.int64]
    pairs: Pairs


def _read_header(records: Records) -> _Header:
    n_atoms, word, _, _, _, translations = (int(v) for v in records.ints(6, "header"))
    version, spin = divmod(word, 4)
    if version != FORMAT or n_atoms < 1:
        raise records.error(
            f"header: expected a .scfout of OpenMX 3.9 (format {FORMAT}, little-endian), got format "
            f"{version} and {n_atoms} atoms; write it again with OpenMX 3.9 (HS.fileout on)"
        )
    if spin not in (0, 1):
        kind = "non-collinear spin" if spin == 3 else f"spin {spin}"
        raise records.error(f"header: expected a collinear calculation (spin 0 or 1), got {kind}")
    edge = round((translations + 1) ** (1 / 3)) if translations >= 0 else 0
    if edge**3 != translations + 1 or edge % 2 != 1:
        raise records.error(f"header: expected (2m+1)^3 - 1 cell translations, got {translations}")
    orders = int(records.ints(1, "header")[0])
    if not 0 <= orders <= 100:
        raise records.error(f"header: expected an order of the position matrices up to 100, got {orders}")
    return _Header(n_atoms, spin + 1, translations + 1, orders)


def _read_geometry(records: Records, header: _Header) -> _Geometry:
    n = header.n_atoms
    translations = records.doubles(4 * header.n_cells, "cell translations").reshape(-1, 4)[:, 1:]
    ijk = records.ints(4 * header.n_cells, "cell indices").reshape(-1, 4)[:, 1:]
    if np.any(ijk[0] != 0) or np.max(np.abs(ijk)) > header.n_cells:
        raise records.error("cell indices: expected (0, 0, 0) first and small numbers")
    n_orbitals = _bounded(records, n, 1, 1000, "orbitals per atom")
    neighbours = 1 + _bounded(records, n, 0, n * header.n_cells - 1, "neighbours per atom")
    n_pairs = int(neighbours.sum())
    j = _bounded(records, n_pairs, 1, n, "neighbour atoms") - 1
    R = ijk[_bounded(records, n_pairs, 0, header.n_cells - 1, "neighbour cells")]
    i = np.repeat(np.arange(n, dtype=np.int64), neighbours)
    first = np.cumsum(neighbours) - neighbours
    if np.any(j[first] != np.arange(n)) or np.any(R[first]):
        raise records.error("neighbour lists: expected every atom to come first in its own list")
    cell = records.doubles(12, "cell").reshape(3, 4)[:, 1:].copy()
    records.skip(96, "reciprocal cell")
    positions = records.doubles(4 * n, "positions").reshape(n, 4)[:, 1:].copy()
    if not np.abs(np.linalg.det(cell)) > 1.0 or max(np.abs(cell).max(), np.abs(positions).max()) > 1e6:
        raise records.error(f"cell: expected three vectors of less than 1e6 Bohr, got {cell.tolist()}")
    if np.max(np.abs(ijk @ cell - translations)) > 1e-6:
        raise records.error("cell: expected the vectors that the cell translations are made of, got others")
    start = np.concatenate([[0], np.cumsum(n_orbitals[i] * n_orbitals[j])])
    return _Geometry(cell, positions, n_orbitals, Pairs(i, j, R, start))


def _bounded(records: Records, count: int, low: int, high: int, name: str) -> NDArray[np.int64]:
    values = records.ints(count, name)
    bad = np.flatnonzero((values < low) | (values > high))
    if bad.size:
        raise records.error(f"{name}: expected numbers from {low} to {high}, got {values[bad[0]]}")
    return values


def _read_lines(records: Records) -> tuple[str, ...]:
    width = 256
    count = int(records.ints(1, "number of input lines")[0])
    if count < 0 or count * width != records.left:
        raise records.error(
            f"input lines: expected {count} lines of {width} bytes up to the end of the file, "
            f"got {records.left} bytes"
        )
    return records.text(count, width, "input lines")


def _check_basis(
    source: Path, basis: Basis, definitions: Definitions, n_orbitals: NDArray[np.int64]
) -> Basis:
    """The species of the run, each the one that the run names."""
    missing = [s for s in definitions.species if s not in basis]
    if missing:
        raise ValueError(f"basis: expected the species of {source}, {definitions.species}, got {basis!r}")
    used = basis.subset(definitions.symbols)
    for species in used:
        expected = definitions.species[species.symbol]
        got = species.definition if isinstance(species, OpenMXSpecies) else None
        try:
            wanted = (parse_orbitals(expected[0]), expected[1])
        except ValueError as error:
            raise OpenMXFormatError(f"{source}, input file at its end: {error}") from None
        if got is None or (parse_orbitals(got[0]), got[1]) != wanted:
            raise ValueError(f"basis: expected {expected} for {species.symbol} as in {source}, got {got}")
    for k, symbol in enumerate(definitions.symbols):
        if used[symbol].n_orbitals != n_orbitals[k]:
            raise OpenMXFormatError(
                f"{source}, orbitals per atom: expected {used[symbol].n_orbitals} for atom {k + 1} "
                f"({symbol}), got {n_orbitals[k]}"
            )
    return used


def _pattern(atoms: Atoms, basis: Basis) -> Pattern:
    """The Pattern that `System(atoms, basis)` has, bit for bit."""
    index = np.array([basis.index(s) for s in atoms.get_chemical_symbols()], dtype=np.int32)
    cell, positions = np.array(atoms.cell.array) * ANGSTROM, np.array(atoms.get_positions()) * ANGSTROM
    return Pattern(_core.Structure(cell, positions, index), basis.to_core())
