"""Formation energies against the Fermi level, transition levels, and their spread over the sites of a glass.

    E_f(q, E_F) = E(q) - E(host) + sum_i n_i (E_i + mu_i) + q (E_V + E_F) + E_corr

E_V: valence edge of the host in the zero of its own calculation (the correction has the alignment of the
potentials), E_F: Fermi level above it. Where two charges cross is their transition level,

    e(q/q') = (E_f(q, 0) - E_f(q', 0)) / (q' - q).

Energies in eV. Everything here is arithmetic of plain values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mlh.structures.defect_names import charge_text


@dataclass(frozen=True, order=True)
class ChargeState:
    """One calculation. defect: V_O; place: V_O-12; energy: E_f at the valence edge (E_F = 0), corrected."""

    defect: str
    place: str
    charge: int
    energy: float

    def at(self, fermi: float) -> float:
        """E_f at a Fermi level above the valence edge."""
        return self.energy + self.charge * fermi


@dataclass(frozen=True, order=True)
class TransitionLevel:
    """Where two charges of a defect at one place cross, eV above the valence edge.

    stable: on the lower envelope, that is, no third charge is lower there (thermodynamic level).
    """

    defect: str
    place: str
    upper: int
    lower: int
    """Charges: the larger is stable below the level."""
    level: float
    stable: bool

    @property
    def name(self) -> str:
        """(+1/0)."""
        return f"({charge_text(self.upper)}/{charge_text(self.lower)})"


@dataclass(frozen=True)
class Spread:
    """A level over the sites of a host: number, mean, standard deviation, smallest, largest; eV."""

    defect: str
    name: str
    number: int
    mean: float
    deviation: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class Diagram:
    """All charge states of all places, and the gap of the host (eV).

    mobility_edges: (valence, conduction) eV above the valence edge, between which a glass has localised
    states; None where they are not known.
    """

    states: tuple[ChargeState, ...]
    gap: float
    mobility_edges: tuple[float | None, float | None] = (None, None)

    def __post_init__(self) -> None:
        if not self.gap > 0.0:
            raise ValueError(f"gap: expected a positive gap in eV, got {self.gap}")
        twice = [key for key in {(s.place, s.charge) for s in self.states} if len(self._of(*key)) > 1]
        if twice:
            raise ValueError(f"states: expected every charge of a place once, got {sorted(twice)} again")

    @property
    def places(self) -> tuple[str, ...]:
        """In the order of the states."""
        return tuple(dict.fromkeys(state.place for state in self.states))

    def charges(self, place: str) -> tuple[ChargeState, ...]:
        """The states of one place by charge."""
        return tuple(sorted((s for s in self.states if s.place == place), key=lambda s: s.charge))

    def _of(self, place: str, charge: int) -> list[ChargeState]:
        return [s for s in self.states if (s.place, s.charge) == (place, charge)]


def transition_levels(diagram: Diagram) -> tuple[TransitionLevel, ...]:
    """All pairs of charges of every place, in the order of the places and of the charges."""
    found = []
    for place in diagram.places:
        states = diagram.charges(place)
        for low, high in combinations(states, 2):
            level = (high.energy - low.energy) / (low.charge - high.charge)
            here = high.at(level)
            stable = all(other.at(level) >= here - 1e-9 for other in states)
            found.append(TransitionLevel(low.defect, place, high.charge, low.charge, level, stable))
    return tuple(found)


def envelope(states: Sequence[ChargeState], start: float, end: float) -> tuple[tuple[float, float], ...]:
    """(Fermi level, lowest E_f) where the lowest charge changes, from `start` to `end`, both included."""
    if not states:
        raise ValueError("states: expected at least one charge state, got none")
    crossings = {start, end}
    for a, b in combinations(states, 2):
        if a.charge != b.charge:
            crossings.add((a.energy - b.energy) / (b.charge - a.charge))
    points = [
        (fermi, min(state.at(fermi) for state in states))
        for fermi in sorted(crossings)
        if start <= fermi <= end
    ]
    kept = [
        point
        for number, point in enumerate(points)
        if number in (0, len(points) - 1) or _bends(states, point[0])
    ]
    return tuple(kept)


def stable_charge(states: Iterable[ChargeState], fermi: float) -> int:
    """The charge of lowest formation energy at a Fermi level; of equal ones the smaller in size."""
    return min(states, key=lambda s: (round(s.at(fermi), 9), abs(s.charge), s.charge)).charge


def pinned_levels(diagram: Diagram) -> tuple[Spread, ...]:
    """Every stable level over the places of its defect."""
    by_name: dict[tuple[str, str], list[float]] = {}
    for level in transition_levels(diagram):
        if level.stable:
            by_name.setdefault((level.defect, level.name), []).append(level.level)
    return tuple(
        Spread(
            *(defect, name, len(values), float(np.mean(values))),
            *(float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, min(values), max(values)),
        )
        for (defect, name), values in by_name.items()
    )


def _bends(states: Sequence[ChargeState], fermi: float) -> bool:
    return stable_charge(states, fermi - 1e-6) != stable_charge(states, fermi + 1e-6)
