"""The integration of OpenMX, on files of our own: every term's derivatives against central differences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from numpy.typing import NDArray
from typer.testing import CliRunner

import mlh
import openmx_files as files
from mlh import _core
from mlh.basis.species import Basis
from mlh.commands.cli import app
from mlh.common.units import ANGSTROM, BOHR_ANGSTROM
from mlh.dft.system import System
from mlh.openmx.integration import OpenMXIntegration
from mlh.structures.files import write_structure
from term_derivatives import TERMS, central_difference, term_derivative
from toy_system import on_pattern_of, positive_matrix, symmetric_step

FloatArray = NDArray[np.float64]

CELL = np.array([[5.6, 0.0, 0.3], [0.9, 5.2, 0.0], [-0.4, 0.5, 6.1]])
POSITIONS = np.array([[0.1, 0.2, 0.3], [1.5, 0.9, 1.1], [3.2, 3.9, 4.1]])
"""Bohr."""

CASES = {
    "projectors": OpenMXIntegration(),
    "fixed grid": OpenMXIntegration(grid_origin=(0.1, -0.2, 0.3)),
    "grid": OpenMXIntegration("grid"),
}


@pytest.fixture(scope="module")
def basis(tmp_path_factory: pytest.TempPathFactory) -> Basis:
    """With partial cores; on a mesh so fine that the kinks at its nodes do not disturb the differences."""
    folder = tmp_path_factory.mktemp("data") / "DFT_DATA19"
    return files.load_basis(files.write_database(folder, nodes=600))


def make(
    basis: Basis,
    integration: OpenMXIntegration,
    move: FloatArray | None = None,
    nspin: int = 1,
    xc: str = "PBE",
) -> System:
    """Three hydrogen atoms; `move`: (3, 3) shifts in Bohr."""
    positions = POSITIONS if move is None else POSITIONS + move
    atoms = Atoms("H3", positions * BOHR_ANGSTROM, cell=CELL * BOHR_ANGSTROM, pbc=True)
    shape = (14, 14, 16)
    return System(atoms, basis, 60.0, xc=xc, nspin=nspin, integration=integration, grid_shape=shape)


def strained(system: System, eps: FloatArray) -> System:
    grow = np.eye(3) + eps
    atoms = Atoms("H3", system.positions @ grow / ANGSTROM, cell=system.cell @ grow / ANGSTROM, pbc=True)
    return System(
        atoms,
        system.basis,
        60.0,
        nspin=system.nspin,
        integration=system.integration,
        grid_shape=(14, 14, 16),
    )


def numeric(system: System, D: mlh.BlockMatrix, moved: Callable[[float], System], step: float) -> FloatArray:
    """d/dx of every term's energy at frozen D."""

    def energies(x: float) -> FloatArray:
        other = moved(x)
        values = other.energies(on_pattern_of(other, D)).as_dict()
        return np.array([values[term] for term in TERMS])

    return central_difference(energies, step)


@pytest.mark.parametrize("case", CASES)
def test_derivatives_of_every_term(case: str, basis: Basis) -> None:
    """With respect to the atoms and to the strain, along a random direction each."""
    random = np.random.default_rng(4)
    system = make(basis, CASES[case], nspin=2 if case == "grid" else 1)
    D = positive_matrix(system, 3)
    direction = random.normal(size=(3, 3)) / 3.0
    eps = random.normal(size=(3, 3)) / 3.0
    eps = 0.5 * (eps + eps.T)
    by_atoms = numeric(system, D, lambda x: make(basis, CASES[case], x * direction, system.nspin), 1e-3)
    by_strain = numeric(system, D, lambda x: strained(system, x * eps), 2e-4)
    for term, atoms, strain in zip(TERMS, by_atoms, by_strain, strict=True):
        derivative = term_derivative(system, D, term)
        errors = (
            abs(np.vdot(derivative.atoms, direction) - atoms),
            abs(np.vdot(derivative.strain, eps) - strain),
        )
        print(f"{case} {term}: dE/dx {atoms:.4f} error {errors[0]:.1e}, {strain:.4f} {errors[1]:.1e}")
        assert errors[0] < 1e-6 and errors[1] < 5e-6


