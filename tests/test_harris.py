"""The Harris Hamiltonian as a term: its derivative at fixed Z against central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms

from mlh.basis.species import Basis
from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from term_derivatives import central_difference, water
from toy_system import toy_atoms, toy_basis, with_core

CASES: dict[str, tuple[Callable[[], Atoms], Callable[[], Basis | str], float, str]] = {
    "sphere": (toy_atoms, toy_basis, 60.0, "PBE"),
    "partial core": (toy_atoms, lambda: with_core(toy_basis()), 60.0, "PBE"),
    "local density": (toy_atoms, lambda: with_core(toy_basis()), 60.0, "PW92"),
    "water": (water, lambda: "gth-pbe", 50.0, "PBE"),
}


@pytest.mark.parametrize("name", CASES)
def test_derivative_of_the_harris_hamiltonian(name: str) -> None:
    """Tr Z H0 with the same block for every image of a pair, so that no pair enters or leaves."""
    make_atoms, make_basis, cutoff, xc = CASES[name]
    atoms, basis = make_atoms(), make_basis()
    mesh = System(atoms, basis, cutoff_ry=cutoff, xc=xc).mesh

    def system(moved: Atoms) -> System:
        return System(moved, basis, cutoff_ry=cutoff, xc=xc, grid_shape=mesh)

    here = system(atoms)
    n = here.n_orbitals
    dense = np.random.default_rng(3).standard_normal((n, n)) * 0.1
    dense = dense + dense.T

    def trace(moved: Atoms) -> float:
        at = system(moved)
        return at.harris.matrix.dot(BlockMatrix.from_dense_gamma(at.pattern, dense))

    exact = here.harris.derivative(BlockMatrix.from_dense_gamma(here.pattern, dense).data[0])
    step, size = 2e-3, np.abs(exact.atoms).max()
    assert size > 0.1
    for atom, axis in ((0, 0), (1, 2), (2, 1)):

        def displaced(t: float, atom: int = atom, axis: int = axis) -> float:
            moved = atoms.copy()
            moved.positions[atom, axis] += t * BOHR_ANGSTROM
            return trace(moved)

        assert exact.atoms[atom, axis] == pytest.approx(central_difference(displaced, step), abs=3e-8)
    for a, b in ((0, 0), (1, 2)):

        def strained(t: float, a: int = a, b: int = b) -> float:
            moved, eps = atoms.copy(), np.eye(3)
            eps[a, b] += 0.5 * t
            eps[b, a] += 0.5 * t
            moved.set_cell(atoms.cell.array @ eps, scale_atoms=True)
            return trace(moved)

        assert exact.strain[a, b] == pytest.approx(central_difference(strained, step), abs=1e-7)
    np.testing.assert_allclose(exact.strain, exact.strain.T, atol=1e-12)
