"""Named contributions to energy, forces and stress; totals are derived, never stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from mlh.common.html import Section
from mlh.common.units import HARTREE_BOHR3_GPA, HARTREE_BOHR_EV_ANGSTROM, HARTREE_EV

FloatArray = NDArray[np.float64]


_ORDER = ("kinetic", "nonlocal", "neutral_atom", "hartree", "xc", "core_repulsion")
"""Order in tables, and of the sum; contributions of other names follow, the entropy comes last."""


class Energies(Mapping[str, float]):
    """E = Tr D T + Tr D Vnl + int n V_na + 1/2 int dn dV_H + E_xc[n + n_core] + E_scc + ... - T S, Hartree.

    Named contributions, whatever terms a System has: energies["xc"] or energies.xc (`energies.nonlocal_`,
    because nonlocal is a keyword). Those of every System: kinetic, nonlocal, neutral_atom, hartree, xc and
    core_repulsion; entropy is -T S of fractional occupations. dn = n - sum_I n_I is the deformation density,
    dV_H its Hartree potential; core_repulsion is
    E_scc = 1/2 sum'_{IJ} [Z_I Z_J / R_IJ - J_IJ] - 1/2 sum_I J_II(0), J_IJ = int int n_I n_J / |r - r'|.
    """

    __slots__ = ("_contributions",)

    def __init__(self, contributions: Mapping[str, float] | None = None, /, **named: float) -> None:
        values = {name.rstrip("_"): float(e) for name, e in {**(contributions or {}), **named}.items()}
        first = [name for name in _ORDER if name in values]
        others = [name for name in values if name not in (*_ORDER, "entropy")]
        self._contributions = {name: values[name] for name in (*first, *others)}
        self._contributions["entropy"] = values.get("entropy", 0.0)

    def __getitem__(self, name: str) -> float:
        return self._contributions[name.rstrip("_")]

    def __getattr__(self, name: str) -> float:
        if not name.startswith("_") and name.rstrip("_") in self._contributions:
            return self[name]
        raise AttributeError(f"Energies: expected one of {', '.join(self.__reduce__()[1][0])}, got {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._contributions)

    def __len__(self) -> int:
        return len(self._contributions)

    def __reduce__(self) -> tuple[type[Energies], tuple[dict[str, float]]]:
        return Energies, (self.as_dict(),)

    @property
    def internal(self) -> float:
        """Sum of all contributions without the entropy term, Hartree."""
        return self.total - self["entropy"]

    @property
    def total(self) -> float:
        """Sum of all contributions, Hartree: the free energy that the forces are the gradient of."""
        return float(sum(self._contributions.values()))

    def as_dict(self) -> dict[str, float]:
        """Contributions by name, Hartree."""
        return dict(self._contributions)

    def with_entropy(self, entropy: float) -> Energies:
        """The same contributions with the entropy term -T S (Hartree)."""
        return Energies({**self._contributions, "entropy": entropy})

    def __str__(self) -> str:
        rows = [*self._contributions.items(), ("total", self.total)]
        return "\n".join(f"{name:>15s} {e:20.10f} Ha {e * HARTREE_EV:18.6f} eV" for name, e in rows)

    def __repr__(self) -> str:
        return f"Energies({self._contributions})"

    def _repr_html_(self) -> str:
        rows = [(name, f"{e:.10f}", f"{e * HARTREE_EV:.6f}") for name, e in self._contributions.items()]
        total = ("total", f"{self.total:.10f}", f"{self.total * HARTREE_EV:.6f}")
        return Section("energy", [*rows, total], ("contribution", "Ha", "eV")).as_html()


class _Contributions:
    """Arrays of one shape by name; the total is their sum."""

    __slots__ = ("_contributions",)
    _expected = ""

    def __init__(self, **contributions: FloatArray) -> None:
        shapes = {name.rstrip("_"): np.shape(values) for name, values in contributions.items()}
        first = next(iter(shapes.values()), ())
        if any(shape != first for shape in shapes.values()) or not self._fits(first):
            raise ValueError(f"contributions: expected one common shape {self._expected}, got {shapes}")
        self._contributions: dict[str, FloatArray] = {}
        for name, values in contributions.items():
            array = np.array(values, dtype=np.float64)
            array.flags.writeable = False
            self._contributions[name.rstrip("_")] = array

    @staticmethod
    def _fits(shape: tuple[int, ...]) -> bool:
        raise NotImplementedError

    @property
    def total(self) -> FloatArray:
        """Sum of all contributions."""
        return np.asarray(sum(self._contributions.values()), dtype=np.float64)

    def as_dict(self) -> dict[str, FloatArray]:
        """Contributions by name."""
        return dict(self._contributions)

    def __getitem__(self, name: str) -> FloatArray:
        return self._contributions[name]

    def _table(self, factor: float, unit: str) -> str:
        return "\n".join(
            f"{name:>15s} largest component {np.abs(values).max() * factor:12.6f} {unit}"
            for name, values in [*self._contributions.items(), ("total", self.total)]
        )


class Forces(_Contributions):
    """Named contributions to the forces -dE/dtau, each of shape (natoms, 3), in Hartree/Bohr."""

    __slots__ = ()
    _expected = "(natoms, 3)"

    @staticmethod
    def _fits(shape: tuple[int, ...]) -> bool:
        return len(shape) == 2 and shape[1] == 3

    def __str__(self) -> str:
        return self._table(HARTREE_BOHR_EV_ANGSTROM, "eV/A")


class Stress(_Contributions):
    """Named contributions to the stress (1/V) dE/deps, each (3, 3), symmetric, in Hartree/Bohr^3.

    Positive along an axis: the cell wants to shrink along it (the sign of ASE).
    """

    __slots__ = ()
    _expected = "(3, 3)"

    @staticmethod
    def _fits(shape: tuple[int, ...]) -> bool:
        return shape == (3, 3)

    @property
    def pressure(self) -> float:
        """-Tr(stress)/3, Hartree/Bohr^3: positive when the cell wants to expand."""
        return -float(np.trace(self.total)) / 3.0

    @property
    def voigt(self) -> FloatArray:
        """Total as xx, yy, zz, yz, xz, xy, shape (6,), Hartree/Bohr^3."""
        return self.total[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]

    def __str__(self) -> str:
        return self._table(HARTREE_BOHR3_GPA, "GPa")
