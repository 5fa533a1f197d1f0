"""`mlh evaluate`: errors of a model on a data set: matrix elements, energies, forces, levels, densities."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
import typer
from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

from mlh.commands.expand import expanded
from mlh.commands.theory_options import MethodOptions
from mlh.common.files import refuse_picture
from mlh.common.terminal import Words, bar, say, terminal
from mlh.common.units import HARTREE_EV
from mlh.dataset.choices import Part

if TYPE_CHECKING:
    from mlh.accuracy.metrics import Case
    from mlh.accuracy.physics import PhysicsCase
    from mlh.dataset.store import Dataset
    from mlh.model.model import Model
    from mlh.solver import Solver

_EXAMPLE = "Example: mlh evaluate runs/sio2/model.npz sio2.h5 --part test --json"
MEV = 1000.0 * HARTREE_EV


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("evaluate", epilog=_EXAMPLE)(expanded(evaluate_command))


def evaluate_command(
    model: Annotated[str, typer.Argument(help="Model file or shipped name.")],
    dataset: Annotated[Path, typer.Argument(help="HDF5 data set.")],
    solver: MethodOptions,
    part: Annotated[
        Literal["all", Part, "each"], typer.Option(help="Samples; each: the parts of the split in turn.")
    ] = "all",
    config: Annotated[
        Path | None, typer.Option(help="Training configuration with the split; default: beside the model.")
    ] = None,
    physics: Annotated[
        bool, typer.Option("--physics", help="Also energies, forces, eigenvalues and densities.")
    ] = False,
    refine: Annotated[int, typer.Option(min=0, help="Self-consistency steps of --physics.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many samples, evenly spread over the part.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write scatter plots to this PNG file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Mean absolute errors of dH in meV: all elements, on-site, off-site, per pair of elements and distance.

    `aligned` is the error after the best shift H + c S, which leaves all eigenvectors unchanged.
    --physics solves every predicted H and evaluates the density functional on its density; purification has
    no eigenvalues.
    """
    from mlh.dataset.store import Dataset
    from mlh.model.model import load_model

    method = solver.solver()
    if refine and not physics:
        raise typer.BadParameter("expected together with --physics", param_hint="--refine")
    if solver != MethodOptions() and not physics:
        raise typer.BadParameter("expected together with --physics", param_hint="--method, --threshold")
    refuse_picture(plot, overwrite)
    results: dict[str, Any] = {}
    cases: list[Case] = []
    states: list[PhysicsCase] = []
    with Dataset(dataset) as data:
        loaded = load_model(model)
        data.require_trainable(loaded.charged)
        chosen = {name: _indices(data, name, model, config) for name in _parts(part)}
        empty = [name for name, indices in chosen.items() if not indices]
        if len(empty) == len(chosen):
            raise ValueError(f"--part {part}: expected at least one sample of {dataset}, got none")
        for name in empty:
            say(terminal(), f"no samples in part {name} of {dataset}", style="yellow")
        for name in (name for name in chosen if name not in empty):
            indices = _spread(chosen[name], limit)
            content, new_cases, new_states = _evaluate(
                loaded, data, indices, refine, method if physics else None
            )
            results[name] = {"model": model, "dataset": str(dataset), "part": name, **content}
            cases, states = cases + new_cases, states + new_states
    if plot is not None:
        _plot(plot, cases, states, f"{model} on {dataset.name} ({part})")
    if as_json:
        typer.echo(json.dumps(results if part == "each" else results[part], indent=2))
        return
    for content in results.values():
        for name, value in content.items():
            typer.echo(_row(name, value))


def _parts(part: str) -> tuple[str, ...]:
    return get_args(Part) if part == "each" else (part,)


def _evaluate(
    model: Model, data: Dataset, indices: list[int], refine: int, solver: Solver | None
) -> tuple[dict[str, Any], list[Case], list[PhysicsCase]]:
    """Metrics of some samples, with what they were made from; with a solver those of their states too."""
    from mlh.accuracy.metrics import evaluate
    from mlh.accuracy.physics import evaluate_sample, summarise

    cases = list(_cases(model, data, indices))
    content: dict[str, Any] = evaluate(cases).as_dict()
    states = []
    if solver is not None:
        for index, case in zip(_progress(indices, "solving"), cases, strict=True):
            fixed = data.basis, data.settings, refine, solver
            states.append(evaluate_sample(data[index], case.predicted, *fixed))
        content |= {"physics": summarise(states).as_dict(), "refine": refine}
    return content, cases, states


def _plot(path: Path, cases: list[Case], states: list[PhysicsCase], title: str) -> None:
    """Scatter plots of all samples."""
    from mlh.report.evaluation import evaluation_figure
    from mlh.report.plots import save_figure

    reference = np.concatenate([np.ravel(c.reference) for c in cases]) * MEV
    predicted = (
        np.concatenate([np.ravel(np.broadcast_to(c.predicted, np.shape(c.reference))) for c in cases]) * MEV
    )
    save_figure(evaluation_figure(reference, predicted, states, title), path)


def _spread(indices: list[int], limit: int | None) -> list[int]:
    """At most `limit` of the indices, evenly spread."""
    if limit is None or limit >= len(indices):
        return indices
    return [indices[round(k)] for k in np.linspace(0, len(indices) - 1, limit)]


def _progress(indices: list[int], description: str) -> Iterator[int]:
    columns = (Words(lambda _: description), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with bar(terminal(), *columns) as progress:
        yield from progress.track(indices)


def _indices(data: Dataset, part: str, model: str, config: Path | None) -> list[int]:
    """Samples of one part of the split that the training used."""
    if part == "all":
        return list(range(len(data)))
    from mlh.model.card import find_model
    from mlh.training.config import load_config

    path = config or find_model(model).parent / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"--part {part}: expected the training configuration at {path}; use --config")
    split = load_config(path).split
    return data.split(split.seed, split.by, (split.validation, split.test))[part]


def _cases(model: Model, data: Dataset, indices: list[int]) -> Iterator[Case]:
    """Prediction and reference of each sample, with the overlap for the aligned error."""
    from mlh.accuracy.metrics import Case, overlap_of_sample

    for index in _progress(indices, "evaluating"):
        sample = data[index]
        predicted = model.predict_graph(sample.graph).spins
        yield Case(sample.graph, sample.spins, predicted, overlap_of_sample(sample, data.basis))


def _row(name: str, value: Any) -> str:
    if isinstance(value, dict):
        unit = "" if name == "physics" else " (meV)"
        return "\n".join([f"{name}{unit}", *(f"  {key:>28s} {_number(v):>12s}" for key, v in value.items())])
    return f"{name:>20s} {value:12.4f}" if isinstance(value, float) else f"{name:>20s} {value!s:>12s}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
