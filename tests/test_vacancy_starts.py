"""Geometries that the relaxation of a vacancy may start from, and those of data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.geometry import find_mic

from mlh.calculators.engines import DFTEngine
from mlh.defects.cases import DefectCase, vacancy_cases
from mlh.defects.references import given_reference
from mlh.defects.run import DefectSettings, run_defects
from mlh.dft.theory import Theory
from mlh.labelling.config import load_config
from mlh.labelling.plan import plan
from mlh.relaxation.loop import RelaxSettings
from mlh.structures import DefectName, choose_places, load_structure
from mlh.structures.crystals import crystal
from mlh.structures.defects import point_defect
from mlh.structures.shell import first_shell
from mlh.structures.vacancy_starts import opened, puckered


def test_the_neighbours_of_an_opened_vacancy_are_further_out() -> None:
    glass = load_structure("asio2_48_b")
    vacancy = point_defect(glass, site=20)
    place = vacancy.info["defect_position"]
    around, away = first_shell(vacancy, place)
    after = find_mic(opened(vacancy, 0.3).positions[around] - place, glass.cell, glass.pbc)[1]
    np.testing.assert_allclose(after, np.linalg.norm(away, axis=1) + 0.3, atol=1e-12)


@pytest.mark.parametrize("site", [17, 20, 33, 47])
def test_a_puckered_start_mirrors_one_neighbour_in_the_plane_of_its_others(site: int) -> None:
    glass = load_structure("asio2_48_b")
    vacancy = point_defect(glass, site=site)
    moved = puckered(vacancy)
    changed = np.flatnonzero(np.abs(moved.positions - vacancy.positions).max(axis=1) > 1e-9)
    assert len(changed) == 1 and changed[0] in first_shell(vacancy, vacancy.info["defect_position"])[0]
    index = int(changed[0])
    before = vacancy.get_distances(index, range(len(vacancy)), mic=True)
    oxygen = [k for k in np.argsort(before) if vacancy.numbers[k] == 8][:3]
    # Lengths of the three bonds stay; the atom is now behind their plane, farther from the vacancy.
    np.testing.assert_allclose(moved.get_distances(index, oxygen, mic=True), before[oxygen], atol=1e-10)
    place = vacancy.info["defect_position"]
    far = find_mic(moved.positions[[index]] - place, glass.cell, glass.pbc)[1]
    near = find_mic(vacancy.positions[[index]] - place, glass.cell, glass.pbc)[1]
    assert far[0] > near[0] + 0.5


def test_a_vacancy_that_is_no_bridge_has_no_puckered_start() -> None:
    with pytest.raises(ValueError, match="two neighbours, got 4"):
        puckered(point_defect(load_structure("asio2_48_b"), site=0))


def test_charged_vacancies_of_a_data_set_start_as_those_of_a_study(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "name: c\nengine: {basis: gth-pbe}\nsources:\n"
        "  - name: s\n    file: asio2_48_b\n    charges: [0, 1, 2]\n    relaxations:\n"
        "      - {of: vacancy, species: O, sites: [20], max_steps: 1, samples: 2}\n"
        "      - {of: vacancy, species: O, sites: [20], start: puckered, max_steps: 1, samples: 2}\n"
    )
    jobs = plan(load_config(config))
    cut = point_defect(load_structure("asio2_48_b"), site=20)
    around = first_shell(cut, cut.info["defect_position"])[0]
    for job, charge in zip(jobs[:3], (0, 1, 2), strict=True):
        moved = np.linalg.norm(job.atoms.positions - cut.positions, axis=1)
        np.testing.assert_allclose(moved[around], 0.25 * charge, atol=1e-12)
        assert moved.sum() == pytest.approx(0.5 * charge)
        assert job.engine.spin == (charge == 1)
        assert (job.atoms.get_initial_magnetic_moments() > 0).sum() == (2 if charge == 1 else 0)
    for job in jobs[3:]:
        np.testing.assert_allclose(job.atoms.positions, puckered(cut).positions, atol=1e-12)


def test_a_start_of_a_host_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "name: c\nsources:\n  - {name: s, file: asio2_48_b, relaxations: [{of: host, start: puckered}]}\n"
    )
    with pytest.raises(ValueError, match="start puckered is of vacancies"):
        load_config(config)


def test_a_study_starts_puckered(tmp_path: Path) -> None:
    """Without steps the defect is where it starts; no vacancy of a bridge: refused before the work."""
    host = crystal("alpha-quartz")
    oxygen = int(host.symbols.search("O")[0])
    engine = DFTEngine(Theory(basis="gth-pbe minimal", cutoff_ry=100.0))
    reference = {"O": given_reference("O", -430.0)}
    settings = DefectSettings(RelaxSettings(max_steps=0), relax_host=False, start="puckered")
    run = run_defects(host, vacancy_cases(host, [oxygen]), engine, reference, tmp_path / "a", settings)
    expected = puckered(point_defect(host, site=oxygen))
    np.testing.assert_allclose(run.defects[0].relaxed.positions, expected.positions, atol=1e-7)
    silicon = int(host.symbols.search("Si")[0])
    for case in (
        vacancy_cases(host, [silicon])[0],
        DefectCase(choose_places(host, DefectName.parse("H_i"), 1, 0)[0]),
    ):
        with pytest.raises(ValueError, match="puckered"):
            run_defects(host, [case], engine, reference, tmp_path / "b", settings)
    assert not (tmp_path / "b").exists()


def test_sources_with_the_same_host_are_one_group(tmp_path: Path) -> None:
    """A split by host must not divide the neutral and the charged vacancies of a glass."""
    config = tmp_path / "c.yaml"
    config.write_text(
        "name: c\nengine: {basis: gth-pbe}\nsources:\n"
        "  - {name: s, file: asio2_48_b, host: [{}]}\n"
        "  - {name: other, file: asio2_48_a, host: [{}]}\n"
        "  - {name: charged, file: asio2_48_b, charges: [2], vacancies: [{species: O, sites: 1}]}\n"
    )
    assert [job.group for job in plan(load_config(config))] == ["s", "other", "s"]
