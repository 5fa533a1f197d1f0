"""How little a model knows of structures: its residual, its estimated error, the spread of a committee.

Every score is a line of a file as soon as it is there (JSON; the last line may be cut by a kill) and is never
calculated again by the same models.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from mlh.calculators.engines import ModelEngine
from mlh.calculators.mlh import MLHCalculator
from mlh.common.choices import check_choice
from mlh.common.units import HARTREE_EV
from mlh.jobs.pool import Event, Executor, ProgressFunction, run_jobs
from mlh.labelling.candidates import CLOSEST, Candidate, closest
from mlh.model.card import model_digest
from mlh.model.committee import Committee

Measure = Literal["residual", "energy", "spread"]
"""Of H[D] - H its rms (eV); the estimated error of the energy per atom (eV); the rms deviation of dH between
the members of a committee (eV), which needs no density matrix."""

_FIELDS: Mapping[Measure, str] = {
    "residual": "residual_rms_ev",
    "energy": "energy_error_ev_per_atom",
    "spread": "dh_std_ev",
}


@dataclass(frozen=True)
class Score:
    """What is known of one candidate; `failed`: why nothing is. notes: of the domain of the model."""

    digest: str
    charge: float
    candidate: str
    models: str
    atoms: int
    residual_rms_ev: float | None = None
    energy_error_ev_per_atom: float | None = None
    dh_std_ev: float | None = None
    notes: tuple[str, ...] = ()
    failed: str = ""
    seconds: float = 0.0

    def value(self, measure: Measure) -> float | None:
        """The number that is compared."""
        found: float | None = getattr(self, _FIELDS[measure])
        return found

    def answers(self, measure: Measure) -> bool:
        """Whether nothing is left to calculate."""
        return bool(self.failed) or self.value(measure) is not None


@dataclass(frozen=True)
class Scorer:
    """What a process does with a candidate; picklable."""

    engine: ModelEngine
    measure: Measure
    models: str

    @classmethod
    def of(cls, engine: ModelEngine, measure: Measure | None = None) -> Scorer:
        """measure: None takes the spread of a committee, the residual of a single model."""
        if not isinstance(engine.model, str):
            raise ValueError("model: expected a file, a shipped name, or several separated by commas")
        if measure is None:
            measure = "spread" if "," in engine.model else "residual"
        check_choice("measure", measure, Measure)
        if measure == "spread" and "," not in engine.model:
            raise ValueError(
                f"spread: expected a committee, several models separated by commas, got {engine.model}"
            )
        solver = json.dumps(dict(engine.solver.describe()), sort_keys=True)
        return cls(replace(engine, forces="plain"), measure, f"{model_digest(engine.model)} {solver}")

    def __call__(self, candidate: Candidate, progress: ProgressFunction) -> Score:
        """The score. What cannot be calculated raises an error, which becomes the reason."""
        start = time.perf_counter()
        near = closest(candidate.atoms)
        if near is not None:
            raise ValueError(f"atoms {near:.2f} A apart, expected at least {CLOSEST} A")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = self._numbers(candidate)
        notes = tuple(dict.fromkeys(str(warning.message) for warning in caught))
        return replace(self.empty(candidate), **found, notes=notes, seconds=time.perf_counter() - start)

    def empty(self, candidate: Candidate) -> Score:
        """A score without numbers."""
        size = len(candidate.atoms)
        return Score(candidate.digest, candidate.charge, candidate.label, self.models, size)

    def _numbers(self, candidate: Candidate) -> dict[str, Any]:
        named: tuple[Any, Any] = (self.engine.model, self.engine.solver)
        calculator = _calculator(*named, candidate.charge)
        if self.measure == "spread" and isinstance(calculator.model, Committee):
            calculator.prediction(candidate.atoms)
            return {"dh_std_ev": calculator.model.disagreement() * HARTREE_EV}
        calculator.get_property("energy", candidate.atoms)
        results = calculator.results
        found: dict[str, Any] = {
            "residual_rms_ev": float(results["residual_rms"]),
            "energy_error_ev_per_atom": float(results["energy_error"]) / len(candidate.atoms),
        }
        if "committee_dh_std" in results:
            found["dh_std_ev"] = float(results["committee_dh_std"])
        return found


@lru_cache(maxsize=4)
def _calculator(model: Any, solver: Any, charge: float) -> MLHCalculator:
    """Loaded once in every process."""
    return ModelEngine(model, solver=solver, forces="plain").charged(charge).calculator()


Told = Callable[[int, int, Score], None]
"""Called with the number of scores that are there, how many there will be, and the last of them."""


def score_all(
    candidates: Sequence[Candidate],
    scorer: Scorer,
    path: Path,
    *,
    processes: int = 1,
    threads: int = 1,
    executor: Executor | None = None,
    retry_failed: bool = False,
    on_score: Told | None = None,
) -> dict[tuple[str, float], Score]:
    """The scores of all candidates by their keys; those that `path` has are taken from there.

    executor: runs them in place of processes of this machine.
    """
    wanted = {candidate.key for candidate in candidates}
    found = {
        (score.digest, score.charge): score
        for score in read_scores(path)
        if score.models == scorer.models
        and (score.digest, score.charge) in wanted
        and score.answers(scorer.measure)
        and not (retry_failed and score.failed)
    }
    todo = [candidate for candidate in candidates if candidate.key not in found]
    todo.sort(key=lambda candidate: -len(candidate.atoms))  # the end does not wait for a large one
    run = executor or _here(processes, threads, len(todo))
    for event in run(scorer, todo) if todo else ():
        if event.kind not in ("done", "failed"):
            continue
        score = event.value if event.kind == "done" else None
        score = score or replace(scorer.empty(event.job), failed=str(event.value))
        _append(path, score)
        found[event.job.key] = score
        if on_score is not None:
            on_score(len(found), len(candidates), score)
    return found


def read_scores(path: Path) -> list[Score]:
    """The scores of a file, in its order; a line that a kill has cut is none."""
    if not path.exists():
        return []
    scores = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
            scores.append(Score(**{**content, "notes": tuple(content["notes"])}))
        except (ValueError, TypeError, KeyError):
            continue
    return scores


def _append(path: Path, score: Score) -> None:
    """One line, on the disk; after a cut one in a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            whole = stream.read(1) == b"\n"
        else:
            whole = True
        stream.write((("" if whole else "\n") + json.dumps(asdict(score)) + "\n").encode())
        stream.flush()
        os.fsync(stream.fileno())


def _here(processes: int, threads: int, jobs: int) -> Executor:
    """Processes of this machine; one needs none beside this."""
    if processes > 1 and jobs > 1:
        return partial(run_jobs, processes=min(processes, jobs), threads=threads)
    return _one_by_one


def _one_by_one(
    function: Callable[[Any, ProgressFunction], Any], jobs: Sequence[Any]
) -> Iterator[Event[Any]]:
    for job in jobs:
        try:
            value = function(job, lambda _: None)
        except Exception as error:  # as a worker process does
            yield Event("failed", job, f"{type(error).__name__}: {error}")
        else:
            yield Event("done", job, value)
