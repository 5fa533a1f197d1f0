"""`mlh dataset`: label structures with DFT into one HDF5 data set, and look into one."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeElapsedColumn

from mlh.basis.families import family_of
from mlh.commands.dataset_export import EXPORT_EXAMPLE, export_command
from mlh.commands.dataset_select import SELECT_EXAMPLE, select_command
from mlh.commands.expand import expanded
from mlh.commands.openmx import IMPORT_EXAMPLE, import_command
from mlh.common.files import refuse_picture
from mlh.common.terminal import Words, bar, clock_text, say, terminal
from mlh.jobs.dask import DaskExecutor
from mlh.labelling.build import BuildError, BuildReport, build_dataset
from mlh.labelling.config import DatasetConfig, load_config
from mlh.labelling.plan import plan
from mlh.labelling.progress import BuildProgress
from mlh.report.tables import dataset_table

_BUILD_EXAMPLE = "Example: mlh dataset build examples/sio2_vacancies.yaml --out sio2.h5"
_MERGE_EXAMPLE = "Example: mlh dataset merge hosts.h5 vacancies.h5 --out sio2.h5"
_INFO_EXAMPLE = "Example: mlh dataset info sio2.h5 --plot sio2.png"


def register(app: typer.Typer) -> None:
    """Add the command group to an application."""
    group = typer.Typer(help="Build data sets of DFT Hamiltonians and look into them.", no_args_is_help=True)
    group.command("build", epilog=_BUILD_EXAMPLE)(expanded(build_command))
    group.command("select", epilog=SELECT_EXAMPLE)(expanded(select_command))
    group.command("check", epilog="Example: mlh dataset check sio2.h5")(expanded(check_command))
    group.command("info", epilog=_INFO_EXAMPLE)(expanded(info_command))
    group.command("merge", epilog=_MERGE_EXAMPLE)(expanded(merge_command))
    group.command("export", epilog=EXPORT_EXAMPLE)(expanded(export_command))
    group.command("import-openmx", epilog=IMPORT_EXAMPLE)(expanded(import_command))
    app.add_typer(group, name="dataset")


def build_command(
    config: Annotated[Path, typer.Argument(help="YAML file, or a shipped one: examples/sio2_hosts.yaml.")],
    out: Annotated[Path | None, typer.Option(help="HDF5 file; default: NAME.h5 here.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Calculations at the same time.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each calculation.")] = 1,
    dask: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that runs the calculations instead.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what was set aside.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the HDF5 file.")] = False,
    openmx_data: Annotated[
        Path | None, typer.Option(help="OpenMX database of `basis: openmx`; default: MLH_OPENMX_DATA.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the calculations.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run every calculation of CONFIG and write the data set.

    Can be interrupted (Ctrl-C, kill) and started again at any time: finished calculations are kept in
    NAME.h5.jobs and never repeated. Unconverged calculations are set aside with the reason: the data set of
    the others is written, and the exit status is 1.
    """
    console = terminal()
    settings = load_config(config)
    if openmx_data is not None:
        _use_database(openmx_data, settings)
    target = out or Path(f"{settings.name}.h5")
    if dry_run:
        _show_plan(settings, as_json)
        return
    executor = DaskExecutor(dask) if dask is not None else None
    if executor is not None:
        executor.check()
    start = time.perf_counter()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _progress(console) as progress:
            report = build_dataset(
                settings,
                target,
                processes=processes,
                threads=threads,
                executor=executor,
                overwrite=overwrite,
                retry_failed=retry_failed,
                on_progress=_Shower(progress),
            )
    except KeyboardInterrupt:
        say(
            console,
            f"interrupted after {time.perf_counter() - start:.0f} s; the same command goes on from here",
        )
        raise typer.Exit(130) from None
    except BuildError as error:
        report = error.report
    _tell(console, report)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "path": str(report.path)}, indent=2))
    if report.failed or not report.n_samples:
        raise typer.Exit(1)


