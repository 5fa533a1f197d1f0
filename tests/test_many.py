"""Many relaxations: hosts together, statistics, clusters whose workers and schedulers die. Engine: EMT."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase.build import bulk

from mlh.defects.cases import DefectCase, vacancy_cases
from mlh.defects.hosts import HostCases, relax_all
from mlh.defects.run import DefectSettings, run_defects
from mlh.defects.statistics import Moments, Value, describe_statistics, error_from_hosts, in_order
from mlh.jobs.dask import DaskExecutor, SchedulerLost
from mlh.relaxation.jobs import RelaxJob, RelaxJobs
from mlh.relaxation.loop import RelaxSettings
from mlh.report.plots import save_figure
from mlh.report.statistics_figure import live_line, statistics_figure, statistics_table
from mlh.structures import rattle
from test_defect_workflow import EMTEngine, ScaledEMT, copper_reference

SETTINGS = RelaxSettings(fmax=0.01)


class SlowEMT(ScaledEMT):
    """Leaves its process id and takes its time."""

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__(1.0)
        self.folder, self.seconds = folder, seconds

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        (self.folder / str(os.getpid())).touch()
        time.sleep(self.seconds)
        super().calculate(*args, **kwargs)


class SlowEngine(EMTEngine):
    def __init__(self, folder: Path, seconds: float = 0.1) -> None:
        super().__init__()
        self.folder, self.seconds = folder, seconds

    def calculator(self) -> SlowEMT:
        return SlowEMT(self.folder, self.seconds)

    def charged(self, charge: int) -> SlowEngine:
        return self


def copper(seed: int, repeat: tuple[int, int, int] = (2, 2, 1)) -> ase.Atoms:
    return rattle(bulk("Cu", cubic=True).repeat(repeat), 0.05, seed)


def values(count: int = 6) -> list[Value]:
    energies = np.random.default_rng(1).normal(5.0, 0.5, (3, count))
    return [
        Value("V_O_0", f"glass-{h}", 96 if h < 2 else 216, 11.0, n + 1, float(energies[h, n]))
        for h in range(3)
        for n in range(count)
    ]


def test_moments() -> None:
    found = Moments.of([1.0, 2.0, 4.0])
    assert found.mean == pytest.approx(7.0 / 3.0)
    assert found.spread == pytest.approx(math.sqrt(7.0 / 3.0))  # 16/9 + 1/9 + 25/9 over 2
    assert found.error == pytest.approx(math.sqrt(7.0) / 3.0)
    assert Moments.of([3.0]) == Moments(1, 3.0, None, None)


def test_the_error_of_the_mean_is_what_repetitions_show() -> None:
    """With hosts that differ, sites alone promise too much; the means of the hosts do not."""
    rng = np.random.default_rng(3)
    means, by_sites, by_hosts = [], [], []
    for _ in range(400):
        shifts = rng.normal(0.0, 0.5, 8)
        drawn = [
            Value("V_O_0", f"h{h}", 96, 11.0, n, float(shift + rng.normal(0.0, 0.3)))
            for h, shift in enumerate(shifts)
            for n in range(6)
        ]
        all_of_them = Moments.of([v.energy for v in drawn])
        means.append(all_of_them.mean)
        by_sites.append(all_of_them.error)
        by_hosts.append(error_from_hosts(drawn))
    true = float(np.std(np.array(means, dtype=float)))
    assert float(np.mean(np.array(by_hosts, dtype=float))) == pytest.approx(true, rel=0.1)
    assert float(np.mean(np.array(by_sites, dtype=float))) < 0.6 * true


def test_statistics_do_not_depend_on_the_order_and_leave_out_what_failed(tmp_path: Path) -> None:
    given = values()
    one = describe_statistics(given)
    assert one == describe_statistics(given[::-1])
    assert one == describe_statistics([*given, Value("V_O_0", "glass-0", 96, 11.0, 9, math.nan)])
    assert [v.host for v in in_order(given)][:4] == ["glass-0", "glass-1", "glass-2", "glass-0"]
    found = one["V_O_0"]
    assert found["all"]["count"] == 18 and found["running"][-1]["mean"] == found["all"]["mean"]
    assert {size: m["count"] for size, m in found["sizes"].items()} == {"96": 12, "216": 6}
    assert "18 sites, mean 4.9" in live_line("V_O_0", found, 3) or "18 sites, mean 5.0" in live_line(
        "V_O_0", found, 3
    )
    assert len(statistics_table(one).rows) == 3 + 2 + 1
    save_figure(statistics_figure(one), tmp_path / "a.png")
    save_figure(statistics_figure(describe_statistics(given[:1])), tmp_path / "b.png")


def jobs(folder: Path, engine: EMTEngine, count: int = 4) -> list[RelaxJob]:
    return [RelaxJob(f"c{n}", folder / f"c{n}", copper(n), engine) for n in range(count)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same relaxations one after the other."""
    work = jobs(tmp_path_factory.mktemp("alone"), EMTEngine())
    results, failures = RelaxJobs(None, SETTINGS).run_all(work, 1, lambda title: None)
    assert not failures
    return results


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found


