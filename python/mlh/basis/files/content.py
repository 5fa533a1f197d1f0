"""What a pseudopotential file says, in one form for every format, and how a file is refused.

Hartree atomic units, functions themselves (not times r): formats differ in all of that, see their modules.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlh.common.files import DamagedFileError

Array = NDArray[np.float64]

_LARGEST_FILE = 64 * 2**20

LIBXC = {(101, 130): "PBE", (1, 12): "PW92", (1, 13): "PW92", (20,): "PW92", (1, 9): "PZ"}
"""Functionals of the core by libxc's numbers; 20, Teter's LDA, is a fit of PW92."""


class WrongPseudopotentialError(ValueError):
    """An intact file of a kind that mlh does not use; the message begins with its name."""


@dataclass(frozen=True, eq=False)
class Channel:
    """sum_ij |beta_i> matrix[i, j] <beta_j| of one l.

    betas: r beta(r) on the mesh, shape (n, points); matrix in Hartree, symmetric.
    """

    l: int
    betas: Array
    matrix: Array


@dataclass(frozen=True, eq=False)
class Table:
    """Values on increasing radii >= 0 (Bohr), equal shapes (points,)."""

    r: Array
    values: Array


@dataclass(frozen=True, eq=False)
class FileContent:
    """One pseudopotential file.

    local: V_loc. core: n_core in electrons/Bohr^3. configuration: electrons per l where the file tells them.
    xc: name of the functional of the core.
    """

    symbol: str
    valence: float
    xc: str
    local: Table
    channels: Sequence[tuple[Array, Channel]]
    core: Table | None
    configuration: tuple[float, ...] | None


@dataclass(frozen=True)
class SourceText:
    """The text of a file and its sha256."""

    path: Path
    text: str
    sha256: str

    def damaged(self, found: str) -> DamagedFileError:
        """The exception for content that is not what the format says."""
        return DamagedFileError(f"{self.path}: damaged or another kind of file ({found})")

    def wrong(self, what: str) -> WrongPseudopotentialError:
        """The exception for a file that is none of those that can be used."""
        return WrongPseudopotentialError(f"{self.path}: expected a norm-conserving pseudopotential {what}")

    def numbers(self, text: str, name: str, count: int | None = None) -> Array:
        """Finite numbers, also with Fortran's exponent D; `count` of them where that is known."""
        try:
            values = np.array(re.sub("[dD]", "E", text).split(), dtype=np.float64)
        except ValueError as error:
            raise self.damaged(f"{name}: {error}") from error
        if count is not None and values.size != count:
            raise self.damaged(f"{name}: expected {count} numbers, got {values.size}")
        if not np.all(np.isfinite(values)):
            raise self.damaged(f"{name}: expected finite numbers")
        return values

    def mesh(self, r: Array) -> Array:
        """The radii, checked."""
        if r.size < 50 or r[0] < 0.0 or np.any(np.diff(r) <= 0.0):
            raise self.damaged(f"expected at least 50 increasing radii, got {r.size}")
        return r

    def functional(self, name: str | None, said: str) -> str:
        """A functional of the core; refused where it is another one."""
        if name is None:
            raise self.wrong(f"made with PBE, PW92 or PZ, got one made with {said}")
        return name


def read_source(path: Path) -> SourceText:
    """The text of a file; its line ends count for nothing."""
    if path.stat().st_size > _LARGEST_FILE:
        raise DamagedFileError(f"{path}: expected at most {_LARGEST_FILE} bytes, got more")
    content = path.read_bytes()
    return SourceText(path, content.decode("latin-1"), hashlib.sha256(content).hexdigest())


def electrons_by_l(shells: Mapping[int, float], valence: float) -> tuple[float, ...] | None:
    """Electrons per l as a tuple; None where they are not those of the neutral atom."""
    if not shells or abs(sum(shells.values()) - valence) > 1e-6:
        return None
    if min(shells.values()) < 0.0:
        return None
    last = max(l for l, n in shells.items() if n > 0.0)
    return tuple(float(shells.get(l, 0.0)) for l in range(last + 1))
