"""Finite-size corrections against Madelung's energy and an Ewald sum; words where the library is missing."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray
from scipy.special import erfc

from mlh.defects import corrections
from mlh.defects.corrections import (
    MissingLibraryError,
    Potentials,
    alignment_correction,
    dielectric_tensor,
    efnv_correction,
    fnv_correction,
)

E2 = 14.3996454  # e^2 / (4 pi eps0), eV Angstrom
MADELUNG = 2.837297  # of a point charge in a cubic cell with a background
EPSILON, CHARGE = 9.8, 2

library = pytest.mark.skipif(corrections._missing() is not None, reason="extra mlh[defects] is not installed")


def host() -> Atoms:
    return bulk("MgO", "rocksalt", a=4.21, cubic=True) * (2, 2, 2)


def vacancy(atoms: Atoms) -> tuple[Atoms, int]:
    site = int(np.flatnonzero(atoms.symbols == "O")[0])
    return atoms[[i for i in range(len(atoms)) if i != site]], site


def point_charge(where: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """Potential (V) of a unit charge at the origin of a cubic cell with images and background, mean zero."""
    eta = 2.5 / length
    grid = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)
    distance = np.linalg.norm(where[:, None] + length * grid[None], axis=2)
    real = (erfc(eta * distance) / distance).sum(axis=1)
    waves = 2.0 * np.pi / length * grid[(grid != 0).any(axis=1)]
    squares = (waves**2).sum(axis=1)
    factors = 4.0 * np.pi / length**3 * np.exp(-squares / (4.0 * eta**2)) / squares
    reciprocal = (np.cos(where @ waves.T) * factors).sum(axis=1)
    return np.asarray(E2 * (real + reciprocal - np.pi / (eta**2 * length**3)))


def cells(offset: float = 0.0) -> tuple[Potentials, Potentials, NDArray[np.float64]]:
    """A vacancy whose potential is exactly a screened point charge, shifted by a constant, and its host."""
    perfect = host()
    defect, site = vacancy(perfect)
    rng = np.random.default_rng(0)
    own = rng.normal(size=len(perfect))
    kept = np.delete(own, site)
    center = perfect.positions[site]
    length = float(perfect.cell[0, 0])
    potential = CHARGE / EPSILON * point_charge(defect.positions - center, length) + offset
    return Potentials(defect, kept + potential), Potentials(perfect, own), center


@library
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_a_screened_point_charge_has_madelungs_energy(offset: float) -> None:
    defect, perfect, center = cells(offset)
    madelung = MADELUNG * CHARGE**2 * E2 / (2.0 * EPSILON * float(perfect.atoms.cell[0, 0]))
    found = efnv_correction(CHARGE, defect, perfect, EPSILON, center)
    assert found.point_charge == pytest.approx(madelung, rel=1e-4)
    assert found.alignment == pytest.approx(offset, abs=1e-4) and found.spread < 1e-4
    # A potential that is higher by a constant belongs to an energy that is lower by q times it.
    assert found.energy == pytest.approx(madelung - CHARGE * offset, abs=3e-4)
    assert found.n_atoms > 10 and found.kind == "eFNV"
    again = efnv_correction(CHARGE, defect, perfect, EPSILON)  # the centre by the library
    assert again.energy == pytest.approx(found.energy, abs=1e-6)


@library
def test_a_tensor_and_a_negative_charge() -> None:
    defect, perfect, center = cells()
    minus = Potentials(defect.atoms, perfect_at(defect, perfect) * 2.0 - defect.values)
    plus = efnv_correction(CHARGE, defect, perfect, [EPSILON] * 3, center)
    negative = efnv_correction(-CHARGE, minus, perfect, np.eye(3) * EPSILON, center)
    assert negative.energy == pytest.approx(plus.energy, abs=1e-6)
    softer = efnv_correction(CHARGE, defect, perfect, [5.0, 5.0, 20.0], center)
    assert softer.point_charge != pytest.approx(plus.point_charge, rel=1e-2)


def perfect_at(defect: Potentials, perfect: Potentials) -> NDArray[np.float64]:
    """Potentials of the host at the atoms of the vacancy cell."""
    site = vacancy(perfect.atoms)[1]
    return np.delete(perfect.values, site)


@dataclass
class FakeSite:
    distance: float
    potential: float
    pc_potential: float


def test_what_is_handed_to_the_library_and_taken_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library: structures with the property "potential" in V, the tensor, the centre."""
    taken: dict[str, Any] = {}

    def fake(**given: Any) -> Any:
        taken.update(given)
        sites = [FakeSite(1.0, 9.0, 0.0), FakeSite(5.0, 0.5, 0.2), FakeSite(6.0, 0.3, 0.2)]
        details = SimpleNamespace(sites=sites, defect_region_radius=4.0, point_charge_correction=0.7)
        return SimpleNamespace(correction_energy=0.3, metadata={"efnv_corr": details})

    core = ModuleType("pymatgen.core")
    core.Lattice = lambda cell: cell  # type: ignore[attr-defined]
    core.Structure = lambda *given, **more: (*given, more)  # type: ignore[attr-defined]
    modules = {
        "pymatgen.analysis.defects.corrections.kumagai": SimpleNamespace(get_efnv_correction=fake),
        "pymatgen.core": core,
    }
    monkeypatch.setattr(corrections, "_missing", lambda: None)
    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name: modules.get(name) or real(name))
    defect, perfect, center = cells()
    found = efnv_correction(2, defect, perfect, 3.9, center + perfect.atoms.cell[0])
    assert found.alignment == pytest.approx(0.2) and found.spread == pytest.approx(0.1)
    assert (found.energy, found.point_charge, found.n_atoms) == (0.3, 0.7, 2)
    assert taken["charge"] == 2 and np.array_equal(taken["dielectric_tensor"], 3.9 * np.eye(3))
    np.testing.assert_allclose(taken["defect_coords"], perfect.atoms.cell.scaled_positions(center[None])[0])
    assert taken["defect_structure"][3]["site_properties"]["potential"] == defect.values.tolist()
    assert taken["bulk_structure"][1] == perfect.atoms.get_chemical_symbols()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    defect, perfect, center = cells()
    corrections._missing.cache_clear()
    monkeypatch.setattr(corrections, "version", lambda name: "2025.1.18")
    with pytest.raises(MissingLibraryError, match=r"2025.1.18 is too old.*mlh\[defects\]"):
        efnv_correction(CHARGE, defect, perfect, EPSILON, center)
    corrections._missing.cache_clear()
    monkeypatch.setitem(sys.modules, "pydefect.cli.vasp.make_efnv_correction", None)
    monkeypatch.setattr(corrections, "version", lambda name: "2026.10.24")
    with pytest.raises(MissingLibraryError, match="pydefect cannot be used"):
        efnv_correction(CHARGE, defect, perfect, EPSILON, center)
    corrections._missing.cache_clear()
    assert efnv_correction(0, defect, perfect, EPSILON).energy == 0.0


