"""`mlh vacancies`: structures with one point defect, with their provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import ase
import typer

from mlh.commands.defect_options import chosen_defects, parse_sites
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index
from mlh.common.files import refuse_existing
from mlh.common.terminal import say, terminal
from mlh.structures import (
    load_structure,
    placed_defect,
    point_defects,
    select_sites,
    void_positions,
    write_structure,
)
from mlh.structures.defects import rattled_copies

_EXAMPLE = "Example: mlh vacancies host.xyz --species O -n 20 --seed 0 --out vacancies.extxyz"


Selection = str | int | list[int]
"""Of sites: all, inequivalent, how many, or which."""


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("vacancies", epilog=_EXAMPLE)(expanded(vacancies_command))


def vacancies_command(
    structure: Annotated[str, typer.Argument(help="Host: a file, or a crystal such as alpha-quartz:2x2x2.")],
    index: Index = None,
    species: Annotated[str, typer.Option(help="Element to remove or to replace.")] = "O",
    sites: Annotated[
        str, typer.Option(help="all, inequivalent, a number drawn at random, or index:4,17.")
    ] = "all",
    defect: Annotated[
        list[str] | None,
        typer.Option(
            help="Defects by name in place of --species: V_O, Si_O, H_i, V_O+H_i; own sites V_O@2; repeat."
        ),
    ] = None,
    number: Annotated[
        int | None, typer.Option("--number", "-n", help="Draw so many sites; short for --sites NUMBER.")
    ] = None,
    substitute: Annotated[
        str | None, typer.Option(help="Put this element on the sites instead of leaving them empty.")
    ] = None,
    add: Annotated[
        str | None, typer.Option(help="Put this element into the voids of the host (interstitials).")
    ] = None,
    min_distance: Annotated[
        float, typer.Option(min=0.0, help="Of a void to every atom, Angstrom (--add).")
    ] = 1.2,
    rattle: Annotated[float, typer.Option(help="Random displacements, Angstrom per component.")] = 0.0,
    copies: Annotated[int, typer.Option(help="Rattled structures of each defect.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw and of the displacements.")] = 0,
    out: Annotated[Path, typer.Option(help="Extended-xyz file, one frame per structure.")] = Path(
        "vacancies.extxyz"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print sites and positions as JSON.")] = False,
) -> None:
    """Point defects of a host: remove one atom of SPECIES at each chosen site, replace it, or add one.

    Or any defect by name: --defect V_O, Si_O, H_i, or a complex V_O+H_i, whose members are beside each other.

    Every frame says in its comment line which host, which site and where it was. "inequivalent" takes one
    site of each symmetry orbit (spglib).
    """
    refuse_existing([out], overwrite)
    if add is not None and substitute is not None:
        raise typer.BadParameter("expected --substitute or --add, got both")
    host = load_structure(structure, index)
    selection = number if number is not None else parse_sites(sites)
    varied: dict[str, Any] = {"rattle_amplitude": rattle, "copies": copies, "seed": seed}
    if defect:
        if add is not None or substitute is not None:
            raise typer.BadParameter("expected --defect alone, got --substitute or --add beside it")
        placed = chosen_defects(host, defect, selection, seed)
        frames = rattled_copies([placed_defect(host, one) for one in placed], **varied)
        kind = "defects " + ", ".join(defect)
    elif add is not None:
        frames, kind = _interstitials(host, add, selection, min_distance, varied)
    else:
        frames, kind = _on_sites(host, species, selection, substitute, varied)
    write_structure(out, frames)
    say(terminal(), f"{len(frames)} {kind} in {host.get_chemical_formula()}: {out}")
    if as_json:
        rows = [_row(frame, bool(defect)) for frame in frames]
        typer.echo(json.dumps({"file": str(out), "host": structure, "defects": rows}, indent=2))


def _interstitials(
    host: ase.Atoms, element: str, selection: Selection, min_distance: float, varied: dict[str, Any]
) -> tuple[list[ase.Atoms], str]:
    if isinstance(selection, list):
        raise typer.BadParameter("expected all, inequivalent or a number with --add", param_hint="--sites")
    places = void_positions(host, selection, min_distance, varied["seed"])
    return point_defects(host, positions=places, element=element, **varied), f"interstitials of {element}"


def _on_sites(
    host: ase.Atoms, species: str, selection: Selection, substitute: str | None, varied: dict[str, Any]
) -> tuple[list[ase.Atoms], str]:
    chosen = select_sites(host, species, selection, varied["seed"])
    kind = f"vacancies of {species}" if substitute is None else f"substitutions of {species} by {substitute}"
    return point_defects(host, sites=chosen, element=substitute, **varied), kind


def _row(frame: ase.Atoms, named: bool) -> dict[str, Any]:
    """Where a defect is, and its name where it was chosen by one."""
    names = {"defect": frame.info["defect_name"]} if named else {}
    place = frame.info["defect_position"].tolist()
    return {**names, "site": frame.info["defect_site"], "position": place}
