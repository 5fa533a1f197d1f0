"""OpenMX's own examples as they are: `Utot` of mlh less that of the .out files (GPL data, read where it is).

    MLH_OPENMX_DATA=FOLDER PYTHONPATH=python python bench/python/openmx_examples.py [NAME ...] [--divide]

--divide: C60 also in OpenMX's own approximation, divide and conquer (scf.EigenvalueSolver dc): every atom
takes its rows of the density matrix from the states of the atoms within orderN.HoppingRanges, all with one
chemical potential.
"""

from __future__ import annotations

import os
import re
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

import mlh
from mlh.common.units import OPENMX_BOHR_ANGSTROM
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.openmx.calculation import read_calculation

FloatArray = NDArray[np.float64]

NAMES = ("Methane", "Glycine", "Graphite4", "HMn", "Mol_MnO", "Crys-MnO", "H2O", "Benzene", "Ndia2", "C60")


def printed(path: Path) -> float:
    """Utot of the first geometry, Hartree."""
    found = re.search(r"^ *Utot\. +(\S+)", path.read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def run(folder: Path, name: str) -> None:
    """One line of the table."""
    found = read_calculation(folder / f"{name}.dat")
    started = time.perf_counter()
    calc = found.atoms.calc = mlh.DFTCalculator(theory=found.theory, energy_tol_ev=1e-6)
    found.atoms.get_potential_energy()
    utot, reference = calc.result.energies.internal, printed(folder / f"{name}.out")
    print(
        f"{name:10s} {reference:16.9f} {utot:16.9f} {utot - reference:+.1e} "
        f"{calc.result.solution.magnetic_moment:6.3f} {calc.result.n_steps:3d} steps "
        f"{time.perf_counter() - started:5.0f} s {'; '.join(found.notes)}",
        flush=True,
    )


class Clusters:
    """Around every atom those within a range: where the blocks of a matrix stand in their matrices."""

    def __init__(self, system: System, reach: float) -> None:
        pattern = system.pattern
        columns = (pattern.atom_i, pattern.atom_j, *np.asarray(pattern.cell).T)
        place = dict(
            zip(zip(*(np.asarray(c).tolist() for c in columns), strict=True), pattern.offset, strict=False)
        )
        size = [system.basis[s].n_orbitals for s in system.symbols]
        images = [np.array(R) for R in product((-1, 0, 1), repeat=3)]
        x, cell = system.positions, system.cell
        self.index: list[Any] = []
        self.rows: list[int] = []
        for i in range(len(x)):
            near = [
                (j, R)
                for j in range(len(x))
                for R in images
                if (j, *R) != (i, 0, 0, 0) and np.linalg.norm(x[j] + R @ cell - x[i]) <= reach
            ]
            atoms = [(i, np.zeros(3, int)), *near]
            rows = [
                [self._block(place.get((a, b, *(Q - R).tolist())), size[a], size[b]) for b, Q in atoms]
                for a, R in atoms
            ]
            self.index.append(np.block(rows))
            self.rows.append(size[i])

    @staticmethod
    def _block(start: Any, n: int, m: int) -> Any:
        return np.full((n, m), -1) if start is None else int(start) + np.arange(n * m).reshape(n, m)

    def matrices(self, M: BlockMatrix) -> list[FloatArray]:
        """Of every cluster; zero where orbitals do not overlap."""
        return [np.where(k < 0, 0.0, M.data[0][np.maximum(k, 0)]) for k in self.index]

    def density(self, H: BlockMatrix, overlaps: list[FloatArray], electrons: float, kT: float) -> BlockMatrix:
        """D of a spin-unpolarised H."""
        states = []
        for h, s, n in zip(self.matrices(H), overlaps, self.rows, strict=True):
            levels, c = eigh(h, s)
            states.append((levels, c, np.sum(c[:n] * (s[:n] @ c), axis=0)))

        def occupied(levels: FloatArray, mu: float) -> FloatArray:
            return np.asarray(1.0 / (1.0 + np.exp(np.clip((levels - mu) / kT, -60.0, 60.0))))

        low, high = -5.0, 5.0
        for _ in range(200):
            mu = 0.5 * (low + high)
            count = 2.0 * sum(float(occupied(e, mu) @ w) for e, _, w in states)
            low, high = (low, mu) if count > electrons else (mu, high)
        D = np.zeros(H.pattern.nnz)
        for k, n, (e, c, _) in zip(self.index, self.rows, states, strict=True):
            own, known = 2.0 * (c[:n] * occupied(e, mu)) @ c.T, k[:n] >= 0
            D[k[:n][known]] = own[known]
        return BlockMatrix(H.pattern, D[None]).symmetrised()


def divide(folder: Path, name: str, reach: float) -> None:
    """Self-consistency by divide and conquer; `reach` in Angstrom."""
    found = read_calculation(folder / f"{name}.dat")
    system = System.of(found.atoms, found.theory)
    clusters = Clusters(system, reach / OPENMX_BOHR_ANGSTROM)
    overlaps = clusters.matrices(system.overlap())
    H, past, residuals = system.harris_hamiltonian(), [], []
    for _ in range(40):
        D = clusters.density(H, overlaps, system.n_electrons, found.theory.width)
        evaluation = system.evaluate(D)
        change = (evaluation.H - H).data[0]
        if np.abs(change).max() < 5e-7:
            break
        past.append(H.data[0])
        residuals.append(change)
        r = np.array(residuals[-10:])
        matrix = np.ones((len(r) + 1, len(r) + 1))
        matrix[:-1, :-1], matrix[-1, -1] = r @ r.T / (r[-1] @ r[-1]), 0.0
        x = np.linalg.lstsq(matrix, np.eye(len(r) + 1)[-1], rcond=1e-14)[0][:-1]
        H = BlockMatrix(system.pattern, (x @ (np.array(past[-10:]) + 0.5 * r))[None])
    utot, reference = evaluation.energies.internal, printed(folder / f"{name}.out")
    print(f"{name:10s} {reference:16.9f} {utot:16.9f} {utot - reference:+.1e} by divide and conquer")


def main() -> None:
    folder = Path(os.environ["MLH_OPENMX_DATA"]) / "examples"
    print("           Utot of OpenMX   Utot of mlh      difference, Ha; moment")
    for name in [word for word in sys.argv[1:] if word[0] != "-"] or NAMES:
        run(folder, name)
    if "--divide" in sys.argv:
        divide(folder, "C60", 6.0)


if __name__ == "__main__":
    main()
