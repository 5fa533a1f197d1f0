"""How the configuration coordinate couples the level of a defect to the states of the bands.

    W_if = (e_f - e_i) <psi_i(Q0) | d psi_f/dQ>,   eV / (sqrt(amu) Angstrom)

with f the level of the defect and i a state of a band, at the minimum of one charge (A. Alkauskas, Q. Yan,
C. G. Van de Walle, Phys. Rev. B 90, 075202 (2014)): what nonrad's `get_C` takes as `Wif`. Twice: from the
overlaps of the states at Q0 with those a step before and after it, as nonrad does with files of VASP, and
from the differences of H and S by perturbation theory (`mlh.analysis.coupling`). Both are the same for a
small step and converged states.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import ase
import numpy as np

from mlh.analysis.coupling import derivative_couplings, state_overlaps
from mlh.analysis.mulliken import atom_shares, participation
from mlh.analysis.orbitals import homo_index
from mlh.analysis.state import ElectronicState
from mlh.calculators.electronic import state_at
from mlh.calculators.engines import DFTEngine
from mlh.common.files import read_json, write_json
from mlh.common.units import HARTREE_EV
from mlh.defects.ccd import check_pair, path_between
from mlh.relaxation.jobs import EngineLike
from mlh.solver import Dense
from mlh.structures.files import structure_hash

CouplingAt = Literal["none", "initial", "final"]
"""The structure, with its charge, whose states are coupled."""

COUPLING = "coupling.json"
UNITS = "eV / (sqrt(amu) Angstrom)"
STEP, LARGEST_STEP = 0.05, 0.2
"""To each side: parts of dQ, and sqrt(amu) Angstrom at most."""
_AROUND = 15  # bands on each side of the gap
_RESIDUAL_EV = 1e-5  # of H: states are compared that differ by little
_ALIKE = 0.9
_SPINS = ("up", "down")


@dataclass(frozen=True)
class BandCoupling:
    """One state of the bands. energy: eV above the level of the defect; w_if: by the overlaps,
    w_if_perturbation: by H and S; overlaps: with the level of the defect a step before and after."""

    band: int
    energy: float
    occupation: float
    ratio: float
    w_if: float
    w_if_perturbation: float
    overlaps: tuple[float, float]


@dataclass(frozen=True)
class Coupling:
    """W_if of the states around the gap of one charge at its minimum, at Gamma or the first k point.

    step: sqrt(amu) Angstrom. energy: of the level of the defect, eV; ratio: its inverse participation;
    alike: the smaller overlap of the level with itself a step on.
    """

    charge: int
    at: str
    step: float
    spin: int
    band: int
    energy: float
    occupation: float
    ratio: float
    alike: float
    states: tuple[BandCoupling, ...]

    @property
    def note(self) -> str | None:
        """What is wrong with it, or None."""
        if self.alike >= _ALIKE:
            return None
        return (
            f"the level of the defect (band {self.band}) mixes with others within a step (overlap "
            f"{self.alike:.2f}): W_if by overlaps is not the coupling of one state"
        )

    def describe(self) -> dict[str, Any]:
        """Plain JSON values."""
        content = {**asdict(self), "spin": _SPINS[self.spin], "note": self.note}
        return {**content, "units": {"W_if": UNITS, "step": "sqrt(amu) Angstrom", "energy": "eV"}}


def coupling_engine(engine: EngineLike) -> DFTEngine:
    """The engine; ValueError where it has no eigenstates to couple."""
    if not isinstance(engine, DFTEngine) or not isinstance(engine.solver, Dense):
        raise ValueError("coupling: expected DFT with the dense solver, whose eigenstates are coupled")
    return engine


def parse_level(text: str | None) -> tuple[int, int] | None:
    """(spin, band) of 143, up:143 or down:143; None: the most localised one around the gap."""
    if text is None:
        return None
    spin, _, band = text.rpartition(":")
    if spin not in ("", *_SPINS) or not band.isdigit():
        raise ValueError(f"defect-level: expected a band as 143, up:143 or down:143, got {text!r}")
    return _SPINS.index(spin or "up"), int(band)


def run_coupling(
    initial: ase.Atoms,
    final: ase.Atoms,
    at: CouplingAt,
    charge: int,
    engine: DFTEngine,
    folder: Path,
    level: tuple[int, int] | None = None,
) -> Coupling:
    """W_if at one end, from its file where it is there of the same structures and engine."""
    charged = engine.charged(charge) if charge else engine
    place = 0.0 if at == "initial" else 1.0
    dq = check_pair(initial, final)
    part = min(STEP, LARGEST_STEP / dq)
    structures = path_between(initial, final, (place, place - part, place + part))
    identity = {
        "structures": [structure_hash(atoms) for atoms in structures],
        "engine": charged.describe(),
        "level": None if level is None else list(level),
    }
    path = folder / COUPLING
    if path.exists():
        known = read_json(path, "remove it, and the couplings are calculated again")
        if {key: known.get(key) for key in identity} == identity:
            return _read(known["coupling"])
    calculator = charged.calculator(residual_tol_ev=_RESIDUAL_EV)
    here, below, above = (state_at(atoms, calculator) for atoms in structures)
    found = couplings(here, below, above, part * dq, level or localised_level(here), charge=charge, at=at)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {**identity, "coupling": found.describe()})
    return found


def couplings(
    here: ElectronicState,
    below: ElectronicState,
    above: ElectronicState,
    step: float,
    level: tuple[int, int],
    charge: int = 0,
    at: str = "initial",
) -> Coupling:
    """Of one level (spin, band) with the states around the gap; below and above are a step away."""
    spin, band = level
    energies = here.solution.eigenvalues[spin, 0] * HARTREE_EV
    before, _ = state_overlaps(here, below, spin, 0, band)
    after, _ = state_overlaps(here, above, spin, 0, band)
    slopes = np.abs((after - before) / (2.0 * step) * (energies[band] - energies))
    exact = derivative_couplings(here, below, above, 2.0 * step, spin, 0, band) * HARTREE_EV
    ratios = participation(atom_shares(here, spin, 0))
    occupations = here.solution.occupations[spin, 0]
    states = tuple(
        BandCoupling(
            *(i, float(energies[i] - energies[band]), float(occupations[i]), float(ratios[i])),
            *(float(slopes[i]), float(np.abs(exact[i])), (_real(before[i]), _real(after[i]))),
        )
        for i in _window(here, spin)
        if i != band
    )
    return Coupling(
        *(charge, at, step, spin, band, float(energies[band]), float(occupations[band])),
        *(float(ratios[band]), float(min(np.abs(before[band]), np.abs(after[band])))),
        states,
    )


def localised_level(state: ElectronicState) -> tuple[int, int]:
    """(spin, band) of the largest participation ratio around the gap."""
    found = []
    for spin in range(state.solution.nspin):
        ratios = participation(atom_shares(state, spin, 0))
        found += [(float(ratios[i]), spin, i) for i in _window(state, spin)]
    _, spin, band = max(found)
    return spin, band


def _window(state: ElectronicState, spin: int) -> range:
    counts = state.solution.filled_bands
    highest = -1 if counts is not None and counts[spin] == 0 else homo_index(state, spin, 0)
    return range(max(highest + 1 - _AROUND, 0), min(highest + 1 + _AROUND, state.system.n_orbitals))


def _real(value: Any) -> float:
    """Real at Gamma; elsewhere its size."""
    return float(np.abs(value)) if np.iscomplexobj(value) else float(value)


def _read(content: dict[str, Any]) -> Coupling:
    states = tuple(
        BandCoupling(**{**s, "overlaps": (float(s["overlaps"][0]), float(s["overlaps"][1]))})
        for s in content["states"]
    )
    kept = {name: content[name] for name in Coupling.__dataclass_fields__}
    return Coupling(**{**kept, "spin": _SPINS.index(content["spin"]), "states": states})
