"""Exact gradient of the energy of a Hamiltonian that is not self-consistent but known as terms.

With R = H[D] - H_in and the response of the occupied states to it (`mlh.solver.Response`: Z = dD, Y = dW)

    dE = (dE at fixed D) + Tr[Z dH_in] - Tr[(W_in + Y) dS] ,

because Tr[R d(D)] = Tr[Z dH_in] - Tr[Y dS], and for the rest D is stationary: H_in is the Hamiltonian that
made it. The energy is the free energy where states are partly filled. H_in = sum of terms, each with its
derivative at a fixed matrix in the place of D: H0, a prediction.

The corrected energy E - kappa E2, E2 = -1/2 Tr[Z R] the estimate of the error (`residual_energy`), has

    + kappa Tr[Z dR] + kappa/2 Tr[R d(chi0) R] ,   dR = dH[D] at fixed D + K d(D) - dH_in ,

K = dH/dD. With Z', Y' the response to R + kappa K Z and D2, W2 the second-order change along R (the change of
chi0 is what the third order of the band energy is made of)

    dE = (dE at fixed D) + kappa Tr[Z dH[D]] at fixed D + Tr[(Z' - kappa Z + kappa D2) dH_in]
       - Tr[(W_in + Y' + kappa W2) dS] .

The error itself, to second order, is m_0 - m_1 + m_2 - ..., m_n = -1/2 Tr[R chi0 (-K chi0)^n R]: the integral
of 1/(1 + x) over a positive measure where the Hartree part of K dominates. From its first three moments the
rule of Gauss and Radau with a node at zero gives

    E - E_ground = m_0 - m_1^2/(m_1 + m_2) ,   m_0 = E2,  m_1 = 1/2 Tr[Z K Z],  m_2 = -1/2 Tr[K Z chi0 K Z] ,

an upper bound, where one node (m_0^2/(m_0 + m_1)) gives a lower one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mlh.dft.energies import Forces, Stress
from mlh.dft.gradient import Trace
from mlh.dft.kernel import HamiltonianChange
from mlh.dft.system import System
from mlh.dft.terms.contract import MatrixTerm
from mlh.matrix.block_matrix import BlockMatrix
from mlh.scf.result import SCFResult, symmetric_forces, symmetric_stress
from mlh.solver import Responding, Response, SecondResponding


@dataclass(frozen=True, eq=False)
class ResidualResponse:
    """What the residual of a state of one step does to it, to first order; TypeError for a solver without
    response.

    kappa: share of the estimated error that corrects the energy; other than zero it needs the second order.
    """

    result: SCFResult
    kappa: float = 0.0

    @property
    def system(self) -> System:
        """Of the result."""
        system = self.result.system
        if not isinstance(system, System):
            raise TypeError(f"result: expected a state of a mlh.System, got one of a {type(system).__name__}")
        return system

    def to(self, R: BlockMatrix) -> Response:
        """The response to any change of the Hamiltonian."""
        state = self.result.solution
        if not isinstance(state, Responding):
            raise TypeError(f"result: expected a solver with a response, got a {type(state).__name__}")
        return state.response(R)

    @cached_property
    def first(self) -> Response:
        """Z = chi0 R and the change of W."""
        return self.to(self.result.residual_matrix)

    @property
    def estimate(self) -> float:
        """E2 = -1/2 Tr[Z R], Hartree: without screening."""
        return -0.5 * self.first.D.dot(self.result.residual_matrix)

    @cached_property
    def second(self) -> Response:
        """D2 and W2, the second order along R."""
        state = self.result.solution
        if not isinstance(state, SecondResponding):
            raise TypeError(f"result: expected a solver with a second response, got a {type(state).__name__}")
        return state.second_response(self.result.residual_matrix)

    @property
    def _scale(self) -> float:
        return self.kappa or 1.0

    @cached_property
    def change(self) -> HamiltonianChange:
        """H[D] along `_scale` Z: the forces need kappa Z."""
        return self.system.change(self.result.D, self._scale * self.first.D, single=True)

    @cached_property
    def kernel(self) -> BlockMatrix:
        """K Z, with the symmetry that H[D] has with irreducible k points."""
        symmetry, K = self.result.solution.kpts.symmetry, (1.0 / self._scale) * self.change.matrix
        return K if symmetry is None else symmetry.matrix(K)

    @cached_property
    def energy_error(self) -> float:
        """E[D] - E_ground to second order with screening, Hartree: three moments, see above."""
        K = self.kernel
        m0, m1 = self.estimate, 0.5 * self.first.D.dot(K)
        m2 = -0.5 * self.to(K).D.dot(K)
        return m0 - m1 * m1 / (m1 + m2) if m1 + m2 > 0.0 else m0


def exact_forces(response: ResidualResponse, terms: Sequence[MatrixTerm]) -> tuple[Forces, Stress | None]:
    """Forces (Hartree/Bohr) and stress (Hartree/Bohr^3) of a state of H_in = H0 + the sum of `terms`.

    response: of the result of one step (`scf` with max_steps=1). stress: None where the integration has none.
    """
    result, system = response.result, response.system
    seeds, more = _seeds(response)
    Z = seeds.D.spin_sum().data[0]
    more = [system.harris.trace(Z, single=True), *more]
    parts = {term.name: term.derivative(Z) for term in terms}
    symmetry, W = result.solution.kpts.symmetry, result.solution.W + seeds.W
    pulled = {name: -part.atoms for name, part in parts.items()}
    if not system.has_stress:
        forces = system.forces(result.D, W, more)
        return symmetric_forces(Forces(**forces.as_dict(), **pulled), symmetry), None
    forces, stress = system.forces_and_stress(result.D, W, more)
    strains = {name: part.strain / system.cell_volume for name, part in parts.items()}
    return (
        symmetric_forces(Forces(**forces.as_dict(), **pulled), symmetry),
        symmetric_stress(Stress(**stress.as_dict(), **strains), symmetry),
    )


def _seeds(response: ResidualResponse) -> tuple[Response, list[Trace]]:
    """What multiplies dH_in and -dS beyond W_in, and what the correction depends on explicitly."""
    first, kappa = response.first, response.kappa
    if kappa == 0.0:
        return first, []
    screened = response.to(response.result.residual_matrix + kappa * response.kernel)
    second = response.second
    seeds = Response(screened.D - kappa * first.D + kappa * second.D, screened.W + kappa * second.W)
    return seeds, [response.change.trace]
