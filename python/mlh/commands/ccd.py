"""`mlh ccd`: two charge states of a defect along the line between their relaxed structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import ase
import typer
from rich.console import Console

from mlh.commands.expand import expanded
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions, engine_of
from mlh.common.files import require_place
from mlh.common.terminal import say, terminal
from mlh.defects.ccd import SUMMARY, check_pair, fractions_of, run_ccd
from mlh.defects.coupling import COUPLING, Coupling, CouplingAt, coupling_engine, parse_level, run_coupling
from mlh.relaxation.files import RELAXED
from mlh.structures import load_structure
from mlh.structures.defect_names import charge_text

_EXAMPLE = "Example: mlh ccd charged/V_O-17_0 charged/V_O-17_+1 --charges 0,1 --dft --out ccd"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("ccd", epilog=_EXAMPLE)(expanded(ccd_command))


def ccd_command(
    initial: Annotated[
        str, typer.Argument(help="Relaxed in the first charge: a folder of mlh defect, a file.")
    ],
    final: Annotated[str, typer.Argument(help="The same defect relaxed in the second charge.")],
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    charges: Annotated[str, typer.Option(help="Charges of the two, e: 0,1.")] = "0,1",
    points: Annotated[int, typer.Option(min=3, help="Structures from one to the other, both included.")] = 5,
    extend: Annotated[
        float, typer.Option(help="How far the line goes on beyond both, in parts of dQ (0 to 1).")
    ] = 0.25,
    coupling: Annotated[
        CouplingAt,
        typer.Option(
            help="Also W_if for nonrad: the level of the defect with the states of the bands, at the minimum "
            "of the first or the second structure and its charge."
        ),
    ] = "none",
    defect_level: Annotated[
        str | None,
        typer.Option(
            help="Band of the defect for the coupling, counted from 0: 143, up:143, down:143. Default: the "
            "most localised one around the gap."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder; points that it has are not calculated again.")] = Path(
        "ccd"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print ccd.json.")] = False,
) -> None:
    """Energies of both charges over the configuration coordinate, dQ, and the frequencies of both minima:
    arrays for nonrad's get_omega_from_PES, in ccd.json and ccd.png.

    With a coupling also W_if of get_C, in coupling.json.
    """
    pair = _structure(initial), _structure(final)
    chosen = _two(charges)
    worker = engine_of(engine, theory, pair[0], solver)
    worker.calculator().check_elements(pair[0])
    for charge in chosen:
        worker.charged(charge)
    fractions, level = fractions_of(points, extend), parse_level(defect_level)
    coupled = None if coupling == "none" else coupling_engine(worker)
    dq = check_pair(*pair)
    require_place(out)
    console = terminal()
    say(console, f"dQ {dq:.4f} sqrt(amu) A, {len(fractions)} points for each charge")

    def show(charge: int, fraction: float, energy: float) -> None:
        say(console, f"charge {charge_text(charge)}, Q {fraction * dq:8.4f} sqrt(amu) A: {energy:.5f} eV")

    found = run_ccd(*pair, chosen, worker, out, fractions, show)
    from mlh.report.defect_diagram import write_ccd  # late: it loads matplotlib

    picture = write_ccd(out, found.describe())
    for name, curve in (("initial", found.initial), ("final", found.final)):
        omega = (
            "no minimum" if curve.hbar_omega is None else f"hbar omega {1000.0 * curve.hbar_omega:.1f} meV"
        )
        say(console, f"{name}, charge {charge_text(curve.charge)}: {omega}")
    say(console, f"written: {out / SUMMARY}, {picture}")
    if coupled is not None:
        charge = chosen[0 if coupling == "initial" else 1]
        _show_coupling(console, run_coupling(*pair, coupling, charge, coupled, out, level), out)
    if as_json:
        typer.echo(json.dumps(found.describe(), indent=2))


def _show_coupling(console: Console, found: Coupling, out: Path) -> None:
    from mlh.report.defect_tables import coupling_table

    console.print(coupling_table(found.describe()))
    say(console, f"written: {out / COUPLING}")


def _structure(text: str) -> ase.Atoms:
    """A file, or what a folder of a relaxation has relaxed."""
    folder = Path(text)
    if not folder.is_dir():
        return load_structure(text)
    if not (folder / RELAXED).exists():
        raise FileNotFoundError(f"{folder}: expected a finished relaxation ({RELAXED}), found none")
    return load_structure(str(folder / RELAXED))


def _two(text: str) -> tuple[int, int]:
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--charges: expected two charges such as 0,1, got {text!r}") from None
    return first, second
