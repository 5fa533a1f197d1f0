"""What is kept of the electrons of a relaxed cell, beside it: FOLDER/electrons.json.

Edges and potentials of host and defects are what formation energies of charged defects and their corrections
are made of; with them a correction can be made, or made again, without calculating anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from mlh.analysis.bands import band_edges
from mlh.analysis.mobility import mobility_edges
from mlh.analysis.mulliken import atom_shares, participation
from mlh.analysis.state import ElectronicState
from mlh.calculators.electronic import state_at
from mlh.common.files import intact, read_json, write_json
from mlh.common.units import HARTREE_EV
from mlh.relaxation.jobs import RelaxJob
from mlh.structures.files import structure_hash

ELECTRONS = "electrons.json"
_AROUND = 15  # levels on each side of the highest filled one


@dataclass(frozen=True)
class Electrons:
    """Energies in eV in the zero of the calculation, of the cell that has this hash.

    valence_edge, conduction_edge: highest filled and lowest empty level, None in a metal; mobility_edges: see
    `mlh.analysis.mobility`. site_potentials: electrostatic potential at every atom, V, positive near a
    positive charge; None where the engine gives none; planar_potentials: its averages over planes along the
    cell vectors. energy: of the cell.
    """

    structure_hash: str
    energy: float
    charge: float
    magnetic_moment: float
    valence_edge: float | None
    conduction_edge: float | None
    mobility_edges: tuple[float | None, float | None]
    site_potentials: tuple[float, ...] | None
    spin_states: tuple[Mapping[str, Any], ...] = ()
    """Moment, start, energy (eV), convergence of the states that were compared; empty without any."""
    levels: tuple[tuple[int, float, float, float], ...] = ()
    """(spin, energy, occupation, participation ratio) of the levels around the gap, at the first k point."""
    planar_potentials: tuple[tuple[float, ...], ...] | None = None

    @property
    def gap(self) -> float | None:
        """Between the edges, eV."""
        if self.valence_edge is None or self.conduction_edge is None:
            return None
        return self.conduction_edge - self.valence_edge


def keep_electrons(job: RelaxJob, atoms: ase.Atoms, calculator: Calculator) -> None:
    """Write the electrons of a relaxed structure, where they are not there already (`relaxation.jobs.Keep`).

    Where there are none (no self-consistency from a fresh start, a solver without eigenstates) the file says
    why, and the next run tries again.
    """
    path = job.folder / ELECTRONS
    known = read_json(path) if path.exists() else {}
    if known.get("structure_hash") == structure_hash(atoms):
        return
    try:
        write_json(path, asdict(electrons_of(state_at(atoms, calculator), atoms, calculator)))
    except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:
        write_json(path, {"reason": str(error)})


def electrons_of(state: ElectronicState, atoms: ase.Atoms, calculator: Any) -> Electrons:
    """From the state that a calculator has."""
    edges = band_edges(state.solution.eigenvalues, state.kpts.points, state.solution)
    insulator = edges.valence is not None and edges.conduction is not None
    return Electrons(
        structure_hash=structure_hash(atoms),
        energy=float(calculator.results["energy"]),
        charge=float(getattr(state.system, "charge", 0.0)),
        magnetic_moment=float(state.solution.magnetic_moment),
        valence_edge=edges.valence.energy if edges.valence is not None and insulator else None,
        conduction_edge=edges.conduction.energy if edges.conduction is not None and insulator else None,
        mobility_edges=mobility_edges(state),
        site_potentials=_site_potentials(atoms, calculator),
        spin_states=tuple(calculator.results.get("spin_states", ())),
        levels=_levels(state),
        planar_potentials=_planar_potentials(calculator),
    )


def read_electrons(folder: Path) -> Electrons | str:
    """What `keep_electrons` wrote, or why there is nothing."""
    path = folder / ELECTRONS
    if not path.exists():
        return f"{path}: not there; it is written by a run with resume=True"
    content = read_json(path)
    if "reason" in content:
        return str(content["reason"])
    with intact(path, "remove it, and it is calculated again with resume=True"):
        low, high = content["mobility_edges"]
        values: Sequence[float] | None = content["site_potentials"]
        kept = None if values is None else tuple(float(value) for value in values)
        states = tuple(content.get("spin_states", ()))
        own = {"mobility_edges": (low, high), "site_potentials": kept, "spin_states": states}
        levels = tuple((int(s), float(e), float(f), float(p)) for s, e, f, p in content.get("levels", ()))
        profiles: Sequence[Sequence[float]] | None = content.get("planar_potentials")
        planes = None if profiles is None else tuple(tuple(float(v) for v in plane) for plane in profiles)
        return Electrons(**{**content, **own, "levels": levels, "planar_potentials": planes})


def potentials_of(electrons: Electrons) -> NDArray[np.float64] | None:
    """As an array, V."""
    return None if electrons.site_potentials is None else np.asarray(electrons.site_potentials, dtype=float)


def planes_of(electrons: Electrons) -> tuple[NDArray[np.float64], ...] | None:
    """Planar averages as arrays, V."""
    planes = electrons.planar_potentials
    return None if planes is None else tuple(np.asarray(plane, dtype=float) for plane in planes)


def _levels(state: ElectronicState) -> tuple[tuple[int, float, float, float], ...]:
    """So many below and above the highest filled one of each spin."""
    solution, found = state.solution, []
    for spin in range(solution.nspin):
        energies, occupations = solution.eigenvalues[spin, 0] * HARTREE_EV, solution.occupations[spin, 0]
        ratios = participation(atom_shares(state, spin, 0))
        filled = int(np.count_nonzero(occupations > 0.5 * float(occupations.max(initial=0.0))))
        for band in range(max(filled - _AROUND, 0), min(filled + _AROUND, len(energies))):
            found.append((spin, float(energies[band]), float(occupations[band]), float(ratios[band])))
    return tuple(found)


def _site_potentials(atoms: ase.Atoms, calculator: Any) -> tuple[float, ...] | None:
    """Of the atoms, not of ghosts, which no other cell has."""
    if not hasattr(calculator, "site_potentials"):
        return None
    values = calculator.site_potentials()
    return tuple(float(value) for value, number in zip(values, atoms.numbers, strict=True) if number)


def _planar_potentials(calculator: Any) -> tuple[tuple[float, ...], ...] | None:
    if not hasattr(calculator, "planar_potentials"):
        return None
    return tuple(tuple(float(v) for v in plane) for plane in calculator.planar_potentials())
