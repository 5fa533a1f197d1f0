"""Paths between minima: an exact barrier, ends that do not belong together, runs that go on, processes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms

from mlh.dynamics.ends import matched_end
from mlh.dynamics.neb import NEBSettings, first_path
from mlh.dynamics.neb_files import PATH, SUMMARY, NEBStep, run_neb, summary
from mlh.jobs.pool import Workers
from mlh.report.neb import neb_figure
from mlh.report.plots import save_figure
from mlh.structures import read_frames

BARRIER, BEND = 0.4, 0.6


class DoubleWell(Calculator):  # type: ignore[misc]  # ASE has no types
    """h (x^2 - 1)^2 of the first atom, on a valley y = b (1 - x^2); a spring holds the second."""

    implemented_properties = ("energy", "free_energy", "forces")

    def __init__(self, tilt: float, stop_after: int | None = None) -> None:
        super().__init__()
        self.tilt, self.left = tilt, stop_after

    def calculate(self, atoms: Any = None, properties: Any = (), changes: Any = tuple(all_changes)) -> None:
        """Counts down to an end like that of a kill."""
        super().calculate(atoms, properties, changes)
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Stop
        x, y, z = self.atoms.positions[0] - 5.0
        away = self.atoms.positions[1] - 2.0
        bend = y - BEND * (1.0 - x * x)
        energy = BARRIER * (x * x - 1.0) ** 2 + self.tilt * x + 2.0 * (bend**2 + z * z) + away @ away
        slope = 4.0 * BARRIER * x * (x * x - 1.0) + self.tilt + 8.0 * bend * BEND * x
        forces = -np.array([[slope, 4.0 * bend, 4.0 * z], 2.0 * away])
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


@dataclass(frozen=True)
class Engine:
    """Of the double well; for worker processes."""

    tilt: float = 0.0
    stop_after: int | None = None
    kind: str = "toy"

    def calculator(self) -> DoubleWell:
        return DoubleWell(self.tilt, self.stop_after)

    def describe(self) -> dict[str, Any]:
        return {"kind": "toy"}


class Stop(BaseException):
    """As a kill: nothing is done after it."""


def ends() -> tuple[ase.Atoms, ase.Atoms]:
    atoms = ase.Atoms("HO", [[4.0, 5.0, 5.0], [2.0, 2.0, 2.0]], cell=[10.0] * 3, pbc=True)
    other = atoms.copy()
    other.positions[0, 0] = 6.0
    return atoms, other


SETTINGS = NEBSettings(images=5, fmax=0.01)


def test_the_barrier_of_a_symmetric_path_is_exact(tmp_path: Path) -> None:
    """The climbing image ends at the saddle point (0, b), h above both ends; mirror images are equal."""
    result = run_neb(*ends(), Engine(), tmp_path, SETTINGS)
    content = summary(result)
    assert result.converged and content["saddle"] == 3 and content["notes"] == []
    assert content["barrier"] == pytest.approx(BARRIER, abs=1e-4)
    assert content["energy_difference"] == pytest.approx(0.0, abs=1e-12)
    saddle = result.band.images[3].positions[0] - 5.0
    assert saddle == pytest.approx([0.0, BEND, 0.0], abs=0.005)
    rows = result.band.table()
    assert rows[2]["energy"] == pytest.approx(rows[4]["energy"], abs=0.005)
    length, energies = result.band.curve()
    assert energies.max() == pytest.approx(BARRIER, abs=0.01) and length[-1] > 2.0
    frames = read_frames(tmp_path / PATH)
    assert len(frames) == 7 and frames[3].info["REF_energy"] == pytest.approx(BARRIER, abs=1e-4)
    stored = json.loads((tmp_path / SUMMARY).read_text())
    assert stored["status"] == "converged" and stored["path"] == rows
    save_figure(neb_figure(result), tmp_path / "neb.png")


def test_a_tilted_path_climbs_and_a_slope_has_no_barrier(tmp_path: Path) -> None:
    low, high = ends()
    result = run_neb(low, high, Engine(tilt=0.1), tmp_path / "a", SETTINGS)
    # Extrema of h (x^2 - 1)^2 + 0.1 x; the ends are not quite minima, and that is said.
    roots = np.sort(np.roots([4 * BARRIER, 0.0, -4 * BARRIER, 0.1]).real)
    top = BARRIER * (roots[1] ** 2 - 1) ** 2 + 0.1 * roots[1]
    content = summary(result)
    assert content["barrier"] == pytest.approx(top + 0.1, abs=1e-3)
    assert content["barrier_back"] == pytest.approx(top - 0.1, abs=1e-3)
    assert any("the start is not at rest" in note for note in content["notes"]) is False
    slope = summary(run_neb(low, high, Engine(tilt=1.0), tmp_path / "b", NEBSettings(3, max_steps=2)))
    assert slope["saddle"] is None and "no barrier" in slope["notes"][0]
    assert "the start is not at rest" in slope["notes"][1]


@pytest.mark.parametrize("stop_after", [4, 23])
def test_a_path_goes_on_after_a_kill(tmp_path: Path, stop_after: int) -> None:
    """Digit for digit, and without calculating an image twice."""
    whole = run_neb(*ends(), Engine(0.1), tmp_path / "whole", SETTINGS)
    with pytest.raises(Stop):
        run_neb(*ends(), OneCounter(0.1, stop_after), tmp_path / "cut", SETTINGS)
    counted = OneCounter(0.1, 10_000)
    again = run_neb(*ends(), counted, tmp_path / "cut", SETTINGS, resume=True)
    assert again.steps[-1].step == whole.steps[-1].step
    for a, b in zip(whole.band.images, again.band.images, strict=True):
        assert np.array_equal(a.positions, b.positions)
    evaluations = 7 + 5 * whole.steps[-1].step
    assert 10_000 - counted.shared[0].left == evaluations - stop_after  # type: ignore[operator]
    seen: list[NEBStep] = []
    finished = run_neb(*ends(), counted, tmp_path / "cut", SETTINGS, resume=True, on_step=seen.append)
    assert finished.converged and len(seen) == 1
    with pytest.raises(ValueError, match="cannot resume another NEB"):
        run_neb(*ends(), counted, tmp_path / "cut", NEBSettings(4), resume=True)
    with pytest.raises(FileExistsError, match="holds a NEB already"):
        run_neb(*ends(), counted, tmp_path / "cut", SETTINGS)


class OneCounter(Engine):
    """All images share the countdown."""

    def __init__(self, tilt: float, stop_after: int) -> None:
        object.__setattr__(self, "shared", [DoubleWell(tilt, stop_after)])

    shared: list[DoubleWell]

    def calculator(self) -> DoubleWell:
        return self.shared[0]


def test_processes_give_the_same_path(tmp_path: Path) -> None:
    one = run_neb(*ends(), Engine(), tmp_path / "one", NEBSettings(3, max_steps=3))
    two = run_neb(*ends(), Engine(), tmp_path / "two", NEBSettings(3, max_steps=3), processes=2)
    assert len(one.steps) == 4 and not two.converged
    for a, b in zip(one.band.images, two.band.images, strict=True):
        assert np.array_equal(a.positions, b.positions)
    with pytest.raises(RuntimeError, match="Broken"):
        run_neb(*ends(), Broken(), tmp_path / "three", NEBSettings(3), processes=2)


class Broken(Engine):
    def calculator(self) -> DoubleWell:
        raise RuntimeError("Broken")


class Count:
    """How often this process was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, job: str, progress: Any) -> tuple[str, int]:
        self.calls += 1
        return job, self.calls


