"""`mlh dataset select`: of many structures those that a model knows least of, ready to be labelled."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, ClassVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn

import mlh._core as _core
from mlh.calculators.engines import ModelEngine
from mlh.commands.completion import model_names
from mlh.commands.defect_options import parse_sites
from mlh.commands.memory import require_memory
from mlh.commands.theory_options import SolverOptions
from mlh.common.files import refuse_existing
from mlh.common.terminal import Words, bar, say, terminal
from mlh.jobs.dask import DaskExecutor
from mlh.labelling.candidates import Candidate, Known, candidates_of, read_known
from mlh.labelling.scores import Measure, Score, Scorer, score_all
from mlh.labelling.selection import Choice, Rules, choose, config_path, median, unknown, write_choice

SELECT_EXAMPLE = "Example: mlh dataset select runs asio2_48_b --model sio2-vo --known sio2.h5 --count 40"
Asked = tuple[Measure, Rules]

_UNITS: Mapping[Measure, tuple[float, str]] = {
    "residual": (1.0, "eV"),
    "energy": (1e3, "meV/atom"),
    "spread": (1e3, "meV"),
}


@dataclass(frozen=True)
class CandidateOptions:
    """What is made of the structures that are named."""

    panel: ClassVar[str] = "Candidates"

    every: Annotated[
        int, typer.Option(min=1, help="Of trajectories the first frame and each n-th after it.")
    ] = 1
    vacancies: Annotated[
        str | None,
        typer.Option(help="Not the structures, but vacancies of this element in the last frame of each."),
    ] = None
    sites: Annotated[
        str, typer.Option(help="Of --vacancies: all, inequivalent, a number drawn at random, or index:4,17.")
    ] = "all"
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw of sites.")] = 0
    charges: Annotated[
        str, typer.Option(help="Of structures that do not say theirs, as 0,1,2; each is a candidate.")
    ] = "0"
    known: Annotated[
        list[str] | None,
        typer.Option(
            help="Data set (.h5), or structures chosen before: neither they nor what is next to them is "
            "chosen; repeat."
        ),
    ] = None

    def candidates(self, names: list[str]) -> tuple[list[Candidate], Known]:
        """The structures, and what is known already."""
        try:
            charges = [float(word) for word in self.charges.split(",")]
        except ValueError:
            raise ValueError(f"--charges: expected numbers as 0,1,2, got {self.charges!r}") from None
        sites = parse_sites(self.sites)
        if self.vacancies is None and sites != "all":
            raise ValueError(f"--sites: expected together with --vacancies, got {self.sites}")
        found = candidates_of(
            names, charges=charges, every=self.every, species=self.vacancies, sites=sites, seed=self.seed
        )
        return found, read_known(self.known or [])


@dataclass(frozen=True)
class ScoreOptions:
    """How the structures are judged, and where."""

    panel: ClassVar[str] = "Scores"

    by: Annotated[
        Measure | None,
        typer.Option(
            help="residual: rms of H(D) - H; energy: estimated error per atom; spread: of dH between the "
            "models of a committee (no density matrix). Default: spread of several models, residual of one."
        ),
    ] = None
    scores: Annotated[
        Path | None, typer.Option(help="File of all scores; default: NAME.scores.jsonl beside --out.")
    ] = None
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what could not be scored.")
    ] = False
    processes: Annotated[
        int, typer.Option(min=1, help="Structures at the same time on this machine; they share the threads.")
    ] = 1
    dask: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that scores the structures instead.")
    ] = None


def select_command(
    structures: Annotated[
        list[str],
        typer.Argument(help="Files (all their frames), folders of runs, crystals, shipped structures."),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Model file or shipped name; several separated by commas are a committee.",
            autocompletion=model_names,
        ),
    ],
    candidates: CandidateOptions,
    scoring: ScoreOptions,
    solver: SolverOptions,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Structures to choose.")] = 20,
    per_trajectory: Annotated[int, typer.Option(min=1, help="At most so many of one trajectory.")] = 4,
    apart: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Angstrom by which some atom differs from every other chosen or known structure of the same "
            "atoms and cell.",
        ),
    ] = 0.1,
    out: Annotated[
        Path, typer.Option(help="Extended-xyz file; the configuration is beside it, .yaml.")
    ] = Path("chosen.extxyz"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace structures and configuration.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print choice and scores as JSON.")] = False,
) -> None:
    """Choose from STRUCTURES those that a model, or a committee, knows least of, to be labelled next.

    Writes them with a configuration for `mlh dataset build`. Can be interrupted (Ctrl-C, kill) and started
    again at any time: every score is kept and never calculated again. What cannot be scored is left out with
    the reason, and the exit status is 1.
    """
    console = terminal()
    if out.suffix == ".yaml":
        raise ValueError(f"--out: expected a file of structures, got {out}, the name of the configuration")
    refuse_existing([out, config_path(out)], overwrite)
    rules = Rules(count, per_trajectory, apart)
    engine = _engine(model, solver)
    scorer = Scorer.of(engine, scoring.by)
    executor = None if scoring.dask is None else DaskExecutor(scoring.dask)
    if executor is not None:
        executor.check()
    found, known = candidates.candidates(structures)
    free, n_known, n_held = unknown(found, known)
    _check(free, engine, solver, 1 if executor is not None else scoring.processes)
    say(console, _counted(len(found), n_known, n_held))
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _progress(console) as progress:
            scores = score_all(
                free,
                scorer,
                scoring.scores or out.with_name(f"{out.stem}.scores.jsonl"),
                processes=scoring.processes,
                threads=max(1, _core.get_num_threads() // scoring.processes),
                executor=executor,
                retry_failed=scoring.retry_failed,
                on_score=_Shower(progress, scorer.measure),
            )
    except KeyboardInterrupt:
        say(console, "interrupted; the same command goes on from here")
        raise typer.Exit(130) from None
    choice = choose(free, scores, scorer.measure, rules, known)
    if choice.chosen:
        write_choice(choice, scores, known, model, out)
    asked = (scorer.measure, rules)
    _tell(console, choice, scores, asked, out)
    if as_json:
        counts = {"candidates": len(found), "known": n_known, "held": n_held}
        typer.echo(json.dumps({**counts, **_content(choice, scores, asked, out)}, indent=2))
    if not choice.chosen or any(score.failed for score in scores.values()):
        raise typer.Exit(1)


def _engine(model: str, solver: SolverOptions) -> ModelEngine:
    """The model at the level of theory of its labels; only its density matrix is of interest."""
    return ModelEngine(model, solver=solver.solver(), forces="plain")


def _check(candidates: Sequence[Candidate], engine: ModelEngine, solver: SolverOptions, at_once: int) -> None:
    """Before the work: elements and charges that the model knows, and memory for the largest of them."""
    for charge in sorted({candidate.charge for candidate in candidates}):
        calculator = engine.charged(charge).calculator()
        kinds = {str(c.atoms.symbols): c for c in candidates if c.charge == charge}
        for candidate in kinds.values():
            calculator.check_elements(candidate.atoms)
    if candidates:
        largest = max(candidates, key=lambda candidate: len(candidate.atoms))
        require_memory(largest.atoms, engine, solver.beyond_memory, at_once)


def _counted(found: int, known: int, held: int) -> str:
    """What there is to choose from."""
    parts = [f"{found} candidates"]
    parts += [f"{known} labelled or chosen already"] if known else []
    parts += [f"{held} of hosts kept for validation or test"] if held else []
    return "; ".join(parts)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A polite kill ends it as Ctrl-C does."""
    raise KeyboardInterrupt


