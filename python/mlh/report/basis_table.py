"""Table of what a grid carries of the species of a basis set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlh.basis.families import default_integration, load_basis
from mlh.basis.resolution import carrying_cutoff, lost_charge, shift_error, smallest_cutoff
from mlh.basis.species import Species
from mlh.report.fitted_table import FittedTable

CUTOFFS = (100.0, 150.0, 200.0, 300.0)
"""Ry, the columns of the table."""


def basis_rows(name: str, elements: Sequence[str] | None) -> tuple[list[dict[str, Any]], str]:
    """One row per species, and the name of the integration that belongs to the set.

    elements: "O", or with its orbitals "O=6.0-s2p2d1", "O=O6.0-s2p2d1,O_PBE19".
    """
    chosen = [text.partition("=") for text in elements or ()]
    orbitals = {symbol: text.replace(",", " ") for symbol, _, text in chosen if text}
    basis = load_basis(name, orbitals, [symbol for symbol, _, _ in chosen] or None)
    return [species_row(species) for species in basis], default_integration(basis) or "spheres"


def species_row(species: Species) -> dict[str, Any]:
    """What a grid carries of one species."""
    sphere = species.sphere
    return {
        "element": species.symbol,
        "valence": species.valence,
        "orbitals": f"{species.cutoff:.1f}-{species.orbital_label}",
        "sphere_center_bohr": None if sphere is None else sphere.center,
        "orbitals_need_ry": smallest_cutoff(species),
        "enough_ry": carrying_cutoff(species),
        "force_change_ev_per_angstrom": {f"{E:g}": shift_error(species, E).force for E in CUTOFFS},
        "lost_electrons_at_200_ry": lost_charge(species, 200.0),
    }


def basis_table(name: str, rows: Sequence[dict[str, Any]], integration: str) -> FittedTable:
    """Per species: the cutoff that is enough, and how far forces change with the place of the atom."""
    note = "" if integration == "spheres" else f" (not for {integration}, the integration of this basis)"
    headers = ("element", "Z", "orbitals", "sphere, Bohr", "enough, Ry")
    at = tuple(f"eV/A, {E:g} Ry" for E in CUTOFFS)
    return FittedTable(
        (*headers, *at, "e lost, 200 Ry"),
        [_cells(row) for row in rows],
        f"{name} on grid and spheres{note}: change of a force with the place of the atom, docs/basis.md",
    )


def _cells(row: dict[str, Any]) -> list[str]:
    center, enough = row["sphere_center_bohr"], row["enough_ry"]
    return [
        row["element"],
        f"{row['valence']:g}",
        row["orbitals"],
        "none" if center is None else f"{center:g}",
        "> 1000" if enough is None else f"{enough:g}",
        *(f"{row['force_change_ev_per_angstrom'][f'{E:g}']:.3f}" for E in CUTOFFS),
        f"{row['lost_electrons_at_200_ry']:.0e}",
    ]
