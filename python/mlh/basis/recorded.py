"""The basis that a file names: data sets and models record how their basis was loaded."""

from __future__ import annotations

from collections.abc import Mapping

from mlh.basis.species import Basis

_OPENMX = "openmx "


def recorded_orbitals(basis: Basis) -> dict[str, str]:
    """What to record beside the name of an OpenMX basis, as {"Si": "Si7.0-s2p2d1 Si_PBE19"}."""
    from mlh.openmx import OpenMXSpecies

    return {s.symbol: " ".join(s.definition) for s in basis.species if isinstance(s, OpenMXSpecies)}


def load_recorded_basis(name: str, orbitals: Mapping[str, str]) -> Basis:
    """The basis of a record: an embedded set with its overrides, or OpenMX files from MLH_OPENMX_DATA.

    Whether the files are the same is for the caller to check by the digests of the species.
    """
    if name.startswith(_OPENMX):
        from mlh.openmx.basis import load_openmx_basis

        database = name.removeprefix(_OPENMX)
        return load_openmx_basis(None, {k: _pair(v) for k, v in orbitals.items()}, database)
    from mlh.basis.gth.library import load_basis

    return load_basis(name, orbitals=dict(orbitals) or None)


def _pair(text: str) -> tuple[str, str]:
    words = text.split()
    if len(words) != 2:
        raise ValueError(f"orbitals: expected a form such as 'Si7.0-s2p2d1 Si_PBE19', got {text!r}")
    return words[0], words[1]
