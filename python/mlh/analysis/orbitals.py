"""One-electron states on the uniform grid: choosing them and evaluating them.

psi_ik(r) = sum_a c_a,ik sum_R exp(2 pi i k.R) phi_a(r - tau_a - R),   integral over one cell = 1
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlh.analysis.state import ElectronicState
from mlh.common.units import HARTREE_EV
from mlh.dft.grid_function import GridFunction

FloatArray = NDArray[np.float64]

_FRONTIER = re.compile(r"^(homo|lumo)(?P<offset>[+-]\d+)?$")
_WINDOW = re.compile(r"^window:(?P<low>[+-]?[\d.]+)\.\.(?P<high>[+-]?[\d.]+)$")


@dataclass(frozen=True, slots=True, order=True)
class StateIndex:
    """Which state: spin (0 up or unpolarised, 1 down), number of the k point, band from 0."""

    spin: int
    k: int
    band: int


@dataclass(frozen=True, slots=True, eq=False)
class Orbital:
    """psi on the grid: `real`, and `imaginary` away from Gamma (None there), Bohr^-3/2. energy: Hartree.

    The sign (the phase) is chosen so that psi is positive (and real) where it is largest.
    """

    index: StateIndex
    energy: float
    occupation: float
    real: GridFunction
    imaginary: GridFunction | None = None

    @property
    def density(self) -> GridFunction:
        """|psi|^2."""
        squared = self.real.values**2
        if self.imaginary is not None:
            squared = squared + self.imaginary.values**2
        return GridFunction(squared, self.real.cell)

    @property
    def norm(self) -> float:
        """Sum of |psi|^2 over the grid times the volume element: 1 up to the error of the grid."""
        return self.density.integral()


def homo_index(state: ElectronicState, spin: int = 0, k: int = 0) -> int:
    """Highest full band; in a metal the highest one that is more than half full at the k point."""
    solution = state.solution
    counts = solution.filled_bands
    filled = solution.occupations[spin, k] > 0.5 * solution.degeneracy
    if counts is not None:
        filled = np.arange(len(filled)) < counts[spin]
    if not filled.any():
        raise ValueError(f"spin: expected one with electrons at k point {k}, got spin {spin} without any")
    return int(np.flatnonzero(filled)[-1])


def check_states(
    names: str | Sequence[str], shape: tuple[int, int, int], spin: int = 0, k: int = 0
) -> list[str]:
    """The names of states one by one; ValueError for what none of (spins, k points, bands) has.

    What is wrong can be said before there is a state.
    """
    nspin, nk, nbands = shape
    if not (0 <= spin < nspin and 0 <= k < nk):
        raise ValueError(f"spin, k: expected 0 to {nspin - 1} and 0 to {nk - 1}, got {spin} and {k}")
    wanted = [text.strip().lower() for text in (names.split(",") if isinstance(names, str) else names)]
    for name in wanted:
        if name.isdigit() and int(name) >= nbands:
            raise ValueError(f"states: expected bands 0 to {nbands - 1}, got {name}")
        if not (name.isdigit() or _FRONTIER.match(name) or _WINDOW.match(name)):
            raise ValueError(
                f"states: expected homo, lumo, homo-1, lumo+2, a band number or window:-1..0.5, got {name!r}"
            )
    return wanted


def select_states(
    state: ElectronicState, names: str | Sequence[str], spin: int = 0, k: int = 0
) -> list[StateIndex]:
    """States by name, at one k point: "homo", "lumo", "homo-1", "lumo+2", a band number from 0 ("57"), or
    "window:-1..0.5", all levels between two energies in eV from the highest filled one. Sorted, each once."""
    nspin, nk, nbands = state.solution.eigenvalues.shape
    wanted = check_states(names, (nspin, nk, nbands), spin, k)
    homo = homo_index(state, spin, k)
    bands: set[int] = set()
    for name in wanted:
        frontier, window = _FRONTIER.match(name), _WINDOW.match(name)
        if frontier:
            start = homo if frontier[1] == "homo" else homo + 1
            bands.add(start + int(frontier["offset"] or 0))
        elif window:
            bands |= _in_window(state, spin, k, homo, float(window["low"]), float(window["high"]))
        else:
            bands.add(int(name))
    outside = sorted(band for band in bands if not 0 <= band < nbands)
    if outside:
        raise ValueError(f"states: expected bands 0 to {nbands - 1}, got {outside}")
    return [StateIndex(spin, k, band) for band in sorted(bands)]


def _in_window(state: ElectronicState, spin: int, k: int, homo: int, low: float, high: float) -> set[int]:
    levels = state.solution.eigenvalues[spin, k]
    relative = (levels - levels[homo]) * HARTREE_EV
    found = np.flatnonzero((relative >= low - 1e-9) & (relative <= high + 1e-9))
    if not len(found):
        raise ValueError(f"states: expected levels between {low} and {high} eV, got none")
    return {int(band) for band in found}


def orbitals(state: ElectronicState, states: Sequence[StateIndex]) -> list[Orbital]:
    """The states on the grid, in the order given; those of one spin and k point share one pass over it."""
    found: dict[StateIndex, Orbital] = {}
    for spin, k in sorted({(index.spin, index.k) for index in states}):
        group = sorted({index for index in states if (index.spin, index.k) == (spin, k)})
        found |= zip(group, _at_one_point(state, group), strict=True)
    return [found[index] for index in states]


def _at_one_point(state: ElectronicState, group: Sequence[StateIndex]) -> Iterator[Orbital]:
    solution, grid, cell = state.solution, state.system.grid, state.system.cell
    spin, k = group[0].spin, group[0].k
    point = np.ascontiguousarray(solution.kpts.points[k], dtype=np.float64)
    rows = solution.coefficients[spin][k][:, [index.band for index in group]].T
    waves: NDArray[Any]
    if point.any():
        waves = grid.wavefunctions(np.ascontiguousarray(rows, dtype=np.complex128), point)
    else:
        waves = grid.wavefunctions(np.ascontiguousarray(rows.real))
    for index, wave in zip(group, waves, strict=True):
        energy = float(solution.eigenvalues[spin, k, index.band])
        occupation = float(solution.occupations[spin, k, index.band])
        largest = wave.flat[np.abs(wave).argmax()]
        turned = wave * (np.conj(largest) / abs(largest))
        real = GridFunction(np.ascontiguousarray(turned.real), cell)
        imaginary = GridFunction(np.ascontiguousarray(turned.imag), cell) if point.any() else None
        yield Orbital(index, energy, occupation, real, imaginary)
