"""OpenMX databases as a family of basis sets: "openmx DFT_DATA19", or "openmx" for the one that is there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ase import Atoms

from mlh.basis.families import BasisFamily
from mlh.basis.lazy import LazyBasis
from mlh.basis.species import Basis, Species
from mlh.openmx.basis import OpenMXSpecies, data_folder, load_openmx_basis

NAME = "openmx"


def load(
    name: str,
    orbitals: Mapping[str, str],
    elements: Sequence[str] | None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Basis:
    """A set of a database in `data_dir` (None: the folder that MLH_OPENMX_DATA names).

    orbitals: {"Si": "Si7.0-s2p2d1 Si_PBE19"}; elements that it does not name get `default_species`.
    """
    database = name.removeprefix(NAME).strip() or None
    root = data_folder(data_dir, database)
    chosen = {symbol: _definition(text) for symbol, text in orbitals.items()}
    offered = _elements(root) if elements is None else tuple(dict.fromkeys(elements))
    unknown = sorted({*chosen, *offered} - set(_elements(root)))
    if unknown:
        raise KeyError(
            f"{root.name}: expected elements with a .pao and a .vps file, got {', '.join(unknown)}"
        )
    lazy = LazyBasis(offered, partial(_lookup, root, chosen), f"{NAME} {root.name}")
    return lazy if elements is None else lazy.subset(offered)


def _lookup(root: Path, chosen: Mapping[str, tuple[str, str]], symbol: str) -> Species:
    definition = chosen.get(symbol) or default_species({symbol}, root)[symbol]
    return load_openmx_basis(root, {symbol: definition}, root.name)[symbol]


def record(basis: Basis) -> dict[str, str]:
    """The files of every species, as {"Si": "Si7.0-s2p2d1 Si_PBE19"}."""
    return {s.symbol: " ".join(s.definition) for s in basis.species if isinstance(s, OpenMXSpecies)}


STANDARD_ORBITALS = {
    **{"H": "H6.0", "He": "He8.0", "Li": "Li8.0", "Be": "Be7.0", "B": "B7.0", "C": "C6.0", "N": "N6.0"},
    **{"O": "O6.0", "F": "F6.0", "Na": "Na9.0", "Mg": "Mg9.0", "Al": "Al7.0", "Si": "Si7.0", "P": "P7.0"},
    **{"S": "S7.0", "Cl": "Cl7.0", "Ti": "Ti7.0", "Mn": "Mn6.0", "Ga": "Ga7.0", "Ge": "Ge7.0"},
    **{"As": "As7.0", "Zr": "Zr7.0", "Hf": "Hf9.0"},
}
"""Where a database has several radii: those that OpenMX's manual recommends for ordinary calculations."""


FAMILY = BasisFamily(NAME, load, record, integration="openmx")


def default_species(
    symbols: Iterable[str], data_dir: str | os.PathLike[str] | None = None, xc: str = "PBE"
) -> dict[str, tuple[str, str]]:
    """Orbitals and potentials from a database: its standard potential, s2p2d1 (s2p1 for H and He).

    xc: the functional; local ones have the potentials _CA, PBE has _PBE.

    The standard potential is the one without a suffix (Si_PBE19): core holes, semicore states and the like
    (Si_PBE19_1s) are asked for by name. Of several orbital files the one of `STANDARD_ORBITALS` is taken.
    ValueError where the database offers none, or several of which none is that.
    """
    root = data_folder(data_dir)
    made = "PBE" if xc == "PBE" else "CA"
    year = root.name[-2:] if re.fullmatch(r"DFT_DATA\d\d", root.name) else ""
    chosen = {}
    for symbol in sorted(symbols):
        potentials = sorted(p.stem for p in (root / "VPS").glob(f"{symbol}_{made}{year}*.vps"))
        standard = [p for p in potentials if re.fullmatch(rf"{symbol}_{made}\d*", p)]
        orbitals = sorted(
            p.stem for p in (root / "PAO").glob(f"{symbol}*.pao") if re.match(rf"{symbol}[0-9]", p.stem)
        )
        usual = [name for name in orbitals if name == STANDARD_ORBITALS.get(symbol)]
        found = {"potential": standard or potentials, "orbital file": usual or orbitals}
        for kind, files in found.items():
            if len(files) != 1:
                names = ", ".join(files) or "none"
                raise ValueError(
                    f"species: expected one {kind} for {symbol} in {root}, got {names}: name it, as "
                    f"{symbol}=ORBITALS,POTENTIAL"
                )
        shells = "s2p1" if symbol in ("H", "He") else "s2p2d1"
        chosen[symbol] = (f"{found['orbital file'][0]}-{shells}", found["potential"][0])
    return chosen


def chosen_species(
    atoms: Atoms, named: Sequence[str], data_dir: str | os.PathLike[str] | None = None, xc: str = "PBE"
) -> dict[str, tuple[str, str]]:
    """Orbitals and potentials of the elements: as named (ELEMENT=ORBITALS,POTENTIAL), else the default."""
    given = named_species(named)
    symbols = set(atoms.get_chemical_symbols())
    return {**default_species(symbols - set(given), data_dir, xc), **given}


def named_species(named: Sequence[str]) -> dict[str, tuple[str, str]]:
    """{"Si": ("Si7.0-s2p2d1", "Si_PBE19")} of texts such as Si=Si7.0-s2p2d1,Si_PBE19."""
    return dict(_named(text) for text in named)


def _named(text: str) -> tuple[str, tuple[str, str]]:
    symbol, _, rest = text.partition("=")
    orbitals, _, potential = rest.partition(",")
    if not (symbol and orbitals and potential):
        raise ValueError(f"species: expected a form such as Si=Si7.0-s2p2d1,Si_PBE19, got {text!r}")
    return symbol, (orbitals, potential)


def _definition(text: str) -> tuple[str, str]:
    words = text.split()
    if len(words) != 2:
        raise ValueError(f"orbitals: expected a form such as 'Si7.0-s2p2d1 Si_PBE19', got {text!r}")
    return words[0], words[1]


def _elements(root: Path) -> tuple[str, ...]:
    """Elements with at least one orbital file and one potential, sorted."""

    def of(folder: str, ending: str, pattern: str) -> set[str]:
        names = (re.match(pattern, p.name) for p in (root / folder).glob(f"*{ending}"))
        return {match[1] for match in names if match}

    symbols = of("PAO", ".pao", r"([A-Z][a-z]?)[0-9]") & of("VPS", ".vps", r"([A-Z][a-z]?)_")
    return tuple(sorted(symbols))
