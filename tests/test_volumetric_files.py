"""Cube and xsf files, read back with ASE and with the readers here."""

from __future__ import annotations

import numpy as np
import pytest
from ase.io import read
from ase.io.cube import read_cube
from ase.io.xsf import read_xsf as ase_read_xsf

from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.grid_function import GridFunction
from mlh.io import read_volumetric, write_volumetric, write_xsf
from toy_system import TRICLINIC, toy_atoms


@pytest.fixture
def function() -> GridFunction:
    """Noise with tiny and large values: fixed decimals would lose them."""
    random = np.random.default_rng(4)
    values = random.normal(size=(5, 4, 7)) * 10.0 ** random.integers(-9, 2, size=(5, 4, 7))
    return GridFunction(values, TRICLINIC)


def test_xsf_is_a_general_grid_for_ase(tmp_path, function):
    path = tmp_path / "n.xsf"
    write_xsf(path, toy_atoms(), function, "density\nof a test")
    with open(path) as file:
        values, origin, vectors, atoms = ase_read_xsf(file, read_data=True)
    assert values.shape == (6, 5, 8)
    np.testing.assert_allclose(values[:-1, :-1, :-1], function.values, rtol=1e-7)
    # The far faces repeat the near ones.
    np.testing.assert_array_equal(values[-1], values[0])
    np.testing.assert_array_equal(values[:, -1], values[:, 0])
    np.testing.assert_array_equal(values[:, :, -1], values[:, :, 0])
    np.testing.assert_allclose(vectors, TRICLINIC * BOHR_ANGSTROM, atol=1e-9)
    assert not np.any(origin)
    np.testing.assert_allclose(atoms.positions, toy_atoms().positions, atol=1e-9)
    assert atoms.get_chemical_symbols() == toy_atoms().get_chemical_symbols()
    np.testing.assert_allclose(read(path).cell.array, TRICLINIC * BOHR_ANGSTROM, atol=1e-9)


def test_cube_for_ase(tmp_path, function):
    path = tmp_path / "n.cube"
    write_volumetric(path, toy_atoms(), function)
    with open(path) as file:
        content = read_cube(file)
    np.testing.assert_allclose(content["data"], function.values, rtol=1e-6)
    step = TRICLINIC / np.array([5, 4, 7])[:, None] * BOHR_ANGSTROM
    np.testing.assert_allclose(content["spacing"], step, atol=1e-5)


@pytest.mark.parametrize("name", ["n.cube", "n.xsf"])
def test_files_come_back(tmp_path, function, name):
    write_volumetric(tmp_path / name, toy_atoms(), function)
    atoms, again = read_volumetric(tmp_path / name)
    np.testing.assert_allclose(again.values, function.values, rtol=1e-6)
    np.testing.assert_allclose(again.cell, function.cell, atol=1e-4)
    assert len(atoms) == 4
    with pytest.raises(FileExistsError, match=name):
        write_volumetric(tmp_path / name, toy_atoms(), function)
    write_volumetric(tmp_path / name, toy_atoms(), function, overwrite=True)


def test_other_names_are_refused(tmp_path, function):
    with pytest.raises(ValueError, match=r"expected a name that ends in \.cube or \.xsf"):
        write_volumetric(tmp_path / "n.txt", toy_atoms(), function)


def test_a_grid_with_another_origin_is_refused(tmp_path, function):
    path = tmp_path / "n.xsf"
    write_xsf(path, toy_atoms(), function)
    path.write_text(path.read_text().replace("  0.0 0.0 0.0\n", "  0.5 0.0 0.0\n"))
    with pytest.raises(ValueError, match="starts at the origin"):
        read_volumetric(path)
