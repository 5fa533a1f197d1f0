"""Named contributions to energy and forces; totals are derived, never stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from mlh.units import HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Energies:
    """E = Tr D T + Tr D Vnl + int n V_na + 1/2 int dn dV_H + E_xc[n + n_core] + E_scc - T S, in Hartree.

    dn = n - sum_I n_I is the deformation density, dV_H its Hartree potential; `core_repulsion` is
    E_scc = 1/2 sum'_{IJ} [Z_I Z_J / R_IJ - J_IJ] - 1/2 sum_I J_II(0), J_IJ = int int n_I n_J / |r - r'|.
    """

    kinetic: float = 0.0
    nonlocal_: float = 0.0
    neutral_atom: float = 0.0
    hartree: float = 0.0
    xc: float = 0.0
    core_repulsion: float = 0.0
    entropy: float = 0.0
    """-T S of fractional occupations (zero or negative)."""

    @classmethod
    def of(cls, contributions: Mapping[str, float]) -> Energies:
        """From contributions by name, as `as_dict` gives them."""
        return cls(**{f.name: contributions.get(f.name.rstrip("_"), 0.0) for f in fields(cls)})

    @property
    def internal(self) -> float:
        """Sum of all contributions without the entropy term, Hartree."""
        return self.total - self.entropy

    @property
    def total(self) -> float:
        """Sum of all contributions, Hartree: the free energy that the forces are the gradient of."""
        return float(sum(self.as_dict().values()))

    def as_dict(self) -> dict[str, float]:
        """Contributions by name, Hartree."""
        return {f.name.rstrip("_"): float(getattr(self, f.name)) for f in fields(self)}

    def with_entropy(self, entropy: float) -> Energies:
        """The same contributions with the entropy term -T S (Hartree)."""
        return replace(self, entropy=float(entropy))

    def __str__(self) -> str:
        rows = [*self.as_dict().items(), ("total", self.total)]
        return "\n".join(f"{name:>15s} {e:20.10f} Ha {e * HARTREE_EV:18.6f} eV" for name, e in rows)


class Forces:
    """Named contributions to the forces -dE/dtau, each of shape (natoms, 3), in Hartree/Bohr."""

    __slots__ = ("_contributions",)

    def __init__(self, **contributions: FloatArray) -> None:
        if not contributions:
            raise ValueError("contributions: expected at least one array of shape (natoms, 3), got none")
        shapes = {name: np.shape(values) for name, values in contributions.items()}
        first = next(iter(shapes.values()))
        if any(shape != first or len(shape) != 2 or shape[1] != 3 for shape in shapes.values()):
            raise ValueError(f"contributions: expected one common shape (natoms, 3), got {shapes}")
        self._contributions: dict[str, FloatArray] = {}
        for name, values in contributions.items():
            array = np.array(values, dtype=np.float64)
            array.flags.writeable = False
            self._contributions[name.rstrip("_")] = array

    @property
    def total(self) -> FloatArray:
        """Sum of all contributions, shape (natoms, 3), Hartree/Bohr."""
        return np.asarray(sum(self._contributions.values()), dtype=np.float64)

    def as_dict(self) -> dict[str, FloatArray]:
        """Contributions by name, each of shape (natoms, 3), Hartree/Bohr."""
        return dict(self._contributions)

    def __getitem__(self, name: str) -> FloatArray:
        return self._contributions[name]

    def __str__(self) -> str:
        lines = [
            f"{name:>15s} largest component {np.abs(values).max() * HARTREE_BOHR_EV_ANGSTROM:12.6f} eV/A"
            for name, values in [*self._contributions.items(), ("total", self.total)]
        ]
        return "\n".join(lines)
