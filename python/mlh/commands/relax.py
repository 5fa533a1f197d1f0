"""`mlh relax`: move the atoms of a structure to zero force with a model or with DFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mlh.report.steps import StepPrinter, cell_change, outcome
from mlh.solver import THRESHOLD
from mlh.structures import load_structure
from mlh.workflow.engines import choose_engine
from mlh.workflow.relax import RelaxSettings
from mlh.workflow.relax_files import run_relaxation, summary

_EXAMPLE = "Example: mlh relax host.xyz --model sio2-vo --fmax 0.02 --out host-relaxed"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("relax", epilog=_EXAMPLE)(relax_command)


def relax_command(
    structure: Annotated[
        str, typer.Argument(help="Structure file, or a crystal such as alpha-quartz:2x2x1.")
    ],
    model: Annotated[str | None, typer.Option(help="Model file or shipped name.")] = None,
    dft: Annotated[bool, typer.Option("--dft", help="Use the embedded DFT engine.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder; default: NAME-relax here.")] = None,
    fmax: Annotated[float, typer.Option(help="Largest force at the end, eV/Angstrom.")] = 0.02,
    max_steps: Annotated[int, typer.Option(help="Give up after this many steps.")] = 300,
    optimizer: Annotated[str, typer.Option(help="lbfgs (FIRE when it stalls) or fire.")] = "lbfgs",
    cell: Annotated[
        str, typer.Option(help="fixed, volume (one factor) or full (all six components of the strain).")
    ] = "fixed",
    smax: Annotated[float, typer.Option(help="Largest stress at the end, GPa (with --cell).")] = 0.1,
    pressure: Annotated[float, typer.Option(help="Pressure from outside, GPa (with --cell).")] = 0.0,
    refine: Annotated[int, typer.Option(help="Self-consistency steps after the prediction.")] = 0,
    basis: Annotated[str, typer.Option(help="Basis of --dft.")] = "gth-pbe",
    cutoff: Annotated[float, typer.Option(help="Grid cutoff of --dft, Ry.")] = 200.0,
    kpts: Annotated[tuple[int, int, int], typer.Option(help="k-points of --dft.")] = (1, 1, 1),
    method: Annotated[str, typer.Option(help="dense, or purification for large insulators.")] = "dense",
    threshold: Annotated[float, typer.Option(help="Truncation of --method purification.")] = THRESHOLD,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Relax the atoms of STRUCTURE, and with --cell its cell.

    Writes trajectory.extxyz, relaxed.extxyz and relax.json into a folder. Ctrl-C leaves usable files;
    --resume goes on without repeating a step. Exit status 0 only when the forces (and the stress) are below
    the target. The grid of the first cell is held while the cell changes.
    """
    console = Console(stderr=True)
    engine = choose_engine(
        model,
        dft,
        refine=refine,
        basis=basis,
        cutoff_ry=cutoff,
        kpts=kpts,
        method=method,
        threshold=threshold,
    )
    if optimizer not in ("lbfgs", "fire"):
        raise typer.BadParameter(f"expected lbfgs or fire, got {optimizer!r}", param_hint="--optimizer")
    if cell not in ("fixed", "volume", "full"):
        raise typer.BadParameter(f"expected fixed, volume or full, got {cell!r}", param_hint="--cell")
    settings = RelaxSettings(
        fmax=fmax,
        max_steps=max_steps,
        optimizer="fire" if optimizer == "fire" else "lbfgs",
        cell="full" if cell == "full" else "volume" if cell == "volume" else "fixed",
        smax=smax,
        pressure=pressure,
    )
    atoms = load_structure(structure)
    calculator = engine.calculator()
    description = engine.describe()
    if settings.cell != "fixed":
        description["grid"] = list(calculator.hold_grid(atoms))
    folder = out or Path(f"{Path(structure.replace(':', '-')).stem}-relax")
    printer = StepPrinter(console, f"{structure}: {atoms.get_chemical_formula()}, {engine.kind}", fmax)
    try:
        result = run_relaxation(
            atoms,
            calculator,
            folder,
            settings,
            engine=description,
            resume=resume,
            overwrite=overwrite,
            on_step=printer,
        )
    except KeyboardInterrupt:
        console.print(f"interrupted; the steps so far are in {folder}: go on with --resume")
        raise typer.Exit(130) from None
    console.print(f"{outcome(result)}; files in {folder}")
    if settings.cell != "fixed":
        console.print(cell_change(atoms, result))
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **summary(result)}, indent=2))
    if not result.converged:
        raise typer.Exit(1)
