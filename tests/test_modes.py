"""Vibrations: exact frequencies, symmetric Hessians, rigid motion, atoms around a defect, runs that go on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixBondLength
from ase.vibrations import Vibrations
from rich.console import Console

from mlh.calculators.engines import DFTEngine, ModelEngine
from mlh.dft.theory import Theory
from mlh.dynamics.modes import moving_atoms
from mlh.dynamics.modes_files import FRAMES, STEPS, SUMMARY, run_modes, summary
from mlh.report.modes import modes_figure, modes_table
from mlh.report.plots import save_figure
from mlh.structures import load_structure, read_frames


@dataclass(frozen=True)
class Engine:
    """Of a calculator of ASE."""

    make: Any = EMT
    kind: str = "toy"

    def calculator(self) -> Calculator:
        return self.make()

    def describe(self) -> dict[str, Any]:
        return {"kind": "toy"}


def argon() -> ase.Atoms:
    return bulk("Ar", "fcc", a=5.25, cubic=True).repeat((2, 1, 1))


def lennard_jones() -> LennardJones:
    return LennardJones(sigma=3.4, epsilon=0.0103, rc=8.0, smooth=True)


class Spring(Calculator):  # type: ignore[misc]  # ASE has no types
    """k/2 (r - 1.1)^2 between two atoms, with a part of the force that no energy has."""

    implemented_properties = ("energy", "free_energy", "forces")

    def __init__(self, k: float = 20.0, curl: float = 0.0) -> None:
        super().__init__()
        self.k, self.curl = k, curl

    def calculate(self, atoms: Any = None, properties: Any = (), changes: Any = tuple(all_changes)) -> None:
        super().calculate(atoms, properties, changes)
        bond = self.atoms.positions[1] - self.atoms.positions[0]
        length = float(np.linalg.norm(bond))
        pull = self.k * (length - 1.1) * bond / length
        forces = np.array([pull, -pull])
        forces[0, 0] += self.curl * (self.atoms.positions[0, 1] - 5.0)
        energy = 0.5 * self.k * (length - 1.1) ** 2
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


def dimer(pbc: bool = False) -> ase.Atoms:
    return ase.Atoms("CO", [[5.0, 5.0, 5.0], [5.0, 5.0, 6.1]], cell=[11.0] * 3, pbc=pbc)


def test_a_dimer_has_the_frequency_of_its_spring(tmp_path: Path) -> None:
    """sqrt(k / mu), and five rigid motions, of a molecule rotations too."""
    result = run_modes(dimer(), Engine(Spring), tmp_path)
    m = dimer().get_masses()
    exact = np.sqrt(20.0 * (1 / m[0] + 1 / m[1])) * units._hbar * 1e10 / np.sqrt(units._e * units._amu)
    modes = result.modes
    assert modes.frequencies[-1] == pytest.approx(exact / units.invcm, rel=1e-5)
    assert modes.rigid == pytest.approx([1, 1, 1, 1, 1, 0], abs=1e-6)
    assert modes.zero_point_energy == pytest.approx(0.5 * exact, rel=1e-5)
    assert modes.asymmetry < 1e-8 and modes.acoustic == pytest.approx(0.0, abs=1e-8)
    vector = read_frames(tmp_path / FRAMES)[-1].arrays["mode_vector"]
    assert vector[0, 2] / vector[1, 2] == pytest.approx(-m[1] / m[0], rel=1e-6)
    assert np.abs(vector).max() == pytest.approx(1.0)
    along = run_modes(dimer(pbc=True), Engine(Spring), tmp_path / "pbc").modes
    assert along.rigid.sum() == pytest.approx(3.0)


def test_forces_that_are_no_gradient_show(tmp_path: Path) -> None:
    curled = run_modes(dimer(), Engine(lambda: Spring(curl=0.3)), tmp_path).modes
    assert curled.asymmetry == pytest.approx(0.3, rel=1e-6)
    assert curled.acoustic == pytest.approx(0.3, rel=1e-6)


def test_a_crystal_agrees_with_ase(tmp_path: Path) -> None:
    """Symmetric to the third order of the step, three translations, frequencies of ASE's own code."""
    atoms = argon()
    result = run_modes(atoms, Engine(lennard_jones), tmp_path, step=0.01)
    modes = result.modes
    assert modes.asymmetry < 1e-4 * np.abs(modes.hessian).max()
    assert modes.acoustic is not None and modes.acoustic < 1e-10
    assert sorted(modes.rigid.round(3))[-3:] == [1.0, 1.0, 1.0]
    assert modes.vibrations.sum() == 21 and summary(result)["imaginary"] == 0
    atoms.calc = lennard_jones()
    theirs = Vibrations(atoms, delta=0.01, name=str(tmp_path / "ase"))
    theirs.run()
    expected = np.sort(theirs.get_frequencies().real)[3:]
    assert modes.frequencies[3:] == pytest.approx(expected, abs=0.02)
    assert modes.weights.sum(axis=1) == pytest.approx(1.0)
    save_figure(modes_figure(result), tmp_path / "modes.png")
    console = Console(width=100, record=True)
    console.print(modes_table(result, "argon"))
    assert "zero-point energy" in console.export_text()


