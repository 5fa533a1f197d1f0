"""Ghost atoms: orbitals without charge, electrons or projectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from mlh.basis.families import load_basis
from mlh.basis.ghosts import atoms_of_species, ghost_species, species_names, with_ghost
from mlh.calculators import DFTCalculator
from mlh.dft.system import System
from mlh.io import read_atoms, write_matrices
from term_derivatives import water


def test_a_ghost_has_the_orbitals_of_its_element_and_nothing_else() -> None:
    atoms = with_ghost(water(), "O", np.array([0.5, 0.6, 0.4]))
    system = System(atoms, cutoff_ry=60.0)
    plain = System(water(), cutoff_ry=60.0)
    oxygen = load_basis()["O"]
    assert system.symbols == ("O", "H", "H", "X-O") and system.n_electrons == plain.n_electrons
    assert system.n_orbitals == plain.n_orbitals + oxygen.n_orbitals
    ghost = system.basis["X-O"]
    assert ghost.valence == 0.0 and not ghost.projectors and ghost.digest != oxygen.digest
    assert ghost_species(oxygen).digest == ghost.digest


def test_energy_with_ghosts_is_lower_and_its_forces_are_derivatives() -> None:
    """The force on the ghost too: it comes from the place of its orbitals."""
    atoms = with_ghost(water(), "H", np.array([1.0, 1.2, 0.9]))
    mesh = System(atoms, cutoff_ry=120.0).mesh
    tight = {"cutoff_ry": 120.0, "energy_tol_ev": 1e-10, "residual_tol_ev": 1e-6, "grid_shape": mesh}

    def energy(geometry: Atoms) -> float:
        return float(DFTCalculator(**tight).get_potential_energy(geometry))  # type: ignore[arg-type]

    atoms.calc = DFTCalculator(**tight)  # type: ignore[arg-type]
    here, forces = atoms.get_potential_energy(), atoms.get_forces()
    assert energy(water()) - here > 1e-3
    values = []
    for step in (-2, -1, 1, 2):
        moved = atoms.copy()
        moved.positions[3, 0] += 0.002 * step
        values.append(energy(moved))
    slope = (values[0] - 8.0 * values[1] + 8.0 * values[2] - values[3]) / (12.0 * 0.002)
    assert forces[3, 0] == pytest.approx(-slope, abs=2e-6) and abs(forces[3, 0]) > 1e-3
    assert atoms.calc.results["charges"].sum() == pytest.approx(0.0, abs=1e-8)


def test_files_keep_ghosts(tmp_path: Path) -> None:
    atoms = with_ghost(with_ghost(water(), "O", np.array([0.5, 0.6, 0.4])), "H", np.array([3.5, 0.6, 0.4]))
    assert species_names(atoms) == ("O", "H", "H", "X-O", "X-H")
    again = atoms_of_species(species_names(atoms), atoms.positions, atoms.cell.array)
    assert species_names(again) == species_names(atoms)
    write(tmp_path / "ghosts.xyz", atoms, format="extxyz")
    assert species_names(read(tmp_path / "ghosts.xyz")) == species_names(atoms)
    system = System(atoms, cutoff_ry=60.0)
    write_matrices(tmp_path / "ghosts.h5", atoms, system.basis, {"S": system.overlap()})
    assert species_names(read_atoms(tmp_path / "ghosts.h5")) == species_names(atoms)


def test_a_ghost_says_of_which_element_it_is() -> None:
    atoms = with_ghost(water(), "O", np.array([0.5, 0.6, 0.4]))
    del atoms.arrays["ghost"]
    with pytest.raises(ValueError, match=r"the element of ghost atom 3 \(X\) in the array 'ghost', got none"):
        System(atoms, cutoff_ry=60.0)
