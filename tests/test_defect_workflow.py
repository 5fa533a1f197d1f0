"""Formation energies: the sign convention, files, verification; engines are EMT potentials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, SCFError
from ase.calculators.emt import EMT

from mlh.calculators.engines import ModelEngine
from mlh.defects.cases import charged_cases, vacancy_cases
from mlh.defects.formation import formation_energy, removed_atoms
from mlh.defects.record import describe_run, write_defects
from mlh.defects.references import Reference, diatomic, diatomic_reference
from mlh.defects.run import DefectSettings, compare, run_defects, run_vacancies, verify
from mlh.relaxation.files import run_relaxation
from mlh.relaxation.loop import RelaxSettings
from mlh.structures import DefectName, choose_places, point_defect, rattle, select_sites


class EMTEngine:
    """EMT; `strength` scales energies and forces, to stand for a second engine."""

    kind = "emt"

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength

    def calculator(self) -> Calculator:
        return ScaledEMT(self.strength)

    def describe(self) -> dict[str, Any]:
        return {"kind": "emt", "strength": self.strength}


class BadSite(EMTEngine):
    """Fails for the vacancy at one site."""

    def __init__(self, missing: int) -> None:
        super().__init__()
        self.missing = missing

    def calculator(self) -> Calculator:
        return FailingEMT(self.missing)


class ScaledEMT(EMT):  # type: ignore[misc]
    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        for name in ("energy", "free_energy", "forces"):
            self.results[name] = self.results[name] * self.strength


class FailingEMT(ScaledEMT):
    """Raises for a structure from which one particular atom of the host is missing."""

    def __init__(self, missing: int) -> None:
        super().__init__(1.0)
        self.missing = missing

    def calculate(self, atoms: ase.Atoms | None = None, *args: Any, **kwargs: Any) -> None:
        if atoms is not None and atoms.info.get("defect_site") == self.missing:
            raise SCFError("SCF not converged in 3 steps")
        super().calculate(atoms, *args, **kwargs)


def host() -> ase.Atoms:
    return rattle(bulk("Cu", cubic=True).repeat(2), 0.02, 1)


def copper_reference(strength: float = 1.0) -> dict[str, Reference]:
    atoms = bulk("Cu")
    atoms.calc = ScaledEMT(strength)
    return {"Cu": Reference("Cu", atoms.get_potential_energy(), "fcc", None, {})}


def test_sign_convention_removed_atoms_count_positive() -> None:
    crystal = bulk("Cu", cubic=True)
    assert removed_atoms(crystal, point_defect(crystal, site=0)) == {"Cu": 1}
    assert removed_atoms(crystal, point_defect(crystal, site=0, element="Ag")) == {"Ag": -1, "Cu": 1}
    # Oxygen vacancy: 10 eV to take the atom out, of which 4 eV come back in the molecule.
    assert formation_energy(-90.0, -100.0, {"O": 1}, {"O": -4.0}) == pytest.approx(6.0)
    assert formation_energy(-90.0, -100.0, {"O": 1}, {"O": -4.0}, {"O": -1.0}) == pytest.approx(5.0)
    # Interstitial: n = -1.
    assert formation_energy(-103.0, -100.0, {"O": -1}, {"O": -4.0}) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="got none of"):
        formation_energy(-90.0, -100.0, {"O": 1}, {})


def test_vacancy_formation_energy_of_copper(tmp_path: Path) -> None:
    settings = DefectSettings(RelaxSettings(fmax=0.01))
    sites = select_sites(host(), "Cu", 2)
    run = run_vacancies(host(), sites, EMTEngine(), copper_reference(), tmp_path, settings)
    energies = [vacancy.formation_energy for vacancy in run.defects]
    # EMT copper: about 1.0 eV; all sites of the crystal are the same.
    assert energies == pytest.approx([energies[0]] * 2, abs=2e-3)
    assert 0.8 < energies[0] < 1.3
    assert run.converged
    again = run_vacancies(
        host(), sites, EMTEngine(), copper_reference(), tmp_path, DefectSettings(settings.relax, resume=True)
    )
    assert [vacancy.formation_energy for vacancy in again.defects] == pytest.approx(energies, abs=1e-5)
    with pytest.raises(FileExistsError):
        run_vacancies(host(), sites, EMTEngine(), copper_reference(), tmp_path, settings)


def test_vacancies_in_parallel_processes_are_those_one_after_another(tmp_path: Path) -> None:
    limits = RelaxSettings(fmax=0.01)
    one = run_vacancies(
        host(), [3, 7], EMTEngine(), copper_reference(), tmp_path / "one", DefectSettings(limits)
    )
    titles: list[str] = []
    steps: list[int] = []

    def announce(title: str) -> Any:
        titles.append(title)
        return lambda step, atoms: steps.append(step.step)

    two = run_vacancies(
        *(host(), [3, 7], EMTEngine(), copper_reference(), tmp_path / "two"),
        DefectSettings(limits, processes=2),
        announce,
    )
    assert titles[0] == "host" and set(titles[1:]) == {"V_Cu-3_0", "V_Cu-7_0"}
    assert len(steps) == sum(len(r.steps) for r in (two.host, *(v.result for v in two.defects)))
    for mine, other in zip(one.defects, two.defects, strict=True):
        assert mine.site == other.site
        np.testing.assert_array_equal(mine.result.atoms.positions, other.result.atoms.positions)
        assert mine.formation_energy == other.formation_energy


@pytest.mark.parametrize("processes", [1, 2])
def test_a_vacancy_that_fails_is_reported_and_the_others_go_on(tmp_path: Path, processes: int) -> None:
    settings = DefectSettings(RelaxSettings(fmax=0.01), processes=processes)
    run = run_vacancies(host(), [3, 7], BadSite(3), copper_reference(), tmp_path, settings)
    assert [vacancy.site for vacancy in run.defects] == [7]
    assert "SCF not converged in 3 steps" in run.failures[vacancy_cases(host(), [3])[0]] and not run.converged
    content = describe_run(run, BadSite(3))
    assert [failure["site"] for failure in content["failures"]] == [3]
    assert json.loads((tmp_path / "V_Cu-3_0" / "relax.json").read_text())["status"] == "failed"


def test_finished_folders_are_refused_before_the_work(tmp_path: Path) -> None:
    run_relaxation(host(), EMT(), tmp_path / "V_Cu-7_0", RelaxSettings(max_steps=1))
    with pytest.raises(FileExistsError, match="V_Cu-7_0: holds a relaxation already"):
        run_vacancies(host(), [3, 7], EMTEngine(), copper_reference(), tmp_path, DefectSettings())
    assert not (tmp_path / "host").exists()


def test_verification_measures_the_difference(tmp_path: Path) -> None:
    settings = DefectSettings(RelaxSettings(fmax=0.005))
    first, second = EMTEngine(), EMTEngine(1.01)
    sites = select_sites(host(), "Cu", [3, 7])
    run = run_vacancies(host(), sites, first, copper_reference(), tmp_path, settings)
    checked = verify(
        run, vacancy_cases(host(), [7]), second, copper_reference(1.01), tmp_path / "check", settings
    )
    rows = compare(run, checked)
    assert [row["site"] for row in rows] == [7]
    # One percent stronger: the same minimum, energies one percent larger.
    assert rows[0]["formation_energy_error"] == pytest.approx(
        -0.01 * run.defects[1].formation_energy, abs=1e-3
    )
    assert rows[0]["dQ"] < 0.1
    assert set(rows[0]["coordinate_mae"]) == {"3", "5", "7", "9", "12"}
    path = write_defects(
        tmp_path, describe_run(run, first), copper_reference(), {}, describe_run(checked, second), rows
    )
    content = json.loads(path.read_text())
    assert "n_i > 0 for atoms removed" in content["convention"]
    assert len(content["run"]["defects"]) == 2
    assert content["verification"]["engine"]["strength"] == 1.01


def test_an_unconverged_vacancy_has_no_formation_energy(tmp_path: Path) -> None:
    settings = DefectSettings(RelaxSettings(fmax=1e-4, max_steps=2))
    run = run_vacancies(host(), [0], EMTEngine(), copper_reference(), tmp_path, settings)
    assert not run.converged
    assert np.isnan(run.defects[0].formation_energy)
    entry = describe_run(run, EMTEngine())["defects"][0]
    assert entry["formation_energy"] is None
    assert entry["status"] == "unconverged"


def test_molecule_reference_is_calculated_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def make(unpaired: int) -> Calculator:
        calls.append(unpaired)
        return EMT()

    settings = {"engine": "emt"}
    reference = diatomic_reference("O", make, settings, cache=tmp_path)
    again = diatomic_reference("O", make, settings, cache=tmp_path)
    assert calls == [2]  # triplet: two unpaired electrons
    assert again == reference
    relaxed = diatomic("O", reference.bond_length or 0.0, 7.5)
    relaxed.calc = EMT()
    assert relaxed.get_potential_energy() / 2 == pytest.approx(reference.energy, abs=1e-4)
    assert np.abs(relaxed.get_forces()).max() < 0.02
    diatomic_reference("O", make, {"engine": "other"}, cache=tmp_path)
    assert calls == [2, 2]
    with pytest.raises(ValueError, match="expected one of"):
        diatomic_reference("Si", make, settings)


class ChargedEMT(EMTEngine):
    """EMT with an energy per charge, which stands for charged cells."""

    def __init__(self, strength: float = 1.0, charge: int = 0) -> None:
        super().__init__(strength)
        self.charge = charge

    def charged(self, charge: int) -> ChargedEMT:
        return ChargedEMT(self.strength, charge)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **({"charge": self.charge} if self.charge else {})}

    def calculator(self) -> Calculator:
        return Shifted(self.strength, -2.0 * self.charge)


class Shifted(ScaledEMT):
    def __init__(self, strength: float, shift: float) -> None:
        super().__init__(strength)
        self.shift = shift

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results["energy"] += self.shift
        self.results["free_energy"] += self.shift


def elements() -> dict[str, Reference]:
    silver = Reference("Ag", 0.1, "fcc", None, {})
    return {**copper_reference(), "Ag": silver, "H": Reference("H", -1.0, "gas", None, {})}


def test_any_defect_with_any_charge_has_its_own_folder(tmp_path: Path) -> None:
    crystal = host()
    placed = [
        defect
        for text, sites in (("V_Cu", [5]), ("Ag_Cu", [5]), ("V_Cu+Ag_Cu", [5]))
        for defect in choose_places(crystal, DefectName.parse(text), sites)
    ]
    cases = charged_cases(placed, (-1, 0, 2))
    settings = DefectSettings(RelaxSettings(fmax=1e-5))
    run = run_defects(crystal, cases, ChargedEMT(), elements(), tmp_path, settings)
    assert run.converged and [defect.case for defect in run.defects] == list(cases)
    names = {path.parent.name for path in tmp_path.glob("*/relax.json")}
    assert {"host", "V_Cu-5_-1", "V_Cu-5_0", "V_Cu-5_+2", "Ag_Cu-5_0"} < names and len(names) == 10
    by_case = {str(defect.case): defect.formation_energy for defect in run.defects}
    assert by_case["V_Cu-5_+2"] - by_case["V_Cu-5_0"] == pytest.approx(-4.0, abs=1e-9)
    content = describe_run(run, ChargedEMT())
    charged = next(entry for entry in content["defects"] if entry["folder"] == "V_Cu-5_+2")
    assert charged["charge"] == 2 and charged["formation_energy"] is None  # it depends on the Fermi level
    assert charged["energy_difference"] == by_case["V_Cu-5_+2"]
    with pytest.raises(ValueError, match="cannot resume another relaxation"):  # a folder of another charge
        (tmp_path / "V_Cu-5_+1").mkdir()
        for file in (tmp_path / "V_Cu-5_+2").iterdir():
            (tmp_path / "V_Cu-5_+1" / file.name).write_bytes(file.read_bytes())
        again = DefectSettings(settings.relax, resume=True)
        run_defects(crystal, charged_cases(placed[:1], (1,)), ChargedEMT(), elements(), tmp_path, again)


def test_charges_after_neutral_minima_of_another_engine(tmp_path: Path) -> None:
    settings = DefectSettings(RelaxSettings(fmax=0.02), verify_start="relaxed")
    cases = vacancy_cases(host(), [7])
    run = run_defects(host(), cases, EMTEngine(), copper_reference(), tmp_path, settings)
    wanted = charged_cases([cases[0].defect], (0, 1))
    checked = verify(run, wanted, ChargedEMT(1.01), copper_reference(1.01), tmp_path / "dft", settings)
    assert [str(defect.case) for defect in checked.defects] == ["V_Cu-7_0", "V_Cu-7_+1"]
    for defect in checked.defects:
        np.testing.assert_array_equal(defect.start.positions, run.defects[0].result.atoms.positions)
    assert [row["defect"] for row in compare(run, checked)] == ["V_Cu-7_0"]


def test_a_model_refuses_charges_before_the_work(tmp_path: Path) -> None:
    cases = charged_cases([vacancy_cases(host(), [7])[0].defect], (0, 1))
    with pytest.raises(ValueError, match=r"charge: expected 0 with a model, .* got \+1"):
        run_defects(host(), cases, ModelEngine("sio2-vo"), copper_reference(), tmp_path, DefectSettings())
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_vacancy_of_before_is_gone_on_with(tmp_path: Path) -> None:
    settings = DefectSettings(RelaxSettings(fmax=0.01))
    run = run_vacancies(host(), [7], EMTEngine(), copper_reference(), tmp_path, settings)
    (tmp_path / "V_Cu-7_0").rename(tmp_path / "vCu7")
    with pytest.raises(FileExistsError, match="vCu7: holds a relaxation already"):
        run_vacancies(host(), [7], EMTEngine(), copper_reference(), tmp_path, settings)
    again = DefectSettings(settings.relax, resume=True)
    resumed = run_vacancies(host(), [7], EMTEngine(), copper_reference(), tmp_path, again)
    assert resumed.defects[0].result.energy == run.defects[0].result.energy
    assert not (tmp_path / "V_Cu-7_0").exists()
    assert describe_run(resumed, EMTEngine())["defects"][0]["folder"] == "vCu7"
