"""Bad input ends in an error that names the argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms

import mlh
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPoints, as_kpoints
from mlh.solver import OverlapFactor, solve
from toy_system import POSITIONS, TRICLINIC, toy_atoms, toy_basis


def system(nspin: int = 1, **settings: Any) -> System:
    return System(toy_atoms(), toy_basis(), cutoff_ry=30.0, nspin=nspin, **settings)


def with_atoms(**change: Any) -> Callable[[], object]:
    """A System of the toy atoms after `set_NAME(value)`."""

    def make() -> System:
        atoms = toy_atoms()
        for name, value in change.items():
            getattr(atoms, f"set_{name}")(value)
        return System(atoms, toy_basis(), cutoff_ry=30.0)

    return make


def moved(atom: int, position: Any) -> Callable[[], object]:
    """The toy atoms with one of them at another place (Bohr)."""
    positions = POSITIONS.copy()
    positions[atom] = position
    return lambda: System(toy_atoms(positions), toy_basis(), cutoff_ry=30.0)


def hydrogen(n: int = 1, **settings: Any) -> System:
    atoms = Atoms(f"H{n}", [[0.75 * i, 0.1, 0.2] for i in range(n)], cell=[4, 4, 4], pbc=True)
    return System(atoms, cutoff_ry=40.0, **settings)


def other_pattern() -> BlockMatrix:
    other = System(toy_atoms(POSITIONS * 0.9, TRICLINIC * 1.5), toy_basis(), cutoff_ry=30.0)
    return BlockMatrix.zeros(other.pattern)


def one_nan() -> BlockMatrix:
    pattern = system().pattern
    data = np.zeros(pattern.nnz)
    data[7] = np.nan
    return BlockMatrix(pattern, data)


def of_data(make: Callable[[int], Any]) -> Callable[[], object]:
    """A BlockMatrix from wrong data."""
    pattern = system().pattern
    return lambda: BlockMatrix(pattern, make(pattern.nnz))


CASES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "no atoms": (
        lambda: System(Atoms(cell=np.eye(3)), toy_basis()),
        ValueError,
        "atoms: .*one atom, got none",
    ),
    "a path for atoms": (
        lambda: System("quartz.xyz"),  # type: ignore[arg-type]
        TypeError,
        "atoms: expected an ase.Atoms, got str",
    ),
    "an array for D": (
        lambda: system().energies(np.zeros(3)),  # type: ignore[arg-type]
        TypeError,
        "D: expected a BlockMatrix, got ndarray",
    ),
    "unknown element": (
        with_atoms(chemical_symbols=["Ge", "O", "O", "O"]),
        KeyError,
        "expected one of Si, O, got 'Ge'",
    ),
    "element outside the set": (
        lambda: System(Atoms("U", cell=np.eye(3) * 6, pbc=True)),
        KeyError,
        "expected .*, got .*U",
    ),
    "NaN position": (moved(2, [1.0, np.nan, 0.0]), ValueError, r"atoms: expected finite.*got.*atoms \[2\]"),
    "infinite position": (moved(0, [np.inf, 0, 0]), ValueError, r"atoms: expected finite.*got.*atoms \[0\]"),
    "overlapping atoms": (
        moved(2, POSITIONS[1] + 0.05),
        ValueError,
        "positions: atoms 1 and 2 are 0.0866.* Bohr apart; expected at least 0.1",
    ),
    "overlapping images": (
        moved(2, POSITIONS[1] + TRICLINIC[0]),
        ValueError,
        "positions: atoms 1 and 2 are 0.0.* Bohr apart; expected at least 0.1",
    ),
    "flat cell": (
        with_atoms(cell=[[5, 0, 0], [0, 5, 0], [5, 5, 0]]),
        ValueError,
        "atoms: expected a cell with three independent vectors, got",
    ),
    "missing cell vector": (
        with_atoms(cell=[[5, 0, 0], [0, 5, 0], [0, 0, 0]]),
        ValueError,
        "atoms: expected a cell with three independent vectors, got",
    ),
    "NaN cell": (
        with_atoms(cell=[[5, 0, 0], [0, np.nan, 0], [0, 0, 5]]),
        ValueError,
        "atoms: expected a cell of finite numbers, got",
    ),
    "odd electrons": (
        lambda: mlh.scf(hydrogen()),
        ValueError,
        "n_electrons: .* an even number of electrons, got 1; use spin",
    ),
    "odd electrons, even moment": (
        lambda: mlh.scf(hydrogen(nspin=2), total_spin=0.0),
        ValueError,
        "n_electrons: .* whole electrons in each spin, got 1",
    ),
    "moment above the electrons": (
        lambda: mlh.scf(hydrogen(2, nspin=2), total_spin=4.0),
        ValueError,
        "spin_moment: expected .*, got 3.0 up and -1.0 down",
    ),
    "moment without spin": (
        lambda: mlh.scf(hydrogen(2), total_spin=2.0),
        ValueError,
        "spin_moment: expected",
    ),
    "cutoff too small for oxygen": (
        lambda: System(Atoms("O", cell=np.eye(3) * 6, pbc=True), cutoff_ry=20.0),
        ValueError,
        r"cutoff_ry: expected at least \d+ Ry for the orbitals of O .*, got 20",
    ),
    "cutoff too small for sodium": (
        lambda: System(Atoms("Na", cell=np.eye(3) * 6, pbc=True), "gth-pbe", cutoff_ry=50.0),
        ValueError,
        r"cutoff_ry: expected at least \d+ Ry for the orbitals of Na .*, got 50",
    ),
    **{
        f"cutoff {value}": (
            lambda value=value: System(toy_atoms(), toy_basis(), cutoff_ry=value),
            ValueError,
            f"cutoff_ry: expected .*, got {value}",
        )
        for value in (0.0, -100.0, float("nan"), 1e5)
    },
    "functional": (lambda: system(xc="LYP"), ValueError, "xc: expected one of PBE, PW92, PZ, got 'LYP'"),
    "three spins": (lambda: system(nspin=3), ValueError, "nspin: expected 1 or 2, got 3"),
    "grid": (lambda: system(grid_shape=(8, 0, 8)), ValueError, "grid_shape: expected three positive .*got"),
    "float32 data": (
        of_data(lambda n: np.zeros(n, dtype=np.float32)),
        ValueError,
        "data: expected a float64 array of shape .*, got float32",
    ),
    "integer data": (of_data(lambda n: np.zeros(n, dtype=int)), ValueError, "data: expected .*, got int64"),
    "complex data": (
        of_data(lambda n: np.zeros(n, complex)),
        ValueError,
        "data: expected .*, got complex128",
    ),
    "short data": (
        of_data(lambda n: np.zeros(n - 1)),
        ValueError,
        r"data: expected .*, got .* shape \(\d+,\)",
    ),
    "three spins of data": (
        of_data(lambda n: np.zeros((3, n))),
        ValueError,
        r"data: .*got .* shape \(3, \d+\)",
    ),
    "D of two spins": (
        lambda: system().energies(BlockMatrix.zeros(system().pattern, 2)),
        ValueError,
        "D: expected nspin 1, got 2",
    ),
    "D on another pattern": (
        lambda: system().energies(other_pattern()),
        ValueError,
        "D: expected a matrix on the pattern of the system, got one on another",
    ),
    "NaN in D": (lambda: system().energies(one_nan()), ValueError, "D: expected finite elements, got 1 that"),
    "H0 on another pattern": (
        lambda: mlh.scf(system(), H0=other_pattern()),
        ValueError,
        "H0: expected a matrix on the pattern of the system, got one on another",
    ),
    "NaN in H0": (
        lambda: mlh.scf(system(), H0=one_nan()),
        ValueError,
        "H0: expected finite elements, got 1 that",
    ),
    "k mesh": (lambda: as_kpoints((2, 0, 1)), ValueError, r"size: expected three positive integers, got"),
    "k mesh of two": (lambda: as_kpoints((2, 2)), ValueError, r"size: expected three .*, got \(2, 2\)"),
    "k point shape": (
        lambda: KPoints(np.zeros(3), np.ones(1)),
        ValueError,
        r"points, weights: expected shapes .*, got \(3,\)",
    ),
    "k point weights": (
        lambda: KPoints(np.zeros((1, 3)), 2 * np.ones(1)),
        ValueError,
        "weights: expected positive values that sum to 1, got",
    ),
    "negative width": (
        lambda: mlh.scf(hydrogen(2), smearing="gaussian", width=-0.1),
        ValueError,
        "width: expected a positive width .*got -0.1",
    ),
    "smearing": (
        lambda: mlh.scf(hydrogen(2), smearing="marzari", width=0.1),  # type: ignore[arg-type]
        ValueError,
        "smearing: expected 'none', .*got 'marzari'",
    ),
    "tolerance": (
        lambda: mlh.scf(hydrogen(2), energy_tol=float("nan")),
        ValueError,
        "energy_tol: expected a positive number, got nan",
    ),
    "steps": (lambda: mlh.scf(hydrogen(2), max_steps=0), ValueError, "max_steps: expected at least 1, got 0"),
    "two starts": (
        lambda: mlh.scf(system(), D0=one_nan(), H0=one_nan()),
        ValueError,
        "D0, H0: expected at most one of them, got both",
    ),
    "singular overlap": (
        lambda: OverlapFactor.of(BlockMatrix.zeros(system().pattern)),
        ValueError,
        "S: .*not positive definite",
    ),
    "too many electrons": (
        lambda: solve(system().harris_hamiltonian(), system().overlap(), 1e3),
        ValueError,
        r"n_electrons: expected .*, got 1000",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named(case: str) -> None:
    call, kind, words = CASES[case]
    with pytest.raises(kind, match=words):
        call()
