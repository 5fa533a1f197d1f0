"""Input files of OpenMX 3.9 for a structure, such that `read_scfout` and the import can use the results."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import numpy as np
from ase import Atoms

from mlh.common.files import refuse_existing, write_text
from mlh.common.units import ANGSTROM
from mlh.openmx.basis import data_folder, parse_orbitals
from mlh.openmx.vps import read_vps

_CONVERGENCE = (
    "scf.Mixing.Type rmm-diisk",
    "scf.Init.Mixing.Weight 0.30",
    "scf.Min.Mixing.Weight 0.001",
    "scf.Max.Mixing.Weight 0.600",
    "scf.Mixing.History 10",
    "scf.Mixing.StartPulay 5",
    "scf.criterion 1.0e-10",
)


def openmx_input(
    atoms: Atoms,
    species: Mapping[str, tuple[str, str]],
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    cutoff_ry: float = 200.0,
    kpts: tuple[int, int, int] = (1, 1, 1),
    temperature: float = 300.0,
) -> str:
    """Text of an input file: spin-unpolarised PBE, tightly converged, matrices written (HS.fileout on).

    Lengths are written in Bohr, so that the geometry does not depend on OpenMX's value of the Angstrom.
    """
    if not re.fullmatch(r"[A-Za-z0-9._+-]+", name):
        raise ValueError(f"name: expected letters, digits and ._+-, got {name!r}")
    if not 0.0 < cutoff_ry < 10000.0 or min(kpts) < 1 or temperature <= 0.0:
        raise ValueError(
            f"expected cutoff_ry, kpts and temperature above zero, got {cutoff_ry}, {kpts}, {temperature}"
        )
    symbols = atoms.get_chemical_symbols()
    missing = sorted(set(symbols) - set(species))
    if missing or atoms.cell.rank < 3 or not symbols:
        what = f"species for {', '.join(missing)}" if missing else "atoms in a three-dimensional cell"
        raise ValueError(f"atoms: expected {what}, got none")
    root = data_folder(data_dir)
    used = {s: species[s] for s in dict.fromkeys(symbols)}
    for orbitals, _ in used.values():
        parse_orbitals(orbitals)
    half = {s: 0.5 * read_vps(root / "VPS" / f"{v}.vps").valence for s, (_, v) in used.items()}
    cell, positions = np.asarray(atoms.cell.array) * ANGSTROM, atoms.get_positions() * ANGSTROM
    rows = [
        f" {k + 1} {s} {_numbers(x)} {half[s]:.2f} {half[s]:.2f}"
        for k, (s, x) in enumerate(zip(symbols, positions, strict=True))
    ]
    return "\n".join(
        [
            "System.CurrrentDirectory ./",
            f"System.Name {name}",
            f"DATA.PATH {root.resolve()}",
            "level.of.stdout 1",
            "level.of.fileout 0",
            "HS.fileout on",
            f"Species.Number {len(used)}",
            "<Definition.of.Atomic.Species",
            *(f" {s} {orbitals} {potential}" for s, (orbitals, potential) in used.items()),
            "Definition.of.Atomic.Species>",
            f"Atoms.Number {len(symbols)}",
            "Atoms.SpeciesAndCoordinates.Unit AU",
            "<Atoms.SpeciesAndCoordinates",
            *rows,
            "Atoms.SpeciesAndCoordinates>",
            "Atoms.UnitVectors.Unit AU",
            "<Atoms.UnitVectors",
            *(f" {_numbers(vector)}" for vector in cell),
            "Atoms.UnitVectors>",
            "scf.XcType GGA-PBE",
            "scf.SpinPolarization off",
            f"scf.ElectronicTemperature {temperature}",
            f"scf.energycutoff {cutoff_ry}",
            "scf.maxIter 200",
            "scf.EigenvalueSolver Band",
            f"scf.Kgrid {kpts[0]} {kpts[1]} {kpts[2]}",
            *_CONVERGENCE,
            "MD.Type nomd",
            "",
        ]
    )


def _numbers(vector: np.ndarray) -> str:
    return " ".join(f"{x:.14f}" for x in vector)


def write_openmx_input(path: str | os.PathLike[str], text: str, overwrite: bool = False) -> None:
    """Write an input file; FileExistsError unless `overwrite`."""
    refuse_existing([path], overwrite)
    write_text(path, text, encoding="ascii")
