"""`mlh bands`: bands along a path, of DFT or of a predicted Hamiltonian."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

from mlh.commands import state_options as options
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index, prefix_of
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions
from mlh.common.files import refuse_existing
from mlh.common.terminal import Words, bar, terminal

if TYPE_CHECKING:
    from ase import Atoms

    from mlh.analysis.bands import Bands
    from mlh.dft.system import System

_EXAMPLE = "Example: mlh bands si.xyz --dft --kpts 4 4 4 --path GXWKGL"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("bands", epilog=_EXAMPLE)(expanded(bands_command))


def bands_command(
    structure: options.Structure,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    path: Annotated[
        str | None,
        typer.Option(
            help="Special points, a comma jumps: GXWK,UX. Default: ASE's path, primitive cells only."
        ),
    ] = None,
    point: Annotated[
        list[str] | None, typer.Option(help="A further point, NAME=0.5,0,0 in fractions; may be repeated.")
    ] = None,
    points: Annotated[int, typer.Option(help="k points along the whole path, about.")] = 100,
    window: Annotated[tuple[float, float], typer.Option(help="Energies of the picture, eV.")] = (-13.0, 8.0),
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Bands of STRUCTURE along a path in the Brillouin zone: PREFIX.json and PREFIX.png.

    Energies are relative to the top of the valence band, or to the Fermi level of a metal. --kpts is the mesh
    of the self-consistency (or of the Fermi level of a model).
    """
    from mlh.analysis.bands import band_path, band_structure
    from mlh.common.files import write_json
    from mlh.report.electronic import band_figure
    from mlh.report.plots import save_figure

    console = terminal()
    prefix = prefix_of(structure, out, "bands")
    files = [options.beside(prefix, ending) for ending in (".json", ".png")]
    refuse_existing(files, overwrite)
    special = _points(point or [])
    options.check_window(window)

    def check(system: System, atoms: Atoms) -> None:
        band_path(atoms, path, points, special)

    state = options.state_of(console, structure, engine, theory, solver, index, check=check)
    chosen = band_path(state.atoms, path, points, special)
    columns = (Words(lambda _: "bands"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with bar(console, *columns) as progress:
        task = progress.add_task("bands", total=len(chosen.kpts))
        bands = band_structure(state, chosen, on_point=lambda _: progress.advance(task))
    content = {"structure": structure, **describe(bands)}
    prefix.parent.mkdir(parents=True, exist_ok=True)
    write_json(files[0], content)
    save_figure(band_figure(bands, window, structure), files[1])
    summary = {key: value for key, value in content.items() if key not in ("energies_ev", "kpoints", "x")}
    summary["files"] = [str(file) for file in files]
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        _print(bands, files)


def describe(bands: Bands) -> dict[str, Any]:
    """Everything of the bands in plain values; energies (nspin, nk, nbands) relative to the reference."""
    from mlh.analysis.bands import describe_edges

    x, ticks, labels = bands.structure.get_labels()
    path = bands.structure.path
    return {
        **describe_edges(bands.edges),
        "path": path.path,
        "special_points": {name: list(map(float, k)) for name, k in path.special_points.items()},
        "ticks": [[float(tick), label] for tick, label in zip(ticks, labels, strict=True)],
        "x": x.tolist(),
        "kpoints": path.kpts.tolist(),
        "energies_ev": bands.energies.tolist(),
    }


def _points(texts: list[str]) -> dict[str, list[float]]:
    """NAME=0.5,0,0."""
    found = {}
    for text in texts:
        name, _, numbers = text.partition("=")
        try:
            k = [float(number) for number in numbers.split(",")]
        except ValueError:
            k = []
        if not name or len(k) != 3:
            raise typer.BadParameter(f"expected NAME=0.5,0,0, got {text!r}", param_hint="--point")
        found[name] = k
    return found


def _print(bands: Bands, files: list[Path]) -> None:
    edges = bands.edges
    typer.echo(f"path {bands.structure.path.path}, {len(bands.structure.path.kpts)} k points")
    if edges.valence is None or edges.conduction is None:
        typer.echo(f"metal, Fermi level {edges.fermi_level:.4f} eV")
    else:
        kind = "direct" if edges.is_direct else f"indirect; smallest direct gap {edges.direct_gap:.4f} eV"
        typer.echo(f"gap {edges.gap:.4f} eV, {kind}")
        for name, edge in (("valence top", edges.valence), ("conduction bottom", edges.conduction)):
            k = ", ".join(f"{x:.4f}" for x in edge.k)
            typer.echo(f"{name:>18s} {edge.energy:10.4f} eV at k = ({k})")
    typer.echo("files: " + ", ".join(map(str, files)))
