"""Molecular dynamics: conservation, temperature, and runs that go on as if they had not been stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from mlh.calculators import DFTCalculator
from mlh.calculators.engines import ModelEngine
from mlh.dynamics.folder import with_cell
from mlh.dynamics.md import MDSettings, MDStep, Thermostat, conserved, drift, dynamics
from mlh.dynamics.md_files import LOG, STATE, SUMMARY, TRAJECTORY, MDResult, read_md, run_md, summary
from mlh.report.md import md_figure
from mlh.report.plots import save_figure
from mlh.structures import load_structure, read_frames


def argon() -> ase.Atoms:
    return bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 1, 1))


class Forgetful(LennardJones):  # type: ignore[misc]  # ASE has no types
    """Its neighbour lists depend on the geometries before, and the order of sums with them."""

    def calculate(self, *arguments: Any, **named: Any) -> None:
        self.nl = None
        super().calculate(*arguments, **named)


def lennard_jones() -> LennardJones:
    return Forgetful(sigma=3.4, epsilon=0.0103, rc=8.0, smooth=True)


def test_energy_is_conserved_to_second_order_of_the_step() -> None:
    """Halving the step at the same length of the run quarters the change of the energy."""
    changes, left = [], []
    for time_step, steps in ((4.0, 60), (2.0, 120)):
        run = list(dynamics(argon(), lennard_jones(), MDSettings(steps, time_step, temperature=60.0)))
        totals = np.array([state.step.total for state in run])
        changes.append(float(np.ptp(totals)))
        left.append(float(np.ptp(conserved([state.step for state in run]))))
        assert run[0].step.temperature == pytest.approx(60.0, rel=1e-12)
        assert np.abs(run[-1].momenta.sum(axis=0)).max() < 1e-10
    assert changes[0] / changes[1] == pytest.approx(4.0, rel=0.15)
    # What is left without the integrator's own oscillation is of the fourth order.
    assert left[0] < 0.05 * changes[0] and left[0] / left[1] == pytest.approx(16.0, rel=0.3)


def test_dft_conserves_the_energy_that_it_gives() -> None:
    """A vibrating molecule with smeared occupations: the free energy is what the forces belong to."""
    atoms = ase.Atoms("H2", [[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]], cell=[3.6, 3.7, 3.8], pbc=True)
    calculator = DFTCalculator(cutoff_ry=90.0, smearing_ev=1.0, energy_tol_ev=1e-8, residual_tol_ev=1e-6)
    settings = MDSettings(10, 0.25, temperature=0.0)
    steps = [state.step for state in dynamics(atoms, calculator, settings)]
    exchanged = max(step.kinetic for step in steps)
    totals = np.array([step.total for step in steps])
    assert exchanged > 0.1 and np.ptp(totals) < 0.01 * exchanged


def test_drift_is_a_slope_per_atom_and_picosecond() -> None:
    steps = [MDStep(k, 2.0 * k, 0.1 * k, 5.0 - 0.09 * k, 300.0, 1.0) for k in range(5)]
    assert drift(steps, 10) == pytest.approx(0.01 * 1000 / 2 * 1000 / 10)
    assert drift(steps, 10, sum_alone=True) == pytest.approx(drift(steps, 10))
    assert np.isnan(drift(steps[:4], 10))


def test_langevin_reaches_its_temperature() -> None:
    settings = MDSettings(600, 4.0, temperature=80.0, thermostat="langevin", friction=0.02, seed=3)
    cold = argon()
    cold.set_momenta(np.full((8, 3), 1e-3))
    kept = MDSettings(**{**settings.__dict__, "velocities": "kept"})
    run = [state.step.temperature for state in dynamics(cold, lennard_jones(), kept)]
    assert run[0] < 1.0 and np.mean(run[150:]) == pytest.approx(80.0, rel=0.15)


class Stop(BaseException):
    """As a kill: nothing is done after it."""


@pytest.mark.parametrize("thermostat", ["none", "langevin"])
@pytest.mark.parametrize("cut", [0, 25])
def test_a_resumed_run_is_the_same_run(tmp_path: Path, thermostat: Thermostat, cut: int) -> None:
    """Positions, velocities and noise to the last digit, also where the kill cut off row and frame."""
    settings = MDSettings(20, 3.0, 90.0, thermostat, seed=5)
    whole = run_md(argon(), lennard_jones(), tmp_path / "whole", settings, every=2)

    def stop(step: MDStep) -> None:
        if step.step == 8:
            raise Stop

    folder = tmp_path / "cut"
    with pytest.raises(Stop):
        run_md(argon(), lennard_jones(), folder, settings, every=2, on_step=stop)
    assert json.loads((folder / SUMMARY).read_text())["status"] == "failed"
    for name in (LOG, TRAJECTORY):
        text = (folder / name).read_text()
        (folder / name).write_text(text[: len(text) - cut])
    shorter = MDSettings(12, 3.0, 90.0, thermostat, seed=5)
    calculated: list[int] = []
    for limit in (shorter, settings):
        again = run_md(
            *(argon(), lennard_jones(), folder, limit),
            every=2,
            resume=True,
            on_step=lambda step: calculated.append(step.step),
        )
    assert calculated == list(range(9, 21))
    with np.load(tmp_path / "whole" / STATE) as a, np.load(folder / STATE) as b:
        for name in ("positions", "momenta", "forces"):
            assert np.array_equal(a[name], b[name]), name
    plain = [[(s.step, s.potential, s.kinetic, s.temperature) for s in r.steps] for r in (whole, again)]
    assert plain[0] == plain[1] and len(plain[0]) == 21
    assert [s.total for s in read_md(folder)] == [s.total for s in whole.steps]
    frames = [read_frames(tmp_path / name / TRAJECTORY) for name in ("whole", "cut")]
    assert [f.info["step"] for f in frames[1]] == list(range(0, 21, 2))
    for a_frame, b_frame in zip(*frames, strict=True):
        assert np.array_equal(a_frame.positions, b_frame.positions)
        assert np.array_equal(a_frame.get_momenta(), b_frame.get_momenta())
        assert np.abs(a_frame.get_momenta()).max() > 0


def test_what_is_not_the_same_run_is_refused(tmp_path: Path) -> None:
    settings = MDSettings(2, 3.0, 90.0)
    run_md(argon(), lennard_jones(), tmp_path, settings)
    with pytest.raises(FileExistsError, match="molecular dynamics already"):
        run_md(argon(), lennard_jones(), tmp_path, settings)
    with pytest.raises(ValueError, match=r"time_step: there 3\.0, now 2\.0"):
        run_md(argon(), lennard_jones(), tmp_path, MDSettings(2, 2.0, 90.0), resume=True)
    with pytest.raises(ValueError, match="velocities: expected atoms with velocities"):
        run_md(argon(), lennard_jones(), tmp_path / "b", MDSettings(2, velocities="kept"))
    # An earlier run may be the start of another: its frames hold the velocities.
    frame = read_frames(tmp_path / TRAJECTORY)[-1]
    first = next(iter(dynamics(frame, lennard_jones(), MDSettings(1, velocities="kept"))))
    assert first.momenta == pytest.approx(frame.get_momenta(), abs=1e-12)


def test_an_explosion_is_said(tmp_path: Path) -> None:
    atoms = argon()
    atoms.positions[1] = atoms.positions[0] + [0.0, 0.3, 1.2]
    with pytest.raises(RuntimeError, match="in one step"):
        run_md(atoms, lennard_jones(), tmp_path, MDSettings(5, 2.0, 10.0))


def test_a_molecule_keeps_the_box_of_its_first_geometry() -> None:
    atoms = ase.Atoms("H2", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.75]])
    boxed = [with_cell(atoms, DFTCalculator(cutoff_ry=90.0)) for _ in range(2)]
    assert boxed[0].cell.rank == 3 and np.array_equal(boxed[0].cell.array, boxed[1].cell.array)
    with pytest.raises(ValueError, match="three cell vectors"):
        with_cell(atoms, lennard_jones())


def test_the_picture_and_the_summary(tmp_path: Path) -> None:
    result = run_md(argon(), lennard_jones(), tmp_path, MDSettings(30, 3.0, 90.0))
    content = summary(result)
    assert content["drift"] == pytest.approx(result.drift) and content["note"] == ""
    save_figure(md_figure(result.steps, 8, result.settings), tmp_path / "md.png")
    thermal = MDResult(result.steps, result.atoms, MDSettings(thermostat="langevin"))
    assert summary(thermal)["drift"] is None
    assert len(md_figure(thermal.steps, 8, thermal.settings).axes) == 2
    assert (tmp_path / "md.png").stat().st_size > 10_000


@pytest.mark.filterwarnings("ignore::mlh.model.domain.OutOfDomainWarning")
def test_exact_forces_of_a_model_conserve_its_energy(tmp_path: Path) -> None:
    """And plain ones do not, which is said."""
    atoms = load_structure("alpha-quartz")
    atoms.rattle(0.04, seed=4)
    left = {}
    for forces in ("exact", "plain"):
        engine = ModelEngine("sio2-vo", cutoff_ry=60.0, kpts=(1, 1, 1), forces=forces)
        settings = MDSettings(3, 0.3, temperature=300.0)
        run = run_md(atoms, engine.calculator(), tmp_path / forces, settings)
        left[forces] = float(np.ptp(conserved(run.steps)))
        assert (summary(run)["note"] == "") == (forces == "exact")
    assert left["exact"] < 0.05 * left["plain"]
