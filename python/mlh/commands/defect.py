"""`mlh defect`: relax defects of a host and print their formation energies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import ase
import typer
from rich.console import Console

from mlh.calculators.engines import DFTEngine, dft_engine_of
from mlh.commands import relax_options as options
from mlh.commands.advice import OWN, in_options
from mlh.commands.defect_hosts import LiveStatistics
from mlh.commands.defect_options import ChargeOptions, ConditionOptions, DefectOptions
from mlh.commands.expand import expanded
from mlh.commands.job_options import JobOptions
from mlh.commands.several import Start, starts_of
from mlh.commands.structure_options import Index
from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions
from mlh.common.terminal import say, terminal
from mlh.defects.cases import DefectCase
from mlh.defects.compounds import elements_of, relaxed_compound
from mlh.defects.conditions import Compound
from mlh.defects.hosts import HostCases, relax_all
from mlh.defects.references import Reference, check_known, reference_energies, reference_title
from mlh.defects.run import DefectRun, DefectSettings, DFTStart
from mlh.defects.study import StudyResult, StudySettings, check_study, first_cases, run_study, write_study
from mlh.jobs.dask import SchedulerLost
from mlh.relaxation.jobs import Announce
from mlh.relaxation.loop import RelaxSettings
from mlh.report.defect_pictures import DefectPictures
from mlh.report.defect_tables import conditions_table, levels_table, states_table
from mlh.report.steps import StepPrinter
from mlh.report.tables import comparison_table, defect_table

_EXAMPLE = (
    "Examples: mlh defect host.xyz --species O --sites 5 --model sio2-vo --verify-dft 1 --out vo;  "
    "mlh defect alpha-quartz:2x2x2 --defect V_O --charges 0..2 --dielectric 3.9 --dft --out charged"
)


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("defect", epilog=_EXAMPLE)(expanded(defect_command))


def defect_command(
    hosts: Annotated[
        list[str], typer.Argument(help="Hosts: files, crystals such as alpha-quartz:2x2x2, shipped ones.")
    ],
    wanted: DefectOptions,
    conditions: ConditionOptions,
    charge: ChargeOptions,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    jobs: JobOptions,
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
    (silicon), is calculated by DFT in the same basis, once, or given with --reference. Of several hosts each
    has a folder of its own in --out, with statistics over hosts and sites beside them.
    """
    console = terminal()
    starts = starts_of(hosts, index, engine, theory, solver, jobs.here)
    chosen = _with_cases(hosts, starts, wanted, out)
    settings = StudySettings(
        DefectSettings(
            relax=RelaxSettings(fmax=fmax, max_steps=max_steps),
            relax_host=not host_as_is,
            potentials=conditions.potentials(wanted.species),
            verify_start=verify_start,
            resume=resume,
            overwrite=overwrite,
            processes=jobs.processes,
            executor=jobs.executor(),
            start=wanted.start,
            ghost=wanted.ghost,
        ),
        again=verify_dft,
        then_dft=then_dft,
        rich=conditions.rich(),
        charged=charge.settings(any(case.charge for h in chosen for case in h.cases)),
    )
    report = _Report(wanted.title(), fmax, pictures, jobs.side_by_side)
    done = _studies(console, chosen, settings, conditions, report, out)
    contents = {h.label: study.content for h, study in done}
    if as_json:
        typer.echo(json.dumps(contents if len(hosts) > 1 else contents[chosen[0].label], indent=2))
    if len(done) < len(chosen) or not all(study.result.converged for _, study in done):
        say(console, "at least one relaxation did not converge or failed", style="red")
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Report:
    """What is said and drawn."""

    title: str
    fmax: float
    pictures: bool
    side_by_side: bool


