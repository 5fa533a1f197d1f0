"""`mlh models` and `mlh models show`: the models that are shipped, and the card of any model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mlh.commands.completion import model_names
from mlh.commands.expand import expanded
from mlh.common.terminal import terminal

if TYPE_CHECKING:
    from rich.table import Table

    from mlh.common.html import Section

_HELP = "The models that come with the package; `mlh models show NAME`: what one of them is."
_EXAMPLE = "Example: mlh models; mlh models show sio2-vo"
_SHOW_EXAMPLE = "Example: mlh models show sio2-vo; mlh models show my-model/model.npz --json"

AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the group to an application; without a command of its own it lists."""
    group = typer.Typer(help=_HELP, epilog=_EXAMPLE, invoke_without_command=True)
    group.callback(help=_HELP, epilog=_EXAMPLE)(models_command)
    group.command("show", epilog=_SHOW_EXAMPLE)(expanded(show_command))
    app.add_typer(group, name="models")


def models_command(context: typer.Context, as_json: AsJson = False) -> None:
    """The models that come with the package."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise typer.BadParameter("expected after the command", param_hint="--json")
        return
    from mlh.model.description import described_model, shipped_names

    models = [described_model(name) for name in shipped_names()]
    if as_json:
        typer.echo(json.dumps([model.plain() for model in models], indent=2))
        return
    for model in models:
        test = (model.card.metrics.get("test") or {}).get("mae_mev")
        error = "" if test is None else f"; H within {test:.2f} meV on unseen structures"
        typer.echo(f"{model.name}: {model.title}\n  {model.elements}, {model.licence}{error}")
        typer.echo(f"  mlh models show {model.name}")


def show_command(
    model: Annotated[
        str,
        typer.Argument(help="Shipped name, model file, or folder of a training.", autocompletion=model_names),
    ],
    as_json: AsJson = False,
) -> None:
    """Card of MODEL: structures and perturbations that it has learned, protocol of the labels, errors by
    size, licence.

    What the card cannot know is read from a TOML file of the same name beside the model.
    """
    from mlh.model.description import described_model

    found = described_model(model)
    if as_json:
        typer.echo(json.dumps(found.plain(), indent=2))
        return
    console = terminal(stderr=False)
    for section in found.sections():
        console.print(_table(section))
        if section.note:
            typer.echo(section.note)


def _table(section: Section) -> Table:
    from rich.table import Table

    table = Table(*(section.head or ("", "")), title=section.title, show_header=bool(section.head))
    for row in section.rows:
        table.add_row(*row)
    return table
