"""Bond-switching Monte Carlo from Python and the command line: start networks, exact resume, quality."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from mlh import _core
from mlh.analysis import network_statistics
from mlh.analysis.bonds import find_bonds, ring_counts
from mlh.commands.cli import app
from mlh.common.units import ANGSTROM, EV
from mlh.structures import amorphous, crystal, load_recipe
from mlh.structures.amorphous import Progress, temperatures
from mlh.structures.bond_network import crystal_network, random_network, structure_network
from mlh.structures.recipe import Recipe, recipes


def short(name: str = "SiO2", melt: int = 60, quench: int = 60, **changes: dict[str, float]) -> Recipe:
    content = load_recipe(name).model_dump()
    content["schedule"].update({"melt_moves": melt, "quench_moves": quench})
    for section, values in changes.items():
        content[section].update(values)
    return Recipe.model_validate(content)


def test_every_shipped_recipe_starts_from_its_crystal_unstrained_in_topology() -> None:
    assert set(recipes()) == {"GeO2", "Si", "SiO2"}
    for name in recipes():
        recipe = load_recipe(name)
        first = crystal_network(recipe.network, 96)
        assert len(first.atoms) == 96
        np.testing.assert_allclose(first.atoms.cell.cellpar()[3:], 90.0)
        network = first.core_network(recipe.network)
        assert network.small_rings() == (0, 0)
        volume = first.atoms.get_volume()
        grams = first.atoms.get_masses().sum() * 1.66053906660
        assert grams / volume == pytest.approx(recipe.network.density, rel=1e-6)


def test_the_default_schedule_is_that_of_the_paper() -> None:
    steps = temperatures(load_recipe("SiO2"))
    assert len(steps) == 18000
    assert steps[5000] == 2000.0
    assert steps[-1] == 300.0
    assert (np.diff(steps[5000:]) < 0.0).all()


def test_potential_in_atomic_units_gives_the_energy_of_its_formula() -> None:
    recipe = load_recipe("SiO2")
    first = crystal_network(recipe.network, 24, shape="crystal")
    atoms = first.atoms
    bonds = find_bonds(atoms)
    stretch = 0.5 * 27.0 * (bonds.lengths - 1.60) ** 2
    expected = 0.5 * stretch.sum()  # every bond appears in both directions
    edges = np.concatenate([[0], np.cumsum(bonds.counts)])
    for center in range(len(atoms)):
        stiffness, cosine = (4.32, -1 / 3) if atoms.symbols[center] == "Si" else (2.0, -1.0)
        unit = bonds.vectors[edges[center] : edges[center + 1]]
        unit = unit / np.linalg.norm(unit, axis=1)[:, None]
        upper = np.triu_indices(len(unit), 1)
        expected += (0.5 * stiffness * ((unit @ unit.T)[upper] - cosine) ** 2).sum()
    energy, _ = _core.network_energy(
        first.core_structure(recipe.network),
        first.core_network(recipe.network),
        recipe.potential.to_core(("Si", "O")),
    )
    # Atoms without a common bond are further apart than the range of the repulsion in cristobalite.
    assert energy / EV == pytest.approx(expected, rel=1e-9)


def test_network_gradient_is_the_derivative_of_the_energy() -> None:
    recipe = load_recipe("SiO2")
    first = crystal_network(recipe.network, 24, density=3.0)
    first.atoms.rattle(0.15, seed=4)
    potential, network = recipe.potential.to_core(("Si", "O")), first.core_network(recipe.network)
    _, gradient = _core.network_energy(first.core_structure(recipe.network), network, potential)
    for atom, axis in ((0, 0), (7, 1), (23, 2)):
        energies = []
        for step in (1e-4, -1e-4):
            moved = first.atoms.copy()
            moved.positions[atom, axis] += step / ANGSTROM
            structure = type(first)(moved, first.start, first.neighbors).core_structure(recipe.network)
            energies.append(_core.network_energy(structure, network, potential)[0])
        assert gradient[atom, axis] == pytest.approx((energies[0] - energies[1]) / 2e-4, abs=1e-8)


def test_random_network_has_every_bond_and_can_be_relaxed() -> None:
    for name, count in (("SiO2", 96), ("Si", 64)):
        recipe = load_recipe(name)
        first = random_network(recipe.network, count, seed=3)
        network = first.core_network(recipe.network)  # raises unless bonds are symmetric and corner-sharing
        counts = np.diff(first.start)
        formers = np.asarray(first.atoms.get_chemical_symbols()) == recipe.network.former
        assert set(counts[formers]) == {4}
        assert set(counts[~formers]) <= {2}
        assert len(network.neighbors) == counts.sum()
        again = random_network(recipe.network, count, seed=3)
        np.testing.assert_array_equal(again.atoms.positions, first.atoms.positions)
        np.testing.assert_array_equal(again.neighbors, first.neighbors)
    with pytest.raises(ValueError, match="atoms: expected"):
        random_network(load_recipe("SiO2").network, 95)


def test_start_from_a_structure_and_its_errors() -> None:
    elements = load_recipe("SiO2").network
    first = structure_network(crystal("alpha-quartz", (2, 2, 2)), elements)
    assert first.core_network(elements).small_rings() == (0, 0)
    broken = crystal("alpha-quartz", (2, 2, 2))
    del broken[5]
    with pytest.raises(ValueError, match="expected 4 bonds below"):
        structure_network(broken, elements)
    with pytest.raises(ValueError, match="expected only"):
        structure_network(crystal("alpha-quartz"), load_recipe("GeO2").network)
    with pytest.raises(ValueError, match="multiple of 12"):
        crystal_network(elements, 100)


def test_short_run_keeps_coordination_and_is_seeded() -> None:
    seen: list[Progress] = []
    run = amorphous(short(), atoms=48, seed=1, on_progress=seen.append)
    statistics = network_statistics(run.atoms, cutoff=2.1)
    assert statistics.is_perfect
    assert ring_counts(find_bonds(run.atoms))[2] == 0
    assert statistics.density == pytest.approx(2.20, abs=1e-3)
    assert len(run.energies) == len(run.accepted) == run.counters["moves"] == 120
    assert 0 < run.counters["accepted"] == run.accepted.sum()
    assert run.counters["unconverged"] == 0
    assert [step.moves for step in seen] == [100, 120]
    assert [step.phase for step in seen] == ["quench", "quench"]
    again = amorphous(short(), atoms=48, seed=1)
    np.testing.assert_array_equal(again.atoms.positions, run.atoms.positions)
    assert not np.array_equal(amorphous(short(), atoms=48, seed=2).atoms.positions, run.atoms.positions)


def test_quench_lowers_the_energy_of_a_melt() -> None:
    melt = amorphous(short(melt=150, quench=0, schedule={"melt_to": 10000.0}), atoms=48, seed=3)
    glass = amorphous(short(melt=150, quench=300, schedule={"melt_to": 10000.0}), atoms=48, seed=3)
    np.testing.assert_array_equal(glass.energies[:150], melt.energies)
    assert glass.energy < melt.energy
    # Without temperature a move is accepted only downhill, and 300 K is nearly that.
    accepted = glass.energies[1:][glass.accepted[1:]] - glass.energies[:-1][glass.accepted[1:]]
    assert accepted.max() < 30 * 8.617e-5 * 10000.0


def test_interrupted_and_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    recipe, whole = short(melt=150, quench=150), tmp_path / "run.npz"

    def stop(step: Progress) -> None:
        if step.moves == 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        amorphous(recipe, atoms=48, seed=9, checkpoint=whole, on_progress=stop)
    resumed = amorphous(recipe, atoms=48, seed=9, checkpoint=whole, resume=True)
    straight = amorphous(recipe, atoms=48, seed=9)
    np.testing.assert_array_equal(resumed.atoms.positions, straight.atoms.positions)
    np.testing.assert_array_equal(resumed.energies, straight.energies)
    np.testing.assert_array_equal(resumed.accepted, straight.accepted)
    assert resumed.counters == straight.counters
    with pytest.raises(ValueError, match="seed: 9 there, 8 now"):
        amorphous(recipe, atoms=48, seed=8, checkpoint=whole, resume=True)
    with pytest.raises(FileNotFoundError, match="to resume from"):
        amorphous(recipe, atoms=48, seed=9, checkpoint=tmp_path / "none.npz", resume=True)


def test_ring_penalty_forbids_small_rings() -> None:
    free = amorphous(short(melt=200, quench=0), atoms=48, seed=5)
    forbidden = amorphous(
        short(melt=200, quench=0, rings={"three": 1000.0, "four": 1000.0}), atoms=48, seed=5
    )
    free_rings, rings = ring_counts(find_bonds(free.atoms)), ring_counts(find_bonds(forbidden.atoms))
    assert free_rings[3] + free_rings[4] > 0
    assert rings[3] + rings[4] == 0
    assert forbidden.counters["accepted"] > 0


def test_amorphous_silicon_is_four_coordinated() -> None:
    run = amorphous(short("Si", melt=100, quench=100), atoms=64, seed=1)
    bonds = find_bonds(run.atoms)
    assert set(bonds.counts) == {4}
    assert bonds.lengths.mean() == pytest.approx(2.35, abs=0.03)


def test_recipe_errors_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="GeO2, Si, SiO2"):
        load_recipe("B2O3")
    text = recipes()["SiO2"].read_text()
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(text.replace("melt_moves", "melt_steps"))
    with pytest.raises(ValueError, match="melt_steps"):
        load_recipe(wrong)
    wrong.write_text(text.replace('atoms = ["Si", "O", "Si"]', 'atoms = ["Si", "Si", "Si"]'))
    with pytest.raises(ValueError, match=r"potential\.angles: expected"):
        load_recipe(wrong)


def test_command_writes_structure_and_report(tmp_path: Path) -> None:
    out = tmp_path / "glass.xyz"
    arguments = ["amorphous", "SiO2", "--atoms", "48", "--seed", "2", "-o", str(out)]
    arguments += ["--melt-moves", "40", "--quench-moves", "40", "--report", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["coordination"] == {"O": {"2": 32}, "Si": {"4": 16}}
    assert summary["edge_sharing_pairs"] == 0
    assert summary["perfect_network"] is True
    assert summary["counters"]["moves"] == 80
    atoms = ase.io.read(out)
    assert atoms.info["recipe"] == "SiO2"
    assert atoms.info["seed"] == 2
    report = json.loads((tmp_path / "glass.report.json").read_text())
    assert len(report["pair_distributions"]["O-Si"]["r_angstrom"]) == 300
    assert (tmp_path / "glass.report.png").stat().st_size > 10000
    assert (tmp_path / "glass.run.png").stat().st_size > 5000
    assert not list(tmp_path.glob("*.checkpoint.npz"))
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, FileExistsError)
