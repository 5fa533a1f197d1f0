"""What only a crystal has."""

from __future__ import annotations

import ase


def require_cell(atoms: ase.Atoms, what: str) -> None:
    """ValueError for a molecule or a slab without three cell vectors, which `what` cannot do without."""
    if atoms.cell.rank < 3:
        raise ValueError(
            f"{what}: expected a crystal or glass with three cell vectors, "
            f"got {atoms.get_chemical_formula()} with {atoms.cell.rank or 'none'}"
        )
