"""Defects of several hosts: all relaxations as one list of jobs, before each host's study reads them back.

A study (`mlh.defects.study`) of a host whose relaxations are done already calculates none of them again; so
that workers are never idle between two hosts, all hosts are relaxed at the same time, then all defects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase

from mlh.calculators.engines import Engine
from mlh.defects.cases import DefectCase
from mlh.defects.references import Reference
from mlh.defects.run import (
    DefectSettings,
    RelaxedDefect,
    defect_job,
    defect_runner,
    defect_starts,
    engines_of,
    host_job,
    host_runner,
    relaxed_defect,
)
from mlh.relaxation.jobs import Announce, RelaxJob
from mlh.relaxation.loop import RelaxResult


@dataclass(frozen=True)
class HostCases:
    """A host, what is calculated in it, by what, and where."""

    label: str
    host: ase.Atoms
    cases: tuple[DefectCase, ...]
    engine: Engine
    folder: Path


OnDefect = Callable[[HostCases, RelaxedDefect], None]
"""Called with every defect that is relaxed, as soon as it is known."""


def relax_all(
    hosts: Sequence[HostCases],
    references: Mapping[str, Reference],
    settings: DefectSettings,
    announce: Announce,
    on_defect: OnDefect,
) -> dict[str, str]:
    """All hosts, then all defects of those that were relaxed; reasons of failures by title, the host first:
    "glass-a: host". What failed is tried once more by the study of its host."""
    jobs = {f"{h.label}: host": h for h in hosts}
    found, failures = host_runner(settings).run_all(
        [host_job(title, h.host, h.engine, h.folder) for title, h in jobs.items()],
        settings.processes,
        announce,
        executor=settings.executor,
    )
    relaxed = {h.label: found[title] for title, h in jobs.items() if title in found}
    return failures | _relax_defects(hosts, relaxed, references, settings, announce, on_defect)


def _relax_defects(
    hosts: Sequence[HostCases],
    relaxed: Mapping[str, RelaxResult],
    references: Mapping[str, Reference],
    settings: DefectSettings,
    announce: Announce,
    on_defect: OnDefect,
) -> dict[str, str]:
    jobs: list[RelaxJob] = []
    known: dict[str, tuple[HostCases, DefectCase, ase.Atoms]] = {}
    for h in hosts:
        if h.label not in relaxed:
            continue
        engines = engines_of(h.engine, h.cases)
        for case, start in defect_starts(h.host, relaxed[h.label], h.cases, settings.start).items():
            title = f"{h.label}: {case}"
            known[title] = h, case, start
            engine, host = engines[case.charge], relaxed[h.label].atoms
            jobs.append(defect_job(title, case, start, engine, host, h.folder, settings))

    def done(job: RelaxJob, result: RelaxResult) -> None:
        h, case, start = known[job.title]
        on_defect(h, relaxed_defect(relaxed[h.label], case, start, result, references, settings))

    runner = defect_runner(settings)
    return runner.run_all(jobs, settings.processes, announce, executor=settings.executor, on_done=done)[1]
