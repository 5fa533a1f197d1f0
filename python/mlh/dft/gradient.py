"""Derivatives, with the geometry, of what is made of fixed matrices: the energy at fixed D, Tr[Z H0].

All of them share one pass over the orbitals on the points and one over the functions of the atoms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import add

import numpy as np
from numpy.typing import NDArray

import mlh._core as _core
from mlh.dft.terms.contract import AtomicCoefficients, Derivative, Discretisation, sum_of_derivatives
from mlh.dft.terms.local import atomic_gradient

FloatArray = NDArray[np.float64]

Pair = tuple[FloatArray, _core.Potential]
"""A matrix (nnz,) and the potential that meets its density."""

Rest = tuple[AtomicCoefficients, Mapping[str, FloatArray]]
"""Through the functions that ride on the atoms; strains of the integrals by the names of their terms."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Matrices M (nnz,) with the potentials v that meet the orbitals in their densities, sum_points v n_M;
    what the matrix terms are multiplied with; and what else there is.

    rest: called with the densities of the matrices where `with_density` asks for them. single: pairs of
    matrices that are small beside D, whose products with orbitals are taken in single precision.
    """

    pairs: Sequence[Pair]
    seed: FloatArray
    rest: Callable[[Sequence[_core.Density]], Rest]
    with_density: bool = False
    single: Sequence[Pair] = ()


def derivatives(d: Discretisation, traces: Sequence[Trace]) -> list[tuple[str, Derivative]]:
    """dE/dtau and dE/deps of the sum of the traces, in parts with names (some of them several times)."""
    full, densities = _orbital(d, [(trace.pairs, trace.with_density) for trace in traces], single=False)
    small, more = _orbital(d, [(trace.single, trace.with_density) for trace in traces], single=True)
    coefficients, strains = AtomicCoefficients(), []
    for trace, own, others in zip(traces, densities, more, strict=True):
        part, moved = trace.rest([*own, *others])
        coefficients = coefficients + part
        strains += list(moved.items())
    seed = reduce(add, (trace.seed for trace in traces))
    at_rest = np.zeros_like(full.atoms)
    return [
        ("orbital", d.on_grid(sum_of_derivatives((full, small)))),
        ("atomic", d.on_grid(atomic_gradient(d.grid, coefficients))),
        *((term.name, term.derivative(seed)) for term in d.matrix_terms),
        *((name, Derivative(at_rest, value)) for name, value in strains),
    ]


def _orbital(
    d: Discretisation, wanted: Sequence[tuple[Sequence[Pair], bool]], single: bool
) -> tuple[Derivative, list[list[_core.Density]]]:
    """Through the orbitals of the pairs of every trace, and the densities of those that ask for them."""
    met = _pairs([pair for pairs, with_density in wanted if not with_density for pair in pairs])
    asked = [pair for pairs, with_density in wanted if with_density for pair in pairs]
    if not met and not asked:
        return Derivative(np.zeros((len(d.geometry.pattern.n_orbitals), 3)), np.zeros((3, 3))), [
            [] for _ in wanted
        ]
    matrices, potentials = zip(*met, *asked, strict=True)
    atoms, strain, found = d.grid.orbital_gradient(matrices, potentials, len(asked), single)
    rest = iter(found)
    own = [list(islice(rest, len(pairs))) if with_density else [] for pairs, with_density in wanted]
    return Derivative(atoms, strain), own


def _pairs(pairs: Sequence[Pair]) -> list[Pair]:
    """A matrix that is there several times (the same memory) meets the sum of its potentials: one product."""
    sums: dict[int, Pair] = {}
    for matrix, potential in pairs:
        place = matrix.__array_interface__["data"][0]
        known = sums.get(place)
        sums[place] = (matrix, potential if known is None else known[1] + potential)
    return list(sums.values())
