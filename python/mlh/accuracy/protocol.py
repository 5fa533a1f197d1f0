"""A protocol: several accuracy studies with settings of their own, one after the other, as one result.

A YAML file names them; `paper` is shipped and does on structures of our own what arXiv 2604.07197 did:

    title: what it is
    groups:
      - {name: "96", hosts: [a.xyz, b.xyz], sites: 1, relax: true, dft_start: initial, fmax: 0.05}

FOLDER/GROUP/          the study of a group (`mlh.accuracy.study`), which goes on where it stopped
FOLDER/accuracy.json   the numbers of all groups, written after every part
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlh.accuracy.study import SUMMARY, AccuracySettings, run_accuracy
from mlh.common.files import read_json, read_yaml, write_json
from mlh.relaxation.jobs import Announce
from mlh.relaxation.loop import RelaxSettings
from mlh.structures.files import shipped_structures

_MERGED = ("points", "relaxations", "seconds", "failures")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupConfig(_Model):
    """One study of a protocol; what is not named is as in `AccuracySettings`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    hosts: Annotated[list[str], Field(min_length=1)]
    species: str = "O"
    sites: Literal["all", "inequivalent"] | Annotated[int, Field(ge=1)] | list[int] = 1
    seed: int = 0
    refine: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        default_factory=lambda: [0]
    )
    relax: bool = False
    relax_refine: list[Annotated[int, Field(ge=0)]] = Field(default_factory=lambda: [0])
    dft_start: Literal["initial", "relaxed"] = "initial"
    fmax: Annotated[float, Field(gt=0.0)] = 0.05
    max_steps: Annotated[int, Field(ge=0)] = 300


class ProtocolConfig(_Model):
    """A whole protocol."""

    title: str
    groups: Annotated[list[GroupConfig], Field(min_length=1)]


@dataclass(frozen=True)
class Group:
    """A study with its settings."""

    name: str
    hosts: tuple[str, ...]
    settings: AccuracySettings


def shipped_protocols() -> dict[str, Path]:
    """Files by name: "paper"."""
    folder = Path(str(files("mlh") / "data" / "protocols"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_protocol(source: str | os.PathLike[str], common: AccuracySettings) -> tuple[str, tuple[Group, ...]]:
    """Title and groups of a file or of a shipped protocol; `common`: mesh, solver, processes of all groups.

    Hosts are shipped names, crystals, or files beside the protocol.
    """
    path = Path(source)
    if not path.exists():
        path = shipped_protocols().get(str(source), path)
    if not path.is_file():
        known = ", ".join(shipped_protocols())
        raise FileNotFoundError(f"protocol: expected a YAML file or one of {known}, got {str(source)!r}")
    try:
        config = ProtocolConfig.model_validate(read_yaml(path))
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise ValueError("\n".join([f"{path}: not a valid protocol", *lines])) from None
    names = [group.name for group in config.groups]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: groups: expected different names, got {names}")
    return config.title, tuple(_group(group, path.parent, common) for group in config.groups)


def _group(config: GroupConfig, folder: Path, common: AccuracySettings) -> Group:
    settings = replace(
        common,
        species=config.species,
        sites=config.sites,
        seed=config.seed,
        refine=tuple(sorted(set(config.refine))),
        relax=config.relax,
        relax_refine=tuple(sorted(set(config.relax_refine))),
        limits=RelaxSettings(fmax=config.fmax, max_steps=config.max_steps),
        dft_start=config.dft_start,
    )
    return Group(config.name, tuple(_host(name, folder) for name in config.hosts), settings)


def _host(name: str, folder: Path) -> str:
    """A file beside the protocol by its path; names of shipped structures and crystals as they are."""
    beside = folder / name
    return str(beside) if beside.is_file() and name not in shipped_structures() else name


def run_protocol(
    title: str,
    groups: Sequence[Group],
    model: str | Any,
    folder: Path,
    announce: Announce,
    on_part: Callable[[Mapping[str, Any]], None] = lambda content: None,
) -> dict[str, Any]:
    """All groups, each in its folder; after every part the numbers of all of them in FOLDER/accuracy.json.

    The same call goes on where it stopped, and adds groups that the protocol has got since.
    """
    known = {group.name: _known(folder / group.name) for group in groups}

    def merged() -> dict[str, Any]:
        there = [(name, content) for name, content in known.items() if content]
        first = there[0][1]
        kept = {key: value for key, value in first.items() if key not in _MERGED}
        together: dict[str, Any] = {"protocol": title, **kept}
        for part in _MERGED:
            together[part] = {
                f"{name}: {key}": value for name, content in there for key, value in content[part].items()
            }
        return together

    for group in groups:

        def part_of(content: Mapping[str, Any], name: str = group.name) -> None:
            known[name] = dict(content)
            together = merged()
            write_json(folder / SUMMARY, together)
            on_part(together)

        known[group.name] = run_accuracy(
            group.hosts, model, folder / group.name, group.settings, _within(group.name, announce), part_of
        )
    together = merged()
    write_json(folder / SUMMARY, together)
    return together


def _within(name: str, announce: Announce) -> Announce:
    return lambda title: announce(f"{name}: {title}")


def _known(folder: Path) -> dict[str, Any]:
    """What an earlier call has measured of a group."""
    path = folder / SUMMARY
    return read_json(path, "remove it, and its numbers are calculated again") if path.exists() else {}
