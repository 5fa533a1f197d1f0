"""Families of basis sets by name: `load_basis` for names on command lines and in files.

The first word of a basis name is its family: "gth-pbe" (embedded), "openmx DFT_DATA19" (files of a database),
"files FOLDER" (pseudopotentials of the user).
A family is one module that holds a `FAMILY`, and one line of `_MODULES`, or one call of `register_family`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from mlh.basis.species import Basis

Loader = Callable[[str, Mapping[str, str], Sequence[str] | None], Basis]
"""(name of the set, orbitals by element, elements or None for all that the set offers) -> Basis."""


@dataclass(frozen=True)
class BasisFamily:
    """How the sets of one origin are loaded, recorded in files, and integrated."""

    name: str
    """First word of the names of its sets."""
    load: Loader
    record: Callable[[Basis], Mapping[str, str]]
    """The `orbitals` with which `load` makes a given Basis of this family again."""
    integration: str
    """The integration method that belongs to its functions, see `mlh.dft.integrations`."""


DEFAULT_BASIS = "gth-nlcc-pbe"

_MODULES = {
    "gth-pbe": "mlh.basis.gth.library",
    "gth-nlcc-pbe": "mlh.basis.gth.with_cores",
    "openmx": "mlh.openmx.family",
    "files": "mlh.basis.files.library",
}
"""Where the families are; a module is loaded when a set of its family is asked for."""

_registered: dict[str, BasisFamily] = {}


def register_family(family: BasisFamily) -> None:
    """Make the sets of a family loadable by name; the name must be free."""
    if family.name in family_names():
        raise ValueError(f"family: expected a name other than {', '.join(family_names())}, got {family.name}")
    _registered[family.name] = family


def family_names() -> tuple[str, ...]:
    """Names of all families."""
    return (*_MODULES, *(name for name in _registered if name not in _MODULES))


def family_of(name: str) -> BasisFamily | None:
    """The family of a basis name; None for a set that no family makes (species from arrays)."""
    key = name.split(" ", 1)[0]
    if key not in _registered and key in _MODULES:
        _registered[key] = import_module(_MODULES[key]).FAMILY
    return _registered.get(key)


def load_basis(
    name: str = DEFAULT_BASIS,
    orbitals: Mapping[str, str] | None = None,
    elements: Sequence[str] | None = None,
) -> Basis:
    """A basis set by name.

    "gth-pbe", "gth-nlcc-pbe": GTH-PBE pseudopotentials without and with partial cores, numerical orbitals,
    embedded; after it the size of the orbitals, minimal, standard (default) or precise, as in "gth-nlcc-pbe
    precise"; orbitals: sizes of single elements, as {"Si": "precise", "O": "6.0-s2p2d1"}. "openmx" or "openmx
    DFT_DATA19": files of an OpenMX database, in the folder that MLH_OPENMX_DATA names; orbitals: files, as
    {"Si": "Si7.0-s2p2d1 Si_PBE19"}. "files FOLDER": pseudopotentials in UPF 2, psp8 or PSML; orbitals: sizes
    and files, as {"Si": "precise Si.psp8"}.
    elements: the species of the returned basis, in this order. Without it the basis offers every element of
    the set.
    """
    family = family_of(name)
    if family is None:
        raise ValueError(f"basis: expected one of {', '.join(family_names())}, got {name!r}")
    return family.load(name, dict(orbitals or {}), elements)


def recorded_orbitals(basis: Basis) -> dict[str, str]:
    """What to record beside the name of a basis so that `load_basis` makes it again."""
    family = family_of(basis.name)
    return {} if family is None else dict(family.record(basis))


def default_integration(basis: Basis) -> str | None:
    """The integration method that belongs to a basis; None where its functions come from no family."""
    family = family_of(basis.name)
    return None if family is None else family.integration