def test_dft_gives_a_symmetric_hessian_without_net_force(tmp_path: Path) -> None:
    """Hydrogen in a small cell; only the grid, which stays where it is, feels a translation."""
    atoms = ase.Atoms("H2", [[1.5, 1.5, 1.2], [1.5, 1.5, 1.95]], cell=[3.0] * 3, pbc=True)
    theory = Theory(cutoff_ry=160.0)
    modes = run_modes(atoms, DFTEngine(theory), tmp_path, step=0.02).modes
    scale = np.abs(modes.hessian).max()
    assert scale > 20.0 and modes.asymmetry < 2e-3 * scale
    assert modes.acoustic is not None and modes.acoustic < 0.02 * scale  # what the grid does to a shift
    assert 3500 < modes.frequencies[-1] < 5000 and modes.participation()[-1] == pytest.approx(2.0, abs=0.01)


def test_atoms_around_a_place(tmp_path: Path) -> None:
    atoms = argon()
    atoms.info["defect_position"] = [0.2, 0.0, 0.0]
    near = moving_atoms(atoms, radius=4.0)
    assert near == moving_atoms(atoms, center=[10.7, 0.0, 0.0], radius=4.0)  # its periodic image
    assert 0 in near and 1 < len(near) < len(atoms)
    atoms.set_constraint(FixAtoms([0]))
    assert moving_atoms(atoms, radius=4.0) == [k for k in near if k != 0]
    part = run_modes(atoms, Engine(lennard_jones), tmp_path, radius=4.0).modes
    whole = run_modes(argon(), Engine(lennard_jones), tmp_path / "all").modes
    block = np.ravel([[3 * k, 3 * k + 1, 3 * k + 2] for k in part.moving])
    assert part.hessian == pytest.approx(whole.hessian[np.ix_(block, block)], abs=1e-5)
    assert part.acoustic is None and not part.rigid.any()
    for center, radius, words in (
        ([0.0, 0.0, 0.0], None, "radius: expected together with a center"),
        (None, -1.0, "radius: expected a positive number"),
        ([2.6, 2.6, 2.6], 0.1, "expected at least one that vibrates"),
    ):
        with pytest.raises(ValueError, match=words):
            moving_atoms(atoms, center, radius)
    with pytest.raises(ValueError, match="the structure names no defect"):
        moving_atoms(argon(), radius=3.0)
    held = argon()
    held.set_constraint(FixBondLength(0, 1))
    with pytest.raises(ValueError, match="got FixBondLength"):
        moving_atoms(held)


class Stop(BaseException):
    """As a kill."""


def test_displacements_are_kept(tmp_path: Path) -> None:
    atoms, engine = argon()[:2], Engine(lennard_jones)
    whole = run_modes(atoms, engine, tmp_path / "whole").modes

    def stop(done: int, of: int, name: str, seconds: float) -> None:
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        run_modes(atoms, engine, tmp_path / "cut", on_step=stop)
    assert len(list((tmp_path / "cut" / STEPS).iterdir())) == 5
    names: list[str] = []

    def note(done: int, of: int, name: str, seconds: float) -> None:
        names.append(name)

    again = run_modes(atoms, engine, tmp_path / "cut", resume=True, on_step=note).modes
    assert len(names) == 13 - 5 and "Ar0 x+" not in names
    assert np.array_equal(whole.hessian, again.hessian)
    with pytest.raises(ValueError, match=r"displacement: there 0\.01, now 0\.02"):
        run_modes(atoms, engine, tmp_path / "cut", step=0.02, resume=True)
    with pytest.raises(FileExistsError, match="holds a calculation of modes already"):
        run_modes(atoms, engine, tmp_path / "cut")
    path = tmp_path / "cut" / STEPS / "Ar0-x+.json"
    path.write_text(json.dumps({"forces": [[0.0]]}))
    with pytest.raises(ValueError, match=r"Ar0-x\+\.json: damaged"):
        run_modes(atoms, engine, tmp_path / "cut", resume=True)
    run_modes(atoms, engine, tmp_path / "cut", step=0.02, overwrite=True)
    assert json.loads((tmp_path / "cut" / SUMMARY).read_text())["status"] == "done"


def test_what_is_no_minimum_is_said(tmp_path: Path) -> None:
    stretched = molecule("H2", cell=[6.0] * 3, pbc=True)
    stretched.positions[1] += [0.0, 0.0, 1.2]
    notes = summary(run_modes(stretched, Engine(EMT), tmp_path))["notes"]
    assert any("not at rest" in note for note in notes) and any("imaginary" in note for note in notes)


@pytest.mark.filterwarnings("ignore::mlh.model.domain.OutOfDomainWarning")
def test_a_model_has_a_symmetric_hessian(tmp_path: Path) -> None:
    """By exact forces; plain ones are no gradient of anything."""
    atoms = load_structure("alpha-quartz")
    atoms.rattle(0.04, seed=4)
    atoms.set_constraint(FixAtoms([k for k in range(9) if k != 4]))
    found = {}
    for forces in ("exact", "plain"):
        engine = ModelEngine("sio2-vo", cutoff_ry=60.0, kpts=(1, 1, 1), forces=forces)
        result = run_modes(atoms, engine, tmp_path / forces, step=0.005)
        found[forces] = result.modes
        assert result.forces_exact == (forces == "exact")
        assert ("plain" in "".join(summary(result)["notes"])) == (forces == "plain")
    scale = np.abs(found["exact"].hessian).max()
    assert found["exact"].asymmetry < min(3e-3 * scale, 0.1 * found["plain"].asymmetry)
