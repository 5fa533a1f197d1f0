"""The notebooks: executed, small, without errors; the quickest runs here, of the others the imports."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    """The code cells of a notebook."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["cells"][0]["cell_type"]) == (4, "markdown")
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_they_are_there() -> None:
    assert {"defect", "model", "training"} <= {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_executed(path: Path) -> None:
    """From top to bottom, without an error, with pictures and tables; `make notebooks` writes it."""
    assert path.stat().st_size < 500_000
    code = cells(path)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds
    text = json.dumps(outputs)
    assert "Warning" not in text and "/work/" not in text and "/tmp/" not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_imports_of_a_notebook(path: Path) -> None:
    """Every name that it imports is there, and every cell is Python."""
    for cell in cells(path):
        tree = ast.parse(source(cell))
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), path.name, "exec"), {})


def test_the_first_notebook_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is, on quartz in place of the glass; the last value of a cell has something to show."""
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    scope: dict[str, Any] = {}
    shown: list[object] = []
    for cell in cells(ROOT / "docs" / "notebooks" / "model.ipynb"):
        tree = ast.parse(source(cell).replace("asio2_48_b", "alpha-quartz"))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "model.ipynb", "exec"), scope)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), "model.ipynb", "eval"), scope))
    assert len([value for value in shown if hasattr(value, "_repr_html_") or hasattr(value, "savefig")]) == 3
    assert scope["energy"] < -2900.0 and "gap 6" in capsys.readouterr().out
