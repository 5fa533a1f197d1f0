"""Small files in OpenMX's formats, made of formulas of our own: what tests read where no data folder is."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import mlh
from mlh.basis.species import Basis
from mlh.matrix.block_matrix import BlockMatrix
from mlh.openmx.outfile import ENERGY_NAMES

CUTOFF = 4.0
DEFINITION = ("H4.0-s2p1", "H_TEST")
NODES = 90
FUNCTIONS = 12
"""Per l: as many as the expansion of the neutral-atom potential takes."""


def _mesh(last: float, nodes: int) -> np.ndarray:
    return np.exp(np.linspace(-7.0, np.log(last), nodes))


def _rows(r: np.ndarray, *columns: np.ndarray) -> str:
    table = np.column_stack([np.log(r), r, *columns])
    return "\n".join(" ".join(f"{value:.15e}" for value in row) for row in table)


def _normalised(r: np.ndarray, f: np.ndarray) -> np.ndarray:
    return f / np.sqrt(np.sum(f**2 * r**3) * np.log(r[-1] / r[0]) / (len(r) - 1))


def write_pao(path: Path, valence: float = 1.0, nodes: int = NODES) -> None:
    """s and p functions confined to CUTOFF."""
    r = _mesh(1.15 * CUTOFF, nodes)
    wall = np.maximum(0.0, 1.0 - (r / CUTOFF) ** 2) ** 3
    blocks = [("valence.charge.density", [wall * np.exp(-r)])]
    for l in (0, 1):
        shape = wall * r**l * np.exp(-0.3 * r**2)
        functions = [_normalised(r, shape * np.cos(n * np.pi * r / CUTOFF)) for n in range(FUNCTIONS)]
        blocks.append((f"pseudo.atomic.orbitals.L={l}", functions))
    head = (
        f"AtomSpecies 1\ntotal.electron 1.0\nvalence.electron {valence}\ngrid.num.output {nodes}\n"
        f"radial.cutoff.pao {CUTOFF}\nPAO.Lmax 1\nPAO.Mul {FUNCTIONS}\n"
    )
    path.write_text(head + "".join(f"<{tag}\n{_rows(r, *f)}\n{tag}>\n" for tag, f in blocks))


def write_vps(
    path: Path, j_dependent: bool = True, valence: float = 1.0, core: bool = True, nodes: int = NODES
) -> None:
    """One s and one p projector, with or without a partial core."""
    r = _mesh(12.0, nodes)
    local = -valence / r * np.tanh(r**2)
    beta_s, beta_p = np.exp(-3.0 * r**2), r * np.exp(-3.0 * r**2)
    columns = [local, beta_s, beta_s, beta_p, 1.3 * beta_p] if j_dependent else [local, beta_s, beta_p]
    energies = " 2\n 0 1.0 1.0\n 1 -0.5 -0.2\n" if j_dependent else " 2\n 0 1.0\n 1 -0.4\n"
    switch = "on" if j_dependent else "off"
    path.write_text(
        f"AtomSpecies 1\ntotal.electron 1.0\nvalence.electron {valence}\ngrid.num.output {nodes}\n"
        f"charge.pcc.calc {'on' if core else 'off'}\nj.dependent.pseudo.potentials {switch}\n"
        f"<project.energies\n{energies}project.energies>\n"
        f"<Pseudo.Potentials\n{_rows(r, *columns)}\nPseudo.Potentials>\n"
        f"<density.PCC\n{_rows(r, 0.1 * np.exp(-2.0 * r**2))}\ndensity.PCC>\n"
    )


def write_database(folder: Path, core: bool = True, nodes: int = NODES) -> Path:
    """A folder with PAO/H4.0.pao and VPS/H_TEST.vps."""
    for name in ("PAO", "VPS"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_pao(folder / "PAO" / "H4.0.pao", nodes=nodes)
    write_vps(folder / "VPS" / "H_TEST.vps", core=core, nodes=nodes)
    return folder


def write_scfout(
    path: Path,
    system: mlh.System,
    H: BlockMatrix,
    D: BlockMatrix,
    order: int = 1,
    version: int = 3,
    extra_lines: Sequence[str] = (),
) -> None:
    """A .scfout (format 3) of hydrogen atoms; D as mlh has it, pairs in the order of the Pattern.

    OpenMX lists the self pair first: so does this.
    """
    pattern, nspin = system.pattern, D.nspin
    n, n_pairs = pattern.n_atoms, pattern.n_pairs
    R = np.asarray(pattern.cell)
    own = (np.asarray(pattern.atom_i) == np.asarray(pattern.atom_j)) & (R == 0).all(axis=1)
    rank = np.lexsort((np.arange(n_pairs), ~own, np.asarray(pattern.atom_i)))
    m = int(np.abs(R).max(initial=1))
    cells = np.array([c for c in np.ndindex(*3 * (2 * m + 1,)) if c != (m, m, m)]) - m
    cells = np.concatenate([[[0, 0, 0]], cells])
    index = {tuple(c): k for k, c in enumerate(cells.tolist())}
    counts = np.diff(pattern.row_start)

    def four(rows: np.ndarray, dtype: str) -> bytes:
        return np.column_stack([np.zeros(len(rows)), rows]).astype(dtype).tobytes()

    def ints(values: object) -> bytes:
        return np.asarray(values, dtype="<i4").tobytes()

    def blocks(matrix: BlockMatrix, spin: int = 0) -> bytes:
        return b"".join(matrix.block(int(p), spin).astype("<f8").tobytes() for p in rank)

    lines = [
        "<Definition.of.Atomic.Species",
        f" H1 {' '.join(DEFINITION)}",
        "Definition.of.Atomic.Species>",
        "<Atoms.SpeciesAndCoordinates",
        *(f" {k + 1} H1 0.0 0.0 0.0 0.5 0.5" for k in range(n)),
        "Atoms.SpeciesAndCoordinates>",
        *extra_lines,
    ]
    factor = 1.0 if nspin == 2 else 0.5
    spins = range(nspin)
    nothing = bytes(8 * pattern.nnz)
    path.write_bytes(
        struct.pack("<6i", n, nspin - 1 + 4 * version, n, 0, 0, len(cells) - 1)
        + ints([order])
        + four(cells @ system.cell, "<f8")
        + four(cells, "<i4")
        + ints(pattern.n_orbitals)
        + ints(counts - 1)
        + ints(np.asarray(pattern.atom_j)[rank] + 1)
        + ints([index[tuple(R[p].tolist())] for p in rank])
        + four(system.cell, "<f8")
        + four(2.0 * np.pi * np.linalg.inv(system.cell).T, "<f8")
        + four(system.positions, "<f8")
        + b"".join(blocks(H, s) for s in spins)
        + blocks(system.overlap())
        + nothing * 3 * (order + 1)
        + b"".join(blocks(factor * D, s) for s in spins)
        + nothing * 2
        + ints([3])
        + np.array([-0.1, 300.0, 0, 0, 0, 0, 0, 0, float(n), 0.0]).tobytes()
        + ints([len(lines)])
        + b"".join(line.encode().ljust(256, b"\0") for line in lines)
    )


def write_out(path: Path, positions: np.ndarray, forces: np.ndarray, residual: float = 1e-11) -> None:
    """A .out file with the lines that are read; positions in Angstrom."""
    values = dict.fromkeys(ENERGY_NAMES, 0.0) | {"Ukin": 1.5, "UH0": -0.7, "Una": -2.25, "Ucore": 0.5}
    rows = [
        f" {k + 1} H1 " + " ".join(f"{x:.5f}" for x in p) + " " + " ".join(f"{x:.12f}" for x in f)
        for k, (p, f) in enumerate(zip(positions, forces, strict=True))
    ]
    path.write_text(
        f"   SCF=   1  NormRD=  1.0  Uele= -1.0\n   SCF=   2  NormRD=  {residual:.12f}  Uele= -1.0\n"
        + "".join(f"  {name}. {value:.12f}\n" for name, value in values.items())
        + f"  Utot. {sum(values.values()):.12f}\n"
        + f"<coordinates.forces\n {len(rows)}\n"
        + "\n".join(rows)
        + "\ncoordinates.forces>\n"
    )


def load_basis(folder: Path) -> Basis:
    return mlh.load_openmx_basis(folder, {"H": DEFINITION})