def test_workers_stay_and_meet_their_jobs_again() -> None:
    with Workers[str](Count(), processes=2) as workers:
        for turn in (1, 2):
            events = [e for e in workers.run(["a", "b"]) if e.kind == "done"]
            assert sorted(e.value for e in events) == [("a", turn), ("b", turn)]


def test_ends_that_do_not_belong_together() -> None:
    chain = ase.Atoms("OHH", [[0, 0, 0], [2.0, 0, 0], [4.0, 0, 0]], cell=[9.0] * 3, pbc=True)
    for change, words in {
        "short": r"expected the 3 atoms of the start \(H2O\), got 2 \(H2\)",
        "other": "expected the elements of the start",
        "order": "atom 0 is O there, H here",
        "swap": r"where atom 1 is at the start, atom 2 is at the end, and atom 1 is 2\.00 A away",
        "cell": r"expected the cell of the start, got vectors that differ by 0\.1000 A",
        "pbc": "expected the periodicity of the start",
        "same": "expected another geometry than the start, got the same",
        "held": r"atom 0 is 0\.500 A from there",
    }.items():
        start, end = chain.copy(), chain.copy()
        if change == "short":
            del end[0]
        elif change == "other":
            end.symbols[1] = "N"
        elif change == "order":
            end = end[[1, 0, 2]]
        elif change == "swap":
            end = end[[0, 2, 1]]
        elif change == "cell":
            end.cell[0, 0] += 0.1
        elif change == "pbc":
            end.pbc = False
        elif change == "held":
            start.set_constraint(FixAtoms([0]))
            end.positions[0, 2] += 0.5
        with pytest.raises(ValueError, match=words):
            matched_end(start, end)
    # The nearest image is the end, and atoms that change places may be meant to.
    moved = chain.copy()
    moved.positions[2] += [0.3, 9.0, 0.0]
    assert matched_end(chain, moved).positions[2] == pytest.approx([4.3, 0.0, 0.0])
    assert len(matched_end(chain, chain[[0, 2, 1]], any_order=True)) == 3


def test_the_first_path_keeps_atoms_apart() -> None:
    """Two atoms that pass each other: a straight line would take them through one place."""
    start = ase.Atoms("H2", [[4.0, 5.0, 5.0], [6.0, 5.1, 5.0]], cell=[10.0] * 3, pbc=True)
    end = start.copy()
    end.positions = end.positions[::-1]
    path = first_path(start, matched_end(start, end, any_order=True), NEBSettings(3))
    assert min(image.get_distance(0, 1, mic=True) for image in path) > 1.2
