"""Relaxations and data-set builds: files, resuming, kills; no DFT anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from fake_labeller import DieOnce, SpringLabeller, store_list
from mlh.dataset.store import Dataset
from mlh.jobs.dask import DaskExecutor
from mlh.jobs.pool import Event, run_jobs
from mlh.labelling.build import build_dataset
from mlh.labelling.config import DatasetConfig, load_config
from mlh.labelling.jobs import sample_indices
from mlh.labelling.plan import plan
from mlh.labelling.progress import BuildProgress, BuildTracker
from mlh.relaxation.files import read_steps, run_relaxation
from mlh.relaxation.loop import RelaxSettings, RelaxStep, relax
from mlh.structures import crystal, rattle, read_frames

TESTS = Path(__file__).parent


def copper() -> ase.Atoms:
    return rattle(bulk("Cu", cubic=True).repeat(2), 0.1, 3)


class CountingEMT(EMT):  # type: ignore[misc]
    calls = 0

    def calculate(self, *args: object, **kwargs: object) -> None:
        type(self).calls += 1
        super().calculate(*args, **kwargs)


class Interrupt:
    """Raises KeyboardInterrupt at one step, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, step: RelaxStep, atoms: ase.Atoms) -> None:
        if step.step == self.step:
            raise KeyboardInterrupt


def test_relax_reaches_the_target_and_leaves_the_input_alone() -> None:
    start = copper()
    before = start.positions.copy()
    result = relax(start, EMT(), RelaxSettings(fmax=0.02))
    assert result.converged
    assert result.fmax <= 0.02 < result.steps[0].fmax
    assert result.energy < result.steps[0].energy
    np.testing.assert_array_equal(start.positions, before)
    check = result.atoms.copy()
    check.calc = EMT()
    np.testing.assert_allclose(check.get_forces(), result.forces, atol=1e-12)
    assert check.get_potential_energy() == pytest.approx(result.energy)


def test_relax_says_when_it_did_not_converge() -> None:
    result = relax(copper(), EMT(), RelaxSettings(fmax=0.001, max_steps=3))
    assert not result.converged
    assert len(result.steps) == 4


class NoisyForces(Calculator):  # type: ignore[misc]
    """Springs to the origin whose forces are off by a rotating error: LBFGS stalls at its size."""

    implemented_properties = ("energy", "forces")

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.count = getattr(self, "count", 0) + 1
        error = 0.2 * np.array([np.cos(self.count), np.sin(self.count), 0.0])
        positions = self.atoms.positions
        self.results = {"energy": float((positions**2).sum()), "forces": -2.0 * positions + error}


def test_fire_takes_over_when_lbfgs_stalls() -> None:
    atoms = ase.Atoms("Si", [[0.4, 0.1, 0.0]], cell=np.eye(3) * 5, pbc=True)
    result = relax(atoms, NoisyForces(), RelaxSettings(fmax=1e-3, max_steps=40, stall_steps=5))
    names = [step.optimizer for step in result.steps]
    assert names[0] == "lbfgs"
    assert names[-1] == "fire"
    assert not result.converged
    assert len(result.steps) == 41


class Cliff(Calculator):  # type: ignore[misc]
    """A narrow minimum whose flat outside misleads the curvature of LBFGS: E = 4 (1 - exp(-x^2 / 0.02))."""

    implemented_properties = ("energy", "forces")

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        x = self.atoms.positions
        well = np.exp(-(x**2).sum() / 0.02)
        self.results = {"energy": 4.0 * (1.0 - well), "forces": -4.0 * well * x / 0.01}


def test_a_relaxation_that_runs_away_goes_on_from_its_best_geometry(tmp_path: Path) -> None:
    atoms = ase.Atoms("Si", [[0.2, 0.0, 0.0]], cell=np.eye(3) * 5, pbc=True)
    settings = RelaxSettings(fmax=0.01, max_steps=200)
    result = run_relaxation(atoms, Cliff(), tmp_path, settings)
    names = [step.optimizer for step in result.steps]
    assert {"lbfgs", "fire"} == set(names)  # otherwise the potential does not test what it is here for
    first = names.index("fire")
    energies = [step.energy for step in result.steps]
    assert energies[first - 1] > min(energies[:first]) + 1.0
    assert energies[first] == pytest.approx(min(energies[:first]))
    assert result.converged
    assert abs(result.atoms.positions[0, 0]) < 1e-3
    # The recorded steps replay, the jump back included.
    again = run_relaxation(atoms, CountingCliff(), tmp_path, settings, resume=True)
    assert CountingCliff.calls == 0
    assert len(again.steps) == len(result.steps)


