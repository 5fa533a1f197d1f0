"""What goes around the package: requirements, versions and scripts of wheels, conda and containers agree."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from mlh.common.version import VERSION

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RECIPE = yaml.safe_load((ROOT / "packaging/conda/recipe.yaml").read_text())
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
DOCKERFILE = ROOT / "packaging/containers/Dockerfile"
DEFINITION = ROOT / "packaging/containers/mlh.def"


def bash_accepts(text: str) -> None:
    """Raises where bash could not parse it."""
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_conda_asks_for_what_pip_asks_for():
    wanted = {}
    for requirement in PROJECT["project"]["dependencies"]:
        name, bound = re.fullmatch(r"([\w.-]+)(>=[\d.]+)", requirement).groups()
        wanted[CONDA_NAMES.get(name, name.lower())] = bound
    given = dict(line.split() for line in RECIPE["requirements"]["run"] if line != "python")
    assert given == wanted


def test_no_requirement_replaces_what_the_user_has():
    """A pinned PyTorch would put a CUDA build of gigabytes in the place of the user's."""
    lists = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    assert not [line for names in lists for line in names if re.search(r"==|<|~=", line)]
    assert [line for line in lists[0] if line.startswith("torch")] == ["torch>=2.4"]


def test_one_version_everywhere():
    cmake = re.search(r"project\(mlh VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert cmake is not None
    assert VERSION == PROJECT["project"]["version"] == RECIPE["context"]["version"] == cmake.group(1)


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse(script):
    bash_accepts(script.read_text())


def dockerfile_steps() -> list[tuple[str, str]]:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    steps = re.sub(r"\\\n", "", "\n".join(lines)).splitlines()
    return [(step.split()[0], step.split(maxsplit=1)[1]) for step in steps]


def test_dockerfile():
    steps = dockerfile_steps()
    assert steps[0][0] == "FROM"
    stages = {text.split()[-1] for name, text in steps if name == "FROM" and " AS " in text}
    for name, text in steps:
        assert name in {"FROM", "RUN", "COPY", "WORKDIR", "ENTRYPOINT", "CMD"}
        if name == "RUN":
            bash_accepts(text)
        if name == "COPY" and not text.startswith("--from="):
            assert (ROOT / text.split()[0]).exists()
        if name == "COPY" and text.startswith("--from="):
            assert text.split()[0].removeprefix("--from=") in stages
        if name in {"ENTRYPOINT", "CMD"}:
            assert isinstance(yaml.safe_load(text), list)  # the form without a shell, JSON


def test_apptainer_definition():
    header, *sections = re.split(r"(?m)^%", DEFINITION.read_text())
    keys = dict(line.split(": ", 1) for line in header.splitlines() if line and not line.startswith("#"))
    assert keys.keys() == {"Bootstrap", "From"}
    bodies = dict(section.split("\n", 1) for section in sections)
    assert bodies.keys() == {"files", "post", "runscript", "test", "labels", "help"}
    for name in ("post", "runscript", "test"):
        bash_accepts(bodies[name])


def test_licences_of_what_a_wheel_contains():
    files = {path.name for path in (ROOT / "third_party/licences").iterdir()}
    assert files == {"MPL-2.0.txt", "GPL-3.0.txt", "GCC-exception-3.1.txt", "pybind11.txt", "README.md"}
    assert PROJECT["project"]["license-files"] == ["LICENSE", "third_party/licences/*"]
