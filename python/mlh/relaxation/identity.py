"""What a run in a folder is of: atoms, constraints, engine. A run of something else is not resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np


def held(atoms: ase.Atoms) -> dict[str, Any]:
    """What else of the atoms decides the result: constraints and initial moments, where there are any."""
    held: dict[str, Any] = {}
    if atoms.constraints:
        told = [json.dumps(_told(c), default=_listed, sort_keys=True) for c in atoms.constraints]
        held["constraints"] = hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
    moments = atoms.get_initial_magnetic_moments()
    if moments.any():
        held["initial_moments"] = np.round(moments, 6).tolist()
    return held


def _told(constraint: Any) -> Any:
    return constraint.todict() if hasattr(constraint, "todict") else repr(constraint)


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def require_same(
    stored: Mapping[str, Any], identity: Mapping[str, Any], target: Path, what: str = "relaxation"
) -> None:
    """Refuse to continue a run of something else (what: a relaxation, ...), with the difference."""
    keys = ("constraints", "initial_moments")
    identity = {**{key: None for key in keys if key in stored}, **identity}
    different = [
        f"{key}: there {stored.get(key)!r}, now {value!r}"
        for key, value in json.loads(json.dumps(identity)).items()
        if not (_same_engine(stored.get(key, {}), value) if key == "engine" else stored.get(key) == value)
    ]
    if different:
        raise ValueError(f"{target}: cannot resume another {what} ({'; '.join(different)})")


def _same_engine(stored: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """A model is its digest, not its path; a folder of before has the path (or name) alone."""
    a, b = dict(stored), dict(now)
    if "digest" in b and "digest" in a:
        a.pop("model"), b.pop("model")
    elif "digest" in b:
        b.pop("digest")
        if a.get("model") == str(Path(b["model"]).resolve()):
            b["model"] = a["model"]
    return a == b
