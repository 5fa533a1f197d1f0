"""The candidates that a model knows least of, as a file that `mlh dataset build` labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
import yaml

from mlh.common.files import write_text
from mlh.labelling.candidates import Candidate, Known, group_of, moved
from mlh.labelling.config import EngineConfig
from mlh.labelling.scores import Measure, Score
from mlh.matrix.kpoints import KPointsSpec, kpoints_record, recorded_kpoints
from mlh.model.card import ModelCard, read_card
from mlh.model.mesh import mesh_of_card
from mlh.structures import write_structure

Scores = Mapping[tuple[str, float], Score]


@dataclass(frozen=True)
class Rules:
    """How many, and how they differ. per_trajectory: at most, of frames that follow each other; apart: the
    atom that moved furthest moved at least so far (A) from every other and every known structure of the same
    atoms, cell and charge."""

    count: int
    per_trajectory: int = 4
    apart: float = 0.1

    def __post_init__(self) -> None:
        if self.count < 1 or self.per_trajectory < 1:
            raise ValueError(
                f"count, per_trajectory: expected at least 1, got {self.count}, {self.per_trajectory}"
            )
        if not self.apart >= 0.0:
            raise ValueError(f"apart: expected 0 or more Angstrom, got {self.apart}")


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen, worst first, and why others are not: `near` to chosen or known ones, of trajectories that
    are `full`."""

    chosen: tuple[Candidate, ...]
    near: int = 0
    full: int = 0


def unknown(candidates: Sequence[Candidate], known: Known) -> tuple[list[Candidate], int, int]:
    """Those that may be chosen; how many are labelled already, and how many are of hosts that a data set
    keeps for validation or test."""
    new = [candidate for candidate in candidates if candidate.key not in known.keys]
    free = [candidate for candidate in new if group_of(candidate, known) not in known.held]
    return free, len(candidates) - len(new), len(new) - len(free)


def choose(
    candidates: Sequence[Candidate],
    scores: Scores,
    measure: Measure,
    rules: Rules,
    known: Known | None = None,
) -> Choice:
    """The largest scores first, as the rules allow; equal scores in the order of the candidates."""
    valued = [(c, scores[c.key].value(measure)) for c in candidates if c.key in scores]
    order = sorted(((c, v) for c, v in valued if v is not None), key=lambda pair: -pair[1])
    taken: dict[Any, list[ase.Atoms]] = {}
    for atoms, charge in (known or Known()).structures:
        taken.setdefault(_kind(atoms, charge), []).append(atoms)
    given: dict[str, int] = {}
    chosen: list[Candidate] = []
    near = full = 0
    for candidate, _ in order:
        if len(chosen) == rules.count:
            break
        beside = taken.setdefault(_kind(candidate.atoms, candidate.charge), [])
        if given.get(candidate.trajectory, 0) >= rules.per_trajectory:
            full += 1
        elif any(moved(candidate.atoms, other) < rules.apart for other in beside):
            near += 1
        else:
            chosen.append(candidate)
            beside.append(candidate.atoms)
            given[candidate.trajectory] = given.get(candidate.trajectory, 0) + 1
    return Choice(tuple(chosen), near, full)


def _kind(atoms: ase.Atoms, charge: float) -> tuple[bytes, bytes, float]:
    """What structures have in common that can be compared atom by atom."""
    cell = np.round(atoms.cell.array, 3) + 0.0
    return np.asarray(atoms.numbers).tobytes(), cell.tobytes(), charge


def write_choice(choice: Choice, scores: Scores, known: Known, model: str, out: Path) -> Path:
    """The structures, and beside them the configuration that labels them as those of the model (the first of
    a committee) were, with k points of the same density.

    The configuration comes last: where it is, the structures are complete.
    """
    card = read_card(model.split(",")[0].strip())
    kpts = mesh_of_card(card.settings, card.k_mesh)
    usual = float(card.settings.get("charge", 0.0))
    write_structure(out, [_frame(c, scores[c.key], known, usual) for c in choice.chosen])
    source: dict[str, Any] = {"name": _name(out.stem), "frames": out.name}
    if isinstance(kpts, Mapping):
        source["kpts"] = _mesh(kpts)
    content = {"name": out.stem, "engine": engine_of_card(card), "sources": [source]}
    target = config_path(out)
    write_text(target, yaml.safe_dump(content, sort_keys=False))
    return target


def config_path(out: Path) -> Path:
    """The configuration beside the structures."""
    return out.with_suffix(".yaml")


def engine_of_card(card: ModelCard) -> dict[str, Any]:
    """The level of theory of a model's labels as a configuration of a data set says it."""
    known = EngineConfig.model_fields
    engine = {key: value for key, value in card.settings.items() if key in known}
    engine |= {"basis": card.basis.name, "orbitals": dict(card.basis.orbitals)}
    if "kpts" in engine:
        engine["kpts"] = _mesh(recorded_kpoints(engine["kpts"]))
    return {key: value for key, value in engine.items() if value is not None}


def _mesh(spec: KPointsSpec) -> Any:
    """As a configuration has it, where three numbers are a mesh with Gamma."""
    if isinstance(spec, Mapping):
        return {key: list(v) if isinstance(v, tuple | list) else v for key, v in spec.items()}
    return list(recorded) if isinstance(recorded := kpoints_record(spec), list) else recorded


def _frame(candidate: Candidate, score: Score, known: Known, usual: float) -> ase.Atoms:
    """usual: the charge that the configuration has for those that do not say theirs."""
    atoms = candidate.atoms.copy()
    atoms.info |= {"group": group_of(candidate, known), "candidate": candidate.label}
    if candidate.charge != usual:
        atoms.info["charge"] = candidate.charge
    for name in ("residual_rms_ev", "energy_error_ev_per_atom", "dh_std_ev"):
        if getattr(score, name) is not None:
            atoms.info[name] = getattr(score, name)
    return atoms


def _name(stem: str) -> str:
    """As a source may be called."""
    cleaned = "".join(c if c.isalnum() or c in "_.-" else "-" for c in stem).lstrip("_.-")
    return cleaned or "chosen"


def median(scores: Iterable[Score], measure: Measure) -> float | None:
    """Of all that have a score."""
    values = [value for score in scores if (value := score.value(measure)) is not None]
    return float(np.median(values)) if values else None
