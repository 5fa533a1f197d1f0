"""An input file of OpenMX (``.dat``) as a calculation of mlh: atoms and level of theory.

What changes the result and is not there is refused by name; what concerns OpenMX's way to the result
(mixing, criteria, output) is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlh.basis.species import Basis
from mlh.common.units import BOHR_ANGSTROM, HARTREE_EV, OPENMX_KELVIN
from mlh.dft.theory import Theory
from mlh.openmx.basis import OpenMXSpecies, load_openmx_basis
from mlh.openmx.inputfile import one_basis
from mlh.openmx.integration import OpenMXIntegration
from mlh.structures.openmx_dat import InputText, OpenMXFormatError, openmx_atoms, read_input_text

KELVIN_EV = OPENMX_KELVIN * HARTREE_EV
"""Width of an electronic temperature of 1 K, with OpenMX's constants."""

FUNCTIONALS = {"lda": "PZ", "lsda-ca": "PZ", "lsda-pw": "PW92", "gga-pbe": "PBE"}
"""scf.XcType: mlh's name."""

NEUTRAL = {
    "scf.Hubbard.U": "off",
    "scf.SpinOrbit.Coupling": "off",
    "scf.dftD": "off",
    "scf.core.hole": "off",
    "scf.Constraint.NC.Spin": "off",
    "scf.NC.Zeeman.Spin": "off",
    "scf.NC.Zeeman.Orbital": "off",
    "scf.Generalized.Bloch": "off",
    "scf.PCC": "on",
    "ESM.switch": "off",
    "orbitalOpt.Method": "off",
}
"""Keywords that change the result, and the value at which they do not: anything else is refused."""

USED = (
    *("scf.XcType", "scf.SpinPolarization", "scf.ElectronicTemperature", "scf.energycutoff", "scf.Kgrid"),
    *("scf.EigenvalueSolver", "scf.ProExpn.VNA", "scf.fixed.grid", "scf.Ngrid", "scf.Electric.Field"),
    "scf.system.charge",
)

_WAY = (
    *("scf.init.mixing", "scf.min.mixing", "scf.max.mixing", "scf.mixing", "scf.kerker", "scf.criterion"),
    *("scf.maxiter", "scf.mp.criterion", "scf.lapack", "scf.elpa", "scf.eigen", "scf.restart", "scf.npoly"),
    *("scf.paradiag", "scf.stress", "scf.hubbard.", "scf.dftu", "scf.dftd.", "scf.core.hole."),
    *("scf.constraint.", "scf.zeeman", "scf.nc."),
)
"""How keywords of the way to the result begin, and those of details of terms that are off."""

SOLVERS = {"band": "", "cluster": "Gamma"}
"""Solvers that are exact; cluster has no k mesh."""

_NO_SOLUTION = ("negf", "negf_band")


@dataclass(frozen=True)
class OpenMXCalculation:
    """Atoms, level of theory, and in words what the file asks for beyond it."""

    atoms: Atoms
    theory: Theory
    notes: tuple[str, ...]


def read_calculation(
    path: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    species: Mapping[str, tuple[str, str]] | None = None,
    quirks: bool = False,
) -> OpenMXCalculation:
    """The first geometry of an input file.

    data_dir: the database; None: MLH_OPENMX_DATA, or the file's DATA.PATH where that exists. species:
    orbitals and potentials of elements in place of the file's. OpenMXFormatError where the file is not what
    OpenMX reads, ValueError in words where it asks for what mlh does not have.
    """
    text = read_input_text(Path(path))
    _refuse(text)
    atoms, level = openmx_atoms(text), _level(text, quirks)
    basis = load_openmx_basis(_database(text, data_dir), {**one_basis(text), **(species or {})})
    theory = replace(level, basis=basis)
    if not atoms.pbc.any():
        atoms.set_cell(_box(atoms, basis, theory.cutoff_ry) * BOHR_ANGSTROM)
        atoms.pbc = True
    if theory.spin is False:
        atoms.set_initial_magnetic_moments(None)
    return OpenMXCalculation(atoms, theory, tuple(_notes(text)))


def _refuse(text: InputText) -> None:
    """ValueError for the first thing that changes the result and is not there."""
    for name, neutral in NEUTRAL.items():
        word = text.word(name, neutral)
        if word.lower() != neutral and not _equal(word, neutral):
            raise ValueError(f"{text.where}: {name} {word} is not supported, expected {neutral}")
    field = text.numbers("scf.Electric.Field", [0.0] * 3, 3)
    if any(field):
        values = " ".join(f"{x:g}" for x in field)
        raise ValueError(f"{text.where}: scf.Electric.Field {values} is not supported: there are no fields")
    if text.word("scf.SpinPolarization", "off").lower() == "nc":
        raise ValueError(f"{text.where}: scf.SpinPolarization NC is not supported: spins are collinear")
    solver = text.word("scf.EigenvalueSolver", "cluster").lower()
    if solver in _NO_SOLUTION:
        raise ValueError(f"{text.where}: scf.EigenvalueSolver {solver} is not supported: no leads")


