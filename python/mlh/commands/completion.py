"""What a shell may offer in place of an argument (`mlh --install-completion`); nothing large is imported."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def model_names(incomplete: str) -> list[str]:
    """Shipped models; files are offered by the shell where none fits."""
    folder = Path(str(files("mlh") / "data" / "models"))
    return [path.stem for path in sorted(folder.glob("*.npz")) if path.stem.startswith(incomplete)]
