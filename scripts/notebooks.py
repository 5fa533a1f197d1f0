"""Execute the notebooks of docs/notebooks, each in an empty folder, and keep their outputs: make notebooks

    .venv/bin/python scripts/notebooks.py [NAME ...]

Needs nbclient and ipykernel (extra `mlh[docs]`). A notebook that fails is left as it was.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "notebooks"


def execute(path: Path) -> None:
    """Run one notebook and write it back with what its cells showed."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}},
            record_timing=False,
        )  # fmt: skip
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_plain, cell.outputs) if _says_something(output)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)
    seconds, size = time.perf_counter() - start, path.stat().st_size / 1e3
    sys.stdout.write(f"{path.name}: {seconds:.0f} s, {size:.0f} kB\n")


def _plain(output: Any) -> Any:
    """Without names that no other run has: of temporary folders and of objects in memory."""
    if output.output_type == "stream":
        output.text = re.sub(r"/tmp/\w+/", "", output.text)
    return output


def _says_something(output: Any) -> bool:
    """Progress that went away again leaves an empty output."""
    if output.output_type == "stream":
        return bool(output.text.strip())
    data = output.get("data", {})
    text = "".join(data.get("text/html", data.get("text/plain", "")))
    return "image/png" in data or bool(re.sub(r"<[^>]*>", "", text).strip())


if __name__ == "__main__":
    for name in sys.argv[1:] or [path.stem for path in sorted(FOLDER.glob("*.ipynb"))]:
        execute(FOLDER / f"{name}.ipynb")
