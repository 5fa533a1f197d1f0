"""The electronic state of a structure by any engine, or from a matrix file: where `mlh bands`, `dos`,
`charges`, `density` and `orbitals` start."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ase import Atoms

from mlh.analysis.state import ElectronicState
from mlh.basis.families import load_basis
from mlh.basis.species import Basis
from mlh.calculators import MLHCalculator
from mlh.calculators.engines import DFTEngine, Engine
from mlh.common.units import EV
from mlh.dft.system import System
from mlh.io import read_matrices
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPointsSpec
from mlh.scf.loop import SCFStep


def electronic_state(
    atoms: Atoms,
    engine: Engine,
    *,
    spin: bool = False,
    total_moment: float | None = None,
    smearing_ev: float | None = None,
    on_scf_step: Callable[[SCFStep], Any] | None = None,
) -> ElectronicState:
    """Self-consistent state by DFT, or the state of a predicted Hamiltonian (with its `refine` steps)."""
    calculator: Any
    if isinstance(engine, DFTEngine):
        calculator = engine.calculator(
            method="dense",  # which has the eigenstates
            spin=spin,
            total_moment=total_moment,
            smearing_ev=smearing_ev,
            on_scf_step=on_scf_step,
        )
    else:
        if spin or total_moment is not None:
            raise ValueError("spin: expected False with a model (the models are spin-unpolarised), got True")
        calculator = MLHCalculator(
            engine.model, refine=engine.refine, kpts=engine.kpts, smearing_ev=smearing_ev
        )
    work = atoms.copy()
    work.calc = calculator
    work.get_potential_energy()
    return ElectronicState.from_calculator(calculator)


def state_of_file(
    path: str | os.PathLike[str],
    basis: Basis | str = "gth-pbe",
    *,
    cutoff_ry: float = 200.0,
    kpts: KPointsSpec = (1, 1, 1),
    xc: str = "PBE",
    total_moment: float | None = None,
    smearing_ev: float | None = None,
) -> ElectronicState:
    """The eigenstates of the H in a matrix file (`mlh scf --matrices`), without self-consistency.

    The file does not hold k points: give the mesh that it was made with, or a denser one. cutoff_ry: of the
    grid on which densities and orbitals are evaluated.
    """
    content = read_matrices(path, load_basis(basis) if isinstance(basis, str) else basis)
    if "H" not in content.matrices:
        raise ValueError(f"{path}: expected a matrix H, got {', '.join(content.matrices)}")
    H = content.matrices["H"]
    system = System(content.atoms, content.basis, cutoff_ry, kpts, xc, H.nspin)
    return ElectronicState.from_hamiltonian(
        system,
        BlockMatrix(system.pattern, H.data),
        content.atoms,
        "none" if smearing_ev is None else "fermi-dirac",
        0.0 if smearing_ev is None else smearing_ev * EV,
        total_moment,
    )
