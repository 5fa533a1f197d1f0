"""dE/dtau and dE/deps of every term of the energy alone, from the functions of the core that make the sum.

Shared by the tests of forces and stress; the list of terms and the systems they are tested on are here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlh.dft.system import System
from mlh.dft.terms.contract import Derivative
from mlh.dft.terms.local import atomic_gradient
from mlh.matrix.block_matrix import BlockMatrix
from toy_system import toy_atoms, toy_basis, with_core

FloatArray = NDArray[np.float64]


def central_difference(function: Callable[[float], FloatArray], step: float) -> FloatArray:
    """Fourth-order central difference."""
    near = function(step) - function(-step)
    far = function(2.0 * step) - function(-2.0 * step)
    return (8.0 * near - far) / (12.0 * step)


def water(shift: float = 0.0) -> Atoms:
    """H2O off equilibrium in a small skewed box (Angstrom)."""
    positions = np.array([[2.1, 2.4, 2.2], [2.9, 2.9, 2.1], [1.4, 3.0, 2.6]]) + shift
    return Atoms(
        "OHH", positions=positions, cell=[[4.6, 0.2, 0.0], [0.0, 4.8, 0.3], [0.1, 0.0, 4.4]], pbc=True
    )


CASES: dict[str, Callable[[], System]] = {
    "triclinic": lambda: System(toy_atoms(), toy_basis(), cutoff_ry=60.0),
    "spin": lambda: System(toy_atoms(), toy_basis(), cutoff_ry=60.0, nspin=2),
    "local density": lambda: System(toy_atoms(), toy_basis(), cutoff_ry=60.0, nspin=2, xc="PW92"),
    "partial core": lambda: System(toy_atoms(), with_core(toy_basis()), cutoff_ry=60.0, nspin=2),
    "water": lambda: System(water(), "gth-pbe", cutoff_ry=50.0),
}


def term_names(system: System) -> tuple[str, ...]:
    """Names of all terms of a system, each once."""
    d = system.discretisation
    return tuple(dict.fromkeys(term.name for term in (*d.matrix_terms, *d.local_terms, *d.pair_terms)))


TERMS = term_names(CASES["triclinic"]())


def term_derivative(system: System, D: BlockMatrix, name: str) -> Derivative:
    """dE_term/dtau and dE_term/deps at fixed D, of the terms of this name alone."""
    d = system.discretisation
    grid, density = d.grid, [d.grid.density(component) for component in D.data]
    parts = [t.derivative(D.spin_sum().data[0]) for t in d.matrix_terms if t.name == name]
    parts += [t.derivative for t in d.pair_terms if t.name == name]
    for term in d.local_terms:
        if term.name != name:
            continue
        state = term.at(density)
        for s, component in enumerate(D.data):
            potential = state.potential[min(s, len(state.potential) - 1)]
            atoms, strain, _ = grid.orbital_gradient([component], [potential])
            parts.append(d.on_grid(Derivative(atoms, strain)))
        parts.append(d.on_grid(atomic_gradient(grid, state.atomic())))
        parts.append(Derivative(np.zeros_like(system.positions), state.strain()))
    return Derivative(np.sum([p.atoms for p in parts], axis=0), np.sum([p.strain for p in parts], axis=0))
