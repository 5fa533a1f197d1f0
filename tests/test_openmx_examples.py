"""OpenMX's own examples as they are (GPL data, read where they lie), and input files as structures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import mlh
from mlh.commands import cli
from mlh.common.units import BOHR_ANGSTROM, HARTREE_EV
from mlh.openmx.calculation import OpenMXCalculation, read_calculation
from mlh.openmx.family import default_species
from mlh.structures import load_structure
from openmx_reference_data import DATA

EXAMPLES = DATA / "examples"
needs_examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="MLH_OPENMX_DATA does not name a folder with OpenMX's examples"
)

INPUT = """
System.Name  test            # a comment
Species.Number 2
<Definition.of.Atomic.Species
  hyd  H6.0-s1p1   H_PBE19
  Si   Si7.0-s2p2d1  Si_PBE19
Definition.of.Atomic.Species>
Atoms.Number {number}
Atoms.SpeciesAndCoordinates.Unit  {unit}
<Atoms.SpeciesAndCoordinates
 1 Si  0.0 0.0  0.0   3.0 1.0
 2 hyd 0.5 0.25 0.125 0.5 0.5
Atoms.SpeciesAndCoordinates>
Atoms.UnitVectors.Unit  AU
{hidden}<Atoms.UnitVectors
{hidden} 8.0 0.0 0.0
{hidden} 0.0 9.0 0.0
{hidden} 1.0 0.0 10.0
{hidden}Atoms.UnitVectors>
scf.SpinPolarization {spin}
{more}
"""


def written(folder: Path, **changes: str) -> Path:
    values = {"number": "2", "unit": "FRAC", "hidden": "", "spin": "On", "more": ""} | changes
    path = folder / "x.dat"
    path.write_text(INPUT.format(**values))
    return path


def test_input_files_are_structures(tmp_path: Path) -> None:
    atoms = load_structure(written(tmp_path))
    cell = np.array([[8.0, 0.0, 0.0], [0.0, 9.0, 0.0], [1.0, 0.0, 10.0]])
    assert atoms.get_chemical_symbols() == ["Si", "H"] and atoms.pbc.all()
    np.testing.assert_allclose(atoms.cell.array / BOHR_ANGSTROM, cell, rtol=1e-14)
    np.testing.assert_allclose(atoms.positions[1] / BOHR_ANGSTROM, [0.5, 0.25, 0.125] @ cell, rtol=1e-14)
    assert atoms.get_initial_magnetic_moments().tolist() == [2.0, 0.0]
    atoms = load_structure(written(tmp_path, unit="Ang", hidden="#", spin="off"))
    assert not atoms.pbc.any() and not atoms.cell.rank
    assert not atoms.get_initial_magnetic_moments().any()
    np.testing.assert_allclose(
        atoms.positions[1] / BOHR_ANGSTROM, np.array([0.5, 0.25, 0.125]) / 0.529177249, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": "3"}, r"x\.dat, <Atoms\.SpeciesAndCoordinates: expected 3 atoms, got 2"),
        ({"hidden": "#"}, r"x\.dat: expected <Atoms\.UnitVectors with coordinates FRAC, got none"),
        (
            {"unit": "nm"},
            r"x\.dat, Atoms\.SpeciesAndCoordinates\.Unit: expected one of ang, au, frac, got 'nm'",
        ),
    ],
)
def test_wrong_input_files_say_where(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_structure(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("scf.Hubbard.U on", "scf.Hubbard.U on is not supported, expected off"),
        ("scf.dftD on", "scf.dftD on is not supported"),
        ("scf.Electric.Field 0.0 1.0 0.0", "scf.Electric.Field 0 1 0 is not supported: there are no fields"),
        ("scf.SpinPolarization NC", "scf.SpinPolarization NC is not supported: spins are collinear"),
        ("scf.EigenvalueSolver NEGF", "scf.EigenvalueSolver negf is not supported: no leads"),
        ("scf.XcType EXX", "scf.XcType: expected one of lda, lsda-ca, lsda-pw, gga-pbe, got 'exx'"),
    ],
)
def test_what_changes_the_result_is_refused_by_name(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_calculation(written(tmp_path, more=line), tmp_path)


def printed(name: str) -> tuple[float, tuple[int, ...], np.ndarray]:
    """Of the first geometry of an .out file: Utot, Hartree; points of the grid; its steps, Bohr."""
    text = (EXAMPLES / f"{name}.out").read_text()
    total = re.search(r"^ *Utot\. +(\S+)", text, re.MULTILINE)
    shape = re.search(r"Num\. of grids of.*= *(\d+), *(\d+), *(\d+)", text)
    steps = re.findall(r"\|gtv_[abc]\| = *(\S+)", text)
    assert total and shape and len(steps) >= 3
    return float(total[1]), tuple(map(int, shape.groups())), np.array(steps[:3], dtype=float)


def example(name: str) -> OpenMXCalculation:
    return read_calculation(EXAMPLES / f"{name}.dat", DATA)


@needs_examples
@pytest.mark.parametrize(
    "name",
    ["Methane", "Glycine", "Graphite4", "HMn", "Mol_MnO", "Crys-MnO", "H2O", "Benzene", "C60", "Ndia2"],
)
def test_cells_and_grids_are_those_that_openmx_prints(name: str) -> None:
    """Also of the boxes that it makes itself."""
    found = example(name)
    _, shape, steps = printed(name)
    system = mlh.System.of(found.atoms, found.theory)
    assert tuple(system.mesh.shape) == shape
    np.testing.assert_allclose(np.linalg.norm(system.cell, axis=1) / shape, steps, rtol=1e-9)


@needs_examples
@pytest.mark.parametrize("name", ["Methane", "Graphite4", "H2O", "Ndia2"])
def test_total_energies_are_those_that_openmx_prints(name: str) -> None:
    """All but C60 agree to 3.1e-7 Ha (bench/python/openmx_examples.py); these are the fast ones."""
    found = example(name)
    calc = found.atoms.calc = mlh.DFTCalculator(theory=found.theory)
    found.atoms.get_potential_energy()
    difference = calc.result.energies.internal - printed(name)[0]
    print(f"{name}: {difference:+.1e} Ha")
    assert abs(difference) < 5e-7


@needs_examples
@pytest.mark.parametrize(
    ("name", "message"), [("CO", "orbitalOpt.Method atoms"), ("H2O-EF", "scf.Electric.Field 0 1 0")]
)
def test_examples_that_mlh_cannot_do_are_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.dat: {message} is not supported"):
        example(name)


@needs_examples
def test_an_input_file_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = EXAMPLES / "H2O.dat"
    monkeypatch.setenv("MLH_OPENMX_DATA", str(DATA))
    monkeypatch.setattr("sys.argv", ["mlh", "scf", str(path), "--json"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert not left.value.code
    assert report["utot_hartree"] == pytest.approx(printed("H2O")[0], abs=5e-7)
    assert report["cutoff_ry"] == 150.0 and "MD.Type opt: the first geometry only" in err


@needs_examples
def test_pseudopotentials_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    """LDA files with PBE were computed without a word."""
    text = (EXAMPLES / "H2O.dat").read_text()
    (tmp_path / "x.dat").write_text(re.sub(r"(scf\.XcType +)LDA", r"\1GGA-PBE", text))
    found = read_calculation(tmp_path / "x.dat", DATA)
    with pytest.raises(ValueError, match=r"xc: expected PW92 or PZ, .* \(LDA\) .* of H, O .*, got PBE"):
        mlh.System.of(found.atoms, found.theory)
    (tmp_path / "x.dat").write_text(text.replace("_CA19", "_PBE19"))
    found = read_calculation(tmp_path / "x.dat", DATA)
    with pytest.raises(ValueError, match=r"xc: expected PBE, .* \(GGA\) .* of H, O were made, got PZ"):
        mlh.System.of(found.atoms, found.theory)


@needs_examples
def test_what_is_not_known_is_named(tmp_path: Path) -> None:
    text = (EXAMPLES / "Methane.dat").read_text()
    (tmp_path / "x.dat").write_text(text + "\nscf.Magic on\nscf.EigenvalueSolver krylov\n")
    assert example("Methane").notes == ()
    assert read_calculation(tmp_path / "x.dat", DATA).notes == (
        "scf.EigenvalueSolver krylov: solved exactly, without its approximation",
        "scf.Magic: not known to mlh, passed over",
    )


@needs_examples
def test_a_temperature_is_a_smearing() -> None:
    assert example("Methane").theory.smearing_ev == pytest.approx(0.0258520, abs=1e-6)
    assert example("Methane").theory.kpts == (1, 1, 1)
    assert example("Ndia2").theory.kpts == {"size": (7, 7, 7), "gamma": False}
    assert example("HMn").theory.smearing_ev / HARTREE_EV == pytest.approx(3.16681e-3, rel=1e-5)


@needs_examples
def test_standard_files_of_a_full_database_are_chosen(tmp_path: Path) -> None:
    """With variants beside them, and with several radii."""
    source = DATA / "DFT_DATA19"
    for folder in ("PAO", "VPS"):
        (tmp_path / folder).mkdir()
    for name in ("PAO/O6.0.pao", "PAO/O5.0.pao", "VPS/O_PBE19.vps"):
        (tmp_path / name).symlink_to(source / name)
    for variant in ("1s", "CH", "OC"):
        shutil.copy(source / "VPS" / "O_PBE19.vps", tmp_path / "VPS" / f"O_PBE19_{variant}.vps")
    assert default_species({"O"}, tmp_path) == {"O": ("O6.0-s2p2d1", "O_PBE19")}
    with pytest.raises(ValueError, match=r"one potential for O .*, got none: name it"):
        default_species({"O"}, tmp_path, "PZ")
    (tmp_path / "PAO" / "O6.0.pao").rename(tmp_path / "PAO" / "O7.0.pao")
    with pytest.raises(ValueError, match=r"one orbital file for O .*, got O5\.0, O7\.0: name it"):
        default_species({"O"}, tmp_path)
