"""Chemical potentials under which a host grows: limits of its stability against elements and compounds.

mu_i is relative to the reference phase of element i. In equilibrium with the host and without other phases,

    sum_i n_i mu_i = dH(host),   mu_i <= 0,   sum_i n_i mu_i <= dH(compound) for every other compound,

with dH = E - sum_i n_i E_i per formula unit, eV. "O-rich" is the corner where mu_O is as large as that
allows, "Si-rich" the one of mu_Si.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import ase
import numpy as np
from scipy.optimize import linprog

_ANIONS = ("C", "P", "As", "H", "S", "N", "Cl", "O", "F")
_SLACK = 1e-9  # eV; rounding of a maximum that is held while the next one is sought


@dataclass(frozen=True)
class Compound:
    """A phase: atoms per formula unit by element, and its formation energy dH per formula unit (eV)."""

    formula: Mapping[str, int]
    formation_energy: float

    def __str__(self) -> str:
        return formula_text(self.formula)


@dataclass(frozen=True)
class Conditions:
    """The name of a corner and mu by element, eV."""

    name: str
    potentials: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


def compound_of(atoms: ase.Atoms, energy: float, references: Mapping[str, float]) -> Compound:
    """The phase that a cell of it is, from its energy (eV) and those of its elements per atom."""
    counts = Counter(atoms.get_chemical_symbols())
    units = math.gcd(*counts.values())
    formula = {element: count // units for element, count in sorted(counts.items())}
    missing = sorted(set(formula) - set(references))
    if missing:
        raise ValueError(f"references: expected energies of {sorted(formula)}, got none of {missing}")
    dh = energy / units - sum(count * references[element] for element, count in formula.items())
    return Compound(MappingProxyType(formula), dh)


def formula_text(formula: Mapping[str, int]) -> str:
    """ "SiO2": what is usually the anion last."""
    order = sorted(formula, key=lambda e: (_ANIONS.index(e) if e in _ANIONS else -1, e))
    return "".join(e + (str(formula[e]) if formula[e] > 1 else "") for e in order)


def parse_conditions(text: str) -> str:
    """The element of "O-rich"; ValueError in words."""
    element, dash, word = text.partition("-")
    if not (dash and word == "rich" and element):
        raise ValueError(f"conditions: expected a form such as O-rich, got {text!r}")
    return element


def limiting_potentials(
    rich: str, host: Compound, others: Sequence[Compound] = (), elements: Sequence[str] = ()
) -> Conditions:
    """mu (eV) of all elements of the host and of `elements` (impurities) where `rich` is richest.

    After mu of that element those of the other elements of the host are made as large as can be, then those
    of the impurities. ValueError where the host decays into the compounds under every condition.
    """
    if rich not in host.formula:
        raise ValueError(f"conditions: expected an element of {host}, got {rich!r}")
    if host.formation_energy >= 0.0:
        raise ValueError(
            f"conditions: expected a host that is stable against its elements, got {host} with a formation "
            f"energy of {host.formation_energy:+.3f} eV"
        )
    names = [rich, *(e for e in host.formula if e != rich)]
    names += [e for e in dict.fromkeys(elements) if e not in names]
    concerned = [other for other in others if set(other.formula) <= set(names)]
    equal, limits = _row(host, names), np.array([_row(other, names) for other in concerned])
    bounds: list[tuple[float | None, float]] = [(None, 0.0)] * len(names)
    for column in range(len(names)):
        found = linprog(
            -np.eye(len(names))[column],
            A_ub=limits if concerned else None,
            b_ub=[other.formation_energy for other in concerned] or None,
            A_eq=[equal],
            b_eq=[host.formation_energy],
            bounds=bounds,
        )
        if found.status != 0:
            decays = ", ".join(map(str, concerned))
            raise ValueError(f"conditions: expected a host that is stable beside {decays}, got {host}")
        best = min(-float(found.fun or 0.0), 0.0)
        bounds[column] = (best - _SLACK, min(best + _SLACK, 0.0))
    values = {name: 0.5 * (low or 0.0) + 0.5 * high for name, (low, high) in zip(names, bounds, strict=True)}
    return Conditions(f"{rich}-rich", MappingProxyType({n: _rounded(v) for n, v in values.items()}))


def _row(compound: Compound, names: Sequence[str]) -> np.ndarray:
    return np.array([float(compound.formula.get(name, 0)) for name in names])


def _rounded(value: float) -> float:
    """Without the slack, and no minus zero."""
    return round(value, 7) + 0.0