@pytest.mark.parametrize(("xc", "nspin"), [("PW92", 1), ("PW92", 2), ("PZ", 2)])
def test_local_functionals(xc: str, nspin: int, basis: Basis) -> None:
    """Forces are the derivative of the energy, and H is that of D. PZ jumps by 3e-5 Ha per electron where
    r_s = 1: its density stays below."""
    scale = 0.1 if xc == "PZ" else 1.0
    system = make(basis, OpenMXIntegration(), nspin=nspin, xc=xc)
    D, step = scale * positive_matrix(system, 3), scale * symmetric_step(system, 5, 1e-3)
    assert xc == "PW92" or system.density(D).values.max() < 0.2
    slope = central_difference(lambda x: np.array(system.energies(D + x * step).total), 0.1)
    assert slope == pytest.approx(system.hamiltonian(D).dot(step), abs=1e-9)
    direction = np.random.default_rng(4).normal(size=(3, 3)) / 3.0
    moved = lambda x: make(basis, OpenMXIntegration(), x * direction, nspin, xc)  # noqa: E731
    for term, value in zip(TERMS, numeric(system, D, moved, 1e-3), strict=True):
        found = np.vdot(term_derivative(system, D, term).atoms, direction)
        assert found == pytest.approx(value, abs=1e-6)


def test_forces_sum_to_zero_where_the_grid_follows(basis: Basis) -> None:
    system = make(basis, OpenMXIntegration())
    D = positive_matrix(system, 3)
    assert np.abs(system.forces(D, 0.1 * D).total.sum(axis=0)).max() < 1e-10
    fixed = make(basis, CASES["fixed grid"])
    assert np.abs(fixed.forces(D, 0.1 * D).total.sum(axis=0)).max() > 1e-6


@pytest.mark.parametrize("case", ("projectors", "grid"))
@pytest.mark.parametrize("nspin", (1, 2))
def test_hamiltonian_is_the_derivative_of_the_energy(case: str, nspin: int, basis: Basis) -> None:
    system = make(basis, CASES[case], nspin=nspin)
    D, step = positive_matrix(system, 3), symmetric_step(system, 5, 1e-3)
    slope = central_difference(lambda x: np.array(system.energies(D + x * step).total), 0.1)
    H = system.hamiltonian(D)
    assert slope == pytest.approx(H.dot(step), abs=1e-9)
    assert H.symmetry_error() < 1e-12


def test_results_do_not_depend_on_the_threads(basis: Basis, threads: Callable[[int], None]) -> None:
    found = []
    for count in (1, 3):
        threads(count)
        system = make(basis, OpenMXIntegration())
        D = positive_matrix(system, 3)
        evaluation = system.evaluate(D)
        found.append((evaluation.H.data, evaluation.energies.total, system.forces(D, D).total))
    for one, three in zip(*found, strict=True):
        assert np.array_equal(one, three)


def test_quirks_have_forces_but_no_stress(basis: Basis) -> None:
    quirks = OpenMXIntegration(quirks=True)
    system = make(basis, quirks)
    D = positive_matrix(system, 3)
    plain = make(basis, OpenMXIntegration())
    difference = system.forces(D, D).total - plain.forces(D, D).total
    assert 1e-6 < np.abs(difference).max() < 1e-2
    with pytest.raises(ValueError, match="stress: with this integration"):
        system.stress(D, D)
    atoms = Atoms("H4", 0.9 * np.arange(12).reshape(4, 3) % 3.1, cell=3.5 * np.eye(3), pbc=True)
    atoms.calc = mlh.DFTCalculator(basis, 60.0, integration=quirks, residual_tol_ev=0.01, energy_tol_ev=0.01)
    assert atoms.get_forces().shape == (4, 3)
    with pytest.raises(PropertyNotImplementedError, match="stress"):
        atoms.get_stress()
    assert len(quirks.kpoints((2, 2, 2))) == 4  # type: ignore[arg-type]


def test_density_starts_at_the_origin_of_the_cell(basis: Basis) -> None:
    """Whatever the grid of the integrals: what is looked at does not move with the atoms."""
    system = make(basis, OpenMXIntegration())
    plain = make(basis, OpenMXIntegration(grid_origin=(0.0, 0.0, 0.0)))
    D = positive_matrix(system, 3)
    np.testing.assert_allclose(system.density(D).values, plain.density(D).values, atol=1e-13)


