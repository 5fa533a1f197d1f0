"""From the relaxations of charged defects to formation energies against the Fermi level.

What a run has relaxed, what is kept of the electrons beside it (`mlh.defects.electrons`) and a dielectric
tensor give states with their corrections, and of these the diagram (`mlh.defects.diagram`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlh.analysis.alignment import matching_atoms
from mlh.defects.conditions import Conditions
from mlh.defects.corrections import (
    Correction,
    MissingLibraryError,
    Potentials,
    alignment_correction,
    efnv_correction,
    fnv_correction,
)
from mlh.defects.diagram import ChargeState, Diagram, pinned_levels, transition_levels
from mlh.defects.electrons import Electrons, planes_of, potentials_of, read_electrons
from mlh.defects.run import DefectRun, RelaxedDefect, json_number

CONVENTION = (
    "E_f(q) = E(defect) - E(host) + sum_i n_i (E_i + mu_i) + q (E_V + E_F) + E_corr, "
    "n_i > 0 for atoms removed, E_F from the valence edge E_V; eV"
)
_INSIDE = 0.05  # eV; nearer to an edge a level is not said to be in the gap
_FEW = 4  # atoms of an alignment
_SAME_STATE = 0.005  # eV; the state that a relaxation ended in, and the one that its electrons were kept of


@dataclass(frozen=True)
class ChargedSettings:
    """dielectric: tensor (3, 3); None: potentials are aligned, but not corrected for the images. edge_shifts:
    of the valence and the conduction edge, eV, as a hybrid calculation gives them."""

    dielectric: NDArray[np.float64] | None = None
    edge_shifts: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class SingleLevel:
    """A level of one electron in the gap, eV above the valence edge of the host, aligned by the potentials of
    the atoms far from the defect; ratio: inverse participation."""

    spin: int
    energy: float
    occupation: float
    ratio: float


@dataclass(frozen=True)
class ChargedState:
    """One defect with its charge. energy: formation energy at the valence edge, eV, with the correction where
    there is one; note: why there is none, or what else is wrong."""

    defect: RelaxedDefect
    energy: float
    correction: Correction | None
    electrons: Electrons | None
    note: str | None
    levels: tuple[SingleLevel, ...] = ()
    """In the gap of the host."""
    planar: Correction | None = None
    """FNV of planar averages, beside the correction; for comparison alone."""


@dataclass(frozen=True)
class ChargedRun:
    """All states of a run over the edges of its host (eV, in the zero of the host's calculation)."""

    valence_edge: float
    gap: float
    mobility_edges: tuple[float | None, float | None]
    states: tuple[ChargedState, ...]
    settings: ChargedSettings
    folder: Path
    """Of the relaxations."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing, each once."""
        return tuple(dict.fromkeys(state.note for state in self.states if state.note))

    def diagram(self) -> Diagram:
        """Of the states whose relaxations converged."""
        found = [
            ChargeState(str(case.defect.name), str(case.defect), case.charge, state.energy)
            for state in self.states
            for case in [state.defect.case]
            if math.isfinite(state.energy)
        ]
        return Diagram(tuple(found), self.gap, self.mobility_edges)


def charged_run(run: DefectRun, settings: ChargedSettings) -> ChargedRun:
    """States of a run whose electrons were kept; ValueError where the host has no edges."""
    host = read_electrons(run.folder / "host")
    if isinstance(host, str):
        raise ValueError(f"host: {host}")
    if host.valence_edge is None or host.gap is None:
        raise ValueError(
            "host: expected a gap, in which the Fermi level of charged defects lies, got a metal"
        )
    below, above = settings.edge_shifts
    edge = host.valence_edge + below
    mobility = tuple(None if value is None else value - edge for value in host.mobility_edges)
    gap = host.gap - below + above
    states = tuple(
        replace(state, levels=_levels(run, state, host, edge, gap))
        for state in (_state(run, defect, host, edge, settings) for defect in run.defects)
    )
    return ChargedRun(edge, gap, (mobility[0], mobility[1]), states, settings, run.folder)


def at_conditions(run: DefectRun, old: Mapping[str, float], new: Mapping[str, float]) -> DefectRun:
    """The run with other chemical potentials (eV by element)."""
    moved = []
    for defect in run.defects:
        shift = potential_shift(defect.removed, old, new)
        others = {name: energy + shift for name, energy in defect.others.items()}
        moved.append(replace(defect, formation_energy=defect.formation_energy + shift, others=others))
    return replace(run, defects=tuple(moved))


def potential_shift(removed: Mapping[str, int], old: Mapping[str, float], new: Mapping[str, float]) -> float:
    """By how much a formation energy changes from chemical potentials to others, eV."""
    return sum(n * (new.get(e, 0.0) - old.get(e, 0.0)) for e, n in removed.items())


def describe_charged(
    charged: ChargedRun, conditions: Sequence[Conditions], potentials: Mapping[str, float], folder: Path
) -> dict[str, Any]:
    """Plain JSON values. potentials: those of the run, eV; conditions: further ones with their energies;
    folder: of the study, in or under which the relaxations are."""
    diagram = charged.diagram()
    tensor = charged.settings.dielectric
    return {
        "convention": CONVENTION,
        "relaxations": str(charged.folder.relative_to(folder)),
        "valence_edge": charged.valence_edge,
        "gap": charged.gap,
        "mobility_edges": list(charged.mobility_edges),
        "edge_shifts": list(charged.settings.edge_shifts),
        "dielectric": None if tensor is None else tensor.tolist(),
        "corrected": all(_is_corrected(s) for s in charged.states if s.defect.case.charge),
        "notes": list(charged.notes),
        "states": [_describe_state(state, charged.folder) for state in charged.states],
        "levels": [{"name": level.name, **asdict(level)} for level in transition_levels(diagram)],
        "spreads": [asdict(spread) for spread in pinned_levels(diagram)],
        "conditions": [_describe_conditions(charged, c, potentials) for c in conditions],
    }


def diagram_of(content: Mapping[str, Any]) -> Diagram:
    """The diagram of described values."""
    states = [
        ChargeState(s["defect"], s["place"], s["charge"], s["energy"])
        for s in content["states"]
        if s["energy"] is not None
    ]
    low, high = content["mobility_edges"]
    return Diagram(tuple(states), content["gap"], (low, high))


def _state(
    run: DefectRun, defect: RelaxedDefect, host: Electrons, edge: float, settings: ChargedSettings
) -> ChargedState:
    charge, label = defect.case.charge, str(defect.case)
    energy = defect.formation_energy + charge * edge
    if charge == 0:
        own = read_electrons(defect.case.folder(run.folder))
        return ChargedState(defect, energy, None, None if isinstance(own, str) else own, None)
    electrons = read_electrons(defect.case.folder(run.folder))
    if isinstance(electrons, str):
        return ChargedState(defect, energy, None, None, f"{label}: no correction: {electrons}")
    note = None
    if abs(electrons.energy - defect.result.energy) > _SAME_STATE:
        note = (
            f"{label}: its electrons were kept of a state {electrons.energy - defect.result.energy:+.3f} eV "
            "from that of the relaxation"
        )
    correction, reason = _correction(run, defect, host, electrons, settings)
    shift = 0.0 if correction is None else correction.energy
    planar = _planar(run, defect, host, electrons, settings)
    return ChargedState(defect, energy + shift, correction, electrons, reason or note, planar=planar)


def _levels(
    run: DefectRun, state: ChargedState, host: Electrons, edge: float, gap: float
) -> tuple[SingleLevel, ...]:
    """Levels of one electron between the edges; none without potentials to align them by."""
    electrons, defect = state.electrons, state.defect
    here = None if electrons is None else potentials_of(electrons)
    there = potentials_of(host)
    if electrons is None or here is None or there is None:
        return ()
    atoms = defect.relaxed
    cells = Potentials(atoms, here), Potentials(run.host.atoms, there)
    pairs = matching_atoms(atoms, run.host.atoms)
    # Where the potential is higher the energy of an electron is lower.
    shift = alignment_correction(1, *cells, pairs, defect.position).alignment - edge
    found = [SingleLevel(spin, energy + shift, f, ratio) for spin, energy, f, ratio in electrons.levels]
    return tuple(level for level in found if _INSIDE < level.energy < gap - _INSIDE)


def _correction(
    run: DefectRun, defect: RelaxedDefect, host: Electrons, electrons: Electrons, settings: ChargedSettings
) -> tuple[Correction | None, str | None]:
    """The correction, or why there is none."""
    here, there = potentials_of(electrons), potentials_of(host)
    if here is None or there is None:
        return None, "no corrections and no common zero: the engine gives no potentials at the atoms"
    charge, atoms = defect.case.charge, defect.relaxed
    cells = Potentials(atoms, here), Potentials(run.host.atoms, there)
    reason = None
    if settings.dielectric is not None:
        try:
            found = efnv_correction(charge, *cells, settings.dielectric, defect.position)
            return found, _few(defect, found)
        except MissingLibraryError as error:
            reason = f"no corrections for the size of the cell: {error}; then go on with resume=True"
    pairs = matching_atoms(atoms, run.host.atoms)
    return alignment_correction(charge, *cells, pairs, defect.position), reason


def _planar(
    run: DefectRun, defect: RelaxedDefect, host: Electrons, electrons: Electrons, settings: ChargedSettings
) -> Correction | None:
    """FNV beside the correction where there are planes of both cells, and the library."""
    here, there = planes_of(electrons), planes_of(host)
    if settings.dielectric is None or here is None or there is None:
        return None
    cell = run.host.atoms.cell.array
    try:
        return fnv_correction(defect.case.charge, here, there, cell, settings.dielectric, defect.position)
    except MissingLibraryError:
        return None  # said once, of the correction


def _few(defect: RelaxedDefect, correction: Correction) -> str | None:
    """A word where the alignment is that of hardly any atom."""
    if correction.n_atoms >= _FEW:
        return None
    return (
        f"{defect.case}: only {correction.n_atoms} atoms are far enough from the defect for the alignment; "
        "the cell is too small for the correction"
    )


def _is_corrected(state: ChargedState) -> bool:
    return state.correction is not None and state.correction.kind != "alignment"


def _describe_state(state: ChargedState, folder: Path) -> dict[str, Any]:
    case, electrons = state.defect.case, state.electrons
    return {
        "defect": str(case.defect.name),
        "place": str(case.defect),
        "charge": case.charge,
        "folder": case.folder(folder).name,
        "energy": json_number(state.energy),
        "correction": None if state.correction is None else state.correction.describe(),
        "correction_by_planes": None if state.planar is None else state.planar.describe(),
        "magnetic_moment": None if electrons is None else electrons.magnetic_moment,
        "spin_states": [] if electrons is None else [dict(s) for s in electrons.spin_states],
        "levels": [asdict(level) for level in state.levels],
        "note": state.note,
    }


def _describe_conditions(
    charged: ChargedRun, conditions: Conditions, old: Mapping[str, float]
) -> dict[str, Any]:
    """mu, and by how much every defect moves against the potentials of the run."""
    energies = {
        state.defect.case.folder(charged.folder).name: json_number(
            state.energy + potential_shift(state.defect.removed, old, conditions.potentials)
        )
        for state in charged.states
    }
    return {"name": conditions.name, "potentials": dict(conditions.potentials), "energies": energies}
