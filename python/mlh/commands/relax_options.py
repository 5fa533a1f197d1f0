"""The options of the commands that relax: which engine, which solver, what to do with an earlier run."""

from __future__ import annotations

from typing import Annotated

import typer

from mlh.commands.state_options import Dft, Kpts, KSpacing, Model, MonkhorstPack, Refine, mesh_of

__all__ = [
    "BasisName",
    "Cutoff",
    "Dft",
    "FMax",
    "KSpacing",
    "Kpts",
    "MaxSteps",
    "Method",
    "Model",
    "MonkhorstPack",
    "Overwrite",
    "Refine",
    "Resume",
    "Threshold",
    "mesh_of",
]

FMax = Annotated[float, typer.Option(help="Largest force at the end, eV/Angstrom.")]
MaxSteps = Annotated[int, typer.Option(help="Give up after this many steps.")]
BasisName = Annotated[str, typer.Option(help="Basis of --dft.")]
Cutoff = Annotated[float, typer.Option(help="Grid cutoff of --dft, Ry.")]
Method = Annotated[str, typer.Option(help="dense, or purification for large insulators.")]
Threshold = Annotated[float, typer.Option(help="Truncation of --method purification.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
