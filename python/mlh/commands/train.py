"""`mlh train`: train a network on a data set of DFT Hamiltonians."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from mlh.commands.expand import expanded
from mlh.common.terminal import say, terminal

_EXAMPLE = "Example: mlh train examples/train_sio2.yaml --set optimizer.learning_rate=2e-3 --json"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("train", epilog=_EXAMPLE)(expanded(train_command))


def train_command(
    config: Annotated[Path, typer.Argument(help="YAML file: data set, output folder, network, ...")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override one setting, key.subkey=value; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print model path and metrics as JSON.")] = False,
) -> None:
    """Train as CONFIG says and write model, metrics, log and learning curve into its output folder.

    Ctrl-C writes a checkpoint and a usable model; the same command goes on from there. Two processes, on two
    cores or two GPUs: torchrun --nproc-per-node 2 -m mlh train CONFIG.
    """
    from mlh.training.config import load_config
    from mlh.training.run import train

    console = terminal()
    result = train(load_config(config, overrides or ()), console)
    first = int(os.environ.get("RANK", "0")) == 0  # of the processes that torchrun started
    if not result.finished and first:
        say(console, f"interrupted at step {result.steps}; the same command goes on from here")
    if as_json and first:
        content = {
            "model": str(result.model),
            "steps": result.steps,
            "finished": result.finished,
            "validation": result.validation.as_dict() if result.validation is not None else None,
            "test": result.test.as_dict() if result.test is not None else None,
        }
        typer.echo(json.dumps(content, indent=2))
    if not result.finished:
        raise typer.Exit(130)