class CountingCliff(Cliff):
    calls = 0

    def calculate(self, *args: object, **kwargs: object) -> None:
        type(self).calls += 1
        super().calculate(*args, **kwargs)  # type: ignore[arg-type]


def test_interrupted_relaxation_resumes_without_repeating_work(tmp_path: Path) -> None:
    expected = relax(copper(), EMT())
    with pytest.raises(KeyboardInterrupt):
        run_relaxation(copper(), EMT(), tmp_path, on_step=Interrupt(4))
    assert json.loads((tmp_path / "relax.json").read_text())["status"] == "interrupted"
    assert len(read_frames(tmp_path / "trajectory.extxyz")) == 5
    with open(tmp_path / "trajectory.extxyz", "a", encoding="utf-8") as stream:
        stream.write('32\nLattice="7.2 0.0')  # a kill in the middle of a frame
    CountingEMT.calls = 0
    result = run_relaxation(copper(), CountingEMT(), tmp_path, resume=True)
    assert CountingEMT.calls == len(expected.steps) - 5
    assert [step.step for step in read_steps(tmp_path / "trajectory.extxyz")] == list(
        range(len(expected.steps))
    )
    np.testing.assert_allclose(result.atoms.positions, expected.atoms.positions, atol=1e-6)
    summary = json.loads((tmp_path / "relax.json").read_text())
    assert summary["status"] == "converged"
    assert summary["energy"] == pytest.approx(expected.energy, abs=1e-6)
    frame = read_frames(tmp_path / "relaxed.extxyz")[0]
    assert frame.info["REF_energy"] == pytest.approx(expected.energy, abs=1e-6)
    assert np.linalg.norm(frame.arrays["REF_forces"], axis=1).max() <= 0.02


RELAX_SCRIPT = """
import sys, time
from pathlib import Path
from ase.calculators.emt import EMT
from mlh.relaxation.loop import RelaxSettings
from mlh.relaxation.files import run_relaxation
from test_workflow import copper
class Slow(EMT):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        time.sleep(0.3)
run_relaxation(copper(), Slow(), Path(sys.argv[1]), RelaxSettings(fmax=0.002))
"""


def test_a_killed_relaxation_resumes_to_the_same_minimum(tmp_path: Path) -> None:
    settings = RelaxSettings(fmax=0.002)
    expected = relax(copper(), EMT(), settings)
    target = tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    process = subprocess.Popen([sys.executable, "-c", RELAX_SCRIPT, str(target)], env=environment)
    trajectory = target / "trajectory.extxyz"
    wait_for(lambda: trajectory.exists() and len(read_frames(trajectory)) >= 3)
    process.kill()
    assert process.wait(60.0) == -signal.SIGKILL
    done = len(read_frames(trajectory))
    assert 3 <= done < len(expected.steps)
    assert json.loads((target / "relax.json").read_text())["status"] == "running"
    CountingEMT.calls = 0
    result = run_relaxation(copper(), CountingEMT(), target, settings, resume=True)
    assert result.converged
    assert CountingEMT.calls == len(expected.steps) - done
    assert result.energy == pytest.approx(expected.energy, abs=1e-6)
    np.testing.assert_allclose(result.atoms.positions, expected.atoms.positions, atol=1e-6)


