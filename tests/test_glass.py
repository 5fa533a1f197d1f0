"""Quality report of structures: bonds, coordination, angles, rings, pair distributions; `mlh info`."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import ase
import ase.spacegroup
import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from mlh.analysis import glass_report
from mlh.analysis.bonds import bond_angles, coordination, find_bonds, ring_counts
from mlh.analysis.glass import pair_distributions
from mlh.commands.cli import app
from mlh.structures import crystal, point_defect


def distances_from(links: dict[int, list[int]], root: int) -> dict[int, int]:
    """Number of links from `root` to every node."""
    distance, frontier = {root: 0}, [root]
    while frontier:
        reached = {far for node in frontier for far in links[node]} - distance.keys()
        distance.update({far: distance[frontier[0]] + 1 for far in reached})
        frontier = list(reached)
    return distance


def rings_by_enumeration(links: dict[int, list[int]], max_size: int) -> Counter[int]:
    """All closed paths without a shortcut between any two of their nodes, straight from the definition."""
    distance = {node: distances_from(links, node) for node in links}
    found: dict[frozenset[int], int] = {}

    def extend(path: list[int]) -> None:
        for node in links[path[-1]]:
            if node == path[0] and len(path) > 2:
                size = len(path)
                pairs = combinations(range(size), 2)
                if all(distance[path[a]][path[b]] == min(b - a, size - b + a) for a, b in pairs):
                    found[frozenset(path)] = size
            elif node > path[0] and node not in path and len(path) < max_size:
                extend([*path, node])

    for node in links:
        extend([node])
    return Counter(found.values())


@pytest.mark.parametrize(
    ("name", "repeat", "per_former"),
    [
        # Cristobalite has the rings of diamond, two 6-rings per Si.
        ("silicon", (2, 2, 2), {6: 2.0}),
        ("beta-cristobalite", (1, 1, 1), {6: 2.0}),
        ("alpha-cristobalite", (2, 1, 1), {6: 2.0}),
        # Lonsdaleite's: tridymite has two 6-rings per Si as well.
        ("tridymite", (1, 1, 1), {6: 2.0}),
        # Quartz: one 6-ring per Si, and 8-rings.
        ("alpha-quartz", (1, 1, 1), {6: 1.0}),
    ],
)
def test_small_rings_of_crystals(
    name: str, repeat: tuple[int, int, int], per_former: dict[int, float]
) -> None:
    atoms = crystal(name, repeat)
    rings = ring_counts(find_bonds(atoms), max_size=7)
    formers = atoms.symbols.count("Si")
    assert {size: count / formers for size, count in rings.items() if count} == per_former


def test_rings_do_not_depend_on_the_cell() -> None:
    small = ring_counts(find_bonds(crystal("alpha-quartz")), max_size=9)
    large = ring_counts(find_bonds(crystal("alpha-quartz", (2, 2, 2))), max_size=9)
    assert {size: 8 * count for size, count in small.items()} == large
    assert small[8] > 0
    assert small[7] == small[9] == 0


def test_rings_agree_with_an_enumeration_of_all_closed_paths() -> None:
    """In a cell so wide (18 A) that six links of 3.1 A cannot close through the boundary."""
    atoms = crystal("coesite", (3, 2, 3))
    bonds = find_bonds(atoms)
    formers = np.flatnonzero(atoms.numbers == 14)
    links: dict[int, list[int]] = {int(i): [] for i in formers}
    by_bridge: dict[int, list[int]] = {}
    for i, j in zip(bonds.first, bonds.second, strict=True):
        if atoms.numbers[i] == 8:
            by_bridge.setdefault(int(i), []).append(int(j))
    for a, b in by_bridge.values():
        links[a].append(b)
        links[b].append(a)
    counted = ring_counts(bonds, max_size=6)
    expected = rings_by_enumeration(links, 6)
    assert counted[4] > 0
    assert {s: n for s, n in counted.items() if n} == dict(expected)


def test_pair_distribution_counts_neighbours() -> None:
    atoms = crystal("beta-cristobalite", (2, 2, 2))
    distribution = pair_distributions(atoms)["O-Si"]
    first_shell = distribution.r < 2.2
    oxygen_density = atoms.symbols.count("O") / atoms.get_volume()
    integral = np.trapezoid(
        4 * np.pi * distribution.r**2 * oxygen_density * distribution.g * first_shell, distribution.r
    )
    assert integral == pytest.approx(4.0, abs=0.01)


def test_pair_distribution_of_an_ideal_gas_is_one() -> None:
    rng = np.random.default_rng(0)
    gas = ase.Atoms("Ar400", rng.uniform(0, 20.0, (400, 3)), cell=np.eye(3) * 20.0, pbc=True)
    distribution = pair_distributions(gas)["Ar-Ar"]
    outer = distribution.r > 2.0
    assert distribution.g[outer].mean() == pytest.approx(1.0, abs=0.02)


def test_report_of_a_crystal_and_of_a_vacancy() -> None:
    host = crystal("alpha-quartz", (2, 2, 2))
    report = glass_report(host)
    assert report.coordination == {"O": {2: 48}, "Si": {4: 24}}
    assert report.quantity("bond Si-O") == report.quantity("bond O-Si")
    mean, std = report.quantity("angle O-Si-O") or (0.0, 0.0)
    assert mean == pytest.approx(109.5, abs=0.1)
    assert 0.3 < std < 1.0
    assert (report.quantity("angle Si-O-Si") or (0.0,))[0] == pytest.approx(143.7, abs=0.2)
    assert report.quantity("bond Ge-O") is None
    assert {entry.quantity for entry in report.experiment} >= {"density", "bond Si-O", "angle Si-O-Si"}
    vacancy = glass_report(point_defect(host, site=int(np.flatnonzero(host.numbers == 8)[0])))
    assert vacancy.coordination["Si"] == {3: 2, 4: 22}
    assert vacancy.rings[6] < report.rings[6]


def test_bonds_see_every_image_in_a_small_cell() -> None:
    atoms = crystal("silicon")
    primitive = ase.Atoms(
        "Si2", scaled_positions=[[0, 0, 0], [0.25] * 3], cell=5.431 / 2 * (1 - np.eye(3)), pbc=True
    )
    for cell in (atoms, primitive):
        bonds = find_bonds(cell)
        assert coordination(bonds) == {"Si": {4: len(cell)}}
        angles = bond_angles(bonds)["Si-Si-Si"]
        assert len(angles.degrees) == 6 * len(cell)
        np.testing.assert_allclose(angles.degrees, 109.4712, atol=1e-3)
        np.testing.assert_allclose(angles.ends, 5.431 / np.sqrt(2.0), atol=1e-3)
        assert ring_counts(bonds, 6)[6] == 2 * len(cell)


def in_box(symbols: str, positions: list[list[float]]) -> ase.Atoms:
    return ase.Atoms(symbols, positions, cell=np.eye(3) * 12.0, pbc=True)


def test_contacts_of_second_neighbors_are_not_bonds() -> None:
    # Si-Si at 2.62 A across an oxygen: below 1.2 times the covalent radii, but no bond.
    half = np.radians(110.0) / 2
    bent = in_box(
        "OSi2", [[6, 6, 6], *([6 + s * 1.6 * np.sin(half), 6 + 1.6 * np.cos(half), 6] for s in (-1, 1))]
    )
    assert coordination(find_bonds(bent)) == {"O": {2: 1}, "Si": {1: 2}}
    # The same pair without the oxygen is bonded, as are the Si beside a vacancy.
    assert coordination(find_bonds(bent[[1, 2]])) == {"Si": {1: 2}}
    # Edge sharing: two oxygens between silicons 2.35 A apart.
    square = in_box("Si2O2", [[4.82, 6, 6], [7.18, 6, 6], [6, 7.17, 6], [6, 4.83, 6]])
    assert coordination(find_bonds(square)) == {"O": {2: 2}, "Si": {2: 2}}
    # A ring of three atoms has three bonds.
    oxirane = in_box("C2O", [[5.27, 6, 6], [6.73, 6, 6], [6, 7.23, 6]])
    assert coordination(find_bonds(oxirane)) == {"C": {2: 2}, "O": {2: 1}}


def test_coordination_of_close_packed_and_of_edge_sharing_crystals() -> None:
    rutile = ase.spacegroup.crystal(
        ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90]
    )
    assert coordination(find_bonds(rutile)) == {"O": {3: 4}, "Ti": {6: 2}}
    assert coordination(find_bonds(bulk("Cu", cubic=True))) == {"Cu": {12: 4}}
    assert coordination(find_bonds(bulk("Fe", cubic=True))) == {"Fe": {14: 2}}  # 8 and, 16 % further, 6


def test_info_of_a_structure(tmp_path: Path) -> None:
    plot = tmp_path / "quartz.png"
    result = CliRunner().invoke(app, ["info", "alpha-quartz:2x2x2", "--json", "--plot", str(plot)])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["density_g_cm3"] == pytest.approx(2.647, abs=0.01)
    assert content["edge_sharing_pairs"] == 0
    entry = next(e for e in content["experiment"] if e["quantity"] == "bond Si-O")
    assert entry["structure"][0] == pytest.approx(1.609, abs=0.002)
    assert "Grimley" in entry["source"]
    assert plot.stat().st_size > 10000
    table = CliRunner().invoke(app, ["info", "alpha-quartz"])
    assert "angle Si-O-Si" in table.stdout


def test_molecules_have_no_rings() -> None:
    molecule = ase.Atoms("OH2", [[5, 5, 5], [5.96, 5, 5], [4.76, 5.93, 5]], cell=np.eye(3) * 10, pbc=True)
    report = glass_report(molecule)
    assert report.rings == {}
    assert report.coordination == {"H": {1: 2}, "O": {2: 1}}
