"""Tables and a picture of equations of state against the verification set."""

from __future__ import annotations

from collections.abc import Sequence

from mlh.report.figure import Figure
from mlh.report.fitted_table import FittedTable
from mlh.verification.run import Score, VerificationResult

_COLOURS = {"unaries": "#1f4e79", "oxides": "#c1440e"}
GOOD, EXCELLENT = 0.20, 0.06
"""Of epsilon: agreement, and agreement as that of the two all-electron codes."""


def acwf_table(results: Sequence[VerificationResult], title: str) -> FittedTable:
    """One row per crystal."""
    headers = ("crystal", "epsilon", "nu", "V0, %", "B0, %", "CP2K", "SIESTA", "ABINIT", "s")
    return FittedTable(headers, [_cells(result) for result in results], title)


def _cells(result: VerificationResult) -> list[str]:
    others = [
        f"{result.others[code]:.2f}" if code in result.others else "" for code in ("CP2K", "SIESTA", "ABINIT")
    ]
    if result.fitted is None:
        return [result.name, "none", "", "", "", *others, f"{result.seconds:.0f}"]
    return [
        result.name,
        f"{result.epsilon:.3f}",
        f"{result.nu:.2f}",
        f"{result.volume_error:+.2f}",
        f"{result.modulus_error:+.1f}",
        *others,
        f"{result.seconds:.0f}",
    ]


def score_lines(scores: Sequence[Score]) -> list[str]:
    """What a set comes to, in a sentence each."""
    lines = []
    for s in scores:
        others = ", ".join(f"{code} {value:.2f}" for code, value in s.others.items())
        lines.append(
            f"{s.kind}: median epsilon {s.epsilon:.3f}, nu {s.nu:.2f}; volume {s.volume_mean:+.2f} % on "
            f"average, {s.volume_largest:+.2f} % at most; {s.n} crystals"
            + (f"; epsilon of published codes for them: {others}" if others else "")
            + (f"; {s.missing} WITHOUT an equation of state" if s.missing else "")
        )
    return lines


def acwf_figure(results: Sequence[VerificationResult], title: str) -> Figure:
    """epsilon and the error of the volume of every crystal."""
    good = [result for result in results if result.fitted is not None]
    figure = Figure(figsize=(max(6.0, 1.5 + 0.22 * len(good)), 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    places = range(len(good))
    colours = [_COLOURS[result.kind] for result in good]
    above.bar(places, [result.epsilon or 0.0 for result in good], color=colours)
    above.plot(places, [r.others.get("CP2K", float("nan")) for r in good], "k_", label="CP2K, TZV2P, GTH")
    above.plot(
        places, [r.others.get("SIESTA", float("nan")) for r in good], "kx", ms=4, label="SIESTA, PseudoDojo"
    )
    for value in (GOOD, EXCELLENT):
        above.axhline(value, color="0.6", lw=0.8, zorder=0)
    above.set_ylabel("epsilon")
    above.legend(fontsize=8)
    below.bar(places, [result.volume_error or 0.0 for result in good], color=colours)
    below.axhline(0.0, color="0.6", lw=0.8)
    below.set_ylabel("error of V0 (%)")
    below.set_xticks(list(places), [result.name for result in good], rotation=90, fontsize=7)
    figure.suptitle(title, fontsize=10)
    return figure
