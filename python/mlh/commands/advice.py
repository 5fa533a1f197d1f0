"""Advice in options: the library names its parameters ("smear them (smearing_ev=0.1)"), and somebody at the
command line reads what to type ("smear them (--smearing 0.1)").

Only options that the running command has are put in place of parameters.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlh.common.terminal import say, terminal

PARAMETERS = {
    "kpts": "--kpts",
    "gamma=False": "--monkhorst-pack",
    "spin": "--spin",
    "total_moment": "--total-moment",
    "charge": "--charge",
    "dispersion": "--dispersion",
    "spin_states": "--spin-states",
    "smearing_ev": "--smearing",
    "cutoff_ry": "--cutoff",
    "index": "--index",
    "data_dir": "--openmx-data",
}
"""Parameters of the library whose option means the same in every command that has it."""

OWN: dict[str, dict[str, str]] = {
    "scf": {
        "max_scf_steps": "--max-steps",  # elsewhere --max-steps counts steps of a relaxation
        "energy_tol_ev": "--energy-tol",
        "residual_tol_ev": "--residual-tol",
    },
    "defect": {
        **{
            name: f"--{name}"
            for name in ("reference", "dielectric", "conditions", "defect", "sites", "resume")
        },
        **{"then_dft": "--then-dft", "charge": "--charges"},
    },
    "ccd": {"charge": "--charges", "points": "--points", "extend": "--extend"},
    "vacancies": {"defect": "--defect", "sites": "--sites"},
    "train": {"overrides": "--set"},
    "openmx-input": {"data_dir": "--data"},
    "dataset import-openmx": {"data_dir": "--data"},
}
"""Parameters that are options of one command only."""


def in_options(text: str, names: Mapping[str, str]) -> str:
    """The text with options in place of parameters: `name: ...` at the start, `(name)`, `name=value`."""
    for name, option in names.items():
        word = re.escape(name)
        if "=" in name:
            text = re.sub(rf"\b{word}\b", option, text)
            continue
        text = re.sub(rf"^{word}(?=: )|(?<=\(){word}(?=[),;])", option, text)
        text = re.sub(rf"(?<![\w.]){word}=True\b", option, text)
        text = re.sub(rf"(?<![\w.]){word}=(?=[\d.])", f"{option} ", text)
    return text


def names_of(root: Any, words: Sequence[str]) -> Mapping[str, str]:
    """What `in_options` may say to the command (of typer) that the words of a command line name."""
    command, path = root, []
    while hasattr(command, "commands"):
        name = next((word for word in words if word in command.commands), None)
        if name is None:
            break
        path.append(name)
        words, command = words[words.index(name) + 1 :], command.commands[name]
    options = {option for parameter in command.params for option in parameter.opts}
    common = {name: option for name, option in PARAMETERS.items() if option in options}
    return {**common, **OWN.get(" ".join(path), {})}


class AdviceFormatter(logging.Formatter):
    """The messages of the library in options."""

    def __init__(self, names: Callable[[], Mapping[str, str]]) -> None:
        super().__init__()
        self._names = names

    def format(self, record: logging.LogRecord) -> str:
        """As the standard one."""
        return in_options(super().format(record), self._names())


class _TerminalHandler(logging.Handler):
    """Lines of the log on the terminal, above what moves there."""

    def emit(self, record: logging.LogRecord) -> None:
        """One message."""
        say(terminal(), self.format(record))


def log_in_options(names: Callable[[], Mapping[str, str]]) -> None:
    """Warnings of the library go to standard error in options."""
    handler = _TerminalHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(AdviceFormatter(names))
    logging.getLogger("mlh").addHandler(handler)
