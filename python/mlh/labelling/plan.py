"""From a data-set configuration to the list of calculations it asks for.

Every structure draws from its own random stream, named by source and purpose, so that adding a
source or a variation leaves all other structures, and their finished calculations, as they were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.neighborlist import neighbor_list

from mlh.defects.starts import moments_around, room_of
from mlh.dft.theory import count_electrons
from mlh.labelling.config import DatasetConfig, RelaxationPlan, SourceConfig, Variation
from mlh.labelling.labels import EngineSettings, load_engine_basis
from mlh.matrix.kpoints import kpoints_record, with_cell
from mlh.relaxation.loop import RelaxSettings
from mlh.structures import (
    crystal,
    load_structure,
    load_structures,
    random_strain,
    rattle,
    scale_volume,
    select_sites,
    structure_hash,
    vacancies,
)
from mlh.structures.cell import require_cell
from mlh.structures.vacancy_starts import opened, puckered

_MIN_DISTANCE = 0.7  # Angstrom: a rattle that brings atoms closer is an input error


@dataclass(frozen=True)
class DatasetJob:
    """One calculation: a structure (`relaxation` None) or a relaxation of which `samples` are kept."""

    id: str
    atoms: ase.Atoms
    engine: EngineSettings
    relaxation: RelaxSettings | None
    samples: int
    record: dict[str, Any]
    group: str = ""
    """Name of the first source with this host: what a split must not divide."""

    @property
    def kpts_record(self) -> list[int] | dict[str, Any]:
        """The k mesh of this cell, as files hold it."""
        return kpoints_record(with_cell(self.engine.kpts, self.atoms.cell.array))

    @property
    def n_calculations(self) -> int:
        """Largest number of SCF calculations."""
        return 1 if self.relaxation is None else self.relaxation.max_steps + 1

    @property
    def cost_of_one(self) -> float:
        """Relative wall time of one SCF, for estimates: about the square of the atoms here."""
        return float(len(self.atoms)) ** 2

    @property
    def cost(self) -> float:
        """Relative wall time of all of it."""
        return self.n_calculations * self.cost_of_one


def plan(config: DatasetConfig) -> tuple[DatasetJob, ...]:
    """All calculations of a data set, in a fixed order."""
    groups = _groups(config)
    jobs = [
        replace(job, group=groups[source.name])
        for source in config.sources
        for job in _source_jobs(config, source)
    ]
    seen: dict[str, str] = {}
    for job in jobs:
        key = job.id.rsplit("-", 1)[1]
        if key in seen:
            raise ValueError(f"plan: {job.id} and {seen[key]} are the same calculation")
        seen[key] = job.id
    return tuple(jobs)


def _groups(config: DatasetConfig) -> dict[str, str]:
    """By source: the first source with the same host; frames have no host."""
    first: dict[str, str] = {}
    return {
        source.name: source.name
        if source.frames is not None
        else first.setdefault(structure_hash(load_host(source)), source.name)
        for source in config.sources
    }


def elements_of(config: DatasetConfig) -> tuple[str, ...]:
    """All elements of the sources, sorted."""
    structures = [atoms for source in config.sources for atoms in _origin(source)]
    return tuple(sorted({symbol for atoms in structures for symbol in atoms.symbols}))


def _origin(source: SourceConfig) -> list[ase.Atoms]:
    """The host of a source, or its frames."""
    return [load_host(source)] if source.frames is None else load_frames(source)


def load_frames(source: SourceConfig) -> list[ase.Atoms]:
    """The structures of a source that are labelled as they are."""
    if source.frames is None:
        raise ValueError(f"source {source.name}: expected frames")
    frames = load_structures(source.frames)
    for number, atoms in enumerate(frames):
        require_cell(atoms, f"source {source.name}, frame {number}")
    return frames


def load_host(source: SourceConfig) -> ase.Atoms:
    """The host of a source, repeated."""
    if source.crystal is not None:
        return crystal(source.crystal, source.repeat)
    if source.file is None:
        raise ValueError(f"source {source.name}: expected crystal or file")
    host = load_structure(source.file)
    require_cell(host, f"source {source.name}")
    host = host.repeat(source.repeat)
    host.info["source"] = f"{Path(source.file).name}:{'x'.join(str(count) for count in source.repeat)}"
    return host


def _frame_jobs(config: DatasetConfig, source: SourceConfig) -> Iterator[DatasetJob]:
    """Every frame at its own charge, or at those of the source. The names do not count the frames, so that a
    longer file keeps what is finished of a shorter one."""
    engine = config.engine.settings(source.kpts)
    for atoms in load_frames(source):
        own = float(atoms.info.get("charge", engine.charge))
        charges: Sequence[float] | None = source.charges or (None if own == engine.charge else [own])
        for name, level in _charges(charges, engine, atoms):
            record = {
                **_record(source, atoms),
                "kind": "frame",
                "source": str(atoms.info.get("group", source.name)),
                "split": str(atoms.info.get("split", source.split)),
            }
            yield _job(f"{source.name}{name}", _started(atoms, level, False), level, None, 1, record)


def _source_jobs(config: DatasetConfig, source: SourceConfig) -> Iterator[DatasetJob]:
    if source.frames is not None:
        yield from _frame_jobs(config, source)
        return
    host = load_host(source)
    engine = config.engine.settings(source.kpts)
    for atoms, tag, details in _structures(config, source, host):
        for name, level in _charges(source.charges, engine, atoms):
            record = {**_record(source, atoms), **details, "kind": "single"}
            yield _job(f"{source.name}-{tag}{name}", _started(atoms, level, True), level, None, 1, record)
    for number, relaxation in enumerate(source.relaxations):
        settings = RelaxSettings(fmax=relaxation.fmax, max_steps=relaxation.max_steps)
        for atoms, tag in _relaxation_starts(config, source, host, relaxation, number):
            for name, level in _charges(source.charges, engine, atoms):
                record = {**_record(source, atoms), "kind": "relaxation", "rattle": relaxation.rattle}
                start = _started(atoms, level, relaxation.start == "cut")
                yield _job(f"{source.name}-{tag}{name}", start, level, settings, relaxation.samples, record)


def _charges(
    charges: Sequence[float] | None, engine: EngineSettings, atoms: ase.Atoms
) -> Iterator[tuple[str, EngineSettings]]:
    """What a charge adds to the name of a job, and its level of theory; without charges the engine's own."""
    if charges is None:
        yield "", engine
        return
    for charge in charges:
        electrons = count_electrons(load_engine_basis(engine), atoms.get_chemical_symbols(), float(charge))
        spin = engine.spin or bool(round(electrons) % 2)
        yield (f"-q{charge:+g}" if charge else ""), replace(engine, charge=float(charge), spin=spin)


