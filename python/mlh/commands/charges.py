"""`mlh charges`: Mulliken charges and spin moments of the atoms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlh.commands import state_options as options
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions
from mlh.common.files import refuse_existing
from mlh.common.terminal import terminal

if TYPE_CHECKING:
    from mlh.analysis.mulliken import MullikenCharges
    from mlh.analysis.state import HasDensity

_EXAMPLE = "Example: mlh charges glass.xyz --model sio2-vo --json"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("charges", epilog=_EXAMPLE)(expanded(charges_command))


def charges_command(
    structure: options.Structure,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    extxyz: Annotated[
        Path | None, typer.Option(help="Write the structure with mulliken_charge and mulliken_moment.")
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Mulliken charge (electrons missing), population per angular momentum and moment of every atom.

    The charges add up to that of the cell, the moments to N_up - N_down. They depend on the basis.
    """
    from mlh.analysis.mulliken import mulliken_charges
    from mlh.structures import write_structure

    console = terminal()
    refuse_existing([extxyz] if extxyz is not None else [], overwrite)
    state = options.density_of(console, structure, engine, theory, solver, index)
    result = mulliken_charges(state)
    if extxyz is not None:
        atoms = state.atoms.copy()
        atoms.calc = None
        atoms.set_array("mulliken_charge", result.charges)
        atoms.set_array("mulliken_moment", result.moments)
        write_structure(extxyz, atoms)
    if as_json:
        typer.echo(json.dumps({"structure": structure, **describe(state, result)}, indent=2))
    else:
        _print(state, result)


def describe(state: HasDensity, result: MullikenCharges) -> dict[str, Any]:
    """Plain values."""
    return {
        "n_electrons": result.n_electrons,
        "magnetic_moment": float(result.moments.sum()),
        "symbols": list(state.system.symbols),
        "charges": result.charges.tolist(),
        "moments": result.moments.tolist(),
        "populations_spdf": result.by_l.sum(axis=0).tolist(),
    }


def _print(state: HasDensity, result: MullikenCharges) -> None:
    typer.echo(f"{'atom':>6s} {'charge':>10s} {'moment':>10s} {'s':>9s} {'p':>9s} {'d':>9s} {'f':>9s}")
    by_l = result.by_l.sum(axis=0)
    for index, symbol in enumerate(state.system.symbols):
        parts = " ".join(f"{value:9.4f}" for value in by_l[index])
        typer.echo(
            f"{symbol + str(index):>6s} {result.charges[index]:10.4f} {result.moments[index]:10.4f} {parts}"
        )
    typer.echo(
        f"{'sum':>6s} {result.charges.sum():10.4f} {result.moments.sum():10.4f}   "
        f"{result.n_electrons:.6f} electrons of {state.system.n_electrons:g}"
    )
