"""What every solver gives of the occupied states; and what only some of them give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import KPoints


class State(ABC):
    """The occupied space of a Hamiltonian: density matrices, band energy, the levels at the gap.

    `Solution` (method "dense") has the eigenstates too; `PurifiedState` (method "purification") has not.
    """

    D: BlockMatrix
    kpts: KPoints
    entropy_energy: float
    """-T S, Hartree."""

    @property
    @abstractmethod
    def W(self) -> BlockMatrix:
        """Energy-weighted density matrix of the Hamiltonian that made D."""

    @property
    def nspin(self) -> int:
        """Spin components of D."""
        return self.D.nspin

    @property
    def degeneracy(self) -> int:
        """Electrons that one full state holds."""
        return 3 - self.nspin

    @property
    @abstractmethod
    def integer_occupations(self) -> bool:
        """True when every state is full or empty."""

    @property
    @abstractmethod
    def fermi_level(self) -> float:
        """Fermi level (the higher one when a fixed moment gives two), Hartree."""

    @property
    @abstractmethod
    def homo(self) -> float:
        """Highest occupied level, Hartree."""

    @property
    @abstractmethod
    def lumo(self) -> float:
        """Lowest empty level, Hartree."""

    @property
    def gap(self) -> float:
        """lumo - homo, Hartree; 0 for a metal, negative when integer occupations were forced on overlapping
        bands."""
        return self.lumo - self.homo

    @property
    def metallic(self) -> bool:
        """No gap between full and empty levels."""
        return self.gap <= 0.0

    @property
    @abstractmethod
    def magnetic_moment(self) -> float:
        """N_up - N_down per cell; 0 for an unpolarised calculation."""

    @property
    @abstractmethod
    def band_energy(self) -> float:
        """Tr D H_in, Hartree."""

    @abstractmethod
    def projected_w(self, H: BlockMatrix) -> BlockMatrix:
        """See `projected_w`."""

    @abstractmethod
    def residual_energy(self, residual: BlockMatrix) -> float:
        """See `residual_energy`."""


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """First-order changes of D and of the energy-weighted W when the Hamiltonian changes by R; of nspin of R.

    dD = chi0 R is symmetric in R and dH, and dW is what goes with the overlap: for any change of H and S

        Tr R dD = Tr[(chi0 R) dH] - Tr[(dW/dH R) dS] ,

    the number of electrons kept. In the eigenstates, with f(e) the occupation and df/de its slope,

        D_ij = R_ij (f_i - f_j)/(e_i - e_j),   W_ij = R_ij (f_i e_i - f_j e_j)/(e_i - e_j),
        D_ii = (R_ii - r) df/de,   W_ii = (R_ii - r) e_i df/de + f_i R_ii,   r: shift of the Fermi level.
    """

    D: BlockMatrix
    W: BlockMatrix


@runtime_checkable
class Responding(Protocol):
    """What a state has whose solver knows the first-order change of the density matrix."""

    def response(self, R: BlockMatrix) -> Response:
        """Along a change R of the Hamiltonian, Hartree."""


@runtime_checkable
class SecondResponding(Protocol):
    """What a state has whose solver knows the second-order change too, of full and empty states."""

    def second_response(self, R: BlockMatrix) -> Response:
        """Terms of order x^2 of D and W at H + x R."""


def projected_w(state: State, H: BlockMatrix) -> BlockMatrix:
    """W = D H D / g with H = H[D] in place of the Hamiltonian that made D (g = 2 unpolarised, 1 per spin).

    With fractional occupations, W = C sqrt(f) (C^+ H C) sqrt(f) C^+, which is the same for full states. At
    self-consistency it equals the energy-weighted density matrix; with a predicted Hamiltonian it is the
    one that keeps the orbitals orthonormal while the energy is that of H[D].
    """
    return state.projected_w(H)


def residual_energy(state: State, residual: BlockMatrix) -> float:
    """Second-order estimate of E[D] - E_ground from R = H[D] - H_in, Hartree (zero or positive).

    With chi0 the response of D to its Hamiltonian, E[D] - E_ground = 1/2 Tr[(chi0 x) R] where x = H_in - H_sc
    and R = -(1 - K chi0) x, K = dH/dD. Leaving out the screening K chi0 gives x = -R and

        -1/2 Tr[(chi0 R) R] = sum_k w_k sum_{i<a} (f_i - f_a) |R_ia|^2 / (e_a - e_i),   R_ia = c_i^+ R c_a.

    Where the Hartree term dominates K, K chi0 < 0 and the estimate is too large by about the dielectric
    constant: it is an upper bound of the error in practice. Method "purification" knows no single
    e_a - e_i and gives an upper bound of this sum, see `mlh.solver.purification`.
    """
    return state.residual_energy(residual)