def _started(atoms: ase.Atoms, level: EngineSettings, as_cut: bool) -> ase.Atoms:
    """As `mlh defect` starts it: room around a positive vacancy, moments around a defect with two spins."""
    if "defect_position" not in atoms.info:
        return atoms
    room = room_of(level.charge) if as_cut else 0.0
    moved = opened(atoms, room) if room else atoms
    return moments_around(moved) if level.spin and level.charge else moved


def _structures(
    config: DatasetConfig, source: SourceConfig, host: ase.Atoms
) -> Iterator[tuple[ase.Atoms, str, dict[str, Any]]]:
    """Varied hosts and varied vacancies with a short name each."""
    for number, variation in enumerate(source.host):
        for copy in range(variation.copies):
            tag = f"host{number}.{copy}"
            yield _vary(host, variation, _stream(config, source, tag)), tag, _details(variation)
    for number, vacancy in enumerate(source.vacancies):
        seed = int(_stream(config, source, f"sites{number}").integers(2**31))
        sites = select_sites(host, vacancy.species, vacancy.sites, seed)
        for site, defect in zip(sites, vacancies(host, sites), strict=True):
            for which, variation in enumerate(vacancy.structures):
                for copy in range(variation.copies):
                    tag = f"v{vacancy.species}{site}.{number}.{which}.{copy}"
                    yield _vary(defect, variation, _stream(config, source, tag)), tag, _details(variation)


