"""Pseudopotential files: formats against the table they were written from, refusals, orbitals, the family.

The files are written here (pseudopotential_files.py). Levels of published files are compared with what the
files say where ABINIT's are installed (Debian: abinit-data).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from typer.testing import CliRunner

from mlh.basis.families import default_integration, load_basis, recorded_orbitals
from mlh.basis.files.configuration import ground_state, neutral_valence, oncvpsp_valence
from mlh.basis.files.content import WrongPseudopotentialError
from mlh.basis.files.library import DATA_VARIABLE, load_file
from mlh.basis.files.reading import element_of, read_pseudopotential
from mlh.basis.files.rules import counts_of_size, recipe_by_rules
from mlh.basis.files.tabulated import TabulatedPotential
from mlh.basis.gth.atom import AtomSolver
from mlh.basis.gth.finite_elements import make_elements
from mlh.basis.gth.orbitals import Recipe, make_species, recipe_for
from mlh.basis.gth.table import GaussianCore, GthPotential, gth_potential
from mlh.basis.species import Basis, Species
from mlh.calculators import DFTCalculator
from mlh.commands.cli import app
from mlh.common.files import DamagedFileError
from mlh.dft.theory import check_functional
from pseudopotential_files import write_psml, write_psp8, write_upf

WRITERS: dict[str, Callable[..., None]] = {"psp8": write_psp8, "upf": write_upf, "psml": write_psml}
ABINIT = Path(os.environ.get("MLH_ABINIT_DATA", "/usr/share/abinit/psp"))


def table_entry(symbol: str) -> GthPotential:
    """Oxygen with a partial core."""
    potential = gth_potential(symbol)
    return replace(potential, core=GaussianCore(0.6, 0.25)) if symbol == "O" else potential


def exported(symbol: str, kind: str, folder: Path) -> TabulatedPotential:
    """What is read back; with softening and elements of the table, so that the same functions are made."""
    path, table = folder / f"{symbol}.{kind}", table_entry(symbol)
    WRITERS[kind](table, path)
    read = read_pseudopotential(path)
    return replace(read, softening=table.softening, smallest_radius=table.smallest_radius)


def recipe(symbol: str, potential: GthPotential | TabulatedPotential) -> Recipe:
    small = {"O": "6.0-s2p2", "H": "5.0-s1", "Si": "6.0-s1p1"}.get(symbol)
    return replace(recipe_for(symbol, small), potential=potential)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLH_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "basis-cache"))


# -- formats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ["O", "Si", "Ti"])
@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_file_gives_the_species_of_the_table_it_was_written_from(
    symbol: str, kind: str, tmp_path: Path
) -> None:
    """Each format has its own units, mesh, powers of r; UPF with h_ij that is not diagonal."""
    read, table = exported(symbol, kind, tmp_path), table_entry(symbol)
    assert (read.symbol, read.valence, read.xc, read.electrons) == (
        symbol,
        table.valence,
        "PBE",
        table.electrons,
    )
    here, there = (make_species(recipe(symbol, potential)) for potential in (read, table))
    r = np.linspace(0.0, 8.0, 1601)
    for mine, theirs in zip(here.orbitals, there.orbitals, strict=True):
        np.testing.assert_allclose(mine(r), theirs(r), atol=2e-7)
    np.testing.assert_allclose(here.density(r), there.density(r), atol=1e-8)
    np.testing.assert_allclose(here.neutral_potential(r), there.neutral_potential(r), atol=2e-7)
    for l in range(3):
        np.testing.assert_allclose(nonlocal_part(here, l, r), nonlocal_part(there, l, r), atol=2e-6)
    if table.core is not None:
        assert here.core_density is not None
        np.testing.assert_allclose(here.core_density(r), table.core(r), atol=1e-8)  # its spline
    else:
        assert here.core_density is None


def nonlocal_part(species: Species, l: int, r: np.ndarray) -> np.ndarray:
    """sum_k beta_k(r) E_k beta_k(r'), whatever the projectors are that it is written with."""
    terms = [p for p in species.projectors if p.radial.l == l]
    return sum((p.energy * np.outer(p.radial(r), p.radial(r)) for p in terms), np.zeros((r.size, r.size)))


def water() -> Atoms:
    positions = [[2.2, 2.3, 2.1], [3.12, 2.5, 2.35], [1.75, 3.15, 2.2]]
    return Atoms("OHH", positions, cell=np.eye(3) * 4.6, pbc=True)


@pytest.mark.parametrize(
    ("atoms", "kinds"),
    [(water(), {"O": "upf", "H": "psp8"}), (bulk("Si"), {"Si": "psml"})],
    ids=["water", "silicon"],
)
def test_energy_and_forces_are_those_of_the_table(
    atoms: Atoms, kinds: dict[str, str], tmp_path: Path
) -> None:
    """1e-6 Hartree per cell, with projectors, core and spheres of files of all formats."""
    results = []
    for from_file in (False, True):
        potentials = {s: exported(s, k, tmp_path) if from_file else table_entry(s) for s, k in kinds.items()}
        basis = Basis([make_species(recipe(symbol, p)) for symbol, p in potentials.items()])
        atoms.rattle(0.02, seed=3) if len(atoms) == 2 and not from_file else None
        atoms.calc = DFTCalculator(basis, cutoff_ry=80.0, energy_tol_ev=1e-9, residual_tol_ev=1e-6)
        results.append((atoms.get_potential_energy(), atoms.get_forces()))
    assert results[1][0] == pytest.approx(results[0][0], abs=2.7e-5)
    np.testing.assert_allclose(results[1][1], results[0][1], atol=1e-5)


def test_local_potential_ends_as_a_coulomb_tail_without_a_step(tmp_path: Path) -> None:
    """A file whose table ends with a remainder, as published ones do: taken out within the last Bohr."""
    path = tmp_path / "O.psp8"
    write_psp8(gth_potential("O"), path)
    lines = path.read_text().splitlines()
    start = lines.index("4") + 1
    rows = [line.split() for line in lines[start : start + 600]]  # ends at 5.99 Bohr
    rest = [f"{k} {r} {float(v.replace('D', 'E')) - 1e-5:.13E}" for k, r, v in rows]
    lines[2] = lines[2].replace("1001", "600")
    shorter = [line for line in lines[:start] if not line.split()[0].isdigit() or int(line.split()[0]) <= 600]
    path.write_text("\n".join(shorter + rest) + "\n")
    local = read_pseudopotential(path).local
    r = np.linspace(4.0, 9.0, 2001)
    assert np.all(local(r[r > 6.0]) == -6.0 / r[r > 6.0])
    assert local(4.5) + 6.0 / 4.5 == pytest.approx(-1e-5, abs=1e-9)
    steps = np.diff(local(r), 2)
    assert np.abs(steps - np.diff(-6.0 / r, 2)).max() < 1e-9


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pseudo_type": "US", "is_ultrasoft": "T"}, "got an ultrasoft one"),
        ({"pseudo_type": "PAW", "is_paw": "true"}, "got a PAW data set"),
        ({"has_so": "T"}, "without spin-orbit coupling"),
        ({"is_coulomb": ".TRUE."}, "bare Coulomb"),
        ({"functional": "SLA LYP B88 BLYP"}, "made with PBE, PW92 or PZ, got one made with SLA LYP B88 BLYP"),
        ({"functional": "PBESOL"}, "got one made with PBESOL"),
    ],
)
def test_other_kinds_of_upf_are_refused(changes: dict[str, str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "O.UPF"
    write_upf(gth_potential("O"), path, **changes)
    with pytest.raises(WrongPseudopotentialError, match=words) as caught:
        read_pseudopotential(path)
    assert str(caught.value).startswith(f"{path}: expected a norm-conserving pseudopotential")


def test_other_kinds_of_psp8_and_psml_are_refused(tmp_path: Path) -> None:
    potential = gth_potential("Si")
    write_psp8(potential, tmp_path / "a.psp8", extension=3)
    write_psp8(potential, tmp_path / "b.psp8", xc=-116133)  # PBEsol
    write_psml(potential, tmp_path / "c.psml", relativity="dirac")
    write_psml(potential, tmp_path / "d.psml", ids=(116, 133))
    text = (tmp_path / "c.psml").read_text().replace("dirac", "scalar")
    start, end = text.index("<nonlocal"), text.index("</psml>")
    (tmp_path / "e.psml").write_text(text[:start] + text[end:])
    (tmp_path / "f.upf").write_text("<PP_INFO>\n</PP_INFO>\n<PP_HEADER>\n 0  Version Number\n Si Element\n")
    for name, words in {
        "a.psp8": "without spin-orbit coupling",
        "b.psp8": "got one made with pspxc -116133",
        "c.psml": "without spin-orbit coupling",
        "d.psml": "got one made with functional 116, functional 133",
        "e.psml": "semilocal potentials only",
        "f.upf": "got version 1; upfconv",
    }.items():
        with pytest.raises(WrongPseudopotentialError, match=words):
            read_pseudopotential(tmp_path / name)


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("part", [0.2, 0.6, 0.98])
def test_files_that_end_early_are_refused(kind: str, part: float, tmp_path: Path) -> None:
    path = tmp_path / f"O.{kind}"
    WRITERS[kind](table_entry("O"), path)
    content = path.read_text()
    path.write_text(content[: int(part * len(content))])
    with pytest.raises(DamagedFileError, match=f"{path}: damaged or another kind of file"):
        read_pseudopotential(path)


def test_files_with_wrong_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "O.psp8"
    write_psp8(gth_potential("O"), path)
    good = path.read_text()
    for damage, words in {
        "zion 4": (good.replace("8.0000 6.0000", "8.0000 4.0000"), "another tail"),
        "zion 5": (good.replace("8.0000 6.0000", "8.0000 5.0000"), "closed shells"),
        "not a number": (
            good.replace("1.0000000000000D-02", "1.0000000000000D-0x", 1),
            "projectors of l = 0",
        ),
        "NaN": (good.replace("0.0000000000000D+00 -", "0.0000000000000D+00 NaN  -", 1), "finite"),
        "element": (good.replace("8.0000 6.0000", "0.0000 6.0000"), "zatom 0"),
        "other text": ("hello\n" * 20, "expected UPF 2, psp8 or PSML"),
    }.values():
        path.write_text(damage)
        with pytest.raises(DamagedFileError, match=words):
            read_pseudopotential(path)


# -- electrons -----------------------------------------------------------------------------------------


def test_electrons_of_the_neutral_atom() -> None:
    assert "".join(f"{shell}{n}" for shell, n in ground_state(24).items()) == "1s22s22p63s23p63d54s1"
    assert sum(ground_state(92).values()) == 92
    assert neutral_valence(31, 13.0) == (2.0, 1.0, 10.0)  # 3d10 4s2 4p1
    assert neutral_valence(31, 3.0) == (2.0, 1.0)
    assert neutral_valence(30, 20.0) == (4.0, 6.0, 10.0)  # 3s2 3p6 3d10 4s2
    assert neutral_valence(72, 12.0) == (4.0, 6.0, 2.0)  # 5s2 5p6 5d2 6s2, 4f in the core
    assert neutral_valence(72, 26.0) == (4.0, 6.0, 2.0, 14.0)
    assert neutral_valence(79, 19.0) == (3.0, 6.0, 10.0)
    with pytest.raises(ValueError, match="closed shells, got 5 of 8 electrons"):
        neutral_valence(8, 5.0)


def test_electrons_of_an_input_that_a_file_quotes() -> None:
    text = """<INPUT>
# ATOM AND REFERENCE CONFIGURATION
# atsym  z   nc   nv     iexc    psfile
Al 13.00    3    2       4      psp8
#   n    l    f
1    0    2.00
2    0    2.00
2    1    6.00
3    0    1.00
3    1    2.00
# lmax
2
"""
    assert oncvpsp_valence(text, 3.0) == (1.0, 2.0)
    assert oncvpsp_valence(text, 11.0) is None
    assert oncvpsp_valence("nothing", 3.0) is None


# -- orbitals by rules -----------------------------------------------------------------------------------


def test_sizes_have_the_same_names_for_every_element() -> None:
    labels = {
        "H": ("s1", "s2p1", "s3p2d1"),
        "O": ("s1p1", "s2p2d1", "s3p3d2f1"),
        "Si": ("s1p1", "s2p2d1", "s3p3d2f1"),
        "Mg": ("s2p1", "s3p2d1", "s4p3d2f1"),
        "Ti": ("s2p1d1", "s3p2d2", "s4p3d3f1"),
        "Zn": ("s1p1d1", "s2p2d2", "s3p3d3f1"),
    }
    for symbol, wanted in labels.items():
        potential = gth_potential(symbol)
        counts = [counts_of_size(potential, size) for size in ("minimal", "standard", "precise")]
        made = tuple("".join(f"{'spdf'[l]}{n}" for l, n in enumerate(c)) for c in counts)
        assert made == wanted


def test_larger_sizes_hold_the_smaller_ones() -> None:
    """The functions of a size are the first of the next; the reach is that of the size."""
    potential = gth_potential("O")
    standard, precise = (recipe_by_rules(potential, size, "PBE") for size in ("standard", "precise"))
    assert standard.size.cutoff == precise.size.cutoff == 6.0
    for few, many in zip(standard.extra, precise.extra, strict=True):
        assert many[: len(few)] == few
    assert [len(functions) for functions in standard.extra] == [1, 1, 1, 0]


# -- the family ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my set"
    made.mkdir()
    write_psp8(gth_potential("H"), made / "H.psp8")
    write_upf(table_entry("O"), made / "O.UPF")
    (made / "README.txt").write_text("licence")
    return made


def test_a_folder_is_a_basis(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    basis = load_basis(f"files {folder}", {"H": "5.0-s1", "O": "minimal"}, ["O", "H"])
    assert [(s.symbol, s.cutoff, s.orbital_label) for s in basis] == [("O", 6.0, "s1p1"), ("H", 5.0, "s1")]
    assert basis["O"].sphere is not None and basis["O"].core_density is not None
    assert default_integration(basis) == "spheres"
    assert recorded_orbitals(basis) == {"O": "minimal O.UPF", "H": "5.0-s1 H.psp8"}
    assert load_basis(basis.name, recorded_orbitals(basis), ["O", "H"]) == basis
    whole = load_basis(f"files {folder}")
    assert whole.symbols == ("H", "O")
    # Elsewhere the folder is found by its name, and the set is the same one.
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.move(folder, elsewhere / folder.name)
    with pytest.raises(FileNotFoundError, match=f"expected files FOLDER .* got {folder}"):
        load_basis(basis.name, recorded_orbitals(basis), ["O", "H"])
    monkeypatch.setenv(DATA_VARIABLE, str(elsewhere))
    assert load_basis(basis.name, recorded_orbitals(basis), ["O", "H"]) == basis


def test_species_are_known_by_their_content(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_file(folder / "O.UPF", "minimal")
    monkeypatch.setattr("mlh.basis.files.library._memory", {})
    monkeypatch.setattr("mlh.basis.files.library.make_species", lambda recipe: pytest.fail("made, not read"))
    shutil.copy(folder / "O.UPF", folder / "copy.upf")
    again = load_file(folder / "copy.upf", "minimal")
    assert again.digest == first.digest and again.file == "copy.upf" and again.sphere == first.sphere
    for mine, theirs in zip(
        (*again.orbitals, again.density, again.core_density, *(p.radial for p in again.projectors)),
        (*first.orbitals, first.density, first.core_density, *(p.radial for p in first.projectors)),
        strict=True,
    ):
        assert mine is not None and theirs is not None
        np.testing.assert_array_equal(mine.g, theirs.g)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"name of one of its files .* of O.UPF, copy.upf, got none"):
        load_basis(f"files {folder}", {"O": "minimal"}, ["O"])
    assert load_basis(f"files {folder}", {"O": "minimal copy.upf"}, ["O"])["O"].digest == first.digest
    other = (folder / "copy.upf").read_text().replace("exported", "Exported")
    (folder / "copy.upf").write_text(other)
    assert load_file(folder / "copy.upf", "minimal").digest != first.digest


def test_wrong_names_are_refused(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected files FOLDER .* got no folder"):
        load_basis("files")
    with pytest.raises(KeyError, match="expected elements with a file, H, O, got Si"):
        load_basis(f"files {folder}", elements=["Si"])
    with pytest.raises(
        ValueError, match=r"size: expected minimal, standard, precise, or as 7\.0-s2p2d1, got 'dz'"
    ):
        load_basis(f"files {folder}", {"O": "dz"}, ["O"])
    assert element_of(folder / "README.txt") is None


def test_a_file_of_another_kind_of_functional_is_refused(folder: Path) -> None:
    write_psp8(gth_potential("H"), folder / "H.psp8", xc=7)
    basis = load_basis(f"files {folder}", {"H": "minimal"}, ["H"])
    with pytest.raises(ValueError, match=r"xc: expected PW92 or PZ, .*\(LDA\).* of H were made, got PBE"):
        check_functional(basis, "PBE")
    check_functional(basis, "PW92")


def test_the_command_says_what_a_file_holds_and_how_to_use_it(folder: Path) -> None:
    arguments = ["basis", "make", str(folder / "O.UPF"), "--size", "minimal"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    (content,) = json.loads(result.stdout)["species"]
    assert (content["symbol"], content["functional"], content["projectors"]) == ("O", "PBE", {"s": 1})
    assert content["core_electrons"] == pytest.approx(0.6, abs=1e-6)
    assert (content["orbitals"], content["valence"]) == ("6.0-s1p1", 6.0)
    assert content["digest"] == load_file(folder / "O.UPF", "minimal").digest
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert "partial core of 0.60 electrons" in result.output
    assert f"--basis 'files {folder}' --orbitals O=minimal,O.UPF" in " ".join(result.output.split())


# -- published files, where they are -----------------------------------------------------------------------


@pytest.mark.skipif(not ABINIT.is_dir(), reason="ABINIT's files (abinit-data) are not installed")
@pytest.mark.parametrize(
    ("file", "levels"),
    [  # of the atom with all electrons: eref in PSML, ep in the input of ONCVPSP quoted in psp8
        ("14_Si_oncv.psml", {(0, 0): -0.397364586851, (1, 0): -0.149981485827}),
        ("14_Si_psml.psp8", {(0, 0): -0.397364586851, (1, 0): -0.149981485827}),
        ("79_Au_oncv.psml", {(0, 0): -3.98249106950, (1, 0): -2.19696207912, (2, 0): -0.252734018556}),
        ("Pseudodojo_nc_sr_04_pbe_standard_psp8/O.psp8", {(0, 0): -0.88057, (1, 0): -0.33187}),
        ("Pseudodojo_nc_sr_04_pbe_standard_psp8/Ca.psp8", {(0, 0): -1.73059, (1, 0): -1.02928}),
    ],
)
def test_levels_are_those_that_published_files_state(file: str, levels: dict[tuple[int, int], float]) -> None:
    potential = read_pseudopotential(ABINIT / file)
    elements = make_elements(18.0, 1.5, potential.smallest_radius)
    states = AtomSolver(potential, elements, None, potential.xc).solve().states
    found = {(shell.l, shell.n): energy for shell, (energy, _) in states.items()}
    for shell, level in levels.items():
        assert found[shell] == pytest.approx(level, abs=3e-5)