def test_other_bases_and_functionals_are_refused(basis: Basis) -> None:
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]], cell=4 * np.eye(3), pbc=True)
    with pytest.raises(ValueError, match=r"basis: the integration of OpenMX needs .* another for H"):
        System(atoms, "gth-pbe", integration="openmx").overlap()
    with pytest.raises(ValueError, match="integration: expected one of spheres, openmx"):
        System(atoms, basis, integration="siesta")
    with pytest.raises(ValueError, match="neutral_atom: expected 'projectors' or 'grid'"):
        OpenMXIntegration("exact")  # type: ignore[arg-type]


def test_correlation_with_rounded_constants() -> None:
    """Close to libxc's PBE, and its potential is its derivative."""
    random = np.random.default_rng(1)
    n = random.uniform(0.01, 0.6, size=(50, 2))
    gradient = random.normal(size=(50, 2, 3)) * 0.3
    sigma = np.stack(
        [np.sum(gradient[:, a] * gradient[:, b], axis=1) for a, b in ((0, 0), (0, 1), (1, 1))], axis=1
    )
    e, v, v_sigma = _core.evaluate_xc("PBE-PW92", n, sigma)
    libxc = _core.evaluate_xc("PBE", n, sigma)
    assert 1e-9 < np.abs(e - libxc[0]).max() < 1e-5
    for k in range(2):
        shift = np.zeros((50, 2))
        shift[:, k] = 1e-4
        up, down = (_core.evaluate_xc("PBE-PW92", n + s * shift, sigma)[0] for s in (1.0, -1.0))
        np.testing.assert_allclose(v[:, k], (up - down) / 2e-4, atol=1e-4)
    for k in range(3):
        shift = np.zeros((50, 3))
        shift[:, k] = 1e-6
        up, down = (_core.evaluate_xc("PBE-PW92", n, sigma + s * shift)[0] for s in (1.0, -1.0))
        np.testing.assert_allclose(v_sigma[:, k], (up - down) / 2e-6, atol=1e-6)
    # The same state, once as one density and once as two equal ones.
    total, square = 2.0 * n[:, :1], 4.0 * sigma[:, :1]
    one = _core.evaluate_xc("PBE-PW92", np.ascontiguousarray(total), np.ascontiguousarray(square))
    both = np.repeat(n[:, :1], 2, axis=1)
    two = _core.evaluate_xc("PBE-PW92", both, np.repeat(sigma[:, :1], 3, axis=1))
    np.testing.assert_allclose(one[0], two[0], rtol=1e-12)
    np.testing.assert_allclose(one[1][:, 0], two[1][:, 0], rtol=1e-10)


def test_reference_functional() -> None:
    """d(n eps)/dn, and zero where there is no density."""
    n = np.array([1e-8, 1e-3, 0.1, 0.2, 0.3, 2.0])
    eps, slope = _core.perdew_zunger(n)
    h = 1e-5 * n
    up, down = _core.perdew_zunger(n + h)[0], _core.perdew_zunger(n - h)[0]
    np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-6)
    assert np.all(np.diff(eps) < 0.0)
    assert not np.any(_core.perdew_zunger(np.array([0.0, 1e-16]))[0])


def test_scf_command(tmp_path: Path) -> None:
    """`mlh scf --openmx-data` takes basis and integrals from a folder."""
    folder = files.write_database(tmp_path / "DFT_DATA19")
    atoms = Atoms("H2", [[0.1, 0, 0], [0, 0, 0.9]], cell=3.2 * np.eye(3), pbc=True)
    write_structure(tmp_path / "h2.xyz", atoms)
    command = ["scf", str(tmp_path / "h2.xyz"), "--cutoff", "60", "--json", "--residual-tol", "0.01"]
    named = [*command, "--openmx-data", str(folder), "--openmx-species", "H=H4.0-s2p1,H_TEST"]
    totals = []
    for extra in (
        [],
        ["--openmx-quirks"],
        ["--integration", "openmx-grid-vna"],
        ["--integration", "spheres"],
    ):
        result = CliRunner().invoke(app, [*named, *extra])
        assert result.exit_code == 0, result.output
        totals.append(json.loads(result.stdout)["energy_ev"])
    assert totals[0] == pytest.approx(totals[1], abs=1e-6)
    assert len({round(total, 6) for total in totals}) == 3
    refused = CliRunner().invoke(app, [*command, "--openmx-quirks"])
    assert "expected together with --openmx-data" in str(refused.exception)