def _equal(word: str, neutral: str) -> bool:
    try:
        return float(word) == float(neutral)
    except ValueError:
        return False


def _level(text: InputText, quirks: bool) -> Theory:
    """The level of theory without its basis."""
    xc = FUNCTIONALS[text.one_of("scf.XcType", "lda", tuple(FUNCTIONALS))]
    spin = text.one_of("scf.SpinPolarization", "off", ("on", "off")) == "on"
    expanded = text.one_of("scf.ProExpn.VNA", "on", ("on", "off")) == "on"
    fixed = text.numbers("scf.fixed.grid", (), 3)
    method = OpenMXIntegration(
        neutral_atom="projectors" if expanded else "grid",
        grid_origin=(fixed[0], fixed[1], fixed[2]) if fixed else None,
        quirks=quirks,
    )
    fields: dict[str, Any] = {}
    if text.words("scf.Ngrid"):
        fields["grid_shape"] = tuple(_integers(text, "scf.Ngrid"))
    return Theory(
        cutoff_ry=text.numbers("scf.energycutoff", [150.0])[0],
        kpts=_mesh(text, quirks),
        xc=xc,
        spin=spin,
        smearing_ev=text.numbers("scf.ElectronicTemperature", [300.0])[0] * KELVIN_EV,
        integration=method,
        charge=text.numbers("scf.system.charge", [0.0], 1)[0],
        **fields,
    )


def _mesh(text: InputText, quirks: bool) -> Any:
    """The mesh of the band solver; the others have one point."""
    if text.word("scf.EigenvalueSolver", "cluster").lower() != "band":
        return (1, 1, 1)
    n = _integers(text, "scf.Kgrid", (1, 1, 1))
    size = (n[0], n[1], n[2])
    return size if quirks else {"size": size, "gamma": False}


def _integers(text: InputText, name: str, default: tuple[int, ...] = ()) -> list[int]:
    values = text.numbers(name, default, 3)
    if any(x != int(x) or x < 1 for x in values):
        raise OpenMXFormatError(f"{text.where}, {name}: expected three positive integers, got {values}")
    return [int(x) for x in values]


def _database(text: InputText, data_dir: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
    named = Path(text.where).parent / text.word("DATA.PATH", "../DFT_DATA19")
    return named if data_dir is None and (named / "PAO").is_dir() else data_dir


def _box(atoms: Atoms, basis: Basis, cutoff_ry: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """OpenMX's box around a molecule, rows in Bohr: 1.1 times the extent of the orbitals, then up to the next
    number of grid points without large primes, at the spacing of a cutoff 0.001 Ry higher.

    As its own examples print it (H2O, CO, Glycine, HMn, Mol_MnO).
    """
    radii = {s.symbol: s.pao.cutoff for s in basis if isinstance(s, OpenMXSpecies)}
    reach = np.array([radii[symbol] for symbol in atoms.get_chemical_symbols()])[:, None]
    positions = atoms.positions / BOHR_ANGSTROM
    extent = 1.1 * ((positions + reach).max(axis=0) - (positions - reach).min(axis=0))
    step = np.pi / np.sqrt(cutoff_ry + 0.001)
    return np.diag([step * _smooth(x / step) for x in extent])


def _smooth(least: float) -> int:
    """The smallest 2^p 3^q 5^r 7^s that is not below."""
    n = int(np.ceil(least))
    while True:
        rest = n
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def _unknown(text: InputText) -> list[str]:
    """Keywords of the calculation itself that are neither used nor known not to matter."""
    known = {name.lower() for name in (*NEUTRAL, *USED)}
    return [
        name
        for name in text.keywords()
        if name.lower().startswith(("scf.", "1dfft."))
        and name.lower() not in known
        and not name.lower().startswith(_WAY)
    ]


def _notes(text: InputText) -> list[str]:
    """What the file asks for that is left out, or done in another way."""
    notes = []
    solver = text.word("scf.EigenvalueSolver", "cluster")
    if solver.lower() not in SOLVERS:
        notes.append(f"scf.EigenvalueSolver {solver}: solved exactly, without its approximation")
    motion = text.word("MD.Type", "nomd")
    if motion.lower() != "nomd":
        notes.append(f"MD.Type {motion}: the first geometry only")
    if others := _unknown(text):
        notes.append(f"{', '.join(others)}: not known to mlh, passed over")
    for name in ("Band.dispersion", "Dos.fileout", "MO.fileout", "Wannier.Func.Calc"):
        if text.word(name, "off").lower() == "on":
            notes.append(f"{name}: not done here")
    return notes
