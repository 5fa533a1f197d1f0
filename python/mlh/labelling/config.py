"""The YAML file that describes a data set: typed, unknown keys refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlh.basis.families import DEFAULT_BASIS
from mlh.common.choices import Precision
from mlh.common.examples import example
from mlh.common.files import read_yaml
from mlh.dataset.choices import Compression, Part
from mlh.labelling.labels import EngineSettings
from mlh.matrix.kpoints import KPointsSpec
from mlh.solver.occupations import SmearingType
from mlh.structures.crystals import CRYSTALS
from mlh.structures.files import shipped_structures
from mlh.structures.vacancy_starts import VacancyStart

PositiveInt = Annotated[int, Field(ge=1)]
Repeat = tuple[PositiveInt, PositiveInt, PositiveInt]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KMesh(_Model):
    """A k mesh that three numbers do not say: Monkhorst-Pack's (`gamma: false`), or one of a spacing
    (1/Angstrom, 2 pi included) for every cell."""

    size: Repeat | None = None
    spacing: Annotated[float, Field(gt=0.0)] | None = None
    gamma: bool = True

    @model_validator(mode="after")
    def _one_of_both(self) -> KMesh:
        if (self.size is None) == (self.spacing is None):
            raise ValueError("kpts: expected exactly one of size and spacing")
        return self


def _kpoints(mesh: Repeat | KMesh) -> KPointsSpec:
    """The mesh of a configuration: three numbers are Gamma-centred."""
    if not isinstance(mesh, KMesh):
        return mesh
    if mesh.spacing is not None:
        return {"spacing": mesh.spacing} | ({} if mesh.gamma else {"gamma": False})
    return mesh.size if mesh.gamma else {"size": mesh.size, "gamma": False}


class EngineConfig(_Model):
    """Level of theory of every label."""

    basis: str = DEFAULT_BASIS
    orbitals: dict[str, str] = Field(default_factory=dict)
    cutoff_ry: Annotated[float, Field(gt=10.0)] = 200.0
    kpts: Repeat | KMesh = (1, 1, 1)
    xc: str = "PBE"
    energy_tol: Annotated[float, Field(gt=0.0)] = 1e-7
    residual_tol: Annotated[float, Field(gt=0.0)] = 1e-5
    max_scf_steps: PositiveInt = 80
    integration: str | None = None
    smearing_ev: Annotated[float, Field(gt=0.0)] | None = None
    smearing: SmearingType = "fermi-dirac"
    spin: bool = False
    total_moment: float | None = None
    charge: float = 0.0
    labeller: Annotated[str, Field(pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")] = ""

    def settings(self, kpts: Repeat | KMesh | None = None) -> EngineSettings:
        """The settings for the labeller, with the k-points of one source."""
        return EngineSettings(**{**self.model_dump(), "kpts": _kpoints(kpts or self.kpts)})


class Variation(_Model):
    """`copies` random versions of a structure: rattle (A, standard deviation per component), strain
    (uniform in +-strain per component), volume factor. Without any of them: the structure itself."""

    copies: PositiveInt = 1
    rattle: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    strain: Annotated[float, Field(ge=0.0, lt=0.3)] = 0.0
    volume: Annotated[float, Field(gt=0.2, lt=5.0)] = 1.0

    @model_validator(mode="after")
    def _no_duplicates(self) -> Variation:
        if self.copies > 1 and self.rattle == 0.0 and self.strain == 0.0:
            raise ValueError(f"copies: {self.copies} equal structures; expected rattle or strain above 0")
        return self


class VacancyPlan(_Model):
    """Vacancies of one species at sites ("all", "inequivalent", a number, or indices), each varied."""

    species: str
    sites: Literal["all", "inequivalent"] | PositiveInt | list[int] = "all"
    structures: Annotated[list[Variation], Field(min_length=1)] = Field(default_factory=lambda: [Variation()])


class RelaxationPlan(_Model):
    """Short relaxations of the host or of vacancies; `samples` geometries of each are stored,
    equally spaced along the path, first and last included. start: of a vacancy, "cut" (as the atom left it)
    or "puckered" (one neighbour mirrored in the plane of its others; vacancies of a bridge)."""

    of: Literal["host", "vacancy"]
    species: str | None = None
    sites: Literal["all", "inequivalent"] | PositiveInt | list[int] | None = None
    start: VacancyStart = "cut"
    rattle: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    strain: Annotated[float, Field(ge=0.0, lt=0.3)] = 0.0
    fmax: Annotated[float, Field(gt=0.0)] = 0.05
    max_steps: PositiveInt = 20
    samples: PositiveInt = 8

    @model_validator(mode="after")
    def _sites_of_vacancies(self) -> RelaxationPlan:
        wanted = self.of == "vacancy"
        if wanted != (self.species is not None) or wanted != (self.sites is not None):
            raise ValueError("relaxation: species and sites are expected for vacancies, and only for them")
        if self.start != "cut" and not wanted:
            raise ValueError(f"relaxation: start {self.start} is of vacancies, got it of the host")
        return self


class SourceConfig(_Model):
    """One host, a crystal of `mlh.structures.CRYSTALS` or a file, and what is made of it; or the structures
    of a file, each as it is (`frames`; `mlh dataset select` writes such files)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    crystal: str | None = None
    file: str | None = None
    frames: str | None = None
    """Of every frame the charge, the host and the part of a split (`info`: charge, group, split) are its own
    where it has them."""
    repeat: Repeat = (1, 1, 1)
    kpts: Repeat | KMesh | None = None
    charges: Annotated[list[int], Field(min_length=1)] | None = None
    """Of every structure of the source, each a label; odd numbers of electrons are spin-polarised, and the
    neighbours of a positive vacancy start further out (docs/defects.md)."""
    split: Part = "train"
    host: list[Variation] = Field(default_factory=list)
    vacancies: list[VacancyPlan] = Field(default_factory=list)
    relaxations: list[RelaxationPlan] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_origin(self) -> SourceConfig:
        if sum(origin is not None for origin in (self.crystal, self.file, self.frames)) != 1:
            raise ValueError(f"source {self.name}: expected exactly one of crystal, file and frames")
        if self.crystal is not None and self.crystal not in CRYSTALS:
            raise ValueError(f"crystal: expected one of {sorted(CRYSTALS)}, got {self.crystal!r}")
        made = bool(self.host or self.vacancies or self.relaxations or self.repeat != (1, 1, 1))
        if self.frames is not None:
            if made:
                raise ValueError(
                    f"source {self.name}: expected frames alone, which are labelled as they are; got repeat, "
                    "host, vacancies or relaxations beside"
                )
        elif not (self.host or self.vacancies or self.relaxations):
            raise ValueError(f"source {self.name}: expected host, vacancies or relaxations, got none")
        return self


