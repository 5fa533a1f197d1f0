"""Mulliken's division of electrons over orbitals.

    q_a = sum_b D_ab S_ab                  populations of a density matrix; sum_a q_a = number of electrons
    w_ai = Re[conj(c_ai) (S c_i)_a]        share of orbital a in state i; sum_a w_ai = 1

(R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955).) The division depends on the basis: compare charges of the
same basis only. Shares of diffuse orbitals can be slightly negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlh.analysis.state import ElectronicState, HasDensity
from mlh.basis.species import SHELL_LETTERS
from mlh.dft.system import System
from mlh.matrix.populations import orbital_populations

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OrbitalLabels:
    """Atom and angular momentum of every orbital of the cell, (norb,) each."""

    atom: NDArray[np.int64]
    l: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class MullikenCharges:
    """Per atom: charge (valence - population, units of e), population per spin (nspin, natoms), and per
    angular momentum (nspin, natoms, 4: s p d f)."""

    charges: FloatArray
    populations: FloatArray
    by_l: FloatArray

    @property
    def moments(self) -> FloatArray:
        """N_up - N_down per atom, zeros without spin."""
        if len(self.populations) == 1:
            return np.zeros_like(self.charges)
        return np.asarray(self.populations[0] - self.populations[1])

    @property
    def n_electrons(self) -> float:
        """Sum of all populations."""
        return float(self.populations.sum())


def orbital_labels(system: System) -> OrbitalLabels:
    """Labels in the order of the orbitals of the cell."""
    shells = [
        [o.l for o in system.basis[symbol].orbitals for _ in range(2 * o.l + 1)] for symbol in system.symbols
    ]
    return OrbitalLabels(
        np.repeat(np.arange(len(shells), dtype=np.int64), [len(s) for s in shells]),
        np.array([l for shell in shells for l in shell], dtype=np.int64),
    )


def mulliken_charges(state: HasDensity) -> MullikenCharges:
    """Charges and moments of a state."""
    system, labels = state.system, orbital_labels(state.system)
    q = orbital_populations(state.solution.D, system.overlap())
    n_atoms = len(system.symbols)
    by_l = np.zeros((len(q), n_atoms, len(SHELL_LETTERS)))
    for spin, values in enumerate(q):
        np.add.at(by_l[spin], (labels.atom, labels.l), values)
    populations = by_l.sum(axis=2)
    valence = np.array([system.basis[symbol].valence for symbol in system.symbols])
    return MullikenCharges(valence - populations.sum(axis=0), populations, by_l)


def orbital_shares(state: ElectronicState, spin: int, k: int) -> FloatArray:
    """w_ai of every state at one k point, (norb, nbands)."""
    c = state.solution.coefficients[spin][k]
    return np.asarray((c.conj() * (state.overlap_at(k) @ c)).real)


def atom_shares(state: ElectronicState, spin: int, k: int) -> FloatArray:
    """p_Ai = sum of w_ai over the orbitals of atom A, (natoms, nbands)."""
    shares, labels = orbital_shares(state, spin, k), orbital_labels(state.system)
    out = np.zeros((len(state.system.symbols), shares.shape[1]))
    np.add.at(out, labels.atom, shares)
    return out


def participation(shares: FloatArray) -> FloatArray:
    """Inverse participation ratio sum_A p_A^2 / (sum_A p_A)^2 along the first axis.

    1 for a state on one atom, 1/n for one spread evenly over n atoms.
    """
    return np.asarray((shares**2).sum(axis=0) / shares.sum(axis=0) ** 2)
