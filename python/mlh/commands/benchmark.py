"""`mlh benchmark acwf`: a basis set against published equations of state."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from ase import Atoms

from mlh.commands import relax_options as options
from mlh.commands.expand import expanded
from mlh.commands.theory_options import TheoryOptions
from mlh.common.terminal import say, terminal
from mlh.verification.acwf import Set, systems
from mlh.verification.run import (
    RESULTS,
    VerificationResult,
    run_verification,
    score,
    verification_theory,
)

_EXAMPLE = "Example: mlh benchmark acwf --elements Si,O --set oxides --out acwf-si"
PICTURE = "acwf.png"


def register(app: typer.Typer) -> None:
    """Add the group to an application."""
    group = typer.Typer(
        help="Basis sets and pseudopotentials against published numbers.", no_args_is_help=True
    )
    group.callback()(_group)  # one command alone would lose its name
    group.command("acwf", epilog=_EXAMPLE)(expanded(acwf_command))
    app.add_typer(group, name="benchmark")


def _group() -> None:
    """Basis sets and pseudopotentials against published numbers."""


def acwf_command(
    elements: Annotated[str, typer.Option(help="Elements, as Si,O,Al.")],
    theory: TheoryOptions,
    set_: Annotated[
        Set | None, typer.Option("--set", help="One of the two sets of crystals; default: both.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder.")] = Path("acwf"),
    processes: Annotated[int, typer.Option(min=1, help="Crystals at the same time.")] = 1,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Equations of state of 4 crystals and 6 oxides per element against all electrons: epsilon, nu, V0, B0.

    Bosoni et al., Nat. Rev. Phys. 6, 45 (2024), the mean of FLEUR and WIEN2k; PBE, no spin, smearing of 61
    meV. Writes acwf.json and acwf.png into a folder; each crystal is kept as it comes, and --resume does the
    others. Status 1 where a crystal has no equation of state.
    """
    console = terminal()
    symbols = [text for text in elements.replace(",", " ").split() if text]
    chosen = systems(symbols, (set_,) if set_ else ("unaries", "oxides"))
    every = dict.fromkeys(symbol for system in chosen for symbol in system.atoms.get_chemical_symbols())
    level = verification_theory(**theory.given(Atoms(list(every))))

    def finished(result: VerificationResult) -> None:
        words = "no equation of state" if result.epsilon is None else f"epsilon {result.epsilon:.3f}"
        say(console, f"{result.name}: {words} ({result.seconds:.0f} s)")

    try:
        results = run_verification(
            *(chosen, level, out, processes), resume=resume, overwrite=overwrite, on_result=finished
        )
    except KeyboardInterrupt:
        say(console, f"interrupted; the crystals so far are in {out}: go on with --resume")
        raise typer.Exit(130) from None
    from mlh.report.acwf import acwf_figure, acwf_table, score_lines
    from mlh.report.plots import save_figure

    name = level.basis if isinstance(level.basis, str) else level.basis.name
    title = f"{name}, {level.cutoff_ry:g} Ry, against FLEUR and WIEN2k"
    save_figure(acwf_figure(results, title), out / PICTURE)
    scores = [found for kind in ("unaries", "oxides") if (found := score(results, kind)) is not None]
    for result in results:
        if result.failure:
            say(console, f"{result.name}: {result.failure}", style="red")
    say(console, f"files: {out / RESULTS}, {out / PICTURE}")
    if as_json:
        rows = [{"name": r.name, "epsilon": r.epsilon, "nu": r.nu} for r in results]
        typer.echo(json.dumps({"systems": rows, "scores": [asdict(s) for s in scores]}, indent=2))
    else:
        terminal(stderr=False).print(acwf_table(results, title))
        for line in score_lines(scores):
            say(console, line)
    if any(result.fitted is None for result in results):
        raise typer.Exit(1)