def same(results: dict[str, Any], alone: dict[str, Any]) -> None:
    assert results.keys() == alone.keys()
    for title, result in results.items():
        assert result.energy == pytest.approx(alone[title].energy, abs=1e-6)
        np.testing.assert_allclose(result.atoms.positions, alone[title].atoms.positions, atol=1e-4)


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path: Path, cluster: Any, alone: dict[str, Any]) -> None:
    """The process that relaxes is killed after its first steps; another goes on from them."""
    pids = tmp_path / "pids"
    pids.mkdir()
    killed: list[int] = []
    lines: list[str] = []

    def announce(title: str) -> Any:
        lines.append(title)
        return None

    def kill_one(job: RelaxJob, result: Any) -> None:
        if not killed:
            working = [int(path.name) for path in pids.iterdir()]
            killed.append(working[-1])
            os.kill(working[-1], signal.SIGKILL)

    work = jobs(tmp_path / "run", SlowEngine(pids))
    results, failures = RelaxJobs(None, SETTINGS).run_all(
        work, 1, announce, executor=DaskExecutor(cluster.scheduler_address), on_done=kill_one
    )
    assert killed and len(list(pids.iterdir())) >= 2 and not failures
    assert sorted(lines) == sorted(results)
    same(results, alone)


@pytest.mark.slow
def test_a_lost_scheduler_is_said_and_the_run_goes_on_with_another(
    tmp_path: Path, alone: dict[str, Any]
) -> None:
    distributed = pytest.importorskip("distributed")
    work = jobs(tmp_path / "run", SlowEngine(tmp_path))
    first = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
    )
    with pytest.raises(SchedulerLost, match="what is finished is kept"):
        RelaxJobs(None, SETTINGS).run_all(
            *(work, 1, lambda title: None),
            executor=DaskExecutor(first.scheduler_address),
            on_done=lambda job, result: first.close(),
        )
    results, failures = RelaxJobs(None, SETTINGS, resume=True).run_all(work, 1, lambda title: None)
    assert not failures
    same(results, alone)


def test_a_killed_process_of_this_machine_goes_on_from_its_steps(tmp_path: Path, alone: Any) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    killed: list[int] = []

    def announce(title: str) -> Any:
        def on_step(step: Any, atoms: ase.Atoms) -> None:
            if step.step == 2 and not killed:
                killed.append(next(int(path.name) for path in pids.iterdir()))
                os.kill(killed[0], signal.SIGKILL)

        return on_step

    work = jobs(tmp_path / "run", SlowEngine(pids, 0.02), 2)
    results, failures = RelaxJobs(None, SETTINGS).run_all(work, 2, announce)
    assert killed and not failures
    same(results, {title: alone[title] for title in results})


def test_several_hosts_are_what_each_is_alone(tmp_path: Path) -> None:
    hosts = [
        HostCases(f"h{n}", copper(n), vacancy_cases(copper(n), [1, 5]), EMTEngine(), tmp_path / f"h{n}")  # type: ignore[arg-type]
        for n in range(2)
    ]
    seen: list[tuple[str, DefectCase, float]] = []
    failures = relax_all(
        hosts,
        copper_reference(),
        DefectSettings(SETTINGS),
        lambda title: None,
        lambda h, defect: seen.append((h.label, defect.case, defect.formation_energy)),
    )
    assert not failures and len(seen) == 4
    for h in hosts:
        run = run_defects(
            h.host,
            h.cases,
            EMTEngine(),
            copper_reference(),
            tmp_path / "one" / h.label,
            DefectSettings(SETTINGS),
        )
        alone = {(h.label, d.case): d.formation_energy for d in run.defects}
        assert {(a, b): e for a, b, e in seen if a == h.label} == pytest.approx(alone, abs=1e-6)


def test_without_a_scheduler_it_says_so() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(OSError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        DaskExecutor("tcp://127.0.0.1:9", timeout=1.0).check()