def planes(length: float, width: float, offset: float) -> tuple[NDArray[np.float64], ...]:
    """Averages (V) over planes of a screened Gaussian charge at the origin of a cube with background: the
    waves along one axis, V(G) = 4 pi q exp(-G^2 w^2 / 2) / (eps G^2 V)."""
    n = 64
    m = np.arange(1, n // 2)
    g = 2.0 * np.pi * m / length
    waves = 4.0 * np.pi * E2 * CHARGE / EPSILON * np.exp(-0.5 * (g * width) ** 2) / (g**2 * length**3)
    x = np.arange(n) * length / n
    profile = 2.0 * np.cos(np.outer(x, g)) @ waves + offset
    return (profile, profile, profile)


@library
def test_planes_of_a_screened_charge_have_madelungs_energy() -> None:
    """A Gaussian of width w has its potential 2 pi q w^2 / (eps V) above that of a point charge, when both
    have mean zero; a constant shifts the energy by -q times it."""
    length, width = 2.0 * 4.21, 1.0 * 0.529177
    cell, center = np.eye(3) * length, np.zeros(3)
    host_planes = tuple(np.zeros(64) for _ in range(3))
    plain = fnv_correction(CHARGE, planes(length, width, 0.0), host_planes, cell, EPSILON, center)
    madelung = MADELUNG * CHARGE**2 * E2 / (2.0 * EPSILON * length)
    shift = 2.0 * np.pi * E2 * width**2 * CHARGE**2 / (EPSILON * length**3)
    assert plain.kind == "FNV" and plain.n_atoms == 0 and plain.spread < 1e-6
    assert plain.energy == pytest.approx(madelung - shift, abs=5e-5)
    moved = fnv_correction(CHARGE, planes(length, width, 0.3), host_planes, cell, EPSILON, center)
    assert moved.energy == pytest.approx(plain.energy - CHARGE * 0.3, abs=1e-6)
    assert moved.alignment == pytest.approx(plain.alignment + 0.3, abs=1e-6)


def test_planes_are_checked() -> None:
    one = tuple(np.zeros(8) for _ in range(3))
    assert fnv_correction(0, one, one, np.eye(3), 2.0, np.zeros(3)).energy == 0.0
    with pytest.raises(ValueError, match="expected planes of"):
        fnv_correction(1, one, tuple(np.zeros(9) for _ in range(3)), np.eye(3), 2.0, np.zeros(3))


def test_alignment_alone_is_a_common_zero() -> None:
    defect, perfect, center = cells()
    _, site = vacancy(perfect.atoms)
    pairs = list(enumerate(i for i in range(len(perfect.atoms)) if i != site))
    flat = Potentials(defect.atoms, perfect_at(defect, perfect) - 0.25)
    found = alignment_correction(2, flat, perfect, pairs, center)
    assert found.energy == pytest.approx(0.5) and found.spread == pytest.approx(0.0, abs=1e-12)
    assert found.kind == "alignment" and found.n_atoms < len(pairs)
    with pytest.raises(ValueError, match="at least two common atoms"):
        alignment_correction(2, flat, perfect, pairs[:1], center)


def test_the_dielectric_tensor_is_checked() -> None:
    assert np.array_equal(dielectric_tensor(3.9), 3.9 * np.eye(3))
    assert np.array_equal(dielectric_tensor([1, 2, 3]), np.diag([1.0, 2.0, 3.0]))
    for wrong in (0.5, [1.0, 2.0], [2.0, 0.1, 0, 0, 2, 0, 0, 0, 2], float("nan")):
        with pytest.raises(ValueError, match="dielectric: expected"):
            dielectric_tensor(wrong)
    with pytest.raises(ValueError, match="potentials: expected 64 finite numbers"):
        Potentials(host(), np.zeros(3))
