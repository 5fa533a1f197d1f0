"""Long steps say what they are doing: phases of the calculation, shown on a terminal when they last."""

from __future__ import annotations

import io
import time

import pytest
from ase import Atoms
from rich.console import Console

from mlh.calculators import DFTCalculator
from mlh.common import terminal
from mlh.common.activity import counted, doing, watched
from mlh.common.terminal import Activity, bar, say
from mlh.solver import Purification


def heard(**options: object) -> list[str]:
    """Everything that an energy and forces of a hydrogen molecule tell a watcher."""
    told: list[str] = []
    atoms = Atoms("H2", [[1.0, 1.0, 1.0], [1.0, 1.0, 1.75]], cell=[4.0, 4.1, 4.2], pbc=True)
    atoms.calc = DFTCalculator(cutoff_ry=60.0, **options)  # type: ignore[arg-type]
    with watched(told.append):
        atoms.get_forces()
    assert told[-1] == ""
    return told


def test_self_consistency_tells_its_phases_and_k_points() -> None:
    told = heard(kpts=(2, 1, 1), symmetry=False)
    for phase in (
        "overlap",
        "first Hamiltonian",
        "eigenstates, k point 2 of 2",
        "density, energy, H, density on the grid",
        "density, energy, H, potential matrix",
        "forces",
    ):
        assert phase in told


def test_purification_tells_its_iterations() -> None:
    told = heard(solver=Purification(1e-5))
    assert "eigenstates, purification, iteration 3" in told
    assert any("inverse factor" in text for text in told)


def test_phases_nest_and_end_after_an_error() -> None:
    told: list[str] = []
    with watched(told.append), pytest.raises(ZeroDivisionError), doing("a"):
        for x in counted("part", [1, 0]):
            assert 1 / x
    assert told == ["a", "a, part 1 of 2", "a", "a, part 2 of 2", "a", ""]
    assert list(counted("one", [7])) == [7]


def shown(patience: float, seconds: float) -> str:
    """What a terminal shows of a phase of some seconds, with a message and a bar in it."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    activity = Activity(console, patience)
    terminal._activity.append(activity)
    try:
        with watched(activity), doing("eigenstates"):
            time.sleep(seconds)
            say(console, "a message")
            with bar(console) as progress:
                progress.add_task("x", total=1)
                assert activity._live is None, "one thing moves at a time"
    finally:
        terminal._activity.pop()
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_terminal_shows_what_takes_long_and_nothing_of_what_does_not() -> None:
    long = shown(0.05, 0.4)
    assert "eigenstates, 0 s" in long and "a message" in long
    assert "eigenstates" not in shown(5.0, 0.01)
