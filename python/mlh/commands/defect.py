"""`mlh defect`: relax defects of a host and print their formation energies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import ase
import typer
from rich.console import Console

from mlh.calculators.engines import DFTEngine, dft_engine_of
from mlh.commands import relax_options as options
from mlh.commands.advice import OWN, in_options
from mlh.commands.defect_options import ChargeOptions, ConditionOptions, DefectOptions
from mlh.commands.expand import expanded
from mlh.commands.structure_options import Index
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions, engine_of
from mlh.common.terminal import say, terminal
from mlh.defects.cases import DefectCase
from mlh.defects.compounds import elements_of, relaxed_compound
from mlh.defects.conditions import Compound
from mlh.defects.references import Reference, check_known, reference_energies, reference_title
from mlh.defects.run import DefectRun, DefectSettings, DFTStart
from mlh.defects.study import StudySettings, check_study, run_study, write_study
from mlh.relaxation.jobs import Announce
from mlh.relaxation.loop import RelaxSettings
from mlh.report.defect_pictures import DefectPictures
from mlh.report.defect_tables import conditions_table, levels_table, states_table
from mlh.report.steps import StepPrinter
from mlh.report.tables import comparison_table, defect_table
from mlh.structures import load_structure

_EXAMPLE = (
    "Examples: mlh defect host.xyz --species O --sites 5 --model sio2-vo --verify-dft 1 --out vo;  "
    "mlh defect alpha-quartz:2x2x2 --defect V_O --charges 0..2 --dielectric 3.9 --dft --out charged"
)


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("defect", epilog=_EXAMPLE)(expanded(defect_command))


def defect_command(
    structure: Annotated[str, typer.Argument(help="Host: a file, or a crystal such as alpha-quartz:2x2x2.")],
    wanted: DefectOptions,
    conditions: ConditionOptions,
    charge: ChargeOptions,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: Index = None,
    verify_dft: Annotated[int, typer.Option(min=0, help="Repeat the first N defects by DFT.")] = 0,
    then_dft: Annotated[
        bool,
        typer.Option("--then-dft", help="After the model: all defects and charges by DFT, from its minima."),
    ] = False,
    verify_start: Annotated[
        DFTStart, typer.Option(help="DFT starts from; relaxed: the model's minima (fewer steps).")
    ] = "initial",
    fmax: options.FMax = 0.02,
    max_steps: options.MaxSteps = 300,
    host_as_is: Annotated[bool, typer.Option("--host-as-is", help="Do not relax the host.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for all files.")] = Path("defects"),
    processes: Annotated[
        int, typer.Option(min=1, help="Defects relaxed at the same time; they share the threads.")
    ] = 1,
    pictures: Annotated[
        bool, typer.Option(help="Levels, densities and defect states of every defect, for the report.")
    ] = True,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print defects.json.")] = False,
) -> None:
    """Relax the host and its defects; E_f = E(defect) - E(host) + n (E_ref + mu), n > 0 for removed atoms.

    Defects are vacancies of SPECIES, or those named with --defect, with every charge of --charges. The
    reference energy of an element, of the gas (triplet O2 for oxygen) or of the crystal with a relaxed cell
    (silicon), is calculated by DFT in the same basis, once, or given with --reference.
    """
    console = terminal()
    host = load_structure(structure, index)
    worker = engine_of(engine, theory, host, solver)
    cases = wanted.cases(host)
    given, compounds = conditions.given(), conditions.compounds()
    settings = StudySettings(
        DefectSettings(
            relax=RelaxSettings(fmax=fmax, max_steps=max_steps),
            relax_host=not host_as_is,
            potentials=conditions.potentials(wanted.species),
            verify_start=verify_start,
            resume=resume,
            overwrite=overwrite,
            processes=processes,
            ghost=wanted.ghost,
        ),
        again=verify_dft,
        then_dft=then_dft,
        rich=conditions.rich(),
        charged=charge.settings(any(case.charge for case in cases)),
    )
    elements = _elements(cases, [host, *compounds] if settings.rich else [], given)
    check_study(host, cases, worker, out, settings)

    def announce(title: str) -> StepPrinter:
        return StepPrinter(console, title, fmax, label=title if processes > 1 else "")

    try:
        dft = dft_engine_of(worker)
        references = _references(elements, dft, given, announce)
        phases = _phases(compounds, dft, references, announce)
        drawing = DefectPictures(worker, out) if pictures else None
        drawing_dft = DefectPictures(dft, out / "dft") if pictures and then_dft else None
        result = run_study(
            *(host, cases, worker, dft, references, phases, out, settings, announce),
            *(drawing, drawing_dft),
        )
    except KeyboardInterrupt:
        say(console, f"interrupted; the steps so far are in {out}: go on with --resume")
        raise typer.Exit(130) from None
    path = write_study(result, worker, dft, references, out)
    content = json.loads(path.read_text(encoding="utf-8"))
    _print(console, content, f"{wanted.title()} in {structure}", worker.kind)
    drawn = [(result.run, drawing), (result.checked, drawing_dft)]
    _report(console, path, content, [(run, by) for run, by in drawn if run is not None and by is not None])
    if as_json:
        typer.echo(json.dumps(content, indent=2))
    for text in result.failed:
        say(console, text, style="red")
    if not result.converged:
        say(console, "at least one relaxation did not converge or failed", style="red")
        raise typer.Exit(1)


def _elements(
    cases: Sequence[DefectCase], structures: list[ase.Atoms], given: Mapping[str, Reference]
) -> list[str]:
    """Whose references are needed: of what is removed or added, and of structures whose own energies are."""
    concerned = {element for case in cases for element in case.defect.name.elements}
    elements = sorted(concerned | set(elements_of(structures)))
    for element in elements:
        check_known(element, given)
    return elements


def _references(
    elements: list[str], dft: DFTEngine, given: dict[str, Reference], announce: Announce
) -> dict[str, Reference]:
    """Calculated or read back, one after the other."""
    found: dict[str, Reference] = {}
    for element in elements:
        step = None if element in given else announce(f"{reference_title(element)}, the reference")
        found |= reference_energies([element], dft, on_step=step, given=given)
    return found


def _phases(
    compounds: list[Any], dft: DFTEngine, references: dict[str, Reference], announce: Announce
) -> list[Compound]:
    return [
        relaxed_compound(
            atoms, dft, references, on_step=announce(f"{atoms.get_chemical_formula()}, a limiting compound")
        )
        for atoms in compounds
    ]


def _print(console: Console, content: dict[str, Any], title: str, kind: str) -> None:
    """The tables of defects.json."""
    if "conditions" in content:
        console.print(conditions_table(content["conditions"], content["references"]))
    console.print(defect_table(content["run"], f"{title}, {kind}"))
    if content["verification"] is not None:
        console.print(defect_table(content["verification"], f"{title}, DFT"))
    if content["comparison"]:
        console.print(comparison_table(content["comparison"], "model against DFT"))
    if "charged" in content:
        notes = [in_options(note, OWN["defect"]) for note in content["charged"]["notes"]]
        console.print(states_table({**content["charged"], "notes": notes}))
        console.print(levels_table(content["charged"]))


def _report(
    console: Console, path: Path, content: dict[str, Any], drawn: list[tuple[DefectRun, DefectPictures]]
) -> None:
    """The diagram, pictures of the defects and the page that shows everything, beside defects.json."""
    from mlh.report.defect_diagram import write_diagram  # late: they load matplotlib
    from mlh.report.html import write_report

    if "charged" in content:
        write_diagram(path.parent, content["charged"])
    for run, drawing in drawn:
        for name, reason in drawing.finish(run).items():
            say(console, f"no levels and pictures of {name}: {reason}", style="red")
    report = write_report(path.parent, path.parent / "report.html", overwrite=True)
    say(console, f"written: {path}, {report}")
