"""Choosing what to label next: candidates, scores that are kept, the choice, and the way to a data set."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from typer.testing import CliRunner

from mlh.calculators import MLHCalculator
from mlh.calculators.engines import ModelEngine
from mlh.commands.cli import app
from mlh.dataset.merge import merge_datasets
from mlh.dataset.store import Dataset
from mlh.jobs.dask import DaskExecutor
from mlh.labelling.build import build_dataset
from mlh.labelling.candidates import Candidate, Known, candidates_of, group_of, moved, plain, read_known
from mlh.labelling.config import DatasetConfig, load_config
from mlh.labelling.plan import plan
from mlh.labelling.scores import Score, Scorer, read_scores, score_all
from mlh.labelling.selection import Rules, choose, unknown
from mlh.model.card import read_card
from mlh.structures import structure_hash, vacancies, write_structure
from mlh.training.config import TrainingConfig
from mlh.training.run import train
from test_charged_model import NETWORK, configuration, water
from test_model_training import quiet


def shifted(length: float, atom: int = 0) -> ase.Atoms:
    atoms = water()
    atoms.positions[atom, 2] -= length
    return plain(atoms)


def candidate(length: float, trajectory: str = "a", charge: float = 0.0) -> Candidate:
    atoms = shifted(length)
    return Candidate(atoms, charge, f"{length:g}", trajectory, structure_hash(atoms), "h")


@dataclass(frozen=True)
class FakeScorer(Scorer):
    """The displacement of the oxygen atom is the residual; leaves its calls, may end its process."""

    log: str = ""
    die_at: int = -1

    def _numbers(self, candidate: Candidate) -> dict[str, Any]:
        with open(self.log, "a", encoding="utf-8") as stream:
            stream.write(f"{candidate.label}\n")
        if len(Path(self.log).read_text(encoding="utf-8").splitlines()) == self.die_at:
            raise KeyboardInterrupt
        if candidate.label == "0.4":
            raise RuntimeError("no gap")
        return {"residual_rms_ev": 2.0 - float(candidate.atoms.positions[0, 2])}


def fake(folder: Path, **changes: Any) -> FakeScorer:
    return FakeScorer(ModelEngine("none"), "residual", "m", log=str(folder / "calls"), **changes)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text(encoding="utf-8").split()


FIVE = [candidate(length) for length in (0.1, 0.3, 0.2, 0.4, 0.25)]


def test_the_largest_scores_are_taken_as_far_as_they_differ() -> None:
    def chosen(rules: Rules, known: Known | None = None, listed: list[Candidate] = FIVE) -> list[str]:
        scores = {c.key: Score(c.digest, 0.0, c.label, "m", 3, float(c.label)) for c in listed}
        return [c.label for c in choose(listed, scores, "residual", rules, known).chosen]

    assert chosen(Rules(2, apart=0.0)) == ["0.4", "0.3"]
    assert chosen(Rules(9, 9, apart=0.06)) == ["0.4", "0.3", "0.2", "0.1"]
    assert chosen(Rules(9, 2, apart=0.0)) == ["0.4", "0.3"]
    assert chosen(Rules(9, 9, 0.06), Known(((shifted(0.42), 0.0),))) == ["0.3", "0.2", "0.1"]
    assert chosen(Rules(9, 9, 0.06), Known(((shifted(0.42), 1.0),)))[0] == "0.4"
    others = [*FIVE[:2], replace(FIVE[3], trajectory="b"), replace(FIVE[4], trajectory="b")]
    assert chosen(Rules(9, 1, apart=0.0), listed=others) == ["0.4", "0.3"]
    with pytest.raises(ValueError, match="count, per_trajectory: expected at least 1, got 0, 4"):
        Rules(0)


def test_a_displacement_goes_through_the_cell() -> None:
    one, other = shifted(0.0), shifted(0.1)
    other.positions += one.cell.array[1] - 2 * one.cell.array[0]
    assert moved(one, other) == pytest.approx(0.1)


def test_scores_are_kept_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with pytest.raises(KeyboardInterrupt):
        score_all(FIVE, fake(tmp_path, die_at=3), path)
    assert len(read_scores(path)) == 2
    with open(path, "a", encoding="utf-8") as stream:
        stream.write('{"digest": "abc", "char')  # as a kill may leave it
    told: list[tuple[int, int]] = []
    found = score_all(FIVE, fake(tmp_path), path, on_score=lambda n, total, score: told.append((n, total)))
    assert calls(tmp_path) == ["0.1", "0.3", "0.2", "0.2", "0.4", "0.25"] and told == [(3, 5), (4, 5), (5, 5)]
    assert found[FIVE[1].key].residual_rms_ev == pytest.approx(0.3)
    assert found[FIVE[3].key].failed == "RuntimeError: no gap"
    assert score_all(FIVE, fake(tmp_path), path) == found and len(calls(tmp_path)) == 6
    score_all(FIVE, fake(tmp_path), path, retry_failed=True)
    assert calls(tmp_path)[6:] == ["0.4"]
    score_all(FIVE[:1], replace(fake(tmp_path), models="another"), path)
    assert calls(tmp_path)[7:] == ["0.1"]
    crowded = candidate(0.1)
    crowded.atoms.positions[1] = crowded.atoms.positions[0] + 0.3
    crowded = replace(crowded, digest="crowded")
    near = score_all([crowded], fake(tmp_path), path)[crowded.key]
    assert "A apart, expected at least 0.7 A" in near.failed and len(calls(tmp_path)) == 8


def test_a_killed_process_leaves_the_scores_before(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        score_all(
            *(FIVE, fake(tmp_path), tmp_path / "s.jsonl"),
            on_score=lambda there, total, score: os.kill(os.getpid(), signal.SIGKILL) if there == 2 else None,
        )
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    found = score_all(FIVE, fake(tmp_path), tmp_path / "s.jsonl")
    assert len(found) == 5 and calls(tmp_path) == [c.label for c in FIVE]


def test_scores_come_from_a_cluster(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        executor = DaskExecutor(cluster.scheduler_address)
        found = score_all(FIVE, fake(tmp_path), tmp_path / "s.jsonl", executor=executor)
    assert found[FIVE[0].key].residual_rms_ev == pytest.approx(0.1)
    assert found[FIVE[3].key].failed == "RuntimeError: no gap"
    assert len(read_scores(tmp_path / "s.jsonl")) == 5


def test_candidates_of_files_runs_and_hosts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "runs" / "one"
    frames = [shifted(0.1 * n) for n in range(5)]
    write_structure(run / "trajectory.extxyz", frames)
    text = (run / "trajectory.extxyz").read_text(encoding="utf-8")
    (run / "trajectory.extxyz").write_text(text[:-9], encoding="utf-8")
    (run / "relax.json").write_text(json.dumps({"engine": {"charge": 1.0}}), encoding="utf-8")
    found = candidates_of([str(tmp_path / "runs")])
    assert [c.charge for c in found] == [1.0] * 4 and "frame 4 is cut off and left out" in caplog.text
    assert len({c.trajectory for c in found}) == 1
    assert len(candidates_of([str(run)], every=3)) == 2
    write_structure(tmp_path / "a.xyz", [frames[0], frames[0], frames[1]])
    twice = candidates_of([str(tmp_path / "a.xyz")], charges=(0.0, 2.0))
    assert [(c.label[-1], c.charge) for c in twice] == [("0", 0.0), ("0", 2.0), ("2", 0.0), ("2", 2.0)]
    sites = candidates_of(["alpha-quartz"], species="O", sites="inequivalent")
    assert len(sites) == 1 and sites[0].host == structure_hash(candidates_of(["alpha-quartz"])[0].atoms)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="expected a folder of runs"):
        candidates_of([str(tmp_path / "empty")])


def test_frames_are_labelled_as_they_say(tmp_path: Path) -> None:
    frames = [shifted(0.1), shifted(0.2), vacancies(shifted(0.3), [1])[0]]
    frames[1].info |= {"charge": 1.0, "group": "glass-a", "split": "test"}
    write_structure(tmp_path / "f.extxyz", frames)
    yaml = "name: f\nengine: {cutoff_ry: 60, basis: gth-pbe}\nsources: [{name: s, frames: f.extxyz}]\n"
    (tmp_path / "f.yaml").write_text(yaml, encoding="utf-8")
    config = load_config(tmp_path / "f.yaml")
    with pytest.raises(ValueError, match=r"7 electrons; an odd number needs"):
        plan(config)
    write_structure(tmp_path / "f.extxyz", frames[:2])
    first, second = plan(config)
    assert not first.engine.charge and not first.engine.spin and first.record["source"] == "s"
    assert second.engine.charge == 1.0 and second.engine.spin and second.id.startswith("s-q+1-")
    assert (second.record["source"], second.record["split"]) == ("glass-a", "test")
    np.testing.assert_array_equal(second.atoms.positions, np.round(frames[1].positions, 8))
    write_structure(tmp_path / "f.extxyz", frames[1::-1])
    assert [job.id for job in plan(config)] == [second.id, first.id]
    beside = {"name": "s", "frames": "f.extxyz", "host": [{}]}
    with pytest.raises(ValueError, match="expected frames alone"):
        DatasetConfig.model_validate({"name": "f", "sources": [beside]})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A small data set of water and its ion, and two models that have learned little of it."""
    folder = tmp_path_factory.mktemp("models")
    config = configuration(folder, [0, 1])
    few = config.sources[0].model_copy(
        update={"host": [config.sources[0].host[0].model_copy(update={"copies": 3})]}
    )
    build_dataset(config.model_copy(update={"sources": [few]}), folder / "w.h5", processes=1, threads=1)
    models = []
    for seed in (0, 1):
        settings = {
            "dataset": folder / "w.h5", "output": folder / f"run{seed}", "network": NETWORK, "steps": 8,
            "evaluate_every_steps": 8, "threads": 1, "physics_samples": 0, "seed": seed,
            "split": {"by": "random", "validation": 0.2, "test": 0.2},
            "optimizer": {"learning_rate": 0.01, "batch": 2},
        }  # fmt: skip
        models.append(str(train(TrainingConfig.model_validate(settings), quiet()).model))
    return folder / "w.h5", models


