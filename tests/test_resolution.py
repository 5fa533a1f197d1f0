"""What a grid carries of a species: estimates against shifts, the spheres that they choose."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import mlh
from mlh.basis.resolution import carrying_cutoff, fitting_sphere, lost_charge, shift_error
from mlh.basis.species import Basis, Species
from mlh.commands.cli import app
from mlh.dft.system import System
from mlh.dft.terms.spheres import SphereIntegration
from mlh.structures import load_structure
from openmx_reference_data import DATA, SPECIES, needs_reference

FloatArray = NDArray[np.float64]

SHIFTS = (0.0, 0.03, 0.06, 0.09)


@pytest.fixture(scope="module")
def gth() -> Basis:
    return mlh.load_basis("gth-pbe")


def from_arrays(species: Species) -> Species:
    """The same functions without what the set knows of them."""
    return replace(species, sphere=None, recipe=None)


def changes(basis: Basis, cutoff_ry: float, unresolved: bool = False, steps: int = 1) -> tuple[float, float]:
    """Change of energy (eV) and forces (eV/A) of quartz over rigid shifts; one step: Harris states."""
    quartz = load_structure("alpha-quartz")
    quartz.rattle(0.03, seed=1)
    energies, forces = [], []
    for s in SHIFTS if steps == 1 else SHIFTS[:3]:
        atoms = quartz.copy()
        atoms.positions += [s, 0.7 * s, 0.4 * s]
        system = System(atoms, basis, cutoff_ry, integration=SphereIntegration(unresolved=unresolved))
        state = mlh.scf(system, max_steps=steps)
        energies.append(state.energies.total * 27.211386)
        forces.append(state.forces().total * 51.422067)
    return float(np.ptp(energies)), float(np.ptp(forces, axis=0).max())


def test_the_whole_set_is_carried_at_200_ry(gth: Basis) -> None:
    for species in gth:
        assert shift_error(species, 200.0).force < 0.025, species.symbol
        assert lost_charge(species, 200.0) < 0.03, species.symbol
        # Two waves apart nothing grows: 300 Ry are better than 200.
        assert shift_error(species, 300.0).force < max(shift_error(species, 200.0).force, 1e-4)
    assert carrying_cutoff(gth["Mg"]) == 300.0


def test_spheres_of_the_scan_follow_from_the_functions(gth: Basis) -> None:
    """Of elements without semicore shells: who needs one, and how large."""
    for symbol in ("H", "C", "N", "O", "F", "Cl"):
        own, found = gth[symbol].sphere, fitting_sphere(from_arrays(gth[symbol]))
        assert own is not None and found is not None
        assert abs(found.center - own.center) < 0.05, symbol
    for symbol in ("Al", "Si", "P", "S", "Ge", "As"):
        assert fitting_sphere(from_arrays(gth[symbol])) is None, symbol
    for symbol in ("Na", "Mg", "Ti", "Zn", "Ga", "Zr", "Hf"):
        assert fitting_sphere(from_arrays(gth[symbol])) is not None, symbol


@pytest.mark.parametrize("cutoff_ry", [100.0, 150.0])
def test_estimate_bounds_what_a_shift_does(gth: Basis, cutoff_ry: float) -> None:
    energy, force = changes(gth.subset(["Si", "O"]), cutoff_ry, steps=50)
    estimate = shift_error(gth["O"], cutoff_ry)
    print(f"{cutoff_ry} Ry: {energy:.4f} eV and {force:.4f} eV/A, estimated {estimate}")
    assert force < 1.5 * estimate.force
    assert force > 0.1 * estimate.force
    assert energy < 1.5 * 6 * estimate.energy


def test_species_from_arrays_are_refused_or_right(gth: Basis) -> None:
    """Without a sphere: in words before any work; with the one that the words name: as gth-pbe itself."""
    quartz, bare = load_structure("alpha-quartz"), from_arrays(gth["O"])
    with pytest.raises(ValueError, match=r"species 'O': too hard.*Expected a sphere.*center=1.05") as error:
        System(quartz, Basis([gth["Si"], bare]))
    assert "integration=" not in str(error.value)
    with pytest.raises(ValueError, match="species 'O': too hard"):
        System(quartz, Basis([gth["Si"], bare]), grid_shape=(36, 36, 45))
    wild = changes(Basis([gth["Si"], bare]), 200.0, unresolved=True)
    tame = changes(Basis([gth["Si"], replace(bare, sphere=fitting_sphere(bare))]), 200.0)
    print(f"without sphere {wild}, with it {tame}")
    assert wild[1] > 1.0
    assert tame[0] < 9 * 0.1e-3
    assert tame[1] < 0.02


@needs_reference
def test_basis_of_openmx_has_its_own_integration() -> None:
    """Case 21: the default is right, spheres by name are refused with what to do."""
    basis = mlh.load_openmx_basis(DATA, {s: SPECIES[s] for s in ("Si", "O")})
    quartz = load_structure("alpha-quartz")
    quartz.rattle(0.03, seed=1)
    energies, forces = [], []
    for s in SHIFTS[:2]:
        atoms = quartz.copy()
        atoms.positions += [s, 0.7 * s, 0.4 * s]
        atoms.calc = mlh.DFTCalculator(basis)
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    assert np.ptp(energies) < 9 * 0.1e-3
    assert np.ptp(forces, axis=0).max() < 0.02
    with pytest.raises(ValueError, match=r"species 'O': too hard.*integration='openmx' or .*center="):
        System(quartz, basis, integration="spheres")


def test_a_low_cutoff_is_said_once(gth: Basis, caplog: pytest.LogCaptureFixture) -> None:
    quartz = load_structure("alpha-quartz")
    with caplog.at_level(logging.WARNING, logger="mlh.dft"):
        for cutoff_ry in (61.0, 61.0, 200.0):
            System(quartz, gth.subset(["Si", "O"]), cutoff_ry)
    messages = [r.getMessage() for r in caplog.records]
    assert len(messages) == 2
    assert any(m.startswith("61 Ry are few for O") and "150 Ry are enough" in m for m in messages)


def test_info_of_a_basis() -> None:
    arguments = ["info", "--basis", "gth-pbe", "--element", "O", "--element", "Si=6.0-s1p1"]
    report = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert report["integration"] == "spheres"
    assert [row["element"] for row in report["species"]] == ["O", "Si"]
    assert report["species"][0]["enough_ry"] == 150.0
    assert report["species"][1]["orbitals"] == "6.0-s1p1"
    table = CliRunner().invoke(app, arguments)
    assert table.exit_code == 0
    assert "1.08" in table.output
    wrong = CliRunner().invoke(app, ["info", "--element", "O"])
    assert wrong.exit_code != 0
