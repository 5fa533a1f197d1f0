"""Exact gradient of the energy E[D(H_in)] of a Hamiltonian that is not self-consistent but known as terms.

With R = H[D] - H_in and the response of the occupied states to it (`mlh.solver.Response`: dD = chi0 R, dW)

    dE = (dE at fixed D) + Tr[dD dH_in] - Tr[(W_in + dW) dS] ,

because Tr[R d(D)] = Tr[dD dH_in] - Tr[dW dS], and for the rest D is stationary: H_in is the Hamiltonian that
made it. The energy is the free energy where states are partly filled. H_in = sum of terms, each with its
derivative at a fixed matrix in the place of D: H0, a prediction.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlh.dft.energies import Forces, Stress
from mlh.dft.system import System
from mlh.dft.terms.contract import MatrixTerm
from mlh.scf.result import SCFResult, symmetric_forces, symmetric_stress
from mlh.solver import Responding


def exact_forces(result: SCFResult, terms: Sequence[MatrixTerm]) -> tuple[Forces, Stress | None]:
    """Forces (Hartree/Bohr) and stress (Hartree/Bohr^3) of a state of the H_in that is the sum of `terms`.

    result: of one step (`scf` with max_steps=1), its solver with a response. stress: None where the
    integration has none.
    """
    system, state = result.system, result.solution
    if not isinstance(system, System) or not isinstance(state, Responding):
        raise TypeError(
            "result: expected a state of a mlh.System from a solver with a response, got "
            f"{type(system).__name__} and {type(state).__name__}"
        )
    response = state.response(result.residual_matrix)
    Z = response.D.spin_sum().data[0]
    parts = {term.name: term.derivative(Z) for term in terms}
    W = result.solution.W + response.W
    symmetry = result.solution.kpts.symmetry
    response_forces = {name: -part.atoms for name, part in parts.items()}
    if not system.has_stress:
        plain = system.forces(result.D, W)
        return symmetric_forces(Forces(**plain.as_dict(), **response_forces), symmetry), None
    plain, stress = system.forces_and_stress(result.D, W)
    strains = {name: part.strain / system.cell_volume for name, part in parts.items()}
    return (
        symmetric_forces(Forces(**plain.as_dict(), **response_forces), symmetry),
        symmetric_stress(Stress(**stress.as_dict(), **strains), symmetry),
    )
