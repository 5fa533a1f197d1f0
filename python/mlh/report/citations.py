"""What to cite for what was calculated: BibTeX entries, each with the reason that it is there.

The entries are shipped (`mlh/data/citations/citations.bib`). What was used is read from the plain values that
every run keeps: the engine of a relaxation, the level of theory of a matrix file, the card of a model.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mlh.basis.families import family_of
from mlh.common.files import intact, read_json
from mlh.common.version import VERSION
from mlh.dft.theory import Theory
from mlh.model.card import ModelCard, find_model, read_card

_log = logging.getLogger("mlh.report")

Use = tuple[str, tuple[str, ...]]
"""What was used, in words, and the keys of the entries for it."""

PACKAGE: tuple[Use, ...] = (
    ("mlh", ("mlh",)),
    ("structures, optimisers and file formats", ("ASE",)),
    ("exchange and correlation", ("Libxc",)),
)
"""What every calculation uses."""

FUNCTIONALS = {"PBE": ("PBE",), "PW92": ("PW92",), "PZ": ("PZ", "CeperleyAlder")}
DISPERSION = {"D3BJ": ("D3", "D3BJ"), "D4": ("D4", "D4Periodic")}
FAMILIES = {
    "gth-pbe": ("GTH", "HGH", "Krack"),
    "gth-nlcc-pbe": ("GTH", "HGH", "Krack", "Willand"),
    "openmx": ("Ozaki2003", "OzakiKino2004"),
    "files": (),  # whoever made the files, which they do not tell in one way
}
METHODS = {"purification": ("Niklasson",), "localized": ("Niklasson",)}
OPTIMIZERS = {"lbfgs": ("LBFGS", "Preconditioner"), "fire": ("FIRE",)}
SUMMARIES: dict[str, Use | None] = {
    "defects.json": None,
    "demo.json": None,
    "accuracy.json": None,
    "relax.json": None,
    "md.json": None,
    "modes.json": None,
    "neb.json": ("path over a saddle point", ("ClimbingNEB", "TangentNEB")),
    "ccd.json": ("configuration coordinate", ("ConfigurationCoordinate",)),
}
"""Summaries of run folders, and what such a run uses besides its engine."""
CORRECTIONS: Use = (
    "correction of charged cells",
    ("FNV", "EFNV", "PymatgenDefects", "Pydefect"),
)
GLASS: Use = ("glass by bond switching", ("BondSwitching", "SiO2Switching"))


@dataclass(frozen=True)
class Citation:
    """One entry, and every reason to cite it."""

    key: str
    reasons: tuple[str, ...]
    bibtex: str


def cite(*sources: object) -> list[Citation]:
    """Entries for what the sources used: a run folder, its summary, a matrix file, a data set, a model (file
    or shipped name), a `Theory`, a `ModelCard`, or the plain values of a level of theory. Without a source:
    for the package itself.
    """
    reasons: dict[str, list[str]] = {}
    for reason, keys in (*PACKAGE, *(use for source in sources for use in uses(source))):
        if not keys:
            _log.warning("%s: mlh has no entry for it", reason)
        for key in keys:
            told = reasons.setdefault(key, [])
            told += [reason] * (reason not in told)
    return [Citation(key, tuple(told), entries()[key]) for key, told in reasons.items()]


def bibtex(citations: Iterable[Citation]) -> str:
    """The entries as a BibTeX file, each under its reasons."""
    return "\n\n".join(f"% {', '.join(c.reasons)}\n{c.bibtex}" for c in citations) + "\n"


@cache
def entries() -> dict[str, str]:
    """All entries by key."""
    text = (files("mlh") / "data" / "citations" / "citations.bib").read_text(encoding="utf-8")
    blocks = [block.strip() for block in text.replace("{VERSION}", "{" + VERSION + "}").split("\n\n")]
    found = {}
    for block in filter(None, blocks):
        match = re.match(r"@\w+\{(\w+),", block)
        if match is None:
            raise ValueError(f"citations.bib: expected an entry, got {block[:40]!r}")
        found[match[1]] = block
    return found


def uses(source: object) -> Iterator[Use]:
    """What one source used."""
    if isinstance(source, Theory):
        yield from _of_theory(source.describe())
    elif isinstance(source, ModelCard):
        yield from _of_model(source)
    elif isinstance(source, Mapping):
        yield from _of_engine(source)
    else:
        yield from _of_path(str(source))


def _of_path(name: str) -> Iterator[Use]:
    """A folder or file of mlh, or the name of a model."""
    path = Path(name)
    summaries = [path] if path.suffix == ".json" else [path / s for s in SUMMARIES if (path / s).is_file()]
    if path.suffix in (".h5", ".hdf5"):
        yield from _of_hdf5(path)
    elif summaries:
        for summary in summaries:
            yield from _of_summary(summary)
    elif path.is_dir() and not (path / "model.npz").is_file():
        raise ValueError(f"{name}: expected a folder with one of {', '.join(SUMMARIES)}, or of a training")
    else:
        find_model(name)
        yield from _of_model(read_card(name))


def _of_summary(path: Path) -> Iterator[Use]:
    """Every engine and optimiser that a summary names, and what runs of its kind use."""
    content = read_json(path)
    if "perfect_network" in content:  # the report of `mlh amorphous`
        yield GLASS
        return
    engines = [*_engines(content)]
    if not engines:
        raise ValueError(f"{path}: expected the summary of a run of mlh, with its engine")
    for engine in engines:
        yield from _of_engine(engine)
    for optimizer in sorted({str(o) for o in _values(content, "optimizer")}):
        yield f"optimiser {optimizer.upper()}", OPTIMIZERS.get(optimizer, ())
    kind = SUMMARIES.get(path.name)
    if kind is not None:
        yield kind
    if True in _values(content, "corrected"):
        yield CORRECTIONS
    if path.name == "defects.json":  # the relaxations know how they were done
        for other in sorted(path.parent.rglob("relax.json")):
            yield from _of_summary(other)


def _engines(content: object) -> Iterator[Mapping[str, Any]]:
    """Descriptions of engines (`describe`) anywhere in the values."""
    for engine in _values(content, "engine"):
        if isinstance(engine, Mapping) and ("kind" in engine or "basis" in engine):
            yield engine


def _values(content: object, name: str) -> list[Any]:
    """Everything of this name in nested plain values."""
    if isinstance(content, Mapping):
        here = [content[name]] if name in content else []
        return here + [found for value in content.values() for found in _values(value, name)]
    if isinstance(content, list):
        return [found for value in content for found in _values(value, name)]
    return []


def _of_hdf5(path: Path) -> Iterator[Use]:
    """A matrix file or a data set."""
    import h5py

    with intact(path), h5py.File(path, "r") as file:
        if "samples" in file:
            yield from _of_theory(_settings(json.loads(str(file.attrs["settings"])), file))
        elif "matrices" in file:
            stored = json.loads(file["theory"].attrs["json"]) if "theory" in file else {}
            yield from _of_theory({"basis": str(file["basis"].attrs["name"]), **stored})
        else:
            raise ValueError(f"{path}: expected a matrix file or a data set of mlh, got another HDF5 file")


def _settings(settings: Mapping[str, Any], file: Any) -> dict[str, Any]:
    """The level of the labels of a data set; the name of its basis is in the record."""
    return {"basis": json.loads(str(file.attrs["basis"]))["name"], **settings}


def _of_engine(description: Mapping[str, Any]) -> Iterator[Use]:
    """What an engine says of itself."""
    if description.get("kind") != "model":
        yield from _of_theory(description)
        return
    yield from _of_network()
    for name in str(description["model"]).split(","):
        try:
            card = read_card(name.strip())
        except (RuntimeError, OSError):  # the run may have been copied here without its model
            yield f"model {name.strip()}, whose file is not here", ()
        else:
            yield from _of_theory(_labels(card), f"labels of the model {name.strip()}: ")
    yield from _of_solver(description)


def _of_model(card: ModelCard) -> Iterator[Use]:
    yield from _of_network()
    yield from _of_theory(_labels(card), "labels: ")


def _labels(card: ModelCard) -> dict[str, Any]:
    return {"basis": card.basis.name, **card.settings}


def _of_network() -> Iterator[Use]:
    yield "network", ("E3NN", "PyTorch")
    yield "the Hamiltonian that a prediction starts from", ("Harris",)


def _of_theory(level: Mapping[str, Any], of: str = "") -> Iterator[Use]:
    """Functional, basis, dispersion, integrals, symmetry and solver of a level of theory."""
    xc = str(level.get("xc", "PBE"))
    yield f"{of}functional {xc}", FUNCTIONALS.get(xc, ())
    basis = str(level.get("basis", ""))
    family = family_of(basis)
    if family is not None:
        yield f"{of}basis {basis}", FAMILIES.get(family.name, ())
    if level.get("dispersion"):
        yield f"{of}dispersion {level['dispersion']}", DISPERSION.get(str(level["dispersion"]), ())
    if str(level.get("integration", "")).startswith("openmx"):
        yield f"{of}integrals as OpenMX does them", ("OzakiKino2005",)
    if level.get("symmetry", True) and level.get("kpts") not in (None, [1, 1, 1], (1, 1, 1)):
        yield f"{of}symmetry of the k points", ("Spglib",)
    yield from _of_solver(level)


def _of_solver(level: Mapping[str, Any]) -> Iterator[Use]:
    method = str(level.get("method", ""))
    if method in METHODS:
        yield f"density matrix by {method}", METHODS[method]
