"""Files as they are in the field: disorder, isotopes, molecules, several frames, and damaged ones of every
kind, which end in one line with the file's name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import molecule

import mlh
from mlh.commands import cli
from mlh.structures import load_structure, write_structure
from test_demo import HarrisModel

DISORDER = """data_x
_cell_length_a 4.21
_cell_length_b 4.21
_cell_length_c 4.21
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_space_group_symop_operation_xyz
'x, y, z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Mg1 Mg 0 0 0 {mg}
{zn}Mg2 Mg 0.5 0.5 0 1
O1 O 0.5 0.5 0.5 1
O2 O 0 0 0.5 {o}
"""

HEAVY_XYZ = """3
Lattice="8 0 0 0 8 0 0 0 8" Properties=pos:R:3:species:S:1 pbc="T T T"
4 4 4 O
4.76 4.59 4 D
3.24 4.59 4 T
"""

HEAVY_POSCAR = """heavy water
1.0
8 0 0
0 8 0
0 0 8
O D T
1 1 1
Cartesian
4 4 4
4.76 4.59 4
3.24 4.59 4
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Exit status of `mlh ARGUMENTS`, by the entry point that turns errors into words."""
    monkeypatch.setattr("sys.argv", ["mlh", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def test_partial_occupancy_is_refused_with_the_sites(tmp_path: Path) -> None:
    path = tmp_path / "disorder.cif"
    path.write_text(DISORDER.format(mg=0.75, zn="Zn1 Zn 0 0 0 0.25\n", o=0.5))
    with pytest.raises(
        ValueError, match=r"disorder\.cif: .* Mg 0\.75 and Zn 0\.25 on atom 0; O 0\.5 on atom"
    ):
        load_structure(path)
    # What ASE itself has read is refused by every calculator and System, until it is said to be ordered.
    atoms = ase.io.read(path)
    basis = mlh.load_basis("gth-pbe", elements=["Mg", "Zn", "O"])
    for calculate in (
        lambda: mlh.System(atoms),
        lambda: mlh.DFTCalculator().get_property("energy", atoms),
        lambda: mlh.MLHCalculator(HarrisModel(basis)).get_property("energy", atoms.repeat((2, 1, 1))),
    ):
        with pytest.raises(
            ValueError, match=r"atoms: expected sites .* got Mg 0\.75 .* make an ordered cell"
        ):
            calculate()
    del atoms.info["occupancy"]
    assert len(mlh.System(atoms, cutoff_ry=60.0).symbols) == 4
    path.write_text(DISORDER.format(mg=1, zn="", o=1))
    assert len(load_structure(path)) == 4


@pytest.mark.parametrize(("name", "text"), [("d.xyz", HEAVY_XYZ), ("d.vasp", HEAVY_POSCAR)])
def test_deuterium_and_tritium_are_hydrogen_with_their_mass(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    atoms = load_structure(tmp_path / name)
    assert atoms.get_chemical_symbols() == ["O", "H", "H"]
    assert atoms.get_masses() == pytest.approx([15.999, 2.014, 3.016], abs=1e-3)
    write_structure(tmp_path / "again.extxyz", atoms)
    assert load_structure(tmp_path / "again.extxyz").get_masses() == pytest.approx(atoms.get_masses())


def test_several_frames_say_which_one_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.extxyz"
    frames = [ase.Atoms("H", [[x, 0, 0]], cell=[9] * 3, pbc=True) for x in (0.0, 1.0, 2.0)]
    write_structure(path, frames)
    with caplog.at_level(logging.WARNING):
        assert load_structure(path).positions[0, 0] == 2.0
    assert "t.extxyz: the last of its 3 frames is taken (index=2)" in caplog.text
    caplog.clear()
    assert load_structure(path, 0).positions[0, 0] == 0.0
    assert load_structure(path, -2).positions[0, 0] == 1.0
    assert not caplog.text
    with pytest.raises(ValueError, match=r"index: expected a frame from 0 to 2 of .*t\.extxyz, got 3"):
        load_structure(path, 3)
    text = path.read_text()
    path.write_text(text[: text.rindex("\nH")])  # the end of a killed run
    with pytest.raises(ValueError, match=r"ends inside the frame of 1 atoms that begins in line 7.*index=1"):
        load_structure(path)
    ase.io.write(tmp_path / "t.traj", frames)
    assert load_structure(tmp_path / "t.traj", 1).positions[0, 0] == 1.0


def test_a_molecule_needs_no_cell_but_what_needs_one_says_so(tmp_path: Path) -> None:
    path = tmp_path / "h2o.xyz"
    molecule("H2O").write(path)
    atoms = load_structure(path)
    assert not atoms.pbc.any()
    with pytest.raises(ValueError, match="voids: expected a crystal or glass with three cell vectors"):
        mlh.structures.void_positions(atoms)
    path.write_text('1\nLattice="4 0 0 0 4 0 4 4 0" pbc="T T T"\nH 0 0 0\n')
    with pytest.raises(ValueError, match="independent cell vectors"):
        load_structure(path)
    path.write_text('1\nLattice="4 0 0 0 4 0 0 0 0" pbc="T T T"\nH 0 0 0\n')
    with pytest.raises(ValueError, match="cell vector in every periodic direction"):
        load_structure(path)


def half(path: Path) -> Path:
    """The first half of a file that was whole."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def empty(path: Path) -> Path:
    path.write_text("")
    return path