def _relaxation_starts(
    config: DatasetConfig, source: SourceConfig, host: ase.Atoms, relaxation: RelaxationPlan, number: int
) -> Iterator[tuple[ase.Atoms, str]]:
    variation = Variation(rattle=relaxation.rattle, strain=relaxation.strain)
    if relaxation.of == "host":
        tag = f"relax{number}-host"
        yield _vary(host, variation, _stream(config, source, tag)), tag
        return
    if relaxation.species is None or relaxation.sites is None:
        raise ValueError(f"source {source.name}: relaxation of vacancies expects species and sites")
    seed = int(_stream(config, source, f"relax-sites{number}").integers(2**31))
    sites = select_sites(host, relaxation.species, relaxation.sites, seed)
    for site, defect in zip(sites, vacancies(host, sites), strict=True):
        tag = f"relax{number}-v{relaxation.species}{site}"
        start = puckered(defect) if relaxation.start == "puckered" else defect
        yield _vary(start, variation, _stream(config, source, tag)), tag


def _stream(config: DatasetConfig, source: SourceConfig, tag: str) -> np.random.Generator:
    """Random numbers that depend on the seed, the source and the tag, and on nothing else."""
    name = hashlib.sha256(f"{source.name}/{tag}".encode()).digest()
    return np.random.default_rng([config.seed, *np.frombuffer(name, dtype=np.uint32)])


def _vary(atoms: ase.Atoms, variation: Variation, generator: np.random.Generator) -> ase.Atoms:
    result = scale_volume(atoms, variation.volume) if variation.volume != 1.0 else atoms.copy()
    if variation.strain > 0.0:
        result = random_strain(result, variation.strain, generator)
    if variation.rattle > 0.0:
        result = rattle(result, variation.rattle, generator)
    distances = neighbor_list("d", result, _MIN_DISTANCE)
    if len(distances):
        raise ValueError(
            f"variation: expected atoms at least {_MIN_DISTANCE} A apart, got {distances.min():.2f} A "
            f"after rattle {variation.rattle} A, strain {variation.strain}, volume {variation.volume}"
        )
    return result


def _details(variation: Variation) -> dict[str, Any]:
    return {"rattle": variation.rattle, "strain": variation.strain, "volume": variation.volume}


def _record(source: SourceConfig, atoms: ase.Atoms) -> dict[str, Any]:
    """Provenance of a structure as plain JSON values."""
    defect = {
        key: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for key, value in atoms.info.items()
        if key.startswith(("defect_", "host"))
    }
    return {"source": source.name, "split": source.split, **defect}


def _job(
    name: str,
    atoms: ase.Atoms,
    engine: EngineSettings,
    relaxation: RelaxSettings | None,
    samples: int,
    record: dict[str, Any],
) -> DatasetJob:
    """The job, its name completed by a hash of everything that decides the result."""
    content = {
        "structure": structure_hash(atoms),
        "engine": engine.as_dict(),
        # max_seconds: a setting of before that nobody had set; without it finished jobs would get new names.
        "relaxation": None if relaxation is None else {**asdict(relaxation), "max_seconds": None},
        "samples": samples,
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
    # Plain atoms: positions, elements, moments of the start; nothing else travels to the worker.
    plain = ase.Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell[:], pbc=True)
    moments = atoms.get_initial_magnetic_moments()
    if moments.any():
        plain.set_initial_magnetic_moments(moments)
    _refuse_odd_electrons(name, plain, engine)
    return DatasetJob(f"{name}-{key}", plain, engine, relaxation, samples, record)


def _refuse_odd_electrons(name: str, atoms: ase.Atoms, engine: EngineSettings) -> None:
    """Before any work: an odd number of electrons has no unpolarised state with integer occupations."""
    if engine.spin or engine.smearing_ev is not None or engine.labeller:
        return
    electrons = count_electrons(load_engine_basis(engine), atoms.get_chemical_symbols(), engine.charge)
    if round(electrons) % 2:
        raise ValueError(
            f"{name}: {electrons:g} electrons; an odd number needs 'spin: true' in the engine of the "
            "configuration, or 'smearing_ev'"
        )
