"""`mlh defect` of several hosts: the statistics while results come in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mlh.common.files import write_json
from mlh.common.terminal import say
from mlh.defects.hosts import HostCases
from mlh.defects.run import RelaxedDefect
from mlh.defects.statistics import Value, by_name, describe_statistics
from mlh.structures.defect_names import charge_text

STATISTICS = "statistics.json"


class LiveStatistics:
    """Formation energies as they come in: a line on the console, and the file, after each."""

    def __init__(self, console: Console, hosts: Sequence[HostCases], out: Path) -> None:
        self._console, self._out = console, out
        self._left = sum(len(h.cases) for h in hosts)
        self._numbers = {h.label: _numbers(h) for h in hosts}
        self._values: dict[tuple[str, str], Value] = {}

    @property
    def content(self) -> dict[str, Any]:
        """Everything so far."""
        return describe_statistics(list(self._values.values()))

    def add(self, h: HostCases, defect: RelaxedDefect, told: bool = True) -> None:
        """One more, or one that is known already."""
        case = defect.case
        name = f"{case.defect.name}_{charge_text(case.charge)}"
        number = self._numbers[h.label][str(case)]
        length = float(h.host.cell.volume) ** (1.0 / 3.0)
        value = Value(name, h.label, len(h.host), length, number, defect.formation_energy)
        self._left -= (h.label, str(case)) not in self._values
        self._values[h.label, str(case)] = value
        if not told:
            return
        from mlh.report.statistics_figure import live_line  # late: it loads matplotlib

        self.write()
        if name in by_name([value]):
            say(self._console, live_line(name, self.content[name], self._left), style="bold")

    def write(self) -> Path:
        """statistics.json."""
        self._out.mkdir(parents=True, exist_ok=True)
        path = self._out / STATISTICS
        write_json(path, self.content)
        return path

    def finish(self) -> None:
        """Table, file and picture."""
        from mlh.report.plots import save_figure
        from mlh.report.statistics_figure import statistics_figure, statistics_table

        path, content = self.write(), self.content
        if not content:
            return
        self._console.print(statistics_table(content))
        picture = path.with_suffix(".png")
        save_figure(statistics_figure(content), picture)
        say(self._console, f"written: {path}, {picture}")


def _numbers(h: HostCases) -> dict[str, int]:
    """Of every case among those of its name and charge."""
    counts: dict[tuple[str, int], int] = {}
    numbers = {}
    for case in h.cases:
        key = str(case.defect.name), case.charge
        counts[key] = counts.get(key, 0) + 1
        numbers[str(case)] = counts[key]
    return numbers