def strained_copper() -> ase.Atoms:
    atoms = rattle(bulk("Cu", cubic=True), 0.05, 3)
    strain = np.array([[0.02, 0.01, 0.0], [0.01, -0.01, 0.0], [0.0, 0.0, 0.03]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def test_the_cell_relaxes_to_zero_stress_and_resumes(tmp_path: Path) -> None:
    settings = RelaxSettings(fmax=0.005, smax=0.02, cell="full")
    with pytest.raises(KeyboardInterrupt):
        run_relaxation(strained_copper(), EMT(), tmp_path, settings, on_step=Interrupt(6))
    result = run_relaxation(strained_copper(), EMT(), tmp_path, settings, resume=True)
    assert result.converged and len(result.steps) == len(relax(strained_copper(), EMT(), settings).steps)
    check = result.atoms.copy()
    check.calc = EMT()
    assert np.abs(check.get_stress()).max() * 160.2177 < 0.02
    perfect = bulk("Cu", a=3.59)  # EMT copper: 3.59 A
    assert result.atoms.cell.volume == pytest.approx(4 * perfect.cell.volume, rel=2e-3)
    assert result.atoms.cell.angles() == pytest.approx([90, 90, 90], abs=0.05)
    summary = json.loads((tmp_path / "relax.json").read_text())
    assert summary["stress"] <= 0.02 and summary["volume"] == pytest.approx(result.atoms.cell.volume)
    frame = read_frames(tmp_path / "relaxed.extxyz")[0]
    np.testing.assert_allclose(frame.cell.array, result.atoms.cell.array, atol=1e-8)
    with pytest.raises(ValueError, match="pressure: there 0"):
        other = RelaxSettings(fmax=0.005, cell="full", pressure=1.0)
        run_relaxation(strained_copper(), EMT(), tmp_path, other, resume=True)


def test_the_volume_answers_to_pressure_and_the_shape_stays() -> None:
    start = strained_copper()
    settings = RelaxSettings(fmax=0.005, smax=0.02, cell="volume", pressure=5.0)
    pressed = relax(start, EMT(), settings).atoms
    free = relax(start, EMT(), RelaxSettings(fmax=0.005, smax=0.02, cell="volume")).atoms
    factor = (pressed.cell.volume / start.cell.volume) ** (1 / 3)
    np.testing.assert_allclose(pressed.cell.array, factor * start.cell.array, atol=1e-8)
    # Bulk modulus of EMT copper about 130 GPa: 5 GPa press by about 3.5 percent.
    assert 0.025 < 1 - pressed.cell.volume / free.cell.volume < 0.05
    with pytest.raises(ValueError, match="pressure: expected 0 at a fixed cell"):
        RelaxSettings(pressure=1.0)


def test_relaxation_folder_is_protected(tmp_path: Path) -> None:
    run_relaxation(copper(), EMT(), tmp_path, RelaxSettings(max_steps=1), engine={"kind": "emt"})
    with pytest.raises(FileExistsError, match="holds a relaxation already"):
        run_relaxation(copper(), EMT(), tmp_path)
    with pytest.raises(ValueError, match=r"cannot resume another relaxation.*engine"):
        run_relaxation(copper(), EMT(), tmp_path, engine={"kind": "dft"}, resume=True)
    with pytest.raises(ValueError, match="structure_hash"):
        other = rattle(copper(), 0.1, 9)
        run_relaxation(other, EMT(), tmp_path, engine={"kind": "emt"}, resume=True)
    result = run_relaxation(copper(), EMT(), tmp_path, engine={"kind": "emt"}, overwrite=True)
    assert result.converged


def test_a_relaxation_that_failed_before_its_first_step_holds_nothing(tmp_path: Path) -> None:
    silicon = bulk("Si")
    with pytest.raises(NotImplementedError, match="No EMT-potential"):
        run_relaxation(silicon, EMT(), tmp_path)
    assert json.loads((tmp_path / "relax.json").read_text())["status"] == "failed"
    assert run_relaxation(copper(), EMT(), tmp_path).converged


CONFIG = """
name: small
seed: 3
sources:
  - name: quartz
    crystal: alpha-quartz
    repeat: [2, 1, 1]
    host:
      - {copies: 3, rattle: 0.03, strain: 0.02}
    vacancies:
      - {species: O, sites: 2, structures: [{rattle: 0.02}]}
    relaxations:
      - {of: vacancy, species: O, sites: 1, rattle: 0.05, max_steps: 12, fmax: 0.001, samples: 4}
"""


def small_config(tmp_path: Path, text: str = CONFIG) -> DatasetConfig:
    (tmp_path / "config.yaml").write_text(text)
    return load_config(tmp_path / "config.yaml")


def log_lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_plan_is_deterministic_and_local(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    first, second = plan(config), plan(config)
    assert [job.id for job in first] == [job.id for job in second]
    assert [len(job.atoms) for job in first] == [18, 18, 18, 17, 17, 17]
    assert first[3].record["defect_kind"] == "vacancy"
    assert first[5].record["kind"] == "relaxation"
    more = DatasetConfig.model_validate(
        {
            **config.model_dump(),
            "sources": [
                {"name": "other", "crystal": "tridymite", "host": [{}]},
                *config.model_dump()["sources"],
            ],
        }
    )
    assert [job.id for job in plan(more)][1:] == [job.id for job in first]
    reseeded = plan(config.model_copy(update={"seed": 4}))
    assert not {job.id for job in reseeded} & {job.id for job in first}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CONFIG.replace("seed: 3", "seed: 3\nsede: 3"), "sede: Extra inputs"),
        ("name: small\nsources: []\n", "sources: List should have at least 1 item"),
    ],
)
def test_config_errors_name_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_config(tmp_path, text)


