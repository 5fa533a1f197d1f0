"""Preconditioning of metals: charges on atoms, their potential, and the steps it saves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms

import mlh
from mlh.common.units import EV
from mlh.dft.system import System
from mlh.matrix.block_matrix import BlockMatrix
from mlh.matrix.kpoints import as_kpoints
from mlh.scf.mixing import PulayMixer
from mlh.scf.screening import CHARGE_WIDTH, AtomicCharges, Screening, local_density_of_states
from mlh.scf.steering import Steering
from mlh.solver import Filling, OverlapFactor, Smearing
from toy_system import toy_atoms, toy_basis

WIDTH = 0.3 * EV


def aluminium(layers: int, vacuum: float = 0.0) -> System:
    """A column of fcc aluminium, two atoms to a layer, off its sites; minimal basis, coarse grid."""
    edge = 4.05 / np.sqrt(2.0)
    unit = Atoms("Al2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[edge, edge, 4.05], pbc=True)
    atoms = unit.repeat((1, 1, layers))
    atoms.rattle(0.1, seed=0)
    atoms.cell[2, 2] += vacuum
    basis = mlh.load_basis("gth-pbe", orbitals={"Al": "6.0-s1p1"}, elements=["Al"])
    return System(atoms, basis, cutoff_ry=20.0)


def periodic_gaussian(system: System, atom: int) -> np.ndarray:
    """Normalised Gaussian of the standard charge on the grid, images included."""
    shape = system.grid_shape
    fractions = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), axis=-1)
    points = fractions @ system.cell - system.positions[atom]
    total = np.zeros(shape)
    for cell in np.ndindex(7, 7, 3):
        r = points + (np.array(cell) - [3, 3, 1]) @ system.cell
        total += np.exp(-0.5 * (r**2).sum(axis=-1) / CHARGE_WIDTH**2)
    return total / (2.0 * np.pi * CHARGE_WIDTH**2) ** 1.5


def test_interaction_is_the_energy_of_a_charge_in_the_potential_of_another() -> None:
    system = aluminium(2)
    charges = AtomicCharges(system)
    dv = system.cell_volume / np.prod(system.grid_shape)
    potential = charges.potential(np.array([0.0, 1.0, 0.0, 0.0]))
    direct = [dv * np.vdot(periodic_gaussian(system, atom), potential) for atom in range(4)]
    np.testing.assert_allclose(charges.interaction[:, 1], direct, atol=1e-5)
    assert charges.interaction[1, 1] > 0.1
    np.testing.assert_allclose(charges.interaction, charges.interaction.T, atol=1e-14)


def test_local_densities_of_states_add_up_to_the_slope_of_the_electron_number() -> None:
    system = aluminium(2)
    factor = OverlapFactor.of(system.overlap(), as_kpoints((2, 2, 1)))
    solution = factor.occupied(system.harris_hamiltonian(), Filling(12.0, "fermi-dirac", WIDTH))
    atom = np.repeat(np.arange(4), system.pattern.n_orbitals)
    states = local_density_of_states(solution, factor, atom, WIDTH)
    f = solution.occupations / 2.0
    slope = 2.0 * np.einsum("skb,k->", f * (1.0 - f), solution.kpts.weights) / WIDTH
    assert states.sum() == pytest.approx(slope, rel=1e-7)
    assert (states > 0.0).all()


def test_a_long_wave_comes_back_as_itself() -> None:
    """H + v S returns - eps v with eps about 60; after preconditioning about -v is left."""
    system = aluminium(6)
    factor = OverlapFactor.of(system.overlap(), None)
    start = system.harris_hamiltonian()
    wave = 2.0 * np.pi / system.cell[2, 2]
    v = np.cos(wave * np.arange(system.grid_shape[2]) * system.cell[2, 2] / system.grid_shape[2])
    ripple = system.potential_matrix(np.ascontiguousarray(np.broadcast_to(v, system.grid_shape)))
    residuals = []
    for H in (start, start + 1e-3 * ripple):
        solution = factor.occupied(H, Filling(system.n_electrons, "fermi-dirac", WIDTH))
        residuals.append(system.evaluate(solution.D).H - H)
    response = (residuals[1] - residuals[0]) * 1e3
    screened = Screening(system, factor, WIDTH)(response, solution)
    before, after = (-m.dot(ripple) / ripple.dot(ripple) for m in (response, screened))
    print(f"response {before:.1f}, preconditioned {after:.2f}")
    assert before > 30.0
    assert 0.5 < after < 2.0
    assert (screened + ripple).rms() < 0.05 * response.rms()


@pytest.mark.parametrize("smearing", ["fermi-dirac", "gaussian"])
@pytest.mark.parametrize(("layers", "vacuum"), [(6, 0.0), (10, 0.0), (4, 12.0)])
def test_long_metallic_cells_converge(smearing: Smearing, layers: int, vacuum: float) -> None:
    system = aluminium(layers, vacuum)
    result = mlh.scf(system, smearing=smearing, width=WIDTH, max_steps=18)
    print(f"{layers} layers, vacuum {vacuum} A, {smearing}: {result.n_steps} steps")
    assert result.converged


def test_an_insulator_is_left_alone() -> None:
    atoms = Atoms("H2", [[1.0, 1.0, 1.0], [1.0, 1.2, 1.72]], cell=[4.0, 4.1, 4.2], pbc=True)
    system = System(atoms, cutoff_ry=40.0)
    factor = OverlapFactor.of(system.overlap(), None)
    solution = factor.occupied(system.harris_hamiltonian(), Filling(2.0, "fermi-dirac", WIDTH))
    residual = BlockMatrix(system.pattern, np.ones(system.pattern.nnz))
    assert Screening(system, factor, WIDTH)(residual, solution) is residual


def test_smooth_potentials_are_checked() -> None:
    system = aluminium(2)
    with pytest.raises(ValueError, match=r"v: expected a float64 array of shape .*, got float32"):
        system.potential_matrix(np.zeros(system.grid_shape, dtype=np.float32))
    with pytest.raises(ValueError, match=r"v: expected .*, got float64 of shape \(2, 2, 2\)"):
        system.potential_matrix(np.zeros((2, 2, 2)))
    ones = system.potential_matrix(np.ones(system.grid_shape))
    assert (ones - system.overlap()).max_abs() < 2e-2, "the constant 1 gives S up to the coarse grid"


class _HoldsBack:
    """A preconditioner that hardly moves anything, as the screening of a metal for holes in an insulator."""

    def __call__(self, residual: BlockMatrix, solution: object) -> BlockMatrix:
        return 0.01 * residual


def test_mixing_that_gets_nowhere_starts_again_without_screening() -> None:
    """The fixed point of a map with many slopes; with the screening alone the residual stays for long."""
    system = System(toy_atoms(), toy_basis(), cutoff_ry=60.0)
    S = system.overlap()
    solution = mlh.solve(system.harris_hamiltonian(), S, system.n_electrons)
    slopes = np.linspace(-9.0, 0.5, S.data.size)[None]
    target = np.random.default_rng(3).normal(size=S.data.shape)

    def steps(following: Callable[[BlockMatrix, BlockMatrix], BlockMatrix]) -> int:
        H = BlockMatrix(S.pattern, np.zeros_like(target))
        for step in range(300):
            R = BlockMatrix(S.pattern, (slopes - 1.0) * (H.data - target))
            if R.max_abs() < 1e-6:
                return step
            H = following(H, R)
        return 300

    held, plain = _HoldsBack(), PulayMixer(history=4)
    steering = Steering(PulayMixer(history=4), held)  # type: ignore[arg-type]
    alone = steps(lambda H, R: BlockMatrix(S.pattern, plain.next(H.data, R.data, lambda r: 0.01 * r)))
    assert steps(lambda H, R: steering.next(H, R, solution)) < 150 < alone
