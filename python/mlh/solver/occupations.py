"""Occupation numbers: integer for insulators, Fermi-Dirac or Gaussian smearing otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc, expit, xlogy

from mlh.common.choices import check_choice

FloatArray = NDArray[np.float64]
SmearingType = Literal["fermi-dirac", "gaussian"]
"""Occupation functions of a finite width."""

Smearing = Literal["none", SmearingType]
SMEARINGS: tuple[SmearingType, ...] = get_args(SmearingType)


@dataclass(frozen=True, slots=True)
class Occupations:
    """Result of filling the levels.

    values: (nspin, nk, nbands), from 0 to 2 (unpolarised) or 1; k weights not included.
    fermi_levels: one per spin channel (equal unless the moment is fixed), Hartree.
    entropy_energy: -T S in Hartree, zero or negative.
    """

    values: FloatArray
    fermi_levels: FloatArray
    entropy_energy: float


def occupy(
    eigenvalues: FloatArray,
    weights: FloatArray,
    n_electrons: float,
    smearing: Smearing = "none",
    width: float = 0.0,
    spin_moment: float | None = None,
) -> Occupations:
    """Fill levels (nspin, nk, nbands), Hartree, with `n_electrons` per cell.

    spin_moment fixes N_up - N_down (each spin gets its own Fermi level); None lets both spins share one.
    smearing "none" fills the same number of states at every k point (an insulator); width in Hartree.
    """
    nspin, _, nbands = eigenvalues.shape
    degeneracy = 3 - nspin
    if not 0 < n_electrons <= 2 * nbands:
        raise ValueError(
            f"n_electrons: expected more than 0 and at most {2 * nbands} (2 per orbital), got {n_electrons}"
        )
    check_choice("smearing", smearing, Smearing)
    if smearing != "none" and width <= 0.0:
        raise ValueError(f"width: expected a positive width (Ha) for smearing {smearing!r}, got {width}")
    if nspin == 1 and spin_moment not in (None, 0, 0.0):
        raise ValueError(f"spin_moment: expected None for an unpolarised calculation, got {spin_moment}")

    groups: list[tuple[slice, float]]
    if nspin == 2 and spin_moment is not None:
        up, down = 0.5 * (n_electrons + spin_moment), 0.5 * (n_electrons - spin_moment)
        if min(up, down) < 0 or max(up, down) > nbands:
            raise ValueError(
                f"spin_moment: expected 0 to {nbands} electrons in each spin, got {up} up and {down} down"
            )
        groups = [(slice(0, 1), up), (slice(1, 2), down)]
    else:
        groups = [(slice(0, nspin), n_electrons)]

    values = np.zeros_like(eigenvalues)
    levels = np.zeros(nspin)
    entropy = 0.0
    for spins, count in groups:
        part = eigenvalues[spins]
        if smearing == "none":
            filled, level = _integer(part, count / degeneracy, n_electrons, nspin)
        else:
            filled, level, term = _smeared(part, weights, count / degeneracy, smearing, width)
            entropy += degeneracy * term
        values[spins] = degeneracy * filled
        levels[spins] = level
    return Occupations(values, levels, float(entropy))


def whole_states(
    n_electrons: float, nspin: int, moment: float | None, n_orbitals: int, solver: str
) -> list[int]:
    """Occupied states of each spin for a solver with integer occupations and a fixed moment only."""
    if nspin == 2 and moment is None:
        raise ValueError(
            f"spin_moment: the {solver} solver needs the moment fixed (N_up - N_down), got None; "
            "the dense solver can let it float"
        )
    if nspin == 1 and moment not in (None, 0, 0.0):
        raise ValueError(f"spin_moment: expected None for an unpolarised calculation, got {moment}")
    m = 0.0 if moment is None else moment
    exact = [0.5 * n_electrons] if nspin == 1 else [0.5 * (n_electrons + m), 0.5 * (n_electrons - m)]
    counts = [round(x) for x in exact]
    if any(abs(x - n) > 1e-8 for x, n in zip(exact, counts)):
        need = "an even number of electrons" if nspin == 1 else "whole electrons in each spin"
        raise ValueError(f"n_electrons: integer occupations need {need}, got {n_electrons:g}")
    if any(not 0 < n < n_orbitals for n in counts):
        raise ValueError(
            f"n_electrons: the {solver} solver needs 1 to {n_orbitals - 1} occupied states in each spin, "
            f"got {counts}"
        )
    return counts


def _integer(
    eigenvalues: FloatArray, count: float, n_electrons: float, nspin: int
) -> tuple[FloatArray, float]:
    """The `count` lowest states of all spins filled at every k point; level in the middle of the gap."""
    n_filled = round(count)
    if abs(count - n_filled) > 1e-8:
        need = "an even number of electrons" if nspin == 1 else "whole electrons in each spin"
        raise ValueError(
            f"n_electrons: integer occupations need {need}, got {n_electrons:g}; "
            "use spin polarisation, another spin_moment, or smearing"
        )
    nspin_here, nk, nbands = eigenvalues.shape
    flat = eigenvalues.transpose(1, 0, 2).reshape(nk, -1)
    order = np.argsort(flat, axis=1, kind="stable")
    filled = np.zeros_like(flat)
    np.put_along_axis(filled, order[:, :n_filled], 1.0, axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)
    highest = ordered[:, n_filled - 1].max() if n_filled > 0 else ordered[:, 0].min()
    lowest = ordered[:, n_filled].min() if n_filled < ordered.shape[1] else highest
    return filled.reshape(nk, nspin_here, nbands).transpose(1, 0, 2), 0.5 * float(highest + lowest)


def _smeared(
    eigenvalues: FloatArray, weights: FloatArray, count: float, smearing: Smearing, width: float
) -> tuple[FloatArray, float, float]:
    """Occupations f(x), x = (e - mu) / width, with sum_k w_k f = count; -T S per spin state.

    Fermi-Dirac: f = 1/(1 + e^x), -TS = width sum [f ln f + (1-f) ln(1-f)].
    Gaussian: f = erfc(x)/2, -TS = -width sum exp(-x^2)/(2 sqrt(pi)) (Methfessel-Paxton order 0).
    """
    w = weights[None, :, None]

    def fill(mu: float) -> FloatArray:
        x = (eigenvalues - mu) / width
        return np.asarray(expit(-x) if smearing == "fermi-dirac" else 0.5 * erfc(x), dtype=np.float64)

    low, high = float(eigenvalues.min()) - 40 * width - 1.0, float(eigenvalues.max()) + 40 * width + 1.0
    for _ in range(200):
        mu = 0.5 * (low + high)
        if float((w * fill(mu)).sum()) > count:
            high = mu
        else:
            low = mu
        if high - low < 1e-15 * max(1.0, abs(mu)):
            break
    f = fill(mu)
    if smearing == "fermi-dirac":
        entropy = width * float((w * (xlogy(f, f) + xlogy(1 - f, 1 - f))).sum())
    else:
        x = (eigenvalues - mu) / width
        entropy = -width * float((w * np.exp(-(x**2))).sum()) / (2.0 * np.sqrt(np.pi))
    return f, mu, entropy


def occupation_slope(
    eigenvalues: FloatArray, fermi_level: float, smearing: Smearing, width: float
) -> FloatArray:
    """df/de of the occupation of one state, per Hartree (negative); zeros for integer occupations."""
    if smearing == "none":
        return np.zeros_like(eigenvalues)
    x = (eigenvalues - fermi_level) / width
    if smearing == "fermi-dirac":
        return np.asarray(-expit(-x) * expit(x) / width, dtype=np.float64)
    return np.asarray(-np.exp(-(x**2)) / (width * np.sqrt(np.pi)), dtype=np.float64)


def filled_bands(eigenvalues: FloatArray, electrons: FloatArray, shared: bool) -> NDArray[np.int64] | None:
    """Bands of every spin that are full at all k points, by counting; None when there is no such number, in a
    metal.

    eigenvalues: (nspin, nk, nbands). electrons: of each spin, (nspin,). shared: both spins have one Fermi
    level, so that only their sum is given. In an insulator the lowest states of that number are as many at
    every k point, in each spin, and none of them lies above one of the others. What the occupations are,
    smeared or not, does not matter.
    """
    nspin, nk, nbands = eigenvalues.shape
    counts = np.zeros(nspin, dtype=np.int64)
    for spins in [list(range(nspin))] if shared else [[s] for s in range(nspin)]:
        exact = float(electrons[spins].sum()) / (3 - nspin)
        n = round(exact)
        if abs(exact - n) > 1e-6:
            return None
        flat = eigenvalues[spins].transpose(1, 0, 2).reshape(nk, -1)
        order = np.argsort(flat, axis=1, kind="stable")
        levels = np.take_along_axis(flat, order, axis=1)
        if 0 < n < levels.shape[1] and levels[:, n - 1].max() >= levels[:, n].min():
            return None
        for place, spin in enumerate(spins):
            per_k = np.count_nonzero(order[:, :n] // nbands == place, axis=1)
            if (per_k != per_k[0]).any():
                return None
            counts[spin] = per_k[0]
    return counts
