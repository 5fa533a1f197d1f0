"""Files keep what was written, say what they are, and refuse what does not fit."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.cube import read_cube_data

from mlh import _core
from mlh.basis.families import load_basis
from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.grid_function import GridFunction
from mlh.io import read_matrices, write_cube, write_matrices
from mlh.matrix.block_matrix import BlockMatrix, Pattern
from mlh.structures.extxyz import read_extxyz, write_extxyz


@pytest.fixture(scope="module")
def water() -> Atoms:
    atoms = molecule("H2O")
    atoms.set_cell([6.0, 6.5, 7.0])
    atoms.center()
    atoms.pbc = True
    return atoms


@pytest.fixture(scope="module")
def basis():
    return load_basis("gth-pbe", elements=["H", "O"])


@pytest.fixture(scope="module")
def water_pattern(water, basis) -> Pattern:
    index = np.array([basis.index(s) for s in water.get_chemical_symbols()], dtype=np.int32)
    cell, positions = water.cell.array / BOHR_ANGSTROM, water.get_positions() / BOHR_ANGSTROM
    return Pattern(_core.Structure(cell, positions, index), basis.to_core())


def test_matrices_round_trip(tmp_path, water, basis, water_pattern, random_matrix):
    H, S = random_matrix(water_pattern, 1, nspin=2), random_matrix(water_pattern, 2)
    path = tmp_path / "sub" / "water.h5"
    write_matrices(path, water, basis, {"H": H, "S": S}, {"total": -17.2})
    back = read_matrices(path, basis)
    np.testing.assert_array_equal(back.matrices["H"].data, H.data)
    np.testing.assert_array_equal(back.matrices["S"].data, S.data)
    assert back.scalars == {"total": -17.2}
    assert back.atoms.get_chemical_symbols() == water.get_chemical_symbols()
    np.testing.assert_allclose(back.atoms.positions, water.positions, atol=1e-13)
    assert [p.name for p in path.parent.iterdir()] == ["water.h5"]


def test_matrix_file_describes_itself(tmp_path, water, basis, water_pattern, random_matrix):
    """Everything needed to use the numbers is in the file: a dense matrix is built without mlh."""
    H = random_matrix(water_pattern, 1)
    write_matrices(tmp_path / "w.h5", water, basis, {"H": H})
    with h5py.File(tmp_path / "w.h5") as file:
        assert file.attrs["format"] == "mlh-matrices"
        assert file["matrices/H"].attrs["unit"] == "Hartree"
        assert "3z2-r2" in file.attrs["orbital_order"]
        pairs = {name: data[()] for name, data in file["pattern"].items()}
        values = file["matrices/H"][0]
    start = np.concatenate([[0], np.cumsum(pairs["n_orbitals"])])
    dense = np.zeros((start[-1], start[-1]))
    for i, j, begin, end in zip(pairs["atom_i"], pairs["atom_j"], pairs["offset"], pairs["offset"][1:]):
        block = values[begin:end].reshape(pairs["n_orbitals"][i], pairs["n_orbitals"][j])
        dense[start[i] : start[i + 1], start[j] : start[j + 1]] += block
    np.testing.assert_allclose(dense, H.to_dense(), atol=1e-12)


def test_matrix_file_refuses_what_does_not_fit(tmp_path, water, basis, water_pattern, random_matrix):
    H = random_matrix(water_pattern, 1)
    path = tmp_path / "w.h5"
    write_matrices(path, water, basis, {"H": H})
    with pytest.raises(FileExistsError, match="exists"):
        write_matrices(path, water, basis, {"H": H})
    write_matrices(path, water, basis, {"H": H}, overwrite=True)
    with pytest.raises(ValueError, match="expected the basis 'gth-pbe'"):
        read_matrices(path, load_basis("gth-pbe", orbitals={"H": "5.0-s1"}, elements=["H", "O"]))
    with h5py.File(path, "a") as file:
        file["structure/positions"][0] += 3.0
    with pytest.raises(ValueError, match="stored pairs differ"):
        read_matrices(path, basis)
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(ValueError, match="format mlh-matrices 1, got mlh-matrices 99"):
        read_matrices(path, basis)
    other = Pattern(_core.Structure(20 * np.eye(3), np.zeros((1, 3)), np.zeros(1, np.int32)), basis.to_core())
    with pytest.raises(ValueError, match="common Pattern"):
        write_matrices(tmp_path / "x.h5", water, basis, {"H": H, "S": BlockMatrix.zeros(other)})


def test_extxyz_writes_ref_names_and_reads_both(tmp_path, water):
    forces = np.random.default_rng(0).normal(size=(3, 3))
    labelled = water.copy()
    labelled.calc = SinglePointCalculator(labelled, energy=-1.5, free_energy=-1.75, forces=forces)
    write_extxyz(tmp_path / "a.xyz", [labelled, water])
    text = (tmp_path / "a.xyz").read_text()
    assert "REF_energy=-1.75" in text and "REF_forces:R:3" in text
    with_ref, without = read_extxyz(tmp_path / "a.xyz")
    assert with_ref.info["REF_energy"] == pytest.approx(-1.75)
    np.testing.assert_allclose(with_ref.arrays["REF_forces"], forces, atol=1e-8)
    assert "REF_energy" not in without.info

    labelled.write(tmp_path / "bare.xyz", format="extxyz")
    bare = read_extxyz(tmp_path / "bare.xyz")[0]
    assert bare.info["REF_energy"] == pytest.approx(-1.75)
    np.testing.assert_allclose(bare.arrays["REF_forces"], forces, atol=1e-8)
    with pytest.raises(FileExistsError):
        write_extxyz(tmp_path / "a.xyz", water)


def test_results_of_an_older_geometry_are_not_written(tmp_path, water):
    moved = water.copy()
    moved.calc = SinglePointCalculator(moved, energy=-1.0)
    moved.positions[0] += 0.1
    write_extxyz(tmp_path / "moved.xyz", moved)
    assert "REF_energy" not in (tmp_path / "moved.xyz").read_text()


def test_cube_keeps_values_cell_and_atoms(tmp_path, water):
    values = np.random.default_rng(1).normal(size=(4, 5, 6))
    function = GridFunction(values, water.cell.array / BOHR_ANGSTROM)
    write_cube(tmp_path / "n.cube", water, function)
    data, atoms = read_cube_data(str(tmp_path / "n.cube"))
    np.testing.assert_allclose(data, values, rtol=1e-4)
    np.testing.assert_allclose(atoms.cell.array, water.cell.array, atol=1e-4)
    np.testing.assert_allclose(atoms.positions, water.positions, atol=1e-4)
    with pytest.raises(FileExistsError):
        write_cube(tmp_path / "n.cube", water, function)
