"""States for tests of electronic structure: small cells, no self-consistency where it adds nothing."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk

import mlh
from mlh.analysis.state import ElectronicState
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPointsSpec


def silicon(repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
    """Diamond-structure silicon, primitive cell or a supercell of it."""
    return bulk("Si", a=5.43).repeat(repeat)


def harris_state(
    atoms: Atoms, kpts: KPointsSpec = (1, 1, 1), cutoff_ry: float = 50.0, **options: object
) -> ElectronicState:
    """The eigenstates of the superposed neutral atoms."""
    system = mlh.System(atoms, "gth-pbe", cutoff_ry, kpts)
    return ElectronicState.from_hamiltonian(system, system.harris_hamiltonian(), atoms, **options)


def two_center_state(atoms: Atoms, kpts: KPointsSpec = (1, 1, 1)) -> ElectronicState:
    """Eigenstates of T + Vnl: two-centre integrals alone, the same in any supercell, digit for digit."""
    system = mlh.System(atoms, "gth-pbe", 40.0, kpts)
    return ElectronicState.from_hamiltonian(system, system.kinetic() + system.nonlocal_potential(), atoms)


def dimer_and_molecule() -> tuple[Atoms, Atoms]:
    """A stretched H2 whose two levels lie in the gap of N2, and N2 alone ("host") in the same cell."""
    cell = [5.0, 5.2, 10.0]
    molecule = Atoms("N2", [[2.4, 2.5, 2.0], [2.6, 2.6, 3.08]], cell=cell, pbc=True)
    both = molecule + Atoms("H2", [[2.5, 2.0, 6.5], [2.5, 3.3, 7.3]])
    both.set_array("host_index", np.array([0, 1, -1, -1]))
    return both, molecule


def shifted(state: ElectronicState, energy: float) -> ElectronicState:
    """H + energy S: every level moves by `energy` (Hartree)."""
    H = BlockMatrix(state.H.pattern, state.H.data + energy * state.system.overlap().data)
    return ElectronicState.from_hamiltonian(state.system, H, state.atoms)
