"""Configuration-coordinate diagrams: energies of two charge states along the line between their minima.

    R(x) = R_i + x (R_f - R_i),   Q(x) = x dQ,   dQ^2 = sum_a m_a |R_f,a - R_i,a|^2

in sqrt(amu) Angstrom, without the rigid translation (A. Alkauskas, Q. Yan, C. G. Van de Walle, Phys. Rev. B
90, 075202 (2014)). With E(Q) = E_0 + w^2 (Q - Q_0)^2 / 2 near a minimum, hbar w is what nonrad's
`get_omega_from_PES` fits; Q and energies are the arrays that it takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from mlh.analysis import configuration_coordinate, displacements
from mlh.common.files import read_json, write_json
from mlh.relaxation.jobs import EngineLike
from mlh.structures.defect_names import charge_text
from mlh.structures.files import structure_hash

FloatArray = NDArray[np.float64]

SUMMARY = "ccd.json"
HBAR_OMEGA = 0.0646541479
"""eV; hbar sqrt(eV / (amu A^2))."""
_FIT = 0.5
"""Points no further from the minimum than this part of dQ are fitted."""
_LEAST = 0.01  # sqrt(amu) A; less is one structure


@dataclass(frozen=True)
class Curve:
    """Energies (eV) of one charge at all points; hbar_omega (eV): of the parabola at its minimum, None where
    the points do not make one; moments: N_up - N_down."""

    charge: int
    energies: tuple[float, ...]
    moments: tuple[float, ...]
    hbar_omega: float | None
    minimum: float
    """Where the parabola has it, in parts of dQ."""


@dataclass(frozen=True)
class Ccd:
    """Both curves over the fractions x; dQ in sqrt(amu) Angstrom."""

    dq: float
    fractions: tuple[float, ...]
    initial: Curve
    final: Curve

    def describe(self) -> dict[str, Any]:
        """Plain JSON values; relaxation energies (Franck and Condon's) in eV."""
        return {
            "dQ": self.dq,
            "fractions": list(self.fractions),
            "Q": [x * self.dq for x in self.fractions],
            "units": {"Q": "sqrt(amu) Angstrom", "energies": "eV", "hbar_omega": "eV"},
            "initial": self._describe(self.initial, 0.0, 1.0),
            "final": self._describe(self.final, 1.0, 0.0),
        }

    def _describe(self, curve: Curve, own: float, other: float) -> dict[str, Any]:
        energies = dict(zip(self.fractions, curve.energies, strict=True))
        return {
            "charge": curve.charge,
            "energies": list(curve.energies),
            "magnetic_moments": list(curve.moments),
            "hbar_omega": curve.hbar_omega,
            "minimum_of_the_fit": curve.minimum,
            "relaxation_energy": energies[other] - energies[own],
        }


def path_between(initial: ase.Atoms, final: ase.Atoms, fractions: Sequence[float]) -> list[ase.Atoms]:
    """The structures R(x); atoms are matched by their order, the cell is that of both."""
    vectors = displacements(final, initial, remove_translation=True)
    structures = []
    for x in fractions:
        atoms = initial.copy()
        atoms.calc = None
        atoms.set_constraint()
        atoms.set_positions(initial.positions + x * vectors)
        structures.append(atoms)
    return structures


def fractions_of(points: int, extend: float) -> tuple[float, ...]:
    """x of `points` from 0 to 1, both included, and of the same spacing up to `extend` beyond both."""
    if points < 3:
        raise ValueError(f"points: expected at least 3, got {points}")
    if not 0.0 <= extend <= 1.0:
        raise ValueError(f"extend: expected 0 to 1 (parts of dQ beyond both ends), got {extend}")
    step = 1.0 / (points - 1)
    more = math.floor(extend / step + 1e-9)
    return tuple(round(step * k, 9) + 0.0 for k in range(-more, points + more))


def check_pair(initial: ase.Atoms, final: ase.Atoms) -> float:
    """dQ; ValueError before the work where there is no path."""
    dq = configuration_coordinate(final, initial, remove_translation=True)
    if dq < _LEAST:
        raise ValueError(
            "final: expected another structure than the initial one, got two that are "
            f"{dq:.4f} sqrt(amu) A apart"
        )
    return dq


def run_ccd(
    initial: ase.Atoms,
    final: ase.Atoms,
    charges: tuple[int, int],
    engine: EngineLike,
    folder: Path,
    fractions: Sequence[float],
    on_point: Any = lambda charge, fraction, energy: None,
) -> Ccd:
    """Both curves. Every point is a file of FOLDER/points: what is there of the same engine and structure is
    not calculated again."""
    dq = check_pair(initial, final)
    engines = [engine.charged(charge) if charge else engine for charge in charges]
    structures = path_between(initial, final, fractions)
    (folder / "points").mkdir(parents=True, exist_ok=True)
    curves = []
    for own, charge, one in zip((0.0, 1.0), charges, engines, strict=True):
        calculator, described = one.calculator(), one.describe()
        known: dict[int, tuple[float, float]] = {}
        # From the own minimum outwards: every point starts from the state of its neighbour.
        for k in sorted(range(len(fractions)), key=lambda k: (abs(fractions[k] - own), k)):
            path = folder / "points" / f"{charge_text(charge)}_{fractions[k]:+.4f}.json"
            known[k] = _point(path, structures[k], calculator, described)
            on_point(charge, fractions[k], known[k][0])
        energies = tuple(known[k][0] for k in range(len(fractions)))
        moments = tuple(known[k][1] for k in range(len(fractions)))
        omega, minimum = fitted(np.array(fractions), np.array(energies), dq, own)
        curves.append(Curve(charge, energies, moments, omega, minimum))
    found = Ccd(dq, tuple(fractions), curves[0], curves[1])
    write_json(folder / SUMMARY, {"engine": engine.describe(), **found.describe()})
    return found


def fitted(fractions: FloatArray, energies: FloatArray, dq: float, own: float) -> tuple[float | None, float]:
    """(hbar omega in eV, place of the minimum in parts of dQ) of a parabola through the points around `own`,
    at least three."""
    near = np.abs(fractions - own) <= _FIT + 1e-9
    if near.sum() < 3:
        near = np.isin(np.arange(len(fractions)), np.argsort(np.abs(fractions - own), kind="stable")[:3])
    curvature, slope, _ = np.polyfit(fractions[near], energies[near], 2)
    if curvature <= 0.0:
        return None, own
    return HBAR_OMEGA * float(np.sqrt(2.0 * curvature)) / dq, float(-slope / (2.0 * curvature))


def _point(path: Path, atoms: ase.Atoms, calculator: Any, engine: Any) -> tuple[float, float]:
    """Energy and moment of one structure, from its file where it has them."""
    identity = {"structure_hash": structure_hash(atoms), "engine": engine}
    if path.exists():
        known = read_json(path, "remove it, and its energy is calculated again")
        if {key: known.get(key) for key in identity} == identity:
            return float(known["energy"]), float(known["magnetic_moment"])
    work = atoms.copy()
    work.calc = calculator
    energy = float(work.get_potential_energy())
    moment = float(calculator.results.get("magmom", 0.0))
    write_json(path, {**identity, "energy": energy, "magnetic_moment": moment})
    return energy, moment
