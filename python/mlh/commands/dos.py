"""`mlh dos`: density of states, total and divided over elements and angular momenta."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mlh.commands import state_options as options
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index, prefix_of
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions
from mlh.common.files import refuse_existing
from mlh.common.terminal import terminal

_EXAMPLE = "Example: mlh dos alpha-quartz --dft --mesh 4 4 4 --width 0.1"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("dos", epilog=_EXAMPLE)(expanded(dos_command))


def dos_command(
    structure: options.Structure,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    width: Annotated[float, typer.Option(help="Standard deviation of the Gaussians, eV.")] = 0.1,
    mesh: Annotated[
        tuple[int, int, int] | None,
        typer.Option(help="k points of the density of states (with Gamma); default: those of --kpts."),
    ] = None,
    window: Annotated[
        tuple[float, float] | None, typer.Option(help="Energies, eV from the valence top; default: all.")
    ] = None,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Density of states of STRUCTURE with Mulliken's division: PREFIX.json and PREFIX.png."""
    from mlh.analysis.bands import describe_edges
    from mlh.analysis.dos import density_of_states, describe_dos
    from mlh.common.files import write_json
    from mlh.matrix.kpoints import as_kpoints
    from mlh.report.electronic import dos_figure
    from mlh.report.plots import save_figure

    console = terminal()
    if not width > 0.0:
        raise typer.BadParameter(f"expected a positive width in eV, got {width}", param_hint="--width")
    if window is not None:
        options.check_window(window)
    denser = None if mesh is None else as_kpoints({"size": mesh, "gamma": True})
    prefix = prefix_of(structure, out, "dos")
    files = [options.beside(prefix, ending) for ending in (".json", ".png")]
    refuse_existing(files, overwrite)
    state = options.state_of(console, structure, engine, theory, solver, index)
    if denser is not None:
        state = state.at(denser)
    dos = density_of_states(state, width, window)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    write_json(files[0], {"structure": structure, **describe_dos(dos)})
    save_figure(dos_figure(dos, window, structure), files[1])
    summary = {
        "structure": structure,
        **describe_edges(dos.edges),
        "n_kpoints": len(state.kpts),
        "integral": dos.integral(),
        "states": 2.0 * state.system.n_orbitals,
        "electrons_below_fermi_level": dos.electrons,
        "electrons": state.system.n_electrons,
        "files": [str(file) for file in files],
    }
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    gap = "no gap: a metal" if dos.edges.metallic else f"gap of the mesh {dos.edges.gap:.4f} eV"
    typer.echo(f"{len(state.kpts)} k points, width {width:g} eV, {gap}")
    typer.echo(f"integral {dos.integral():.4f} of {summary['states']:.0f} states")
    typer.echo(f"below the Fermi level {dos.electrons:.4f} of {state.system.n_electrons:g} electrons")
    typer.echo("files: " + ", ".join(map(str, files)))
