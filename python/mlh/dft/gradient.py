"""Derivatives, with the geometry, of what is made of fixed matrices: the energy at fixed D, Tr[Z H0].

All of them share one pass over the orbitals on the points and one over the functions of the atoms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

import mlh._core as _core
from mlh.dft.terms.contract import AtomicCoefficients, Derivative, Discretisation
from mlh.dft.terms.local import atomic_gradient

FloatArray = NDArray[np.float64]

Rest = tuple[AtomicCoefficients, Mapping[str, FloatArray]]
"""Through the functions that ride on the atoms; strains of the integrals by the names of their terms."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Matrices M (nnz,) with the potentials v that meet the orbitals in their densities, sum_points v n_M;
    what the matrix terms are multiplied with; and what else there is.

    rest: called with the densities of the matrices where `with_density` asks for them.
    """

    pairs: Sequence[tuple[FloatArray, _core.Potential]]
    seed: FloatArray
    rest: Callable[[Sequence[_core.Density]], Rest]
    with_density: bool = False


def derivatives(d: Discretisation, traces: Sequence[Trace]) -> list[tuple[str, Derivative]]:
    """dE/dtau and dE/deps of the sum of the traces, in parts with names (some of them several times)."""
    ordered = sorted(traces, key=lambda trace: trace.with_density)
    met = _pairs([pair for trace in ordered if not trace.with_density for pair in trace.pairs])
    asked = [pair for trace in ordered if trace.with_density for pair in trace.pairs]
    matrices, potentials = zip(*met, *asked, strict=True)
    atoms, strain, found = d.grid.orbital_gradient(matrices, potentials, len(asked))
    coefficients, strains = AtomicCoefficients(), []
    for trace in ordered:
        own = [found.pop(0) for _ in trace.pairs] if trace.with_density else []
        part, moved = trace.rest(own)
        coefficients = coefficients + part
        strains += list(moved.items())
    seed = reduce(add, (trace.seed for trace in traces))
    at_rest = np.zeros_like(atoms)
    return [
        ("orbital", d.on_grid(Derivative(atoms, strain))),
        ("atomic", d.on_grid(atomic_gradient(d.grid, coefficients))),
        *((term.name, term.derivative(seed)) for term in d.matrix_terms),
        *((name, Derivative(at_rest, value)) for name, value in strains),
    ]


def _pairs(
    pairs: Sequence[tuple[FloatArray, _core.Potential]],
) -> list[tuple[FloatArray, _core.Potential]]:
    """A matrix that is there several times (the same memory) meets the sum of its potentials: one product."""
    sums: dict[int, tuple[FloatArray, _core.Potential]] = {}
    for matrix, potential in pairs:
        place = matrix.__array_interface__["data"][0]
        known = sums.get(place)
        sums[place] = (matrix, potential if known is None else known[1] + potential)
    return list(sums.values())
