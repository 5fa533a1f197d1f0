"""`mlh relax` of several structures: each in a folder of its own, beside each other or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mlh.commands.job_options import JobOptions
from mlh.commands.several import Start
from mlh.common.files import require_place
from mlh.common.terminal import say
from mlh.relaxation.files import summary
from mlh.relaxation.jobs import RelaxJob, RelaxJobs, refuse_finished
from mlh.relaxation.loop import RelaxSettings
from mlh.report.steps import StepPrinter, outcome


def relax_many(
    console: Console,
    starts: Sequence[Start],
    out: Path,
    settings: RelaxSettings,
    jobs: JobOptions,
    resume: bool,
    overwrite: bool,
) -> tuple[dict[str, Any], bool]:
    """Summaries by label, and whether all of them converged; what fails does not stop the others."""
    require_place(out)
    work = [RelaxJob(s.label, out / s.label, s.atoms, s.engine) for s in starts]
    if not (resume or overwrite):
        refuse_finished([job.folder for job in work])
    for start in starts:
        start.engine.calculator().check_elements(start.atoms)

    def announce(title: str) -> StepPrinter:
        label = title if jobs.side_by_side else ""
        return StepPrinter(console, title, settings.fmax, label=label, settings=settings)

    runner = RelaxJobs(None, settings, resume, overwrite)
    results, failures = runner.run_all(work, jobs.processes, announce, executor=jobs.executor())
    content: dict[str, Any] = {}
    for start in starts:
        if start.label in results:
            result = results[start.label]
            say(console, f"{start.label}: {outcome(result)}")
            content[start.label] = {"folder": str(out / start.label), **summary(result)}
        else:
            say(console, f"{start.label} failed: {failures[start.label]}", style="red")
            content[start.label] = {"folder": str(out / start.label), "failed": failures[start.label]}
    return content, not failures and all(result.converged for result in results.values())
