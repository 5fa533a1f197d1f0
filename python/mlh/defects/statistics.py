"""Formation energies over sites and hosts: mean, spread and the error of the mean, as they come in.

Of n values the spread is their standard deviation, s = sqrt(sum (E - mean)^2 / (n - 1)), the error of the
mean s / sqrt(n) as if sites were independent. Sites of one glass are not quite: with several hosts there is
also the error from the means of the hosts, the spread of these over sqrt(hosts). Where it is larger, more
hosts are needed, not more sites.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Value:
    """One formation energy, eV. name: V_O_0, the defect with its charge; length: volume^(1/3) of the host's
    cell, Angstrom; number: of the site in its host, in the order of the draw."""

    name: str
    host: str
    n_atoms: int
    length: float
    number: int
    energy: float


@dataclass(frozen=True)
class Moments:
    """What is known of a distribution; None where there are too few values."""

    count: int
    mean: float | None
    spread: float | None
    error: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Moments:
        """Of numbers, in any order."""
        n = len(values)
        mean = float(np.mean(values)) if n else None
        spread = float(np.std(values, ddof=1)) if n > 1 else None
        return cls(n, mean, spread, None if spread is None else spread / math.sqrt(n))

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        return {"count": self.count, "mean": self.mean, "spread": self.spread, "error": self.error}


def in_order(values: Sequence[Value]) -> list[Value]:
    """The first site of every host, then the second of every host, ...: whatever came in first."""
    return sorted(values, key=lambda v: (v.number, v.n_atoms, v.host))


def running(values: Sequence[Value]) -> list[Moments]:
    """After one site, two, ...; in the order above."""
    energies = [value.energy for value in in_order(values)]
    return [Moments.of(energies[: n + 1]) for n in range(len(energies))]


def by_host(values: Sequence[Value]) -> dict[str, Moments]:
    """Of each host alone."""
    names = dict.fromkeys(value.host for value in values)
    return {name: Moments.of([v.energy for v in values if v.host == name]) for name in sorted(names)}


def by_size(values: Sequence[Value]) -> dict[int, Moments]:
    """Of the hosts of each number of atoms."""
    sizes = sorted({value.n_atoms for value in values})
    return {size: Moments.of([v.energy for v in values if v.n_atoms == size]) for size in sizes}


def error_from_hosts(values: Sequence[Value]) -> float | None:
    """Error of the mean from the means of the hosts, eV; None for one host."""
    return Moments.of([m.mean for m in by_host(values).values() if m.mean is not None]).error


def by_name(values: Sequence[Value]) -> dict[str, list[Value]]:
    """The values of every defect and charge; those that did not converge (NaN) are left out."""
    found: dict[str, list[Value]] = {}
    for value in values:
        if math.isfinite(value.energy):
            found.setdefault(value.name, []).append(value)
    return {name: in_order(found[name]) for name in sorted(found)}


def describe_statistics(values: Sequence[Value]) -> dict[str, Any]:
    """For JSON, by defect and charge; eV."""
    return {name: _described(group) for name, group in by_name(values).items()}


def _described(group: Sequence[Value]) -> dict[str, Any]:
    return {
        "all": {
            **Moments.of([v.energy for v in group]).describe(),
            "error_from_hosts": error_from_hosts(group),
        },
        "hosts": {name: moments.describe() for name, moments in by_host(group).items()},
        "sizes": {str(size): moments.describe() for size, moments in by_size(group).items()},
        "running": [moments.describe() for moments in running(group)],
        "values": [
            {"host": v.host, "atoms": v.n_atoms, "length": v.length, "number": v.number, "energy": v.energy}
            for v in group
        ],
    }