def _studies(
    console: Console,
    hosts: Sequence[HostCases],
    settings: StudySettings,
    conditions: ConditionOptions,
    report: _Report,
    out: Path,
) -> list[tuple[HostCases, _Study]]:
    """Checked, then references, compounds, and every host."""
    given, compounds = conditions.given(), conditions.compounds()
    cases = [case for h in hosts for case in h.cases]
    elements = _elements(cases, [*(h.host for h in hosts), *compounds] if settings.rich else [], given)
    for h in hosts:
        check_study(h.host, h.cases, h.engine, h.folder, settings)

    def announce(title: str) -> StepPrinter:
        return StepPrinter(console, title, report.fmax, label=title if report.side_by_side else "")

    worker = _Worker(console, settings, announce, report.pictures, report.title, len(hosts) > 1)
    try:
        dft = dft_engine_of(hosts[0].engine)
        references = _references(elements, dft, given, announce)
        return worker.studies(hosts, references, _phases(compounds, dft, references, announce), out)
    except KeyboardInterrupt:
        say(console, f"interrupted; the steps so far are in {out}: go on with --resume")
        raise typer.Exit(130) from None


def _with_cases(
    names: Sequence[str], starts: Sequence[Start], wanted: DefectOptions, out: Path
) -> list[HostCases]:
    """Every host with its cases; one has the folder for itself."""
    alone = len(names) == 1
    return [
        HostCases(
            name if alone else start.label,
            start.atoms,
            wanted.cases(start.atoms),
            start.engine,
            out if alone else out / start.label,
        )
        for name, start in zip(names, starts, strict=True)
    ]


@dataclass(frozen=True)
class _Study:
    """What came out for one host."""

    result: StudyResult
    content: dict[str, Any]


@dataclass(frozen=True)
class _Worker:
    """Does the work with words on the console."""

    console: Console
    settings: StudySettings
    announce: Announce
    pictures: bool
    title: str
    several: bool

    def studies(
        self,
        hosts: Sequence[HostCases],
        references: Mapping[str, Reference],
        phases: Sequence[Compound],
        out: Path,
    ) -> list[tuple[HostCases, _Study]]:
        """Those of all hosts that did not fail."""
        if not self.several:
            return [(h, self.study(h, references, phases, self.settings)) for h in hosts]
        live = LiveStatistics(self.console, hosts, out)
        first = [replace(h, cases=first_cases(h.cases, self.settings)) for h in hosts]
        relax_all(first, references, self.settings.defects, self.announce, live.add)
        again = replace(self.settings.defects, resume=True, overwrite=False)
        done = []
        for h in hosts:
            try:
                study = self.study(h, references, phases, replace(self.settings, defects=again))
            except SchedulerLost:
                raise
            except RuntimeError as error:
                say(self.console, f"{h.label}: {error}", style="red")
                continue
            done.append((h, study))
            for defect in study.result.run.defects:  # at the chemical potentials of the study
                live.add(h, defect, told=False)
        live.finish()
        return done

    def study(
        self,
        h: HostCases,
        references: Mapping[str, Reference],
        phases: Sequence[Compound],
        settings: StudySettings,
    ) -> _Study:
        """One host, written and told."""
        dft = dft_engine_of(h.engine)
        drawing = DefectPictures(h.engine, h.folder) if self.pictures else None
        drawing_dft = DefectPictures(dft, h.folder / "dft") if self.pictures and settings.then_dft else None
        result = run_study(
            *(h.host, h.cases, h.engine, dft, references, phases, h.folder, settings, self.announce),
            *(drawing, drawing_dft),
        )
        path = write_study(result, h.engine, dft, references, h.folder)
        content = json.loads(path.read_text(encoding="utf-8"))
        _print(self.console, content, f"{self.title} in {h.label}", h.engine.kind)
        drawn = [(result.run, drawing), (result.checked, drawing_dft)]
        _report(
            self.console,
            path,
            content,
            [(run, by) for run, by in drawn if run is not None and by is not None],
        )
        for text in result.failed:
            say(self.console, text, style="red")
        return _Study(result, content)


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