def test_config_refuses_wrong_values(tmp_path: Path) -> None:
    for old, new, message in (
        ("rattle: 0.03, strain: 0.02", "rattle: 0.0", "equal structures"),
        ("alpha-quartz", "quartz", "expected one of"),
        ("of: vacancy, species: O, sites: 1", "of: vacancy", "species and sites"),
        ("sites: 2, structures", "sites: many, structures", "sites"),
    ):
        with pytest.raises(ValueError, match=message):
            small_config(tmp_path, CONFIG.replace(old, new))


def test_build_runs_everything_in_single_thread_workers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    messages: list[BuildProgress] = []
    report = build_dataset(
        small_config(tmp_path),
        tmp_path / "set.h5",
        labeller=SpringLabeller(str(log)),
        store=store_list,
        on_progress=messages.append,
    )
    rows = (tmp_path / "set.h5").read_text().splitlines()
    assert report.failed == {}
    assert report.n_samples == len(rows) == 5 + 4
    assert {line.split()[1] for line in log_lines(log)} == {"1"}
    assert [int(row.split()[2]) for row in rows][-4:] == [0, 4, 8, 12]
    energies = [float(row.split()[1]) for row in rows][-4:]
    assert energies[-1] < energies[0]
    assert messages[-1].fraction == pytest.approx(1.0)
    assert messages[-1].finished == report.n_jobs == 6


def test_a_job_whose_worker_is_killed_once_is_tried_again(tmp_path: Path) -> None:
    outcome = [(event.kind, event.job) for event in run_jobs(DieOnce(str(tmp_path)), ["a", "b"], processes=1)]
    assert outcome.count(("retry", "a")) == 1
    assert ("done", "a") in outcome
    assert ("done", "b") in outcome
    assert not [kind for kind, _ in outcome if kind == "failed"]


def test_unconverged_and_dying_jobs_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    log = tmp_path / "log"
    labeller = SpringLabeller(str(log), fail_atoms=17)
    report = build_dataset(config, tmp_path / "set.h5", labeller=labeller, store=store_list)
    assert report.n_samples == 3
    assert len(report.failed) == 3
    assert all(
        reason == "UnconvergedError: SCF not converged in 3 steps" for reason in report.failed.values()
    )
    with pytest.raises(FileExistsError):
        build_dataset(config, tmp_path / "set.h5", labeller=labeller, store=store_list)
    labeller = SpringLabeller(str(log), die_atoms=17)
    report = build_dataset(
        config, tmp_path / "set.h5", labeller=labeller, store=store_list, overwrite=True, retry_failed=True
    )
    assert report.n_samples == 3
    assert all("exit code 9" in reason for reason in report.failed.values())
    report = build_dataset(
        config,
        tmp_path / "set.h5",
        labeller=SpringLabeller(str(log)),
        store=store_list,
        overwrite=True,
        retry_failed=True,
    )
    assert report.failed == {}
    assert report.n_samples == 9


