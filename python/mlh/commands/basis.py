"""`mlh basis make`: orbitals for pseudopotential files of the user."""

from __future__ import annotations

import json
import shlex
from math import pi
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlh.commands.expand import expanded
from mlh.common.terminal import say, terminal

if TYPE_CHECKING:
    from mlh.basis.files.library import FileSpecies

_EXAMPLE = "Example: mlh basis make pseudo/O.psp8 pseudo/Si.upf --size standard"


def register(app: typer.Typer) -> None:
    """Add the group to an application."""
    group = typer.Typer(help="Orbitals for pseudopotential files (UPF 2, psp8, PSML).", no_args_is_help=True)
    group.callback()(_group)
    group.command("make", epilog=_EXAMPLE)(expanded(make_command))
    app.add_typer(group, name="basis")


def _group() -> None:
    """Keeps the name of the one command."""


def make_command(
    files: Annotated[list[Path], typer.Argument(help="Norm-conserving files: UPF 2, psp8 or PSML.")],
    size: Annotated[
        str, typer.Option(help="minimal, standard, precise, or cutoff and functions: 7.0-s2p2d1.")
    ] = "standard",
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Make orbitals for pseudopotential files and keep them in the cache: what a file holds, what was made,
    which cutoff it needs. Any command takes the folder of the files as --basis "files FOLDER".
    """
    from mlh.basis.files.library import load_file
    from mlh.report.basis_table import basis_table, species_row

    made = [load_file(path, size) for path in files]
    rows = [species_row(species) for species in made]
    found = [_found(species) for species in made]
    if as_json:
        both = [{"file": str(path), **a, **b} for path, a, b in zip(files, found, rows, strict=True)]
        typer.echo(json.dumps({"size": size, "species": both}, indent=2))
        return
    console = terminal(stderr=False)
    for path, content in zip(files, found, strict=True):
        typer.echo(f"{path}: {content['symbol']}, {content['functional']}, {_words(content)}")
    console.print(basis_table(f"{size} orbitals", rows, "spheres"))
    folders = {path.resolve().parent for path in files}
    for folder in sorted(folders):
        mine = [s for s, path in zip(made, files, strict=True) if path.resolve().parent == folder]
        chosen = " ".join(f"--orbitals {s.symbol}={size},{shlex.quote(s.file)}" for s in mine)
        say(console, f"use: --basis {shlex.quote(f'files {folder}')} {chosen}")


def _found(species: FileSpecies) -> dict[str, Any]:
    """What the file holds."""
    core = species.core_density
    projectors = [p.radial.l for p in species.projectors]
    return {
        "symbol": species.symbol,
        "functional": species.functional,
        "valence": species.valence,
        "projectors": {"spdf"[l]: projectors.count(l) for l in sorted(set(projectors))},
        "core_electrons": 0.0 if core is None else round(4.0 * pi * core.radial_integral(), 6),
        "digest": species.digest,
    }


def _words(content: dict[str, Any]) -> str:
    projectors = " ".join(f"{n}{letter}" for letter, n in content["projectors"].items()) or "none"
    core = content["core_electrons"]
    partial = f"partial core of {core:.2f} electrons" if core else "no partial core"
    return f"{content['valence']:g} electrons, projectors {projectors}, {partial}"
