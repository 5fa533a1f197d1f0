"""OpenMX files: basis and results against the reference folder (GPL data, read where it lies)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlh
from mlh import _core
from mlh.basis.species import Basis
from mlh.matrix.block_matrix import same_pattern
from mlh.openmx import OpenMXFormatError, OpenMXSpecies, ScfOut
from mlh.openmx.basis import parse_orbitals
from mlh.openmx.radial import catmull_rom, hermite
from openmx_reference_data import DATA, RUNS, SPECIES, needs_reference

pytestmark = needs_reference


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    """Numbers of OpenMX and of an independent prototype."""
    return json.loads((DATA / "reference.json").read_text())


@pytest.fixture(scope="module")
def basis() -> Basis:
    return mlh.load_openmx_basis(None, SPECIES)


@pytest.fixture(scope="module")
def runs(basis: Basis) -> dict[str, ScfOut]:
    return {run: mlh.read_scfout(scfout(run), basis) for run in RUNS}


def scfout(run: str) -> Path:
    return DATA / "runs" / run / f"{run}.scfout"


@pytest.mark.parametrize("symbol", SPECIES)
def test_radial_functions_are_those_of_openmx(symbol: str, basis: Basis, reference: dict[str, Any]) -> None:
    """The interpolants of OpenMX, sampled by an independent prototype."""
    expected, species = reference["species"][symbol], basis[symbol]
    assert isinstance(species, OpenMXSpecies)
    pao, vps, neutral = species.pao, species.vps, species.neutral
    r = np.array(expected["r"])
    assert species.valence == expected["Zval"] and species.cutoff == expected["rc"]
    _, counts = parse_orbitals(species.definition[0])
    rows = [pao.orbitals[l][m] for l, count in enumerate(counts) for m in range(count)]
    for row, values in zip(rows, expected["R_basis"], strict=True):
        np.testing.assert_allclose(hermite(pao.r, row)(r), values, atol=1e-13)
    for part, values, (l, energy) in zip(
        vps.projectors, expected["R_proj"], expected["projectors"], strict=True
    ):
        assert (part.l, part.energy) == (l, energy)
        np.testing.assert_allclose(hermite(vps.r, part.beta)(r), values, atol=1e-13)
    np.testing.assert_allclose(catmull_rom(pao.r, neutral.density)(r), expected["n_atom"], atol=1e-12)
    np.testing.assert_allclose(hermite(vps.r, neutral.potential)(r), expected["V_NA"], atol=1e-10)
    if vps.core_density is not None:
        np.testing.assert_allclose(catmull_rom(vps.r, vps.core_density)(r), expected["pcc"], atol=1e-13)


@pytest.mark.parametrize("run", RUNS)
def test_scfout_on_the_pattern_of_system(run: str, basis: Basis, runs: dict[str, ScfOut]) -> None:
    """The number of electrons and the symmetries show that every block went where it belongs."""
    out = runs[run]
    system = mlh.System(out.atoms, basis)
    assert same_pattern(out.pattern, system.pattern)
    assert out.D.nspin == out.H.nspin == (2 if run == "h2o_sp" else 1)
    assert out.n_electrons == system.n_electrons
    assert out.D.spin_sum().dot(out.S) == pytest.approx(out.n_electrons, abs=1e-8)
    assert out.S.symmetry_error() < 1e-9 and out.H.symmetry_error() < 1e-8
    assert (out.solver, out.temperature) == ("Band", 300.0)


@pytest.mark.parametrize("run", ("h2o", "si2", "qtz9"))
def test_geometry_and_band_energy(run: str, runs: dict[str, ScfOut], reference: dict[str, Any]) -> None:
    out, expected = runs[run], reference["systems"][run]
    system = mlh.System(out.atoms, out.basis)
    assert out.atoms.get_chemical_symbols() == expected["symbols"]
    np.testing.assert_allclose(system.cell, expected["cell_bohr"], atol=1e-12)
    np.testing.assert_allclose(system.positions, expected["positions_bohr"], atol=1e-12)
    assert out.chemical_potential == pytest.approx(expected["chemical_potential"], abs=1e-12)
    assert out.D.dot(out.H) == pytest.approx(expected["energies"]["Uele"], abs=1e-8)


@pytest.mark.parametrize("run", RUNS)
def test_overlap_is_that_of_openmx(run: str, runs: dict[str, ScfOut]) -> None:
    out = runs[run]
    assert (mlh.System(out.atoms, out.basis).overlap() - out.S).max_abs() < 1e-9


@pytest.mark.parametrize("run", ("h2o", "si2", "qtz9"))
def test_two_centre_energies_are_those_of_openmx(
    run: str, runs: dict[str, ScfOut], reference: dict[str, Any]
) -> None:
    out, expected = runs[run], reference["systems"][run]["energies"]
    system = mlh.System(out.atoms, out.basis)
    assert out.D.dot(system.kinetic()) == pytest.approx(expected["Ukin"], abs=1e-10)
    assert out.D.dot(system.nonlocal_potential()) == pytest.approx(expected["Unl"], abs=1e-9)


@pytest.mark.parametrize("symbol", SPECIES)
def test_tables_follow_the_interpolants(symbol: str, basis: Basis) -> None:
    """On the grid: the spline of the tables against the functions of the files, value and end included."""
    species = basis[symbol]
    assert isinstance(species, OpenMXSpecies)
    r = np.random.default_rng(0).uniform(0.01, species.cutoff, 20000)
    r = np.append(r, species.cutoff - 1e-9)
    _, counts = parse_orbitals(species.definition[0])
    rows = [species.pao.orbitals[l][m] for l, count in enumerate(counts) for m in range(count)]
    for orbital, row in zip(species.orbitals, rows, strict=True):
        error = orbital(r) - hermite(species.pao.r, row)(r)
        assert np.sqrt(np.mean(error**2)) < 3e-8 and np.abs(error).max() < 5e-7
        assert orbital(species.cutoff) == 0.0


def test_other_species_cannot_be_mixed_in(basis: Basis) -> None:
    """Their transforms are on another mesh of wave numbers."""
    mixed = Basis([basis["H"], mlh.load_basis("gth-pbe", elements=["Si"])["Si"]])
    with pytest.raises(ValueError, match="wave tables on one mesh"):
        _core.TwoCenterTables(mixed.to_core())


def test_orbital_definitions() -> None:
    assert parse_orbitals("Fe5.5H-s3p2d1") == ("Fe5.5H", (3, 2, 1))
    assert parse_orbitals("C6.0-s1f2") == ("C6.0", (1, 0, 0, 2))
    for wrong in ("Si7.0", "Si7.0-", "Si7.0-s2>1p2", "Si7.0-s2s1", "Si7.0-x2", "../Si7.0-s1", "Si7.0-s0"):
        with pytest.raises(ValueError, match="orbitals"):
            parse_orbitals(wrong)


def test_fingerprint_follows_the_files_and_the_request(basis: Basis) -> None:
    again = mlh.load_openmx_basis(DATA, {"H": SPECIES["H"]})
    assert again == basis.subset(["H"])
    assert again != mlh.load_openmx_basis(DATA, {"H": ("H6.0-s2", "H_PBE19")})


def test_requests_beyond_the_files_are_refused(tmp_path: Path) -> None:
    def load(orbitals: str, potential: str, symbol: str = "Si") -> Basis:
        return mlh.load_openmx_basis(DATA, {symbol: (orbitals, potential)})

    with pytest.raises(FileNotFoundError, match=r"Si9\.5\.pao"):
        load("Si9.5-s2p2d1", "Si_PBE19")
    with pytest.raises(FileNotFoundError, match=r"Si_PBE99\.vps"):
        load("Si7.0-s2p2d1", "Si_PBE99")
    with pytest.raises(ValueError, match=r"Si7\.0\.pao: expected at most 15 p functions, got p16"):
        load("Si7.0-s2p16", "Si_PBE19")
    with pytest.raises(OpenMXFormatError, match=r"O_PBE19\.vps: expected AtomSpecies 14"):
        load("Si7.0-s2p2d1", "O_PBE19")
    with pytest.raises(FileNotFoundError, match="PAO and VPS"):
        mlh.load_openmx_basis(tmp_path, SPECIES)


def test_basis_must_be_that_of_the_run(basis: Basis) -> None:
    with pytest.raises(ValueError, match=r"expected the species of .*h2o\.scfout"):
        mlh.read_scfout(scfout("h2o"), basis.subset(["O"]))
    other = mlh.load_openmx_basis(DATA, {"O": ("O6.0-s2p2", "O_PBE19"), "H": SPECIES["H"]})
    with pytest.raises(ValueError, match=r"expected \('O6\.0-s2p2d1', 'O_PBE19'\) for O"):
        mlh.read_scfout(scfout("h2o"), other)


def test_every_file_of_the_folder_gives_a_species() -> None:
    """Other elements: partial cores, semi-core shells, f projectors, meshes of 1000 points."""
    definitions = {
        "C": ("C6.0-s2p2d1", "C_PBE19"),
        "Ga": ("Ga7.0-s2p2d2f1", "Ga_PBE19"),
        "Hf": ("Hf9.0-s3p3d2f1", "Hf_PBE19"),
        "N": ("N6.0-s3p2d1", "N_PBE19"),
    }
    basis = mlh.load_openmx_basis(DATA / "DFT_DATA19", definitions)
    assert [s.valence for s in basis] == [4.0, 13.0, 12.0, 5.0]
    assert [s.orbital_label for s in basis] == ["s2p2d1", "s2p2d2f1", "s3p3d2f1", "s3p2d1"]
