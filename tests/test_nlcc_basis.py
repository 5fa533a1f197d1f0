"""The set with partial cores: its numbers, its sizes by name, and the exact derivative of its energy."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule
from ase.data import atomic_numbers

from mlh.basis.families import load_basis, recorded_orbitals
from mlh.basis.gth import library
from mlh.basis.gth.orbitals import available_elements, recipe_for
from mlh.basis.gth.table import GaussianCore, gth_potential, gth_table
from mlh.calculators import DFTCalculator

FAMILY = "gth-nlcc-pbe"
WILLAND = {"B": 0.43364, "C": 0.76008, "N": 0.66037, "O": 0.44314, "F": 0.61254, "Al": 0.38780, "Si": 0.41540}
"""c_W of the publication: electrons of the partial core over those of the core."""


def test_cores_hold_the_published_part_of_the_core_electrons() -> None:
    for symbol, part in WILLAND.items():
        potential = gth_potential(symbol, FAMILY)
        assert isinstance(potential.core, GaussianCore) and "NLCC" in potential.name
        assert potential.core.charge / (atomic_numbers[symbol] - potential.valence) == pytest.approx(
            part, abs=1e-5
        )
        r = np.linspace(0.0, 12.0 * potential.core.radius, 4001)
        charge = 4.0 * np.pi * np.trapezoid(potential.core(r) * r**2, r)
        assert charge == pytest.approx(potential.core.charge, rel=1e-8)
    # Elements that the publication does not have are those of the set without cores.
    assert gth_potential("Hf", FAMILY) == gth_potential("Hf") and gth_potential("Hf").core is None
    assert set(gth_table(FAMILY)) == set(gth_table()) and gth_table()["O"].core is None


def test_sizes_by_name() -> None:
    labels = {size: recipe_for("O", size, FAMILY).size.counts for size in ("minimal", "standard", "precise")}
    assert labels == {"minimal": (1, 1), "standard": (2, 2, 1, 1), "precise": (3, 3, 2, 1)}
    assert recipe_for("O", None, FAMILY) == recipe_for("O", "standard", FAMILY)
    # A size in numbers: the functions of the smallest that has so many.
    assert recipe_for("O", "6.0-s2p2d1f1", FAMILY) == recipe_for("O", "standard", FAMILY)
    assert recipe_for("O", "6.0-s3p3d2f1", FAMILY) == recipe_for("O", "precise", FAMILY)
    assert recipe_for("O", "minimal").size.counts == (1, 1)
    with pytest.raises(
        KeyError, match="expected minimal or standard, gth-pbe has precise ones of no element"
    ):
        recipe_for("O", "precise")
    with pytest.raises(ValueError, match="after it none or one of minimal, standard, precise"):
        load_basis(f"{FAMILY} huge")
    assert (
        {"H", "O", "Si"}
        <= set(available_elements(FAMILY, "precise"))
        == set(load_basis(f"{FAMILY} precise").symbols)
    )


def test_a_recorded_basis_is_made_again() -> None:
    for name, orbitals in ((FAMILY, {}), (f"{FAMILY} precise", {}), (FAMILY, {"O": "precise"})):
        basis = load_basis(name, orbitals, ["H", "O"])
        again = load_basis(basis.name, recorded_orbitals(basis), ["O", "H"])
        assert again.fingerprint == basis.fingerprint and basis["O"].core_density is not None
    assert recorded_orbitals(load_basis(f"{FAMILY} precise", None, ["O"])) == {}


@pytest.mark.parametrize("size", ["standard", "precise"])
def test_forces_are_the_derivative_of_the_energy(size: str) -> None:
    atoms = molecule("H2O", cell=[7.0] * 3, pbc=True)
    atoms.rotate(35.0, (1.0, 2.0, 3.0))
    atoms.positions += 3.3
    calculator = DFTCalculator(f"{FAMILY} {size}", cutoff_ry=120.0, energy_tol_ev=1e-9, residual_tol_ev=1e-6)
    atoms.calc = calculator
    force, step = atoms.get_forces()[0, 1], 2e-3
    energies = []
    for sign in (1.0, -1.0):
        moved = atoms.copy()
        moved.positions[0, 1] += sign * step
        moved.calc = calculator
        energies.append(moved.get_potential_energy())
    assert force == pytest.approx(-(energies[0] - energies[1]) / (2.0 * step), abs=2e-4)


def test_a_weak_pseudopotential_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Once, and without a place in the fingerprint."""
    recipe = recipe_for("Hf", "minimal", FAMILY)
    assert "weakness" not in recipe.potential.identity() and "weakness" not in recipe.text
    library._memory.pop(recipe.text, None)
    for _ in range(2):
        library.load_species(recipe)
    (record,) = caplog.records
    assert "GTH-PBE-q12 of Hf: it makes volumes of oxides 2 % too small" in record.getMessage()