def of_text(text: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_text(text)
        return path

    return make


def npz(path: Path) -> Path:
    np.savez(path, card=np.zeros(5))
    return half(path)


def hdf5(path: Path) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        file["x"] = np.arange(1000)
    return half(path)


DAMAGED: dict[str, tuple[str, Callable[[Path], Path], list[str], str]] = {
    "an empty structure": ("e.xyz", empty, ["scf", "FILE"], "got an empty file"),
    "blank lines": ("e.xyz", of_text("\n\n"), ["scf", "FILE"], "got blank lines"),
    "an unknown format": ("m.txt", of_text("cubic MgO\n"), ["scf", "FILE"], "a format that its name or"),
    "an unknown symbol": (
        "x.xyz",
        of_text("1\n\nQx 0 0 0\n"),
        ["info", "FILE"],
        "line 3: unknown symbol 'Qx'",
    ),
    "a row that is too short": ("x.xyz", of_text("1\n\nH 0 0\n"), ["info", "FILE"], "could not be read"),
    "no number of atoms": (
        "x.xyz",
        of_text("atoms\n\nH 0 0 0\n"),
        ["info", "FILE"],
        "line 1: expected the number",
    ),
    "a broken cif": (
        "x.cif",
        of_text("data_x\nloop_\n_atom_site"),
        ["info", "FILE"],
        "expected a structure, got none",
    ),
    "a broken POSCAR": ("x.vasp", of_text("c\n1.0\n1 0 0\n"), ["info", "FILE"], "could not be read"),
    "half a model": ("m.npz", npz, ["relax", "alpha-quartz", "--model", "FILE"], "expected a model file"),
    "half a matrix file": ("m.h5", hdf5, ["charges", "FILE"], "truncated"),
    "half a matrix file, looked at": ("m.h5", hdf5, ["info", "FILE"], "truncated"),
    "half a data set": ("d.h5", hdf5, ["dataset", "info", "FILE"], "not a readable HDF5 file"),
    "half a summary": ("defects.json", of_text('{"run": '), ["report", "FOLDER"], "damaged or another"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_end_in_one_line_with_their_name(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, make, words, message = DAMAGED[case]
    path = make(tmp_path / name)
    places = {"FILE": str(path), "FOLDER": str(tmp_path)}
    assert run(monkeypatch, *(places.get(word, word) for word in words)) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and str(path) in err and message in err


def test_a_damaged_checkpoint_says_how_to_go_on(tmp_path: Path) -> None:
    import torch

    from mlh.training.checkpoint import load_checkpoint, save_checkpoint

    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(network.parameters())
    save_checkpoint(tmp_path / "checkpoint.npz", network, network, optimizer, {"step": 1})
    assert load_checkpoint(tmp_path / "checkpoint.npz", network, network, optimizer) == {"step": 1}
    path = half(tmp_path / "checkpoint.npz")
    with pytest.raises(ValueError, match=r"checkpoint\.npz: damaged .*; remove it to train from the start"):
        load_checkpoint(path, network, network, optimizer)


def test_a_damaged_reference_says_how_to_go_on(tmp_path: Path) -> None:
    from mlh.defects.references import _load

    path = tmp_path / "O2-1.json"
    for text in ('{"element": ', json.dumps({"element": "O"}), "[]"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"O2-1\.json: damaged .*; remove it, and the reference is"):
            _load(path, {})
