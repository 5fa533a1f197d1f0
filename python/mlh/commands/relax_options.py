"""The options of the commands that relax: when to stop, what to do with an earlier run."""

from __future__ import annotations

from typing import Annotated

import typer

FMax = Annotated[float, typer.Option(help="Largest force at the end, eV/Angstrom.")]
MaxSteps = Annotated[int, typer.Option(min=0, help="Give up after this many steps.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
