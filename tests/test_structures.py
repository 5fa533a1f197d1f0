"""Crystals, files, strains, rattles, point defects and their comparison."""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np
import pytest
import spglib
from ase.neighborlist import neighbor_list

from mlh.analysis import configuration_coordinate, coordinate_mae, displacements, network_statistics
from mlh.structures import (
    CRYSTALS,
    crystal,
    host_to_defect_index,
    inequivalent_sites,
    load_structure,
    point_defect,
    point_defects,
    random_strain,
    rattle,
    read_frames,
    scale_volume,
    select_sites,
    strain,
    structure_hash,
    vacancies,
    void_positions,
    write_structure,
)

DENSITIES = {  # g/cm^3 at room pressure, of the minerals
    "alpha-quartz": 2.65,
    "alpha-cristobalite": 2.33,
    "beta-cristobalite": 2.20,
    "tridymite": 2.18,
    "coesite": 2.92,
}


@pytest.mark.parametrize("name", sorted(DENSITIES))
def test_crystals_are_perfect_networks_of_the_published_symmetry(name: str) -> None:
    atoms = crystal(name)
    statistics = network_statistics(atoms)
    assert len(atoms) == CRYSTALS[name].n_atoms
    assert statistics.is_perfect
    assert statistics.density == pytest.approx(DENSITIES[name], abs=0.01)
    assert 1.54 < statistics.bond_mean < 1.62
    assert statistics.bridge_center_bridge[0] == pytest.approx(109.47, abs=0.3)
    found = spglib.get_symmetry_dataset((atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers), 1e-3)
    assert found.number == CRYSTALS[name].spacegroup


def test_crystal_supercell_and_errors() -> None:
    atoms = crystal("alpha-quartz", (2, 2, 1))
    assert len(atoms) == 36
    assert atoms.get_volume() == pytest.approx(4 * crystal("alpha-quartz").get_volume())
    with pytest.raises(ValueError, match="expected one of"):
        crystal("quartz")
    with pytest.raises(ValueError, match="three positive integers"):
        crystal("coesite", (1, 0, 1))


def test_inequivalent_sites_count_the_wyckoff_orbits() -> None:
    oxygen, counts = inequivalent_sites(crystal("coesite"), "O")
    assert sorted(counts) == [4, 4, 8, 8, 8]
    assert len(oxygen) == 5
    assert len(inequivalent_sites(crystal("alpha-quartz", (2, 2, 1)), "O")[0]) == 1


def test_fingerprint_survives_a_file_and_sees_a_change(tmp_path: Path) -> None:
    atoms = rattle(crystal("alpha-cristobalite"), 0.05, 1)
    write_structure(tmp_path / "a.extxyz", atoms)
    again = load_structure(tmp_path / "a.extxyz")
    assert structure_hash(again) == structure_hash(atoms)
    again.positions[0, 0] += 1e-6
    assert structure_hash(again) != structure_hash(atoms)


def test_load_structure_by_name_and_errors(tmp_path: Path) -> None:
    assert len(load_structure("alpha-quartz:2x1x1")) == 18
    with pytest.raises(FileNotFoundError, match="expected a file or a crystal"):
        load_structure(tmp_path / "missing.xyz")


def test_a_cut_last_frame_is_left_out(tmp_path: Path) -> None:
    frames = [rattle(crystal("alpha-quartz"), 0.05, seed) for seed in range(3)]
    write_structure(tmp_path / "t.extxyz", frames)
    text = (tmp_path / "t.extxyz").read_text()
    (tmp_path / "t.extxyz").write_text(text[:-40])
    kept = read_frames(tmp_path / "t.extxyz")
    assert [structure_hash(atoms) for atoms in kept] == [structure_hash(atoms) for atoms in frames[:2]]