def _progress(console: Console) -> Progress:
    return bar(
        console,
        Words(lambda task: f"{task.completed:.0f}/{task.total or 0:.0f}", style="bold"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        Words(lambda task: task.description),
    )


class _Shower:
    """Shows every score: on a bar of a terminal, as lines in a log."""

    def __init__(self, progress: Progress, measure: Measure) -> None:
        self._progress, self._measure = progress, measure
        self._task = progress.add_task("", total=None)

    def __call__(self, there: int, total: int, score: Score) -> None:
        text = f"{score.candidate}: {score.failed or _number(score.value(self._measure), self._measure)}"
        self._progress.update(self._task, completed=there, total=total, description=text)
        if not self._progress.console.is_terminal:
            say(self._progress.console, f"{there}/{total} {text}")


def _number(value: float | None, measure: Measure) -> str:
    """With its unit."""
    factor, unit = _UNITS[measure]
    return "no value" if value is None else f"{factor * value:.3g} {unit}"


def _tell(
    console: Console, choice: Choice, scores: Mapping[tuple[str, float], Score], asked: Asked, out: Path
) -> None:
    """What was chosen, what not and why, and how to go on."""
    measure, rules = asked
    for score in scores.values():
        if score.failed:
            say(console, f"left out {score.candidate}: {score.failed}", style="yellow")
    if not choice.chosen:
        say(console, f"nothing to choose: {_why(choice, rules)}", style="red")
        return
    first, last = (scores[c.key] for c in (choice.chosen[0], choice.chosen[-1]))
    say(
        console,
        f"{len(choice.chosen)} structures in {out}: {measure} {_number(first.value(measure), measure)} to "
        f"{_number(last.value(measure), measure)}, the median of all is "
        f"{_number(median(scores.values(), measure), measure)}",
    )
    if len(choice.chosen) < rules.count:
        say(console, f"{rules.count} were asked for: {_why(choice, rules)}", style="yellow")
    say(console, f"to label them: mlh dataset build {config_path(out)}")


def _why(choice: Choice, rules: Rules) -> str:
    """Why there are no more."""
    reasons = [f"{choice.near} are within {rules.apart:g} A of others"] if choice.near else []
    if choice.full:
        reasons.append(f"{choice.full} are of trajectories that gave {rules.per_trajectory} already")
    return "; ".join(reasons) or "there are no other candidates"


def _content(
    choice: Choice, scores: Mapping[tuple[str, float], Score], asked: Asked, out: Path
) -> dict[str, Any]:
    """For --json."""
    return {
        "structures": str(out) if choice.chosen else None,
        "config": str(config_path(out)) if choice.chosen else None,
        "by": asked[0],
        "near": choice.near,
        "full": choice.full,
        "chosen": [asdict(scores[candidate.key]) for candidate in choice.chosen],
        "scores": [asdict(score) for score in scores.values()],
    }