SCRIPT = """
import sys
from pathlib import Path
from fake_labeller import DieOnce, SpringLabeller, store_list
from mlh.dataset.store import Dataset
from mlh.labelling.build import build_dataset
from mlh.labelling.config import load_config
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    build_dataset(load_config(folder / "config.yaml"), folder / "set.h5",
                  labeller=SpringLabeller(str(folder / "log"), delay=float(sys.argv[2])), store=store_list)
"""


def wait_for(condition: object, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_build_resumes_without_repeating_work(tmp_path: Path, number: signal.Signals) -> None:
    config = small_config(tmp_path)
    expected_calls = 5 + 13
    (tmp_path / "run.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path), "0.3"]
    process = subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        # A test run in the background of a shell ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    finished = tmp_path / "set.h5.jobs" / "finished"
    partial = tmp_path / "set.h5.jobs" / "partial"
    wait_for(lambda: len(list(finished.glob("*.npz"))) >= 1 and len(list(partial.rglob("*.npz"))) >= 3)
    if number == signal.SIGKILL:
        os.killpg(process.pid, number)  # the workers too: nobody gets to clean up
    else:
        process.send_signal(number)
    assert process.wait(120.0) != 0
    assert not (tmp_path / "set.h5").exists()
    calls = len(log_lines(tmp_path / "log"))
    assert calls < expected_calls
    report = build_dataset(
        config, tmp_path / "set.h5", labeller=SpringLabeller(str(tmp_path / "log")), store=store_list
    )
    assert report.failed == {}
    # Only calculations that were running at the kill are done twice: one per worker.
    assert len(log_lines(tmp_path / "log")) <= expected_calls + 2
    clean = build_dataset(
        config, tmp_path / "clean.h5", labeller=SpringLabeller(str(tmp_path / "other")), store=store_list
    )
    assert clean.n_samples == report.n_samples == 9
    assert (tmp_path / "set.h5").read_text() == (tmp_path / "clean.h5").read_text()
    assert not list((tmp_path / "set.h5.jobs").rglob("*.tmp"))


def has_gone_on(process: subprocess.Popen[bytes], log: Path, before: int) -> bool:
    """The build has started one more calculation, or has ended."""
    return process.poll() is not None or (log.exists() and len(log_lines(log)) > before)


def start_build(folder: Path, delay: float, processes: int = 1) -> subprocess.Popen[bytes]:
    """`mlh dataset build` with a labeller of the user's own, in a process group of its own."""
    (folder / "config.yaml").write_text(CONFIG + "engine: {labeller: 'fake_labeller:NamedLabeller'}\n")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
        "FAKE_LABELLER_LOG": str(folder / "log"),
        "FAKE_LABELLER_DELAY": str(delay),
    }
    command = [sys.executable, "-m", "mlh.commands.cli", "dataset", "build", str(folder / "config.yaml")]
    command += ["--out", str(folder / "set.h5"), "--processes", str(processes)]
    return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)


