"""`mlh defect`: relax vacancies of a host and print their formation energies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mlh.calculators.engines import dft_engine_of
from mlh.commands import relax_options as options
from mlh.commands.defect_options import parse_sites
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions, engine_of
from mlh.common.terminal import say, terminal
from mlh.defects.references import (
    Reference,
    check_known,
    given_reference,
    reference_energies,
    reference_title,
)
from mlh.defects.run import (
    DefectRun,
    DefectSettings,
    DFTStart,
    check_folder,
    compare,
    describe_run,
    run_vacancies,
    verify,
    write_defects,
)
from mlh.relaxation.loop import RelaxSettings
from mlh.report.defect_pictures import VacancyPictures
from mlh.report.steps import StepPrinter
from mlh.report.tables import comparison_table, defect_table
from mlh.structures import load_structure, select_sites

_EXAMPLE = "Example: mlh defect host.xyz --species O --sites 5 --model sio2-vo --verify-dft 1 --out vo"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("defect", epilog=_EXAMPLE)(expanded(defect_command))


def defect_command(
    structure: Annotated[str, typer.Argument(help="Host: a file, or a crystal such as alpha-quartz:2x2x2.")],
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    species: Annotated[str, typer.Option(help="Element of the vacancies.")] = "O",
    sites: Annotated[
        str, typer.Option(help="all, inequivalent, a number drawn at random, or index:4,17.")
    ] = "1",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    verify_dft: Annotated[int, typer.Option(min=0, help="Repeat the first N vacancies by DFT.")] = 0,
    verify_start: Annotated[
        DFTStart, typer.Option(help="DFT starts from; relaxed: the model's minima (fewer steps).")
    ] = "initial",
    potential: Annotated[
        float, typer.Option(help="Chemical potential mu of SPECIES in eV; 0 is oxygen-rich for O.")
    ] = 0.0,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="Energy of an element per atom, eV, in place of a calculated one: Si=-107.1; repeat."
        ),
    ] = None,
    fmax: options.FMax = 0.02,
    max_steps: options.MaxSteps = 300,
    host_as_is: Annotated[bool, typer.Option("--host-as-is", help="Do not relax the host.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for all files.")] = Path("defects"),
    processes: Annotated[
        int, typer.Option(min=1, help="Vacancies relaxed at the same time; they share the threads.")
    ] = 1,
    pictures: Annotated[
        bool, typer.Option(help="Levels, densities and defect states of every vacancy, for the report.")
    ] = True,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print defects.json.")] = False,
) -> None:
    """Relax the host and its vacancies; E_f = E(defect) - E(host) + n (E_ref + mu), n > 0 for removed atoms.

    The reference energy, of the gas (triplet O2 for oxygen) or of the crystal with a relaxed cell (silicon),
    is calculated by DFT in the same basis, once, or given with --reference.
    """
    console = terminal()
    host = load_structure(structure, index)
    worker = engine_of(engine, theory, host, solver)
    given = _given(reference or [])
    check_known(species, given)
    chosen = select_sites(host, species, parse_sites(sites), seed)
    worker.calculator().check_elements(host)  # before minutes are spent on the reference
    settings = DefectSettings(
        relax=RelaxSettings(fmax=fmax, max_steps=max_steps),
        relax_host=not host_as_is,
        potentials={species: potential},
        verify_start=verify_start,
        resume=resume,
        overwrite=overwrite,
        processes=processes,
    )
    check_folder(host, chosen, out, settings)

    def announce(title: str) -> StepPrinter:
        return StepPrinter(console, title, fmax, label=title if processes > 1 else "")

    try:
        dft_engine = dft_engine_of(worker)
        title = f"{reference_title(species)}, the reference"
        step = None if species in given else announce(title)
        references = reference_energies([species], dft_engine, on_step=step, given=given)
        drawing = VacancyPictures(worker, out) if pictures else None
        run = run_vacancies(host, chosen, worker, references, out, settings, announce, drawing)
        content = describe_run(run, worker)
        console.print(defect_table(content, f"vacancies of {species} in {structure}, {worker.kind}"))
        rows, checked = [], None
        if verify_dft > 0:
            checked = verify(
                run, chosen[:verify_dft], dft_engine, references, out / "dft", settings, announce
            )
            rows = compare(run, checked)
            console.print(comparison_table(rows, "model against DFT"))
    except KeyboardInterrupt:
        say(console, f"interrupted; the steps so far are in {out}: go on with --resume")
        raise typer.Exit(130) from None
    verification = None if checked is None else describe_run(checked, dft_engine)
    path = write_defects(out, content, references, settings, verification, rows)
    _report(console, run, path, drawing)
    if as_json:
        typer.echo(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=2))
    if not (run.converged and (checked is None or checked.converged)):
        say(console, "at least one relaxation did not converge or failed", style="red")
        raise typer.Exit(1)


def _given(texts: list[str]) -> dict[str, Reference]:
    """The references of Si=-107.1."""
    found = {}
    for text in texts:
        element, _, energy = text.partition("=")
        try:
            found[element] = given_reference(element, float(energy))
        except ValueError:
            raise ValueError(f"--reference: expected a form such as Si=-107.1, got {text!r}") from None
    return found


def _report(console: Console, run: DefectRun, path: Path, drawing: VacancyPictures | None) -> None:
    """Pictures of the vacancies and the page that shows everything, beside defects.json."""
    from mlh.report.html import write_report  # late: it loads matplotlib

    for name, reason in drawing.finish(run).items() if drawing is not None else ():
        say(console, f"no levels and pictures of {name}: {reason}", style="red")
    report = write_report(path.parent, path.parent / "report.html", overwrite=True)
    say(console, f"written: {path}, {report}")
