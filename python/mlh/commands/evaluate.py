"""`mlh evaluate`: errors of a model's matrix elements on a data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

if TYPE_CHECKING:
    from mlh.model.dataset import Dataset
    from mlh.model.evaluate import Case
    from mlh.model.predict import Model

_EXAMPLE = "Example: mlh evaluate runs/sio2/model.npz sio2.h5 --part test --json"
_PARTS = ("all", "train", "validation", "test")


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("evaluate", epilog=_EXAMPLE)(evaluate_command)


def evaluate_command(
    model: Annotated[str, typer.Argument(help="Model file or shipped name.")],
    dataset: Annotated[Path, typer.Argument(help="HDF5 data set.")],
    part: Annotated[str, typer.Option(help="all, train, validation or test.")] = "all",
    config: Annotated[
        Path | None, typer.Option(help="Training configuration with the split; default: beside the model.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Mean absolute errors of dH in meV: all elements, on-site, off-site, per pair of elements and distance.

    `aligned` is the error after the best shift H + c S, which leaves all eigenvectors unchanged.
    """
    from mlh.model.dataset import Dataset
    from mlh.model.evaluate import evaluate
    from mlh.model.predict import load_model

    if part not in _PARTS:
        raise typer.BadParameter(f"expected one of {', '.join(_PARTS)}, got {part!r}", param_hint="--part")
    loaded = load_model(model)
    with Dataset(dataset) as data:
        indices = _indices(data, part, model, config)
        metrics = evaluate(_cases(loaded, data, indices)).as_dict()
    if as_json:
        typer.echo(json.dumps({"model": model, "dataset": str(dataset), "part": part, **metrics}, indent=2))
        return
    for name, value in metrics.items():
        typer.echo(_row(name, value))


def _indices(data: Dataset, part: str, model: str, config: Path | None) -> list[int]:
    """Samples of one part of the split that the training used."""
    if part == "all":
        return list(range(len(data)))
    from mlh.model.config import load_config
    from mlh.model.modelfile import find_model

    path = config or find_model(model).parent / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"--part {part}: expected the training configuration at {path}; use --config")
    split = load_config(path).split
    return data.split(split.seed, split.by, (split.validation, split.test))[part]


def _cases(model: Model, data: Dataset, indices: list[int]) -> Iterator[Case]:
    """Prediction and reference of each sample, with the overlap for the aligned error."""
    from mlh.model.evaluate import Case, overlap_of_sample

    for index in track(indices, description="evaluating", console=Console(stderr=True), transient=True):
        sample = data[index]
        predicted = model.predict_graph(sample.graph).dh
        yield Case(sample.graph, sample.dh, predicted, overlap_of_sample(sample, data.basis))


def _row(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join([f"{name} (meV)", *(f"  {key:>14s} {v:12.4f}" for key, v in value.items())])
    return f"{name:>20s} {value:12.4f}" if isinstance(value, float) else f"{name:>20s} {value!s:>12s}"