def test_ten_kills_leave_a_complete_data_set_without_duplicates(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    broken, clean, log = tmp_path / "broken", tmp_path / "clean", tmp_path / "broken" / "log"
    broken.mkdir(), clean.mkdir()
    target, kills = broken / "set.h5", 0
    while kills < 10 and not target.exists():
        process = start_build(broken, 0.3)
        # somewhere after the first new calculation: in a calculation, between two, or while files are written
        wait_for(partial(has_gone_on, process, log, len(log_lines(log))))
        time.sleep(float(rng.uniform(0.0, 0.3)))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)  # the parent only: its workers must end by themselves
        kills += process.wait(120.0) == -signal.SIGKILL
    assert kills >= 5  # a calculation or two end between two kills, of 18
    target.unlink(missing_ok=True)
    process = start_build(broken, 0.0)
    wait_for(lambda: target.exists() or list(broken.glob(".set.h5.*.tmp")))
    process.kill()  # while the data set itself is written
    process.wait(120.0)
    if target.exists():  # it had ended already
        target.unlink()
    assert start_build(broken, 0.0).wait(120.0) == 0
    assert start_build(clean, 0.0).wait(120.0) == 0
    with Dataset(target) as data, Dataset(clean / "set.h5") as expected:
        assert data.verify() == []
        origins = [sample.origin for sample in data]
        assert origins == [sample.origin for sample in expected]
        assert len(set(origins)) == len(origins) == 9
        for sample, other in zip(data, expected, strict=True):
            np.testing.assert_array_equal(sample.dh, other.dh)
            np.testing.assert_array_equal(sample.forces, other.forces)
            assert sample.energies == other.energies
    assert not list(broken.rglob("*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    process = start_build(tmp_path, 60.0, processes=2)  # longer than this test waits
    wait_for(lambda: len(log_lines(tmp_path / "log")) >= 2)
    process.send_signal(number)
    assert process.wait(60.0) == (130 if number == signal.SIGTERM else -number)

    def gone() -> bool:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    wait_for(gone, 20.0)


def test_time_left_follows_the_work_of_this_run(tmp_path: Path) -> None:
    relaxations = [{"of": "vacancy", "species": "O", "sites": 4, "max_steps": 39, "fmax": 0.01}]
    source = {"name": "q", "crystal": "alpha-quartz", "relaxations": relaxations}
    jobs = plan(DatasetConfig.model_validate({"name": "t", "sources": [source]}))
    now, seen = [0.0], list[BuildProgress]()
    tracker = BuildTracker(jobs, [], [], seen.append, clock=lambda: now[0])
    tracker.update(Event("started", jobs[0]))
    tracker.update(Event("started", jobs[1]))
    tracker.update(Event("progress", jobs[0], 10))  # left by an earlier run: no work of this one
    tracker.update(Event("progress", jobs[1], 0))
    assert seen[-1].seconds_left is None
    assert seen[-1].fraction == pytest.approx(10 / 160)
    for count in range(1, 11):  # both workers: one geometry in ten seconds
        now[0] += 10.0
        tracker.update(Event("progress", jobs[0], 10 + count))
        tracker.update(Event("progress", jobs[1], count))
    assert seen[-1].seconds_left == pytest.approx((160 - 30) / 2 * 10.0)
    tracker.update(Event("done", jobs[0], 8))  # after 20 of 40 geometries: the others are expected to do so
    assert seen[-1].seconds_left == pytest.approx((10 + 20 + 20) / 2 * 10.0)
    assert seen[-1].finished == 1
    for job in jobs[1:3]:
        tracker.update(Event("failed", job, "why"))
    # One job is left, and one worker has nothing to do.
    assert seen[-1].seconds_left == pytest.approx(20 * 10.0)
    tracker.update(Event("done", jobs[3], 8))
    assert seen[-1].fraction == 1.0
    assert (seen[-1].finished, seen[-1].failed, seen[-1].seconds_left) == (2, 2, 0.0)


def test_jobs_run_on_a_dask_cluster(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    config, log = small_config(tmp_path), tmp_path / "log"
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        report = build_dataset(
            config,
            tmp_path / "set.h5",
            labeller=SpringLabeller(str(log), fail_atoms=17),
            store=store_list,
            executor=DaskExecutor(cluster.scheduler_address),
        )
    assert report.n_samples == 3
    reasons = set(report.failed.values())
    assert len(report.failed) == 3 and reasons == {"UnconvergedError: SCF not converged in 3 steps"}


def test_two_builds_of_one_data_set_are_refused(tmp_path: Path) -> None:
    import fcntl

    config = small_config(tmp_path)
    (tmp_path / "set.h5.jobs").mkdir()
    with open(tmp_path / "set.h5.jobs" / "lock", "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="another build"):
            build_dataset(
                config, tmp_path / "set.h5", labeller=SpringLabeller(str(tmp_path / "log")), store=store_list
            )


def test_sample_indices() -> None:
    assert sample_indices(13, 4) == [0, 4, 8, 12]
    assert sample_indices(3, 8) == [0, 1, 2]
    assert sample_indices(9, 1) == [8]
    assert len(crystal("alpha-quartz")) == 9