def _use_database(folder: Path, settings: DatasetConfig) -> None:
    """The files of the basis are in this folder, also for the processes that calculate."""
    from mlh.openmx.basis import DATA_VARIABLE

    if family_of(settings.engine.basis) is not family_of("openmx"):
        raise ValueError(f"--openmx-data: expected `basis: openmx`, got {settings.engine.basis}")
    os.environ[DATA_VARIABLE] = str(folder)


def _show_plan(settings: DatasetConfig, as_json: bool) -> None:
    """The calculations of a configuration."""
    rows = [(job.id, job.atoms.get_chemical_formula(), job.n_calculations) for job in plan(settings)]
    if as_json:
        keys = ("id", "formula", "n_calculations")
        typer.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return
    for name, formula, count in rows:
        typer.echo(f"{name}  {formula}  up to {count} SCF")


def _tell(console: Console, report: BuildReport) -> None:
    """What was set aside, and what is in the data set."""
    for name, reason in report.failed.items():
        say(console, f"set aside {name}: {reason}", style="yellow")
    counts = f"{len(report.failed)} of {report.n_jobs} set aside; {report.seconds:.0f} s"
    if report.n_samples:
        done = report.n_jobs - len(report.failed)
        say(console, f"{report.n_samples} samples of {done} calculations in {report.path}; {counts}")
    else:
        say(console, f"no calculation succeeded, {report.path} is not written; {counts}", style="red")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A polite kill ends a build as Ctrl-C does."""
    raise KeyboardInterrupt


def check_command(path: Annotated[Path, typer.Argument(help="HDF5 data set.")]) -> None:
    """Read every sample and verify its checksum; status 1 when something is damaged or incomplete."""
    from mlh.dataset.store import Dataset  # late: it loads torch

    with Dataset(path) as data:
        problems, count = data.verify(), len(data)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{path}: {count} samples, all complete and undamaged")


def merge_command(
    sources: Annotated[list[Path], typer.Argument(help="HDF5 data sets of one basis and level of theory.")],
    out: Annotated[Path, typer.Option(help="HDF5 file.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the HDF5 file.")] = False,
) -> None:
    """Put the samples of several data sets into a new one; a sample that occurs twice is taken once."""
    from mlh.dataset.merge import merge_datasets  # late: it loads torch

    report = merge_datasets(sources, out, overwrite=overwrite)
    repeated = f"; {report.n_repeated} more were repetitions" if report.n_repeated else ""
    typer.echo(f"{report.n_samples} samples in {report.path}{repeated}")


def info_command(
    path: Annotated[Path, typer.Argument(help="HDF5 data set.")],
    plot: Annotated[Path | None, typer.Option(help="Also draw the distributions, to this picture.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say what is in a data set and whether it is fit for training.

    Counts, composition matrix, distributions of the labels, |dH| by kind of block, neighbors, outliers, and
    the hashes of the splits 8:1:1 by host, by trajectory and at random.
    """
    from mlh.dataset.report import dataset_report  # late: it loads torch

    refuse_picture(plot, overwrite)
    report = dataset_report(path)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        terminal(stderr=False).print(dataset_table(report))
    if plot is not None and report["samples"]:
        from mlh.report.dataset_plots import dataset_figure
        from mlh.report.plots import save_figure

        save_figure(dataset_figure(report), plot)
    for warning in report["warnings"]:
        say(terminal(), f"warning: {warning}", style="yellow")


def _progress(console: Console) -> Progress:
    return bar(
        console,
        Words(lambda task: str(task.fields["counts"]), style="bold"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        Words(lambda task: f"left {task.fields['left']}"),
        Words(lambda task: task.description),
        transient=False,
    )


class _Shower:
    """Shows build progress: a live bar on a terminal, one line per event in a log file."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=1.0, counts="", left="?")

    def __call__(self, state: BuildProgress) -> None:
        left = "?" if state.seconds_left is None else clock_text(state.seconds_left)
        counts = f"{state.finished}/{state.n_jobs}" + (f" ({state.failed} set aside)" if state.failed else "")
        self._progress.update(
            self._task, completed=state.fraction, description=state.message, counts=counts, left=left
        )
        console = self._progress.console
        if not console.is_terminal:
            say(console, f"{counts} {100 * state.fraction:.0f}% left {left} {state.message}")
