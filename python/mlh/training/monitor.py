"""What a training shows: a live bar, a line per evaluation, log.jsonl, learning_curve.png, warnings."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TimeElapsedColumn

from mlh.accuracy.metrics import Metrics
from mlh.common.terminal import Words, bar, say

LEARNS = 0.95  # the validation MAE has to fall below this times that of the fitted means
PATIENCE = 0.1  # part of the run after which that is checked
RISE = 1.2  # a validation MAE above this times its best while the training MAE falls: over-fitting


class Monitor:
    """Progress of one run for people (console) and machines (log.jsonl)."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.console = folder, console
        self.log_path = folder / "log.jsonl"
        self.means_mae = math.inf
        self._told: set[str] = set()
        self._bar = bar(
            console,
            Words(lambda t: f"step {t.fields['step']}  training MAE {t.fields['mae']:.4f} meV"),
            BarColumn(),
            Words(lambda t: f"{t.percentage:.0f} %  {t.fields['left']}"),
            TimeElapsedColumn(),
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, step=0, mae=math.nan, left="")

    def __enter__(self) -> Monitor:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def header(self, text: str, means: Metrics) -> None:
        """First line: the data, and the errors that training has to beat."""
        self.means_mae = means.mae_mev
        say(
            self.console,
            f"{text}; validation MAE of dH = 0: {means.zero_mae_mev:.3f} meV, "
            f"of the fitted means: {means.mae_mev:.3f} meV",
        )

    def step(self, step: int, mae: float, progress: float, minutes_left: float) -> None:
        """After every step."""
        left = f"{minutes_left:.1f} min left" if math.isfinite(minutes_left) else ""
        self._bar.update(self._task, completed=progress, step=step, mae=mae, left=left)

    def evaluation(self, entry: dict[str, Any], m: Metrics, minutes_left: float) -> None:
        """After an evaluation; entry: step, minutes, learning_rate, train_mae_mev."""
        with open(self.log_path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({**entry, **m.as_dict()}) + "\n")
        aligned = f", aligned {m.aligned_mae_mev:.4f}" if m.aligned_mae_mev is not None else ""
        say(
            self.console,
            f"step {entry['step']:6d}  {entry['minutes']:6.1f} min  train {entry['train_mae_mev']:8.4f}  "
            f"validation MAE {m.mae_mev:8.4f} meV (on-site {m.onsite_mae_mev:.3f}, "
            f"off-site {m.offsite_mae_mev:.4f}{aligned})  "
            f"rate {entry['learning_rate']:.1e}  {minutes_left:.1f} min left",
        )

    def warn(self, progress: float, train_mae: float, validation_mae: float, best: float) -> None:
        """Say early, and once, when the training does not learn or only learns its samples by heart."""
        if progress >= PATIENCE and validation_mae > LEARNS * self.means_mae:
            self._once(
                "learn",
                f"not learning: the validation MAE {validation_mae:.3f} meV is not below that of the fitted "
                f"means, {self.means_mae:.3f} meV, after {100 * progress:.0f} % of the run; lower "
                "optimizer.learning_rate, look at the data (mlh.dataset.report), or train longer",
            )
        if validation_mae > RISE * best and train_mae < best:
            self._once(
                "overfit",
                f"the validation MAE {validation_mae:.3f} meV has risen above its best, {best:.3f}, while "
                f"the training MAE is {train_mae:.3f} meV: more data or a smaller network would help",
            )

    def _once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            say(self.console, text, style="yellow")

    def rows(self) -> list[dict[str, Any]]:
        """The log so far."""
        if not self.log_path.exists():
            return []
        return [json.loads(line) for line in self.log_path.read_text(encoding="utf-8").splitlines()]

    def forget_after(self, step: int) -> None:
        """Drop rows of the log past `step`: a killed run goes on from its last checkpoint, which is older."""
        rows = self.rows()
        kept = [row for row in rows if row["step"] <= step]
        if len(kept) < len(rows):
            self.log_path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def plot(self) -> None:
        """learning_curve.png from the log."""
        rows = self.rows()
        if not rows:
            return
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.5, 3.6), layout="constrained")
        axes = figure.subplots()
        steps = [row["step"] for row in rows]
        axes.semilogy(steps, [row["train_mae_mev"] for row in rows], label="training")
        axes.semilogy(steps, [row["mae_mev"] for row in rows], label="validation")
        axes.semilogy(steps, [row["onsite_mae_mev"] for row in rows], ":", label="validation, on-site")
        axes.semilogy(steps, [row["offsite_mae_mev"] for row in rows], ":", label="validation, off-site")
        axes.set_xlabel("step")
        axes.set_ylabel("MAE of dH (meV)")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="small")
        figure.savefig(self.folder / "learning_curve.png", dpi=150)
