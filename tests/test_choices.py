"""Names to choose from: one list each, which libraries check and command lines show."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import pytest
from typer.testing import CliRunner

from mlh.analysis.density import DensityKind
from mlh.commands.cli import app
from mlh.common.choices import check_choice
from mlh.defects.run import DefectSettings
from mlh.dft.theory import FUNCTIONALS
from mlh.relaxation.loop import CellChange, RelaxSettings
from mlh.solver.occupations import SMEARINGS

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"


def test_a_name_that_is_none_of_the_list_is_refused() -> None:
    check_choice("axis", "a", Literal["a", "b", "c"])
    with pytest.raises(ValueError, match="axis: expected 'a', 'b' or 'c', got 'd'"):
        check_choice("axis", "d", Literal["a", "b", "c"])
    with pytest.raises(ValueError, match="cell: expected 'fixed', 'volume' or 'full', got 'shape'"):
        RelaxSettings(cell="shape")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="verify_start: expected 'initial' or 'relaxed', got 'here'"):
        DefectSettings(verify_start="here")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "option", "names"),
    [
        ("relax alpha-quartz", "--cell", get_args(CellChange)),
        ("density alpha-quartz", "--kind", get_args(DensityKind)),
        ("scf alpha-quartz", "--xc", FUNCTIONALS),
        ("scf alpha-quartz", "--smearing-type", SMEARINGS),
        ("evaluate sio2-vo data.h5", "--part", ("all", "train", "validation", "test", "each")),
    ],
)
def test_commands_show_and_check_the_lists_of_the_library(
    command: str, option: str, names: tuple[str, ...]
) -> None:
    refused = CliRunner().invoke(app, [*command.split(), option, "nothing"], env={"COLUMNS": "200"})
    assert refused.exit_code == 2 and ", ".join(repr(name) for name in names) in refused.output
    shown = "|".join(names)
    assert f"`{option} {shown}`" in PAGE.read_text(encoding="utf-8")
