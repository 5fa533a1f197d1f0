"""Files are complete or absent, whatever happens while they are written."""

import json
import os
from pathlib import Path

import pytest

from mlh.common.files import complete_or_absent, refuse_existing, write_json, write_text


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(KeyboardInterrupt), complete_or_absent(path) as temporary:
        temporary.write_text("half")
        assert str(os.getpid()) in temporary.name  # processes that write the same file do not meet
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_existing_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    refuse_existing([path, None])
    write_text(path, "x")
    refuse_existing([path], overwrite=True)
    with pytest.raises(FileExistsError, match=r"b\.txt: exists; choose another name or overwrite it"):
        refuse_existing([None, path])
