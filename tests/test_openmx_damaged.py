"""Damaged OpenMX files end in an error that names the file, quickly and without using memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import mlh
import openmx_files as files
from mlh.basis.species import Basis
from mlh.common.units import BOHR_ANGSTROM
from mlh.matrix.block_matrix import BlockMatrix
from mlh.openmx import OpenMXFormatError
from mlh.openmx.pao import read_pao
from mlh.openmx.vps import read_vps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_database(tmp_path_factory.mktemp("openmx"))


@pytest.fixture(scope="module")
def basis(folder: Path) -> Basis:
    return files.load_basis(folder)


def hydrogen(basis: Basis) -> mlh.System:
    """Two atoms in a cell smaller than the orbitals' range."""
    positions = np.array([[0.0, 0.1, 0.2], [1.3, 0.4, 2.0]]) * BOHR_ANGSTROM
    cell = np.diag([6.0, 7.0, 7.5]) * BOHR_ANGSTROM
    return mlh.System(Atoms("H2", positions, cell=cell, pbc=True), basis)


def density_matrix(system: mlh.System, nspin: int = 1) -> BlockMatrix:
    T = system.overlap()
    return BlockMatrix(T.pattern, np.stack([(0.3 + 0.1 * s) * T.data[0] for s in range(nspin)]))


@pytest.fixture(scope="module")
def scfout(folder: Path, basis: Basis) -> Path:
    system = hydrogen(basis)
    path = folder / "h2.scfout"
    files.write_scfout(path, system, system.overlap() * 0.7, density_matrix(system))
    return path


def damaged(content: bytes, seed: int) -> bytes:
    """Cut, overwritten, or shifted somewhere; sometimes the numbers of the header."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    kind = seed % 5
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:
        at = int(rng.integers(len(data)))
        return bytes(data[:at] + data[at + int(rng.integers(1, 40)) :])
    places = rng.integers(len(data) if kind < 4 else min(400, len(data)), size=rng.integers(1, 9))
    for place in places:
        data[place] = rng.integers(256) if kind != 3 else data[place] ^ (1 << rng.integers(8))
    return bytes(data)


def outcomes(
    read: Callable[[Path], object], path: Path, target: Path, count: int, block: int = 25
) -> Iterator[str]:
    """Messages of the errors of `count` damaged copies; anything but a named error fails the test."""
    content = path.read_bytes()
    tracemalloc.start()
    try:
        for seed in range(count):
            target.write_bytes(damaged(content, seed))
            tracemalloc.reset_peak()
            try:
                read(target)
            except ValueError as error:
                assert str(target) in str(error), f"seed {seed}: {error}"
                yield str(error)
            peak = tracemalloc.get_traced_memory()[1]
            assert peak < block * len(content) + 5_000_000, f"seed {seed}: {peak} bytes"
    finally:
        tracemalloc.stop()


def test_own_files_can_be_read(folder: Path, basis: Basis, scfout: Path) -> None:
    """Otherwise the damage below proves nothing: every number comes back."""
    system = hydrogen(basis)
    out = mlh.read_scfout(scfout, basis)
    assert (out.S - system.overlap()).max_abs() == 0.0
    assert (out.D - density_matrix(system)).max_abs() < 1e-15
    np.testing.assert_allclose(
        out.atoms.positions, np.array([[0.0, 0.1, 0.2], [1.3, 0.4, 2.0]]) * BOHR_ANGSTROM
    )
    vps = read_vps(folder / "VPS" / "H_TEST.vps")
    # (2 X+ + X-) / 3 for l = 1.
    assert [(p.l, p.energy) for p in vps.projectors] == [(0, 1.0), (1, pytest.approx(-0.4))]
    beta = vps.r * np.exp(-3.0 * vps.r**2)
    np.testing.assert_allclose(vps.projectors[1].beta, beta * (2.0 + 1.3) / 3.0, atol=1e-14)


def test_spin_polarised_matrices_keep_both_spins(folder: Path, basis: Basis, tmp_path: Path) -> None:
    system = hydrogen(basis)
    H, D = density_matrix(system, 2), density_matrix(system, 2)
    files.write_scfout(tmp_path / "spin.scfout", system, H, D, order=2)
    out = mlh.read_scfout(tmp_path / "spin.scfout", basis)
    assert (out.D - D).max_abs() == 0.0 and (out.H - H).max_abs() == 0.0


def test_files_without_j_dependence(tmp_path: Path) -> None:
    """One column per projector, as in older databases."""
    files.write_vps(tmp_path / "H.vps", j_dependent=False)
    vps = read_vps(tmp_path / "H.vps")
    assert [(p.l, p.energy) for p in vps.projectors] == [(0, 1.0), (1, -0.4)]


@pytest.mark.parametrize("name, read", [("PAO/H4.0.pao", read_pao), ("VPS/H_TEST.vps", read_vps)])
def test_damaged_text_files(name: str, read: Callable[[Path], object], folder: Path, tmp_path: Path) -> None:
    messages = list(outcomes(read, folder / name, tmp_path / Path(name).name, 100))
    assert len(messages) > 50  # a changed digit within a plausible number stays unseen
    assert all("line" in message for message in messages)


def test_damaged_scfout(scfout: Path, basis: Basis, tmp_path: Path) -> None:
    target = tmp_path / "damaged.scfout"
    messages = list(outcomes(lambda path: mlh.read_scfout(path, basis), scfout, target, 150))
    assert len(messages) > 75


def test_every_cut_of_a_scfout_is_noticed(scfout: Path, basis: Basis, tmp_path: Path) -> None:
    content = scfout.read_bytes()
    target = tmp_path / "cut.scfout"
    for length in (0, 1, 23, 24, 27, *np.linspace(28, len(content) - 1, 60).astype(int)):
        target.write_bytes(content[:length])
        with pytest.raises(OpenMXFormatError, match=r"cut\.scfout, byte \d+: .*expected"):
            mlh.read_scfout(target, basis)


def test_other_versions_are_refused(basis: Basis, tmp_path: Path) -> None:
    system = hydrogen(basis)
    path = tmp_path / "old.scfout"
    files.write_scfout(path, system, system.overlap(), density_matrix(system), version=2)
    with pytest.raises(OpenMXFormatError, match=r"old\.scfout.*OpenMX 3\.9.*got format 2"):
        mlh.read_scfout(path, basis)


def test_valence_of_orbitals_and_potential_must_agree(tmp_path: Path) -> None:
    folder = files.write_database(tmp_path)
    files.write_pao(folder / "PAO" / "H4.0.pao", valence=3.0)
    with pytest.raises(OpenMXFormatError, match=r"H4\.0\.pao: made for 3 valence electrons, expected 1"):
        files.load_basis(folder)


def test_truncated_database_file_names_the_line(folder: Path, tmp_path: Path) -> None:
    copy = files.write_database(tmp_path)
    text = (copy / "PAO" / "H4.0.pao").read_text()
    (copy / "PAO" / "H4.0.pao").write_text(text[: len(text) // 2])
    with pytest.raises(OpenMXFormatError, match=r"H4\.0\.pao, (end of file )?\(?line \d+"):
        files.load_basis(copy)
