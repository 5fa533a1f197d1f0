"""Matrices of one geometry in a self-describing HDF5 file, readable with any HDF5 library.

/                   attributes: format, version, units, orbital_order, layout, mlh_version, created
/structure          cell (3, 3) rows, positions (n, 3), both Bohr; symbols (n,)
/basis              attributes: name, fingerprint; labels (n_species,) such as "Si 7.00 s2p2d1"
/pattern            atom_i, atom_j (n_pairs,), cell (n_pairs, 3), offset (n_pairs + 1,), n_orbitals (n,)
/matrices/NAME      (nspin, nnz) float64; attribute unit
/scalars            attributes: numbers such as energies (Hartree)
/theory             attribute json: the level of theory (`mlh.dft.theory_record`); files before this had none
/kpoints            points (nk, 3) fractional, weights (nk,): those that were solved, irreducible in a crystal
/potentials         sites (natoms,), axis1, axis2, axis3: electrostatic (`mlh.dft.potentials`); Hartree/e
/states             eigenvalues, occupations (nspin, nk, norb), fermi_levels (nspin,); Hartree
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from numpy.typing import NDArray

import mlh._core as _core
from mlh.basis.ghosts import atoms_of_species, species_names
from mlh.basis.species import Basis
from mlh.common.files import complete_or_absent, intact, refuse_existing
from mlh.common.units import BOHR_ANGSTROM
from mlh.matrix.block_matrix import BlockMatrix, Pattern
from mlh.matrix.kpoints import KPoints
from mlh.solver import Solution, State

FORMAT, VERSION = "mlh-matrices", 1

ORBITAL_ORDER = (
    "l ascending; zeta ascending within l; m in the order p: x, y, z; d: 3z2-r2, x2-y2, xy, xz, yz; "
    "f: z(5z2-3r2), x(5z2-r2), y(5z2-r2), z(x2-y2), xyz, x(x2-3y2), y(3x2-y2); all signs +"
)
LAYOUT = (
    "block p is <phi_i(r - tau_i) | O | phi_j(r - tau_j - R)>, n_i x n_j row-major at offset[p]; "
    "M(k)_ij = sum_R exp(2 pi i k.R) M_ij(R); D includes both spins when nspin = 1"
)
UNITS = {"S": "1", "D": "1"}  # every other matrix is an energy
_PATTERN_ARRAYS = ("atom_i", "atom_j", "cell", "offset", "n_orbitals")


@dataclass(frozen=True, slots=True)
class MatrixFile:
    """What a matrix file holds, on the Pattern of its own structure and basis. `scalars` in Hartree."""

    atoms: Atoms
    basis: Basis
    matrices: Mapping[str, BlockMatrix]
    scalars: Mapping[str, float]
    theory: Mapping[str, Any] | None = None
    """The level of theory in plain values (`mlh.dft.theory_record`); None in files of before."""
    kpts: KPoints | None = None
    occupations: NDArray[np.float64] | None = None
    """(nspin, nk, norb), to 2 without spin; None where the solver had no eigenstates."""


def write_matrices(
    path: str | os.PathLike[str],
    atoms: Atoms,
    basis: Basis,
    matrices: Mapping[str, BlockMatrix],
    scalars: Mapping[str, float] | None = None,
    overwrite: bool = False,
    *,
    theory: Mapping[str, Any] | None = None,
    state: State | None = None,
    potentials: Mapping[str, NDArray[np.float64]] | None = None,
) -> None:
    """Write matrices that share one Pattern. The file appears complete or not at all.

    theory, state: the level of theory in plain values (`mlh.dft.theory_record`) and the occupied space of D;
    without them the file does not say which k points its D has. potentials: electrostatic ones by name,
    Hartree per e (`mlh.dft.potentials`).
    """
    target = Path(path)
    refuse_existing([target], overwrite)
    if not matrices:
        raise ValueError("matrices: expected at least one, got none")
    pattern = next(iter(matrices.values())).pattern
    for name, matrix in matrices.items():
        if matrix.pattern is not pattern:
            raise ValueError(f"matrices: expected one common Pattern, got another one for {name!r}")
    used = basis.subset(species_names(atoms))
    with complete_or_absent(target) as temporary, h5py.File(temporary, "w") as file:
        _write_header(file)
        _write_structure(file, atoms, used, pattern)
        for name, matrix in matrices.items():
            data = file.create_dataset(
                f"matrices/{name}", data=matrix.data, compression="gzip", shuffle=True, compression_opts=1
            )
            data.attrs["unit"] = UNITS.get(name, "Hartree")
        file.create_group("scalars").attrs.update(dict(scalars or {}))
        if theory is not None:
            file.create_group("theory").attrs["json"] = json.dumps(dict(theory))
        if state is not None:
            _write_state(file, state)
        for name, values in (potentials or {}).items():
            file[f"potentials/{name}"] = values
            file[f"potentials/{name}"].attrs["unit"] = "Hartree/e"


def _write_state(file: h5py.File, state: State) -> None:
    file["kpoints/points"], file["kpoints/weights"] = state.kpts.points, state.kpts.weights
    if isinstance(state, Solution):
        for name in ("eigenvalues", "occupations", "fermi_levels"):
            file[f"states/{name}"] = getattr(state, name)


def _write_header(file: h5py.File) -> None:
    from mlh.common.version import VERSION as __version__

    file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
    file.attrs["units"] = "atomic units: Hartree, Bohr"
    file.attrs["orbital_order"], file.attrs["layout"] = ORBITAL_ORDER, LAYOUT
    file.attrs["mlh_version"] = __version__
    file.attrs["created"] = datetime.now(UTC).isoformat(timespec="seconds")


def _write_structure(file: h5py.File, atoms: Atoms, basis: Basis, pattern: Pattern) -> None:
    structure = file.create_group("structure")
    structure["cell"] = np.asarray(atoms.cell.array) / BOHR_ANGSTROM
    structure["positions"] = atoms.get_positions() / BOHR_ANGSTROM
    structure["symbols"] = np.array(species_names(atoms), dtype="S")
    group = file.create_group("basis")
    group.attrs["name"], group.attrs["fingerprint"] = basis.name, basis.fingerprint
    group["labels"] = np.array([f"{s.symbol} {s.cutoff:.2f} {s.orbital_label}" for s in basis.species], "S")
    pairs = file.create_group("pattern")
    for name in _PATTERN_ARRAYS:
        pairs[name] = np.asarray(getattr(pattern, name))


def read_atoms(path: str | os.PathLike[str]) -> Atoms:
    """The structure of a matrix file, periodic, Angstrom."""
    source = Path(path)
    with intact(source), h5py.File(source, "r") as file:
        _check_header(file, source)
        symbols = [s.decode() for s in file["structure/symbols"][()]]
        cell, positions = file["structure/cell"][()], file["structure/positions"][()]
    return atoms_of_species(symbols, positions * BOHR_ANGSTROM, cell * BOHR_ANGSTROM)


def read_matrices(path: str | os.PathLike[str], basis: Basis) -> MatrixFile:
    """Read every matrix of a file; the basis must be the one that wrote it (fingerprint)."""
    source = Path(path)
    with intact(source), h5py.File(source, "r") as file:
        _check_header(file, source)
        symbols = [s.decode() for s in file["structure/symbols"][()]]
        cell, positions = file["structure/cell"][()], file["structure/positions"][()]
        stored, name = str(file["basis"].attrs["fingerprint"]), str(file["basis"].attrs["name"])
        labels = ", ".join(label.decode() for label in file["basis/labels"][()])
    used = basis.subset(symbols)
    if used.fingerprint != stored:
        raise ValueError(
            f"{source}: expected the basis {name!r} ({labels}; fingerprint {stored[:12]}), "
            f"got {used.name!r} (fingerprint {used.fingerprint[:12]})"
        )
    with intact(source), h5py.File(source, "r") as file:
        pattern = _rebuild(cell, positions, symbols, used)
        for name in _PATTERN_ARRAYS:
            if not np.array_equal(file["pattern"][name][()], np.asarray(getattr(pattern, name))):
                raise ValueError(f"{source}: the stored pairs differ from those of the structure ({name})")
        matrices = {name: BlockMatrix(pattern, data[()]) for name, data in file["matrices"].items()}
        scalars = {name: float(value) for name, value in file["scalars"].attrs.items()}
        theory, k = _theory(file), file.get("kpoints")
        kpts = None if k is None else KPoints(k["points"][()], k["weights"][()])
        occupations = file["states/occupations"][()] if "states" in file else None
    atoms = atoms_of_species(symbols, positions * BOHR_ANGSTROM, cell * BOHR_ANGSTROM)
    return MatrixFile(atoms, used, matrices, scalars, theory, kpts, occupations)


def read_basis_name(path: str | os.PathLike[str]) -> str:
    """Name of the basis that wrote a matrix file, as `mlh.load_basis` takes it."""
    source = Path(path)
    with intact(source), h5py.File(source, "r") as file:
        _check_header(file, source)
        return str(file["basis"].attrs["name"])


def read_theory(path: str | os.PathLike[str]) -> Mapping[str, Any] | None:
    """The level of theory of a matrix file in plain values; None in files of before."""
    source = Path(path)
    with intact(source), h5py.File(source, "r") as file:
        _check_header(file, source)
        return _theory(file)


def _theory(file: h5py.File) -> Mapping[str, Any] | None:
    if "theory" not in file:
        return None
    content: dict[str, Any] = json.loads(file["theory"].attrs["json"])
    return content


def _check_header(file: h5py.File, source: Path) -> None:
    kind, version = file.attrs.get("format"), file.attrs.get("version")
    if kind != FORMAT or version != VERSION:
        raise ValueError(f"{source}: expected a file of format {FORMAT} {VERSION}, got {kind} {version}")


def _rebuild(
    cell: NDArray[np.float64], positions: NDArray[np.float64], symbols: list[str], basis: Basis
) -> Pattern:
    index = np.array([basis.index(s) for s in symbols], dtype=np.int32)
    return Pattern(_core.Structure(cell, positions, index), basis.to_core())