class StorageConfig(_Model):
    """How matrices are written: float32 keeps seven digits of dH, float64 all; `compression` of the large
    arrays, `level` (gzip only) from 1, fast, to 9, small."""

    dtype: Precision = "float32"
    compression: Compression = "gzip"
    level: Annotated[int, Field(ge=1, le=9)] = 4


class DatasetConfig(_Model):
    """A whole data set."""

    name: str
    seed: int = 0
    engine: EngineConfig = Field(default_factory=EngineConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)
    sources: Annotated[list[SourceConfig], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique_names(self) -> DatasetConfig:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"sources: expected different names, got {twice} more than once")
        return self


def load_config(path: str | os.PathLike[str]) -> DatasetConfig:
    """Read and check a YAML file, or a shipped example by name.

    A structure in it is a shipped name or a file beside it.
    """
    source = example(path)
    content = read_yaml(source)
    if not isinstance(content, dict):
        raise ValueError(f"{source}: expected a mapping with the keys of DatasetConfig, got {type(content)}")
    try:
        config = DatasetConfig.model_validate(_absolute_files(content, source.parent))
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise ValueError("\n".join([f"{source}: not a valid data-set configuration", *lines])) from None
    return config


def _absolute_files(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same content with every `file` and `frames` of a source relative to the folder of the YAML file;
    names of shipped structures stay as they are."""
    sources = content.get("sources")
    if not isinstance(sources, list):
        return content

    def resolved(item: Any) -> Any:
        named = (
            {key: item[key] for key in ("file", "frames") if key in item} if isinstance(item, dict) else {}
        )
        found = {key: str((folder / file).resolve()) for key, file in named.items() if of_the_user(file)}
        return {**item, **found} if found else item

    def of_the_user(file: Any) -> bool:
        return isinstance(file, str) and (file not in shipped_structures() or (folder / file).exists())

    return {**content, "sources": [resolved(item) for item in sources]}
