"""Point defects by name: what a name means, which places there are, and the structures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.geometry import find_mic

from mlh.commands import cli
from mlh.commands.defect_options import parse_charges
from mlh.structures import (
    DefectName,
    choose_places,
    crystal,
    load_structure,
    placed_defect,
    read_frames,
    select_sites,
    structure_hash,
    vacancy_at,
    void_positions,
    write_structure,
)
from mlh.structures.rattle import rattle


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["mlh", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


@pytest.mark.parametrize(
    ("text", "name", "elements"),
    [
        ("V_O", "V_O", ("O",)),
        ("v_O", "V_O", ("O",)),
        ("Va_O", "V_O", ("O",)),
        ("H_i", "H_i", ("H",)),
        ("Si_O", "Si_O", ("O", "Si")),
        ("V_i", "V_i", ("V",)),  # nothing in an empty place is no defect: vanadium
        ("V_O+H_i", "V_O+H_i", ("H", "O")),
    ],
)
def test_names(text: str, name: str, elements: tuple[str, ...]) -> None:
    parsed = DefectName.parse(text)
    assert str(parsed) == name and parsed.elements == elements
    assert DefectName.parse(str(parsed)) == parsed


@pytest.mark.parametrize("text", ["", "O", "V_", "V_X", "O_O", "Oo_i", "V_O+", "V-O", "V_O_+1"])
def test_what_is_no_name_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"^defect: expected"):
        DefectName.parse(text)


def test_places_of_vacancies_and_substitutions_are_sites() -> None:
    host = load_structure("alpha-quartz:2x2x1")
    vacancy, wrong = DefectName.parse("V_O"), DefectName.parse("Si_O")
    for selection in ("all", "inequivalent", 3, [14, 4]):
        chosen = [defect.site for defect in choose_places(host, vacancy, selection, seed=2)]
        assert chosen == list(select_sites(host, "O", selection, 2))
    (first, *_) = choose_places(host, wrong, "inequivalent")
    atoms = placed_defect(host, first)
    assert str(first) == f"Si_O-{first.site}" and atoms.symbols[first.site] == "Si"
    assert atoms.info["defect_kind"] == "substitution" and atoms.info["defect_name"] == "Si_O"
    assert vacancy_at(host, 4) == choose_places(host, vacancy, [4])[0]
    with pytest.raises(ValueError, match="expected an element of"):
        choose_places(host, DefectName.parse("V_N"))


def test_an_interstitial_is_in_a_void_and_moves_with_the_atoms_around_it(tmp_path: Path) -> None:
    host = load_structure("asio2_48_a")
    name = DefectName.parse("H_i")
    widest = choose_places(host, name, [0, 5])
    assert [str(defect) for defect in widest] == ["H_i-0", "H_i-5"]
    assert len(choose_places(host, name, 3, seed=1)) == 3
    assert len(choose_places(crystal("silicon"), name, "inequivalent")) == len(
        void_positions(crystal("silicon"), "inequivalent")
    )
    added = placed_defect(host, widest[1])
    np.testing.assert_allclose(added.positions[-1], void_positions(host)[5], atol=1e-12)
    # A host that has drifted and relaxed: still the same void, though the order of widths may have changed.
    relaxed = rattle(host, 0.02, 3)
    relaxed.positions += [0.3, -0.2, 0.1]
    moved = placed_defect(relaxed, widest[1], given=host)
    shift = find_mic(moved.positions[-1] - added.positions[-1], host.cell)[0]
    np.testing.assert_allclose(shift, [0.3, -0.2, 0.1], atol=0.04)
    write_structure(tmp_path / "i.extxyz", [moved])
    again = read_frames(tmp_path / "i.extxyz")[0]
    assert again.info["defect_name"] == "H_i" and again.arrays["host_index"][-1] == -1
    with pytest.raises(ValueError, match="expected voids 0 to"):
        choose_places(host, name, [4000])


def test_a_complex_has_its_members_beside_each_other() -> None:
    host = load_structure("alpha-quartz:2x2x2")
    (pair,) = choose_places(host, DefectName.parse("V_O+H_i"), [30])
    atoms = placed_defect(host, pair)
    assert len(atoms) == len(host) and atoms.symbols.count("O") == host.symbols.count("O") - 1
    assert str(pair).startswith("V_O-30+H_i-")
    near = find_mic(atoms.positions[-1] - host.positions[30], host.cell)[1]
    assert 0.8 < near < 3.0
    index = atoms.arrays["host_index"]
    assert index[-1] == -1 and 30 not in index
    kept = index[index >= 0]
    np.testing.assert_allclose(atoms.positions[:-1], host.positions[kept], atol=1e-12)
    assert atoms.info["host_hash"] == structure_hash(host) and atoms.info["defect_site"] == 30
    assert atoms.info["defect_removed"] == "O+none" and atoms.info["defect_added"] == "none+H"
    np.testing.assert_allclose(atoms.info["defect_position"], host.positions[30])


def test_a_divacancy_and_a_vacancy_beside_a_substitution() -> None:
    host = load_structure("alpha-quartz:2x2x2")
    (double,) = choose_places(host, DefectName.parse("V_O+V_O"), [40])
    assert double.places[0] == 40 and double.places[1] != 40
    distance = host.get_distance(*double.places, mic=True)
    oxygen = [i for i in select_sites(host, "O") if i != 40]
    assert distance == pytest.approx(min(host.get_distance(40, i, mic=True) for i in oxygen), abs=1e-3)
    assert not set(double.places) & set(placed_defect(host, double).arrays["host_index"])
    (mixed,) = choose_places(host, DefectName.parse("V_O+Al_Si"), [40])
    atoms = placed_defect(host, mixed)
    aluminium = int(np.flatnonzero(atoms.symbols == "Al")[0])
    assert atoms.arrays["host_index"][aluminium] == mixed.places[1]
    np.testing.assert_allclose(atoms.positions[aluminium], host.positions[mixed.places[1]])
    assert host.get_distance(40, mixed.places[1], mic=True) < 1.7


def test_structures_by_name_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d.extxyz"
    words = ["vacancies", "alpha-quartz:2x2x2", "--defect", "V_O@index:30", "--defect", "V_O+H_i", "-n", "2"]
    assert run(monkeypatch, *words, "--out", str(out)) == 0
    assert [str(f.info["defect_name"]) for f in read_frames(out)] == ["V_O", "V_O+H_i", "V_O+H_i"]
    for name, said in (("V_O@some", "expected all, inequivalent"), ("O", "expected a name such as V_O")):
        assert run(monkeypatch, *words[:2], "--defect", name, "--out", str(tmp_path / "x.extxyz")) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x.extxyz").exists()


@pytest.mark.parametrize(
    ("text", "charges"),
    [("-1..2", (-1, 0, 1, 2)), ("0,1,2", (0, 1, 2)), ("2,-2..-1", (-2, -1, 2))],
)
def test_charges(text: str, charges: tuple[int, ...]) -> None:
    assert parse_charges(text) == charges


@pytest.mark.parametrize("text", ["", "+", "1..", "2..1", "0.5", "a"])
def test_what_is_no_charge_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--charges: expected a form such as"):
        parse_charges(text)