def test_rattle_has_the_amplitude_is_seeded_and_keeps_the_center() -> None:
    atoms = crystal("alpha-quartz", (4, 4, 4))
    moved = rattle(atoms, 0.1, 5)
    difference = moved.positions - atoms.positions
    # 3 sigma truncation lowers the standard deviation of a normal distribution to 0.9866 of it.
    assert difference.std() == pytest.approx(0.09866, rel=0.05)
    assert np.abs(difference).max() < 0.32
    np.testing.assert_allclose(difference.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_array_equal(rattle(atoms, 0.1, 5).positions, moved.positions)
    assert not np.array_equal(rattle(atoms, 0.1, 6).positions, moved.positions)


def test_strain_and_volume_keep_fractional_coordinates() -> None:
    atoms = crystal("alpha-quartz")
    tensor = np.array([[0.02, 0.01, 0.0], [0.01, -0.01, 0.03], [0.0, 0.03, 0.0]])
    moved = strain(atoms, tensor)
    np.testing.assert_allclose(moved.get_scaled_positions(), atoms.get_scaled_positions(), atol=1e-12)
    assert moved.get_volume() == pytest.approx(atoms.get_volume() * np.linalg.det(np.eye(3) + tensor))
    np.testing.assert_allclose(moved.cell[0], (np.eye(3) + tensor) @ atoms.cell[0])
    assert scale_volume(atoms, 1.06).get_volume() == pytest.approx(1.06 * atoms.get_volume())
    change = np.linalg.solve(atoms.cell[:], random_strain(atoms, 0.02, 3).cell[:]) - np.eye(3)
    np.testing.assert_allclose(change, change.T, atol=1e-12)
    assert 0.0 < np.abs(change).max() <= 0.02
    with pytest.raises(ValueError, match="symmetric"):
        strain(atoms, [[0.0, 0.1, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def test_vacancy_carries_its_provenance_through_a_file(tmp_path: Path) -> None:
    host = load_structure("alpha-quartz:2x2x1")
    sites = select_sites(host, "O", 3, seed=2)
    assert sites == select_sites(host, "O", 3, seed=2)
    defect = vacancies(host, sites)[1]
    write_structure(tmp_path / "v.extxyz", defect)
    again = load_structure(tmp_path / "v.extxyz")
    assert len(again) == len(host) - 1
    assert again.symbols.count("O") == host.symbols.count("O") - 1
    assert again.info["defect_kind"] == "vacancy"
    assert again.info["defect_removed"] == "O"
    assert again.info["defect_site"] == sites[1]
    assert again.info["host_hash"] == structure_hash(host)
    np.testing.assert_allclose(again.info["defect_position"], host.positions[sites[1]], atol=1e-8)
    np.testing.assert_allclose(again.positions, host.positions[host_to_defect_index(again)], atol=1e-8)


def test_substitution_and_interstitial() -> None:
    host = crystal("alpha-quartz")
    doped = point_defect(host, site=0, element="Ge")
    assert doped.get_chemical_formula() == "GeO6Si2"
    assert host.get_chemical_formula() == "O6Si3"
    middle = host.cell[:].sum(axis=0) / 2
    added = point_defect(host, position=middle, element="H")
    assert len(added) == len(host) + 1
    assert host_to_defect_index(added)[-1] == -1
    with pytest.raises(ValueError, match="to every atom"):
        point_defect(host, position=host.positions[3] + 0.1 + host.cell[0], element="H")
    with pytest.raises(ValueError, match="exactly one"):
        point_defect(host, element="H")
    with pytest.raises(ValueError, match="another element"):
        point_defect(host, site=0, element="Si")


def test_point_defects_cover_kinds_and_rattles_with_one_function(tmp_path: Path) -> None:
    host = load_structure("alpha-quartz:2x2x1")
    oxygen = select_sites(host, "O", 2, seed=0)
    rattled = point_defects(host, sites=oxygen, rattle_amplitude=0.05, copies=3, seed=4)
    assert [int(d.info["defect_site"]) for d in rattled] == [site for site in oxygen for _ in range(3)]
    kept = host_to_defect_index(rattled[0])
    moved = rattled[0].positions - host.positions[kept]
    assert 0.02 < moved.std() < 0.08
    assert not np.array_equal(rattled[0].positions, rattled[1].positions)
    fewer = point_defects(host, sites=oxygen[:1], rattle_amplitude=0.05, copies=3, seed=4)
    np.testing.assert_array_equal(fewer[2].positions, rattled[2].positions)
    write_structure(tmp_path / "d.extxyz", rattled)
    again = read_frames(tmp_path / "d.extxyz")[4]
    assert again.info["rattle"] == 0.05
    assert str(again.info["rattle_seed"]) == "4.4"
    np.testing.assert_allclose(again.info["defect_position"], host.positions[oxygen[1]], atol=1e-8)
    doped = point_defects(host, sites=oxygen, element="S")
    assert [d.symbols.count("S") for d in doped] == [1, 1]
    added = point_defects(host, positions=void_positions(host, 2, seed=1), element="H")
    assert [d.info["defect_kind"] for d in added] == ["interstitial", "interstitial"]
    with pytest.raises(ValueError, match="either sites or positions"):
        point_defects(host)
    with pytest.raises(ValueError, match="rattle above 0"):
        point_defects(host, sites=oxygen, copies=2)


def test_voids_are_far_from_all_atoms_and_follow_the_symmetry() -> None:
    silicon = crystal("silicon")
    voids = void_positions(silicon)
    # Diamond has eight tetrahedral voids per cubic cell, as far from four atoms as a bond is long, and the
    # sixteen hexagonal saddles between them.
    bond = 5.431020511 * np.sqrt(3.0) / 4.0
    probe = silicon + ase.Atoms(f"H{len(voids)}", voids)
    nearest = [np.delete(probe.get_distances(8 + k, range(8), mic=True), []).min() for k in range(len(voids))]
    assert np.isclose(nearest, bond).sum() == 8
    assert nearest == sorted(nearest, reverse=True)
    orbits = void_positions(silicon, "inequivalent")
    np.testing.assert_allclose(orbits[0], voids[0])
    assert len(orbits) < len(voids) / 4
    assert len(void_positions(crystal("silicon", (2, 1, 1)))) == 2 * len(voids)
    assert len(void_positions(silicon, 3, seed=5)) == 3
    np.testing.assert_array_equal(void_positions(silicon, 3, seed=5), void_positions(silicon, 3, seed=5))
    with pytest.raises(ValueError, match="voids at least 9"):
        void_positions(silicon, 1, min_distance=9.0)


def test_select_sites_checks_its_input() -> None:
    host = crystal("alpha-quartz")
    assert select_sites(host, "O") == tuple(np.flatnonzero(host.numbers == 8))
    assert select_sites(host, "Si", [2, 0]) == (0, 2)
    for wrong, message in (("half", "expected 'all'"), (7, "expected 1 to 6"), ([0], "indices of O")):
        with pytest.raises(ValueError, match=message):
            select_sites(host, "O", wrong)
    with pytest.raises(ValueError, match="expected an element"):
        select_sites(host, "N")


def test_configuration_coordinate_uses_masses_and_minimum_image() -> None:
    cell = np.diag([5.0, 6.0, 7.0])
    reference = ase.Atoms("SiO", [[0.1, 1.0, 1.0], [2.0, 2.0, 2.0]], cell=cell, pbc=True)
    moved = reference.copy()
    moved.positions[0] = [4.9, 1.0, 1.0]  # -0.2 through the boundary
    moved.positions[1] += [0.0, 0.3, 0.0]
    expected = np.sqrt(28.085 * 0.2**2 + 15.999 * 0.3**2)
    assert configuration_coordinate(moved, reference) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(displacements(moved, reference)[0], [-0.2, 0.0, 0.0], atol=1e-12)
    shifted = reference.copy()
    shifted.positions += [0.2, 0.1, 0.0]
    assert configuration_coordinate(shifted, reference) > 1.0
    assert configuration_coordinate(shifted, reference, remove_translation=True) < 1e-10


def test_configuration_coordinate_refuses_structures_that_do_not_match() -> None:
    host = crystal("alpha-quartz")
    with pytest.raises(ValueError, match="equal numbers of atoms, got 8 and 9"):
        configuration_coordinate(point_defect(host, site=4), host)
    swapped = host[[3, 1, 2, 0, *range(4, 9)]]
    with pytest.raises(ValueError, match="same elements in the same order"):
        configuration_coordinate(swapped, host)
    with pytest.raises(ValueError, match="equal cells"):
        configuration_coordinate(scale_volume(host, 1.01), host)


def test_coordinate_mae_by_radius() -> None:
    reference = ase.Atoms("O3", [[1, 0, 0], [4, 0, 0], [19.5, 0, 0]], cell=np.eye(3) * 20, pbc=True)
    moved = reference.copy()
    moved.positions += [[0.3, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.9]]
    errors = coordinate_mae(moved, reference, [0.0, 0.0, 0.0], radii=(0.2, 2.0, 5.0))
    assert errors[0.2] is None
    assert errors[2.0] == pytest.approx((0.1 + 0.3) / 2)  # the third atom is 0.5 A away through the boundary
    assert errors[5.0] == pytest.approx((0.1 + 0.2 + 0.3) / 3)


def test_network_statistics_see_a_broken_bond() -> None:
    host = crystal("alpha-quartz", (2, 2, 2))
    broken = network_statistics(point_defect(host, site=int(np.flatnonzero(host.numbers == 8)[0])))
    assert broken.center_coordination == {3: 2, 4: 22}
    assert not broken.is_perfect
    assert len(neighbor_list("i", host, {("Si", "O"): 2.0})) == 24 * 8
