"""Constraints, tags, moments and notes of a structure live through defects, relaxations and files."""

from __future__ import annotations

import logging
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength, FixCartesian, FixScaled, FixSymmetry

import mlh
from mlh.relaxation.files import run_relaxation
from mlh.relaxation.jobs import RelaxJob, RelaxJobs
from mlh.relaxation.loop import RelaxSettings, relax
from mlh.structures import load_structure, vacancies, write_structure
from mlh.structures.defects import point_defect
from mlh.structures.rattle import rattle

SELECTIVE = """MgO
 1.0
 4.21 0.0 0.0
 0.0 4.21 0.0
 0.0 0.0 4.21
 Mg O Mg O Mg O Mg O
 1 1 1 1 1 1 1 1
Selective dynamics
Cartesian
 0.0812172681831621 -0.0305878206825038 -0.0264085876131728 F F F
 2.0513515688921915 0.0432703814662339 -0.1150769348440141 F F F
 0.0872405882108240 2.0669396549552448 2.1209519548028548 F F F
 2.0925314812261293 2.1781053968522488 2.0019929645251171 F F F
 2.0888791397993245 -0.0192027177334208 2.1616884721167717 F F F
 -0.0549945633657015 -0.0086214103775218 2.0611070791039312 F F F
 2.1071106873357794 2.1341407606857912 -0.0550309588606461 F F F
 {last}
"""
HOST = "0.00998501 2.0647234 -0.01401075 T T T"
"""Where the free atom of the host ends."""


def fixed_copper() -> Atoms:
    """Eight atoms out of place; 0 and 5 fixed, 3 along z only."""
    atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=1)
    atoms.set_constraint([FixAtoms([0, 5]), FixCartesian(3, mask=(False, False, True))])
    atoms.set_tags(np.arange(8))
    atoms.set_initial_magnetic_moments(0.1 * np.arange(8))
    atoms.info.update(
        {"source": "cu.cif", "spacegroup": "F m -3 m", "occupancy": {"0": {"Cu": 1.0}}, "note": "x"}
    )
    return atoms


def fixed_by_name(atoms: Atoms) -> dict[str, list[int]]:
    """Indices of constraints by their kind."""
    found: dict[str, list[int]] = {}
    for constraint in atoms.constraints:
        found.setdefault(type(constraint).__name__, []).extend(int(i) for i in constraint.get_indices())
    return found


