"""`mlh accuracy`: a model against DFT on unseen hosts and vacancies, with and without relaxation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlh.commands.defect_options import parse_sites
from mlh.commands.expand import expanded
from mlh.commands.job_options import JobOptions
from mlh.commands.memory import require_memory
from mlh.commands.theory_options import MeshOptions, SolverOptions
from mlh.common.files import write_text
from mlh.common.terminal import say, terminal
from mlh.defects.run import DFTStart
from mlh.relaxation.loop import RelaxSettings
from mlh.report.steps import StepPrinter
from mlh.structures import load_structure

if TYPE_CHECKING:
    from mlh.accuracy.protocol import Group
    from mlh.relaxation.jobs import Announce
    from mlh.report.figure import Figure

_EXAMPLE = "Example: mlh accuracy asio2_96_seed5 --model sio2-vo --sites 2 --relax --paper --out accuracy"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command("accuracy", epilog=_EXAMPLE)(expanded(accuracy_command))


def accuracy_command(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Model file or shipped name.")],
    mesh: MeshOptions,
    solver: SolverOptions,
    jobs: JobOptions,
    hosts: Annotated[
        list[str] | None, typer.Argument(help="Hosts: files, crystals or shipped structures.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Several studies of a YAML file, or 'paper', in place of hosts (docs/accuracy.md)."
        ),
    ] = None,
    species: Annotated[str, typer.Option(help="Element of the vacancies.")] = "O",
    sites: Annotated[
        str, typer.Option(help="Per host: all, inequivalent, a number drawn at random, or index:4,17.")
    ] = "2",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    refine: Annotated[str, typer.Option(help="Refining steps at equal geometries, such as 0,1.")] = "0,1",
    relax: Annotated[bool, typer.Option("--relax", help="Also relax hosts and vacancies by both.")] = False,
    relax_refine: Annotated[str, typer.Option(help="Refining steps of relaxations, such as 1.")] = "1",
    dft_start: Annotated[
        DFTStart, typer.Option(help="DFT relaxes from; relaxed: the model's minima (fewer steps).")
    ] = "initial",
    fmax: Annotated[float, typer.Option(help="Largest force at the end, eV/Angstrom.")] = 0.02,
    max_steps: Annotated[int, typer.Option(help="Give up after this many steps.")] = 300,
    cutoff: Annotated[float | None, typer.Option(help="Grid cutoff, Ry; default: the model's.")] = None,
    smearing: Annotated[
        float | None, typer.Option(help="Width of the occupations, eV; default: integer occupations.")
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Beside the numbers of arXiv 2604.07197 (a-SiO2).")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for all files.")] = Path("accuracy"),
    as_json: Annotated[bool, typer.Option("--json", help="Print accuracy.json.")] = False,
) -> None:
    """Errors of a model against DFT: Hamiltonian, density, energy, forces at equal geometries, and with
    --relax energies, structures and formation energies of relaxations.

    Writes accuracy.md, accuracy.json and accuracy.png after every part. The same command goes on where it
    stopped.
    """
    from mlh.accuracy.protocol import Group, load_protocol
    from mlh.accuracy.study import SUMMARY, AccuracySettings
    from mlh.report.accuracy import accuracy_figure, accuracy_markdown  # late: it loads matplotlib
    from mlh.report.protocol import protocol_figure

    _refuse_beside(context, hosts, protocol)
    settings = AccuracySettings(
        species=species,
        sites=parse_sites(sites),
        seed=seed,
        refine=_numbers(refine, "--refine"),
        relax=relax,
        relax_refine=_numbers(relax_refine, "--relax-refine"),
        limits=RelaxSettings(fmax=fmax, max_steps=max_steps),
        dft_start=dft_start,
        processes=jobs.processes,
        executor=jobs.executor(),
        kpts=mesh.mesh(),
        cutoff_ry=cutoff,
        smearing_ev=smearing,
        solver=solver.solver(),
    )
    one = Group("", tuple(hosts or ()), settings)
    title, groups = ("", (one,)) if protocol is None else load_protocol(protocol, settings)
    for group in groups:
        for name in group.hosts:
            engine = group.settings.engine(model)
            require_memory(load_structure(name), engine, solver.beyond_memory, jobs.here)
    figure = accuracy_figure if protocol is None else partial(protocol_figure, paper=paper)
    content = _run(partial(_work, title, groups, model, out), figure, out, paper, jobs.side_by_side)
    typer.echo(json.dumps(content, indent=2) if as_json else accuracy_markdown(content, paper))
    say(terminal(), f"written: {out / 'accuracy.md'}, {out / SUMMARY}, {out / 'accuracy.png'}")
    if content["failures"]:
        raise typer.Exit(1)


def _work(
    title: str,
    groups: Sequence[Group],
    model: str,
    out: Path,
    announce: Announce,
    on_part: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """The one study of the command line (a group without a name), or a protocol."""
    from mlh.accuracy.protocol import run_protocol
    from mlh.accuracy.study import run_accuracy

    if groups[0].name:
        return run_protocol(title, groups, model, out, announce, on_part)
    return run_accuracy(groups[0].hosts, model, out, groups[0].settings, announce, on_part)


def _run(
    work: Callable[[Announce, Callable[[Mapping[str, Any]], None]], dict[str, Any]],
    figure: Callable[[Mapping[str, Any]], Figure],
    out: Path,
    paper: bool,
    side_by_side: bool,
) -> dict[str, Any]:
    """accuracy.json, with page and picture after every part."""
    from mlh.report.accuracy import accuracy_markdown  # late: it loads matplotlib
    from mlh.report.plots import save_figure

    console, start = terminal(), time.perf_counter()

    def announce(title: str) -> StepPrinter:
        minutes = (time.perf_counter() - start) / 60.0
        label = title.rsplit(" ", 1)[-1] if side_by_side else ""
        return StepPrinter(console, f"[{minutes:5.1f} min] {title}", label=label)

    def write(content: Mapping[str, Any]) -> None:
        write_text(out / "accuracy.md", accuracy_markdown(content, paper))
        if content["points"]:
            save_figure(figure(content), out / "accuracy.png")

    try:
        return work(announce, write)
    except KeyboardInterrupt:
        say(console, f"interrupted; what is finished is in {out}: the same command goes on from there")
        raise typer.Exit(130) from None


def _refuse_beside(context: typer.Context, hosts: list[str] | None, protocol: str | None) -> None:
    """Hosts or a protocol; what the groups of a protocol say cannot be said on the command line."""
    from mlh.accuracy.protocol import GroupConfig

    if (protocol is None) == (not hosts):
        got = "neither" if protocol is None else f"{', '.join(hosts or ())} and --protocol {protocol!r}"
        raise typer.BadParameter(f"expected hosts or --protocol, not both, got {got}", param_hint="HOSTS")
    sources = {
        name: context.get_parameter_source(name) for name in GroupConfig.model_fields if name != "hosts"
    }
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if protocol is not None and given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise typer.BadParameter(
            f"the protocol says {options} of each of its groups", param_hint="--protocol"
        )


def _numbers(text: str, option: str) -> tuple[int, ...]:
    """0,1 -> (0, 1)."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise typer.BadParameter(f"expected numbers such as 0,1, got {text!r}", param_hint=option)
    return tuple(sorted({int(part) for part in parts}))
