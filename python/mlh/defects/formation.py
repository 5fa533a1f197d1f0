"""Formation energies of neutral defects.

    E_f = E(defect) - E(host) + sum_i n_i (E_i + mu_i),     n_i > 0 for atoms REMOVED from the host

E_i: energy per atom of element i in its reference phase; mu_i: chemical potential relative to it
(oxygen-rich: E_O = E(O2)/2, mu_O = 0). Energies in eV.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import ase

CONVENTION = "E_f = E(defect) - E(host) + sum_i n_i (E_i + mu_i), n_i > 0 for atoms removed; eV"


def removed_atoms(host: ase.Atoms, defect: ase.Atoms) -> dict[str, int]:
    """n_i by element: positive for atoms removed from the host, negative for atoms added."""
    difference = Counter(host.get_chemical_symbols())
    difference.subtract(Counter(defect.get_chemical_symbols()))
    return {element: count for element, count in sorted(difference.items()) if count != 0}


def formation_energy(
    energy_defect: float,
    energy_host: float,
    removed: Mapping[str, int],
    references: Mapping[str, float],
    potentials: Mapping[str, float] | None = None,
) -> float:
    """E_f in eV; `removed` as `removed_atoms` gives it, `references` E_i and `potentials` mu_i in eV."""
    missing = sorted(set(removed) - set(references))
    if missing:
        raise ValueError(f"references: expected energies of {sorted(removed)}, got none of {missing}")
    shifts = potentials or {}
    exchanged = sum(
        count * (references[element] + shifts.get(element, 0.0)) for element, count in removed.items()
    )
    return energy_defect - energy_host + exchanged
