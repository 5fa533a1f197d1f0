"""The electronic state of a structure by any engine, or from a matrix file: where `mlh bands`, `dos`,
`charges`, `density` and `orbitals` start."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ase import Atoms

from mlh.analysis.state import ElectronicState
from mlh.calculators.engines import DFTEngine, Engine
from mlh.dft.system import System
from mlh.dft.theory import Theory
from mlh.io import read_atoms, read_matrices
from mlh.matrix.block_matrix import BlockMatrix
from mlh.scf.loop import SCFStep


def electronic_state(
    atoms: Atoms, engine: Engine, *, on_scf_step: Callable[[SCFStep], Any] | None = None
) -> ElectronicState:
    """Self-consistent state by DFT, or the state of a predicted Hamiltonian (with its `refine` steps)."""
    if engine.method != "dense":
        raise ValueError(
            f"method: levels, bands and states need eigenstates, which {engine.method!r} does not have; "
            "expected 'dense' (practical to about a thousand atoms)"
        )
    calculator = (
        engine.calculator(on_scf_step=on_scf_step) if isinstance(engine, DFTEngine) else engine.calculator()
    )
    work = atoms.copy()
    work.calc = calculator
    work.get_potential_energy()
    return ElectronicState.from_calculator(calculator)


def state_of_file(
    path: str | os.PathLike[str], theory_of: Callable[[Atoms], Theory] | None = None
) -> ElectronicState:
    """The eigenstates of the H in a matrix file (`mlh scf --matrices`), without self-consistency.

    theory_of: the level of theory for the atoms of the file, default `Theory()`. The file does not hold k
    points: give the mesh that it was made with, or a denser one. The cutoff is that of the grid on which
    densities and orbitals are evaluated.
    """
    atoms = read_atoms(path)
    theory = theory_of(atoms) if theory_of is not None else Theory()
    content = read_matrices(path, theory.loaded_basis())
    if "H" not in content.matrices:
        raise ValueError(f"{path}: expected a matrix H, got {', '.join(content.matrices)}")
    H = content.matrices["H"]
    system = System.of(content.atoms, replace(theory, basis=content.basis, spin=H.nspin == 2))
    return ElectronicState.from_hamiltonian(
        system,
        BlockMatrix(system.pattern, H.data),
        content.atoms,
        theory.occupations,
        theory.width,
        theory.total_moment,
    )
