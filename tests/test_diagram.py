"""Transition levels, envelopes and spreads of hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest

from mlh.defects.diagram import (
    ChargeState,
    Diagram,
    envelope,
    pinned_levels,
    stable_charge,
    transition_levels,
)


def states(place: str, *energies: tuple[int, float]) -> tuple[ChargeState, ...]:
    return tuple(ChargeState(place.split("-")[0], place, charge, energy) for charge, energy in energies)


NORMAL = states("V_O-1", (0, 6.0), (1, 4.0), (2, 1.0))
"""Levels (+2/+1) at 3, (+1/0) at 2: the middle charge is never the lowest (negative U), (+2/0) at 2.5."""
ORDERED = states("V_O-7", (0, 6.0), (1, 3.0), (2, 1.0), (-1, 9.5))
"""(+2/+1) at 2, (+1/0) at 3, (0/-1) at 3.5."""


def test_levels_of_a_negative_u_defect() -> None:
    levels = {level.name: level for level in transition_levels(Diagram(NORMAL, 8.0))}
    assert {name: level.level for name, level in levels.items()} == pytest.approx(
        {"(+1/0)": 2.0, "(+2/+1)": 3.0, "(+2/0)": 2.5}
    )
    assert [name for name, level in levels.items() if level.stable] == ["(+2/0)"]


def test_levels_in_order_and_negative_charges() -> None:
    levels = transition_levels(Diagram(ORDERED, 8.0))
    stable = {level.name: level.level for level in levels if level.stable}
    assert stable == pytest.approx({"(0/-1)": 3.5, "(+1/0)": 3.0, "(+2/+1)": 2.0})
    assert len(levels) == 6
    for level in levels:  # both charges have the same energy where they cross
        upper, lower = (next(s for s in ORDERED if s.charge == q) for q in (level.upper, level.lower))
        assert upper.at(level.level) == pytest.approx(lower.at(level.level))


def test_the_envelope_is_the_lowest_line() -> None:
    np.testing.assert_allclose(envelope(NORMAL, 0.0, 8.0), [(0.0, 1.0), (2.5, 6.0), (8.0, 6.0)])
    corners = envelope(ORDERED, 0.0, 8.0)
    np.testing.assert_allclose(corners, [(0.0, 1.0), (2.0, 5.0), (3.0, 6.0), (3.5, 6.0), (8.0, 1.5)])
    assert envelope(NORMAL[:1], -1.0, 1.0) == ((-1.0, 6.0), (1.0, 6.0))
    assert [stable_charge(ORDERED, fermi) for fermi in (0.0, 2.5, 3.2, 7.0)] == [2, 1, 0, -1]


def test_spread_over_the_sites_of_a_glass() -> None:
    other = states("V_O-9", (0, 6.0), (1, 4.0), (2, 2.0))
    interstitial = states("H_i-0", (1, 1.0), (-1, 3.0))
    found = pinned_levels(Diagram((*NORMAL, *other, *interstitial), 8.0))
    by_name = {(spread.defect, spread.name): spread for spread in found}
    double = by_name["V_O", "(+2/0)"]
    assert (double.number, double.mean, double.smallest, double.largest) == (2, 2.25, 2.0, 2.5)
    assert double.deviation == pytest.approx(0.25 * 2**0.5)
    assert by_name["H_i", "(+1/-1)"].mean == pytest.approx(1.0)
    assert by_name["H_i", "(+1/-1)"].deviation == 0.0


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="gap: expected a positive gap"):
        Diagram(NORMAL, 0.0)
    with pytest.raises(ValueError, match="every charge of a place once"):
        Diagram((*NORMAL, NORMAL[0]), 8.0)
    with pytest.raises(ValueError, match="at least one charge state"):
        envelope((), 0.0, 1.0)
