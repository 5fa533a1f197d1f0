"""Density of states, total and divided over elements and angular momenta.

    g(e) = f sum_k w_k sum_i delta(e - e_ik),   g_X(e) = f sum_k w_k sum_i delta(e - e_ik) sum_(a in X) w_ai

with normalised Gaussians for delta, f = 2 without spin (1 per spin) and Mulliken's shares w_ai: the parts add
up to the total, and the total integrates to f times the number of orbitals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.special import erf

from mlh.analysis.bands import BandEdges, band_edges, describe_edges
from mlh.analysis.mulliken import orbital_labels, orbital_shares
from mlh.analysis.state import ElectronicState
from mlh.basis.species import SHELL_LETTERS
from mlh.common.units import HARTREE_EV

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DensityOfStates:
    """energies (n,) eV, absolute; total (nspin, n) and parts of the same shape, states per eV and cell, keyed
    "Si s". width: standard deviation of the Gaussians, eV.

    electrons: integral of all Gaussians up to the Fermi level (of each spin), whatever the window.
    """

    energies: FloatArray
    total: FloatArray
    parts: dict[str, FloatArray]
    width: float
    edges: BandEdges
    electrons: float

    def integral(self) -> float:
        """Over the tabulated energies, both spins."""
        return float(trapezoid(self.total.sum(axis=0), self.energies))


def density_of_states(
    state: ElectronicState,
    width: float = 0.1,
    window: tuple[float, float] | None = None,
    n_points: int | None = None,
) -> DensityOfStates:
    """DOS of the k points of the state (`state.at(kpts)` for a denser mesh).

    width: standard deviation, eV. window: energies relative to the reference of the band edges (eV); None:
    all levels with five widths on both sides. n_points: default five per width.
    """
    if not width > 0.0:
        raise ValueError(f"width: expected a positive width in eV, got {width}")
    solution = state.solution
    levels = solution.eigenvalues * HARTREE_EV
    edges = band_edges(solution.eigenvalues, solution.kpts.points, solution)
    if window is None:
        low, high = levels.min() - 5.0 * width, levels.max() + 5.0 * width
    else:
        low, high = edges.reference + window[0], edges.reference + window[1]
        if not high > low:
            raise ValueError(f"window: expected two increasing energies in eV, got {window}")
    count = n_points if n_points is not None else int(np.ceil((high - low) / width * 5.0)) + 1
    if count < 2:
        raise ValueError(f"n_points: expected at least 2, got {count}")
    energies = np.linspace(low, high, count)
    names, member = _parts(state)
    parts = np.zeros((len(names), solution.nspin, count))
    total = np.zeros((solution.nspin, count))
    electrons = 0.0
    for spin in range(solution.nspin):
        middle = float(solution.fermi_levels[spin]) * HARTREE_EV
        for k, weight in enumerate(solution.kpts.weights):
            factor = weight * solution.degeneracy
            shares = member @ orbital_shares(state, spin, k)
            for i, level in enumerate(levels[spin, k]):
                electrons += 0.5 * factor * (1.0 + float(erf((middle - level) / (width * np.sqrt(2.0)))))
                near = slice(*np.searchsorted(energies, (level - 8.0 * width, level + 8.0 * width)))
                peak = factor * _gaussian(energies[near] - level, width)
                total[spin, near] += peak
                parts[:, spin, near] += shares[:, i, None] * peak
    return DensityOfStates(energies, total, dict(zip(names, parts, strict=True)), width, edges, electrons)


def _gaussian(x: FloatArray, width: float) -> FloatArray:
    return np.asarray(np.exp(-0.5 * (x / width) ** 2) / (width * np.sqrt(2.0 * np.pi)))


def _parts(state: ElectronicState) -> tuple[list[str], FloatArray]:
    """Names ("Si s") in the order of the elements and l, and which orbitals belong to each (n, norb)."""
    labels = orbital_labels(state.system)
    symbols = np.asarray(state.system.symbols)[labels.atom]
    names, rows = [], []
    for symbol in dict.fromkeys(state.system.symbols):
        for l in np.unique(labels.l[symbols == symbol]):
            names.append(f"{symbol} {SHELL_LETTERS[l]}")
            rows.append(((symbols == symbol) & (labels.l == l)).astype(float))
    return names, np.array(rows)


def describe_dos(dos: DensityOfStates) -> dict[str, Any]:
    """Plain values for JSON; energies relative to the reference."""
    return {
        **describe_edges(dos.edges),
        "width_ev": dos.width,
        "electrons_below_fermi_level": dos.electrons,
        "energies_ev": (dos.energies - dos.edges.reference).tolist(),
        "total_per_ev": dos.total.tolist(),
        "parts_per_ev": {name: values.tolist() for name, values in dos.parts.items()},
    }
