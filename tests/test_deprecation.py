"""What will go is said with its versions, stands on the page of changes, and goes when it was promised."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from mlh.commands.deprecated import ALL, GAMMA
from mlh.commands.theory_options import MeshOptions
from mlh.common.deprecation import CHANNELS
from mlh.common.version import VERSION
from mlh.training.config import load_config

ROOT = Path(__file__).resolve().parent.parent


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))[:2]


def test_the_page_has_all_of_them() -> None:
    page = (ROOT / "docs" / "changes.md").read_text(encoding="utf-8").replace("`", "")
    rows = re.findall(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \| (.+) \|$", page, re.M)
    assert rows == [(d.name, d.since, d.gone, d.instead) for d in ALL]


def test_what_is_due_is_gone() -> None:
    for deprecated in ALL:
        assert numbers(deprecated.since) <= numbers(VERSION) < numbers(deprecated.gone), deprecated.name


def test_warnings_name_versions_and_what_to_write(tmp_path: Path) -> None:
    with pytest.warns(
        FutureWarning, match=r"--gamma: deprecated since mlh 0\.2, gone in 0\.4; .*leave it out"
    ):
        assert MeshOptions(gamma=True).mesh() is None
    path = tmp_path / "train.yaml"
    path.write_text("dataset: a.h5\noutput: out\nnetwork: {channels: 8, lmax: 2}\n", encoding="utf-8")
    with pytest.warns(FutureWarning, match="network.features"):
        load_config(path)
    assert GAMMA in ALL and CHANNELS in ALL


@pytest.mark.filterwarnings("error")
def test_what_is_not_deprecated_is_silent(tmp_path: Path) -> None:
    MeshOptions(kpts=(2, 2, 2)).mesh()
    path = tmp_path / "train.yaml"
    path.write_text("dataset: a.h5\noutput: out\nnetwork: {features: 8x0e+8x1o}\n", encoding="utf-8")
    load_config(path)
    load_config("examples/train_sio2.yaml")


def test_one_version_everywhere() -> None:
    """Package, project, C++ library, citation and changelog."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
    assert f"project(mlh VERSION {VERSION} " in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{VERSION}] - " in changelog