def test_constraints_follow_their_atoms_through_defects() -> None:
    host = fixed_copper()
    (hole,) = vacancies(host, [2])
    assert fixed_by_name(hole) == {"FixAtoms": [0, 4], "FixCartesian": [2]}
    assert hole.get_tags().tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert hole.get_initial_magnetic_moments() == pytest.approx([0.0, 0.1, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert hole.info["note"] == "x" and hole.info["host"] == "cu.cif"
    assert {"spacegroup", "occupancy", "source"}.isdisjoint(hole.info)
    assert fixed_by_name(host) == {"FixAtoms": [0, 5], "FixCartesian": [3]}, "the host is not changed"
    (gone,) = vacancies(host, [3])
    assert fixed_by_name(gone) == {"FixAtoms": [0, 4]}
    other = point_defect(host, site=5, element="Au")
    assert fixed_by_name(other) == {"FixAtoms": [0, 5], "FixCartesian": [3]}
    assert other.get_initial_magnetic_moments()[5] == 0.0 and other.get_tags()[5] == 5
    added = point_defect(host, position=(1.8, 1.8, 1.8), element="H")
    assert fixed_by_name(added) == {"FixAtoms": [0, 5], "FixCartesian": [3]}
    assert added.get_initial_magnetic_moments()[-1] == 0.0


def test_a_constraint_that_cannot_hold_any_more_is_told(caplog: pytest.LogCaptureFixture) -> None:
    host = bulk("Cu", cubic=True)
    host.set_constraint([FixBondLength(0, 1), FixBondLength(2, 3), FixSymmetry(host), FixAtoms([1])])
    with caplog.at_level(logging.WARNING, "mlh.structures"):
        (hole,) = vacancies(host, [1])
    assert fixed_by_name(hole) == {"FixBondLengths": [1, 2]}
    assert caplog.text.count("is left out") == 2 and "FixSymmetry" in caplog.text
    assert "it does not hold without atom 1" in caplog.text


def test_files_hold_constraints(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host = fixed_copper()
    host.info.pop("occupancy")
    write_structure(tmp_path / "a.extxyz", host)
    back = ase.io.read(tmp_path / "a.extxyz")
    forces = np.ones((8, 3))
    for constraint in back.constraints:
        constraint.adjust_forces(back, forces)
    assert (
        not forces[[0, 5]].any() and forces[3].tolist() == [1.0, 1.0, 0.0] and forces[[1, 2, 4, 6, 7]].all()
    )
    assert back.get_tags().tolist() == host.get_tags().tolist()
    assert back.get_initial_magnetic_moments() == pytest.approx(host.get_initial_magnetic_moments())
    host.set_constraint([FixScaled(2, mask=(True, False, False)), FixBondLength(0, 1)])
    with caplog.at_level(logging.WARNING, "mlh.structures"):
        write_structure(tmp_path / "b.extxyz", host)
    assert "FixBondLengths is left out: extended xyz has no place for it" in caplog.text
    one = np.ones((8, 3))
    for constraint in ase.io.read(tmp_path / "b.extxyz").constraints:
        constraint.adjust_forces(host, one)
    assert one[2].tolist() == [0.0, 1.0, 1.0]


def test_relaxations_keep_constraints_and_refuse_others_on_resume(tmp_path: Path) -> None:
    (start,) = vacancies(fixed_copper(), [2])
    settings = RelaxSettings(fmax=0.02, max_steps=60)
    result = run_relaxation(start, EMT(), tmp_path / "run", settings)
    moved = np.abs(result.atoms.positions - start.positions).max(axis=1)
    assert result.converged and moved[[0, 4]].max() < 1e-8 and moved[[1, 3, 5, 6]].min() > 1e-3
    assert result.atoms.positions[2, 2] == pytest.approx(start.positions[2, 2], abs=1e-8)
    relaxed = load_structure(tmp_path / "run" / "relaxed.extxyz")
    again = relax(relaxed, EMT(), settings)
    assert again.converged and len(again.steps) == 1, "the file knows what is fixed"
    assert relaxed.get_tags().tolist() == start.get_tags().tolist()
    free = start.copy()
    free.set_constraint()
    with pytest.raises(ValueError, match="constraints"):
        run_relaxation(free, EMT(), tmp_path / "run", settings, resume=True)
    assert run_relaxation(start, EMT(), tmp_path / "run", settings, resume=True).energy == result.energy


def test_rattling_leaves_fixed_atoms() -> None:
    host = fixed_copper()
    moved = np.abs(rattle(host, 0.1, 3).positions - host.positions)
    assert not moved[[0, 5]].any() and moved[3, 2] == 0.0 and moved[[1, 2, 4, 6, 7]].min() > 0.0


def test_selective_dynamics_holds_in_the_vacancy(tmp_path: Path) -> None:
    """VASP's file, one free atom; the energy is that of a relaxation by ASE with the same atoms fixed."""
    (tmp_path / "host.vasp").write_text(SELECTIVE.format(last=HOST))
    (start,) = vacancies(load_structure(tmp_path / "host.vasp"), [1])

    class Engine:
        kind = "DFT"

        def calculator(self) -> mlh.DFTCalculator:
            return mlh.DFTCalculator("gth-pbe", cutoff_ry=100.0)

        def describe(self) -> dict[str, str]:
            return {}

    runner = RelaxJobs(Engine(), RelaxSettings(fmax=0.1, max_steps=10))
    result = runner.run(RelaxJob("vO1", tmp_path / "vO1", start), None)
    assert result.converged
    assert result.energy == pytest.approx(-8204.968, abs=2e-3)
    moved = np.abs(result.atoms.positions - start.positions).max(axis=1)
    assert moved[:6].max() < 1e-8 and moved[6] > 0.005
    assert result.energy - (-8640.5530) == pytest.approx(435.585, abs=2e-3)
