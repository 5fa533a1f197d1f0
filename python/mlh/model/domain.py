"""Is a structure inside what a model was trained on? Distances tell before, the residual after."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols

if TYPE_CHECKING:
    from mlh.network.graph import GraphInput

LARGER = 2.0  # warn when the residual is above this times the largest on the test set
CLOSER = 0.9  # warn when a pair is closer than this times the shortest training distance


class OutOfDomainWarning(UserWarning):
    """The structure has something that the training set did not have."""


def warn_of_residual(model: object, residual_rms: float) -> None:
    """Warn when a predicted H is farther from self-consistency (eV) than the model was on its test set."""
    usual = getattr(model, "usual_residual", None)
    if usual is not None and residual_rms > LARGER * usual:
        warnings.warn(
            f"rms of H[D] - H_predicted is {residual_rms:.2e} eV; on the model's test set it was at most "
            f"{usual:.2e} eV: the structure is outside what the model knows, use refine or DFT",
            OutOfDomainWarning,
            stacklevel=3,
        )


def warn_of_gap(gap: float) -> None:
    """Warn that a predicted H has (next to) no gap (eV) between its full and empty levels."""
    warnings.warn(
        f"full and empty predicted levels are {gap:.3f} eV apart: forces lack the response of the density "
        "matrix, and the energy is not corrected; smear the occupations (smearing_ev=0.1), use refine or DFT",
        OutOfDomainWarning,
        stacklevel=3,
    )


def closest_pairs(graph: GraphInput) -> dict[str, float]:
    """Shortest distance in Bohr per pair of elements, "Z1-Z2" with Z1 <= Z2."""
    r = np.linalg.norm(graph.vectors, axis=1)
    z1, z2 = graph.numbers[graph.atom_i], graph.numbers[graph.atom_j]
    off = (z1 <= z2) & (np.arange(graph.n_pairs) != graph.reverse)
    out: dict[str, float] = {}
    for a, b in sorted(set(zip(z1[off].tolist(), z2[off].tolist(), strict=True))):
        out[f"{a}-{b}"] = float(r[off & (z1 == a) & (z2 == b)].min())
    return out


def charge_notes(charge: float, trained: Mapping[str, int]) -> list[str]:
    """That a charge was not in the training set (number of samples by charge; empty: not said)."""
    name = f"{charge:+g}" if charge else "0"
    if not trained or name in trained:
        return []
    return [f"charge {name}; the training set had {', '.join(trained)}"]


def domain_notes(graph: GraphInput, closest: Any) -> list[str]:
    """What of the structure lies outside the training set, in words."""
    notes = []
    for pair, r in closest_pairs(graph).items():
        a, b = (chemical_symbols[int(z)] for z in pair.split("-"))
        if pair not in closest:
            notes.append(f"the training set had no pair {a}-{b} within the orbitals' range")
        elif r < CLOSER * closest[pair]:
            notes.append(
                f"{a}-{b} at {r:.2f} Bohr; the closest in the training set was {closest[pair]:.2f} Bohr"
            )
    return notes