def select(*words: str) -> Any:
    return CliRunner().invoke(app, ["dataset", "select", *words])


def test_from_candidates_to_a_larger_data_set(
    tmp_path: Path, trained: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, models = trained
    with Dataset(data) as known:
        numbers, positions, cell = known.geometry(0)
        settings = known.settings
    known_one = ase.Atoms(numbers, positions * 0.529177210903, cell=cell * 0.529177210903, pbc=True)
    write_structure(tmp_path / "many.extxyz", [known_one, shifted(0.45), shifted(0.3), shifted(-0.2, 1)])
    line = (str(tmp_path / "many.extxyz"), "--model", models[0], "--known", str(data), "--count", "2")
    out = ("--out", str(tmp_path / "next.extxyz"), "--charges", "0,1", "--json")
    done = select(*line, *out)
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert (content["candidates"], content["known"], len(content["scores"])) == (8, 2, 6)
    values = [score["residual_rms_ev"] for score in content["scores"]]
    chosen = content["chosen"]
    assert [score["residual_rms_ev"] for score in chosen] == sorted(values)[:-3:-1]
    atoms = shifted(0.3)
    calculator = MLHCalculator(models[0], charge=1.0, forces="plain")
    calculator.get_property("energy", atoms)
    own = next(s for s in content["scores"] if s["candidate"].endswith(":2") and s["charge"] == 1.0)
    assert own["residual_rms_ev"] == pytest.approx(calculator.results["residual_rms"], rel=1e-9)
    assert own["energy_error_ev_per_atom"] == pytest.approx(calculator.results["energy_error"] / 3, rel=1e-6)

    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is calculated again")

    monkeypatch.setattr("mlh.calculators.mlh.scf", work)
    again = select(*line, *out, "--overwrite")
    assert again.exit_code == 0 and json.loads(again.stdout) == content
    monkeypatch.undo()

    config = load_config(tmp_path / "next.yaml")
    level = {key: value for key, value in settings.items() if key != "name"}
    assert config.engine.settings().as_dict() == level
    jobs = plan(config)
    assert [job.engine.charge for job in jobs] == [score["charge"] for score in chosen]
    build_dataset(config, tmp_path / "next.h5", processes=1, threads=1)
    merged = merge_datasets([data, tmp_path / "next.h5"], tmp_path / "all.h5")
    assert merged.n_samples == 8 and merged.n_repeated == 0
    kept = ("--known", str(tmp_path / "next.h5"), "--scores", str(tmp_path / "next.scores.jsonl"))
    more = select(*line, *kept, "--charges", "0,1", "--out", str(tmp_path / "third.extxyz"), "--json")
    third = {(s["digest"], s["charge"]) for s in json.loads(more.stdout)["chosen"]}
    assert third and not third & {(s["digest"], s["charge"]) for s in chosen}


def test_the_spread_of_a_committee_needs_no_density_matrix(
    tmp_path: Path, trained: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ",".join(trained[1])
    committee = MLHCalculator(names, forces="plain")
    atoms = shifted(0.3)
    committee.get_property("energy", atoms)
    monkeypatch.setattr("mlh.calculators.mlh.scf", lambda *_, **__: pytest.fail("solved"))
    write_structure(tmp_path / "a.xyz", atoms)
    done = select(str(tmp_path / "a.xyz"), "--model", names, "--out", str(tmp_path / "b.extxyz"), "--json")
    assert done.exit_code == 0, done.output
    score = json.loads(done.stdout)["chosen"][0]
    assert score["dh_std_ev"] == pytest.approx(committee.results["committee_dh_std"], rel=1e-6)
    assert score["dh_std_ev"] > 1e-3 and score["residual_rms_ev"] is None


def test_hosts_of_a_data_set_keep_their_group_and_part(
    tmp_path: Path, trained: tuple[Path, list[str]]
) -> None:
    known = read_known([str(trained[0])])
    assert set(known.hosts.values()) == {"water"} and not known.held
    labelled = known.structures[0][0]
    beside = Candidate(shifted(0.3), 0.0, "b", "b", "digest", structure_hash(labelled))
    assert group_of(beside, known) == "water" and group_of(FIVE[0], known) == "host-h"
    free, n_known, n_held = unknown([beside, *FIVE], replace(known, held={"water": "test"}))
    assert (len(free), n_known, n_held) == (5, 0, 1)


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "spread of one": (("--by", "spread"), "spread: expected a committee"),
    "charge": (("--charges", "1"), "expected 0 with a model"),
    "charges": (("--charges", "a"), "--charges: expected numbers as 0,1,2, got 'a'"),
    "sites alone": (("--sites", "3"), "--sites: expected together with --vacancies"),
    "vacancies": (("--vacancies", "N"), "species: expected an element of O6Si3, got 'N'"),
    "known": (("--known", "no.h5"), "no.h5: no such data set"),
    "name": (("--out", "a.yaml"), "--out: expected a file of structures"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_said_before_the_work(case: str, run: Callable[..., tuple[int, str]]) -> None:
    words, said = WRONG[case]
    status, text = run("dataset", "select", "alpha-quartz", "--model", "sio2-vo", *words)
    assert status == 2 and said in text, text


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """By the entry point: status and standard error."""
    from mlh.commands import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mlh", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capsys.readouterr().err

    return call


def test_the_card_of_the_shipped_model_is_a_configuration(tmp_path: Path) -> None:
    """On the way to a data set that can be merged with its own."""
    place = ("--vacancies", "O", "--sites", "1", "--out", str(tmp_path / "q.extxyz"))
    done = select("alpha-quartz", "--model", "sio2-vo", *place)
    assert done.exit_code == 0, done.output
    level = load_config(tmp_path / "q.yaml").engine.settings().as_dict()
    assert level == {k: v for k, v in read_card("sio2-vo").settings.items() if k != "name"}
