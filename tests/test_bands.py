"""Bands: known facts of silicon, folding, equality with the levels of self-consistency, metals, paths."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

import mlh
from electronic_helpers import harris_state, silicon, two_center_state
from mlh.analysis.bands import band_edges, band_path, band_structure, describe_edges
from mlh.analysis.state import ElectronicState, eigenvalues_at
from mlh.commands.cli import app
from mlh.common.units import HARTREE_EV
from mlh.structures import write_structure


@pytest.fixture(scope="module")
def converged() -> ElectronicState:
    calculator = mlh.DFTCalculator(cutoff_ry=60.0, kpts={"size": (2, 2, 2), "gamma": True})
    atoms = silicon()
    atoms.calc = calculator
    atoms.get_potential_energy()
    return ElectronicState.from_calculator(calculator)


def test_levels_at_the_points_of_self_consistency_are_its_levels(converged):
    levels = eigenvalues_at(converged, converged.kpts.points)
    np.testing.assert_allclose(levels, converged.solution.eigenvalues, atol=1e-9)


def test_silicon_has_its_indirect_gap(converged):
    bands = band_structure(converged, "GX", 31)
    edges = bands.edges
    assert not edges.metallic and not edges.is_direct
    # The top of the valence band is threefold at Gamma, the bottom of the other lies before X.
    np.testing.assert_allclose(edges.valence.k, 0.0, atol=1e-12)
    assert np.ptp(bands.energies[0, 0, 1:4]) < 1e-3
    assert 0.6 < edges.conduction.k_index / 30 < 1.0
    assert 11.0 < -bands.energies.min() < 13.0  # width of the valence band: 12.5 eV in experiment
    assert edges.gap < edges.direct_gap
    assert bands.energies[0, :, :4].max() == pytest.approx(0.0, abs=1e-12)
    assert bands.structure.reference == edges.reference
    plain = describe_edges(edges)
    assert plain["gap_ev"] == edges.gap and plain["reference"] == "valence top"


def test_bands_of_a_supercell_are_the_folded_bands():
    primitive, doubled = two_center_state(silicon()), two_center_state(silicon((2, 1, 1)))
    k = np.array([[0.2, 0.1, -0.3]])
    # k of the doubled cell folds k_1 / 2 and (k_1 + 1) / 2 of the primitive one.
    unfolded = np.array([0.5, 1, 1]) * np.concatenate([k, k + np.array([1, 0, 0])])
    expected = np.sort(eigenvalues_at(primitive, unfolded).ravel())
    np.testing.assert_allclose(eigenvalues_at(doubled, k)[0, 0], expected, atol=1e-9)


def test_levels_have_the_period_of_the_reciprocal_lattice_and_time_reversal():
    state = two_center_state(silicon())
    k = np.array([0.31, -0.12, 0.07])
    levels = eigenvalues_at(state, np.array([k, k + np.array([1, -2, 3]), -k]))[0]
    np.testing.assert_allclose(levels[1:], np.repeat(levels[:1], 2, axis=0), atol=1e-10)


def test_aluminium_is_a_metal():
    from ase.build import bulk

    state = harris_state(
        bulk("Al", a=4.05), {"size": (3, 3, 3), "gamma": True}, smearing="fermi-dirac", width=0.01
    )
    bands = band_structure(state, "GX", 11)
    assert bands.edges.metallic and bands.edges.gap == 0.0
    assert bands.edges.reference == pytest.approx(state.solution.fermi_level * HARTREE_EV)
    assert bands.energies.min() < 0.0 < bands.energies.max()


def test_a_metal_that_one_k_point_takes_for_an_insulator():
    """At Gamma alone the filling is integer; along the path the bands overlap."""
    points = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    state = two_center_state(silicon())
    levels = state.solution.eigenvalues[:, :1].repeat(2, axis=1)
    assert not band_edges(levels, points, state.solution).metallic
    crossing = levels.copy()
    crossing[0, 1, :5] = levels[0, 0, 4] + 0.1
    assert band_edges(crossing, points, state.solution).metallic


def test_edges_of_two_spins_take_both_into_account():
    state = two_center_state(silicon())
    levels = np.array([[[0.0, 0.1, 0.2, 0.3, 0.9, 1.0]], [[0.0, 0.1, 0.2, 0.4, 0.7, 1.0]]])

    class TwoSpins:
        filled_bands = np.array([4, 4])
        degeneracy = 1
        fermi_level = 0.5

    edges = band_edges(levels, np.zeros((1, 3)), TwoSpins())
    assert (edges.valence.spin, edges.conduction.spin) == (1, 1)
    assert edges.gap == pytest.approx(0.3 * HARTREE_EV)
    assert state.H.nspin == 1


def test_default_path_is_for_primitive_cells():
    assert band_path(silicon(), n_points=20).path == "GXWKGLUWLK,UX"
    with pytest.raises(ValueError, match=r"path: .*supercell of 4 atoms .*primitive cell has 2"):
        band_path(silicon((2, 1, 1)))
    assert len(band_path(silicon((2, 1, 1)), "GX", 7).kpts) == 7


def test_a_short_segment_of_a_coarse_path_is_not_a_jump():
    path = band_path(silicon(), "GXWKGLUWLK,UX", 20)
    x, ticks, labels = path.get_linear_kpoint_axis()
    assert labels == list("GXWKGLUWLKUX")
    steps = np.diff(ticks)
    assert np.flatnonzero(steps < 1e-9).tolist() == [9]  # only K,U
    assert len(x) == len(path.kpts)
    ends = [path.special_points[name] for name in "GXWK"]
    for end in ends:
        assert np.abs(path.kpts - end).sum(axis=1).min() < 1e-12


def test_paths_in_words():
    for wrong in ("GQ", "G", "", "G,X", "gx", "G;X"):
        with pytest.raises(ValueError, match=r"two of the points G, K, L, U, W, X"):
            band_path(silicon(), wrong)
    with pytest.raises(ValueError, match="n_points"):
        band_path(silicon(), "GX", 1)
    own = band_path(silicon(), "GQ", 3, {"Q": [0.5, 0.0, 0.0]})
    np.testing.assert_allclose(own.kpts[-1], [0.5, 0.0, 0.0])


@pytest.mark.parametrize("smearing", [None, 0.1])
def test_gap_of_gaas_with_and_without_smearing(smearing):
    """0.055 eV: the levels do not depend on how they are filled, here with twice the gap as width."""
    atoms = bulk("GaAs", "zincblende", 5.75)
    atoms.calc = mlh.DFTCalculator("gth-pbe", cutoff_ry=200.0, kpts=(4, 4, 4), smearing_ev=smearing)
    atoms.get_potential_energy()
    state = ElectronicState.from_calculator(atoms.calc)
    edges = band_edges(state.solution.eigenvalues, state.kpts.points, state.solution)
    assert state.solution.gap * HARTREE_EV == pytest.approx(0.055, abs=0.01)
    assert edges.gap == pytest.approx(state.solution.gap * HARTREE_EV) and not edges.metallic


def test_smeared_aluminium_is_a_metal():
    atoms = bulk("Al", "fcc", 4.05)
    atoms.calc = mlh.DFTCalculator(cutoff_ry=80.0, kpts=(8, 8, 8), smearing_ev=0.1)
    atoms.get_potential_energy()
    solution = atoms.calc.result.solution
    assert solution.metallic and solution.gap == 0.0


def test_mlh_scf_says_metal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_structure("al.xyz", bulk("Al", "fcc", 4.05))
    options = ["scf", "al.xyz", "--cutoff", "80", "--kpts", "4", "4", "4", "--smearing", "0.1"]
    assert re.search(r"gap +none: a metal", CliRunner().invoke(app, options).stdout)
    report = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert report["gap_ev"] == 0.0 and report["metallic"]
