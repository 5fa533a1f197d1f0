"""`mlh vacancies`: structures with one atom removed, with their provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mlh.structures import load_structure, select_sites, vacancies, write_structure

_EXAMPLE = "Example: mlh vacancies host.xyz --species O --sites 20 --out vacancies.extxyz"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("vacancies", epilog=_EXAMPLE)(vacancies_command)


def parse_sites(text: str) -> str | int | list[int]:
    """ "all", "inequivalent", a number ("20") or indices ("index:4,17")."""
    if text in ("all", "inequivalent"):
        return text
    try:
        if text.startswith("index:"):
            return [int(part) for part in text.removeprefix("index:").split(",")]
        return int(text)
    except ValueError:
        raise typer.BadParameter(
            f"expected all, inequivalent, a number or index:4,17, got {text!r}", param_hint="--sites"
        ) from None


def vacancies_command(
    structure: Annotated[str, typer.Argument(help="Host: a file, or a crystal such as alpha-quartz:2x2x2.")],
    species: Annotated[str, typer.Option(help="Element to remove.")] = "O",
    sites: Annotated[
        str, typer.Option(help="all, inequivalent, a number drawn at random, or index:4,17.")
    ] = "all",
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    out: Annotated[Path, typer.Option(help="Extended-xyz file, one frame per vacancy.")] = Path(
        "vacancies.extxyz"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print sites and positions as JSON.")] = False,
) -> None:
    """Remove one atom of SPECIES at each chosen site of a host.

    Every frame says in its comment line which host, which site and where it was.
    """
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out}: exists; choose another name or --overwrite")
    host = load_structure(structure)
    chosen = select_sites(host, species, parse_sites(sites), seed)
    frames = vacancies(host, chosen)
    write_structure(out, frames)
    Console(stderr=True).print(
        f"{len(frames)} vacancies of {species} in {host.get_chemical_formula()}: {out}"
    )
    if as_json:
        rows = [{"site": site, "position": host.positions[site].tolist()} for site in chosen]
        typer.echo(json.dumps({"file": str(out), "host": structure, "vacancies": rows}, indent=2))
