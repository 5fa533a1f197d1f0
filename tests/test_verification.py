"""Equations of state, the measures of the verification set, and the scoreboard that is kept as it grows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from mlh.dft.theory import Theory
from mlh.report.acwf import acwf_figure, acwf_table, score_lines
from mlh.verification.acwf import codes, elements, systems
from mlh.verification.eos import EquationOfState, epsilon, fit, nu
from mlh.verification.run import (
    RESULTS,
    VOLUMES,
    Verification,
    VerificationResult,
    run_verification,
    score,
    verification_theory,
)

SILICON = EquationOfState(20.45, 0.553, 4.31, -100.0)


def test_the_fit_returns_the_curve_and_its_derivatives() -> None:
    v = np.linspace(0.94, 1.06, 7) * 20.3
    found = fit(v, SILICON(v))
    for name in ("volume", "modulus", "derivative", "energy"):
        assert getattr(found, name) == pytest.approx(getattr(SILICON, name), rel=1e-8)
    # B0 = V E'' and B1 = dB/dp by differences.
    h, V = 1e-3, SILICON.volume
    pressure = [-(SILICON(V + d + h) - SILICON(V + d - h)) / (2 * h) for d in (-0.02, 0.02)]
    modulus = [
        (V + d) * (SILICON(V + d + 0.01) - 2 * SILICON(V + d) + SILICON(V + d - 0.01)) / 0.01**2
        for d in (-0.02, 0.02)
    ]
    assert np.mean(modulus) == pytest.approx(SILICON.modulus, rel=1e-4)
    assert (modulus[1] - modulus[0]) / (pressure[1] - pressure[0]) == pytest.approx(4.31, rel=1e-3)
    with pytest.raises(ValueError, match="a minimum between the smallest and the largest volume"):
        fit(v + 5.0, SILICON(v + 5.0))
    with pytest.raises(ValueError, match="five or more"):
        fit(v[:4], SILICON(v[:4]))


def test_measures_are_those_of_the_publication() -> None:
    assert epsilon(SILICON, SILICON) == 0.0 == nu(SILICON, SILICON)
    # nu of 1 % in V0, 20 % in B0: 100 sqrt(0.01^2 + (0.2 / 20)^2), differences over the mean of both.
    other = EquationOfState(20.45 * 1.01 / 0.99 * 0.99, 0.553, 4.31)
    assert nu(other, SILICON) == pytest.approx(100 * 0.01 / 1.005)
    # Si diamond by CP2K, SIESTA and ABINIT: dV0 and dB0 in percent, epsilon and nu are published together
    # (B1 is not: that of the reference is taken).
    reference = next(s for s in systems(["Si"]) if s.name == "Si-X/Diamond").reference
    published = ((-0.593, -0.34, 0.377, 0.595), (0.473, -0.32, 0.288, 0.473), (-0.05, -0.33, 0.034, 0.053))
    for volume, modulus, expected, weighted in published:
        values = reference.volume * (1 + volume / 100), reference.modulus * (1 + modulus / 100)
        code = EquationOfState(*values, reference.derivative)
        assert epsilon(code, reference) == pytest.approx(expected, abs=0.015)
        assert nu(code, reference) == pytest.approx(weighted, abs=0.002)


def test_systems_have_the_volume_of_their_reference() -> None:
    assert len(elements()) >= 41 and set(codes()) == {"CP2K", "BigDFT", "SIESTA", "ABINIT"}
    for system in systems(["Si", "O"]):
        assert system.atoms.get_volume() == pytest.approx(system.reference.volume, rel=1e-6)
        assert system.at(0.94).get_volume() == pytest.approx(0.94 * system.reference.volume, rel=1e-6)
        assert system.at(0.94).get_scaled_positions() == pytest.approx(system.atoms.get_scaled_positions())
    assert [s.kind for s in systems(["Si"])] == ["unaries"] * 4 + ["oxides"] * 6
    assert {s.element for s in systems(["Si", "H"], ("oxides",))} == {"Si", "H"}
    with pytest.raises(ValueError, match=r"elements: expected elements of the set .* got Xx"):
        systems(["Si", "Xx"])
    with pytest.raises(ValueError, match="elements: expected one or more, got none"):
        systems([])


def test_a_crystal_is_calculated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hydrogen = [s for s in systems(["H"], ("unaries",)) if s.name in ("H-X/SC", "H-X/BCC")]
    theory = verification_theory(basis="gth-pbe", cutoff_ry=100.0, kpts={"spacing": 0.5})
    first = run_verification(hydrogen[:1], theory, tmp_path / "h")
    (result,) = first
    assert result.failure is None and result.n_atoms == 1 and len(result.energies) == len(VOLUMES)
    assert result.volumes == tuple(sorted(result.volumes))
    assert abs(result.volume_error or 99.0) < 5.0
    with pytest.raises(FileExistsError, match="resume it"):
        run_verification(hydrogen, theory, tmp_path / "h")
    with pytest.raises(ValueError, match="expected the level of theory of its results"):
        run_verification(hydrogen, Theory("gth-pbe", cutoff_ry=90.0), tmp_path / "h", resume=True)
    called = []
    work = Verification.__call__

    def counted(self: Verification, system: object, progress: object) -> VerificationResult:
        called.append(system)
        return work(self, system, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(Verification, "__call__", counted)
    again = run_verification(hydrogen, theory, tmp_path / "h", resume=True)
    assert [s.name for s in called] == ["H-X/BCC"] and again[0] == result  # type: ignore[attr-defined]
    kept = json.loads((tmp_path / "h" / RESULTS).read_text())
    assert kept["theory"] == theory.describe() and len(kept["systems"]) == 2


def test_what_the_reference_is_not_is_refused(tmp_path: Path) -> None:
    chosen = systems(["H"], ("unaries",))[:1]
    for other in (verification_theory(charge=0.5), verification_theory(xc="PW92")):
        with pytest.raises(ValueError, match="theory: expected neutral cells and PBE"):
            run_verification(chosen, other, tmp_path)


def test_a_crystal_that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, theory = systems(["H"], ("unaries",))[:1], verification_theory()
    energy = "mlh.calculators.dft.DFTCalculator.get_potential_energy"

    def broken(self: object, atoms: object, force_consistent: bool = False) -> float:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(energy, broken)
    (failed,) = run_verification(chosen, theory, tmp_path)
    assert failed.failure == "LinAlgError: not positive definite" and failed.epsilon is None

    def reference(self: object, atoms: Atoms, force_consistent: bool = False) -> float:
        return float(chosen[0].reference(atoms.get_volume()))

    monkeypatch.setattr(energy, reference)
    (again,) = run_verification(chosen, theory, tmp_path, resume=True)
    assert again.failure is None and again.epsilon == pytest.approx(0.0, abs=1e-6)
    assert run_verification(chosen, theory, tmp_path, resume=True) == (again,)


def test_a_curve_without_a_minimum_is_said_to_have_none() -> None:
    one, other = (s for s in systems(["H"], ("unaries",)) if s.name in ("H-X/SC", "H-X/BCC"))
    v = np.array(VOLUMES) * one.reference.volume
    good = VerificationResult(
        *(one.name, "H", "unaries", 1, tuple(v), tuple(one.reference(v))),
        *(one.reference, one.others, 1.0),
    )
    bad = VerificationResult(
        *(other.name, "H", "unaries", 1, tuple(v), tuple(np.arange(7.0))),
        *(other.reference, other.others, 1.0),
    )
    assert good.epsilon == pytest.approx(0.0, abs=1e-6) and bad.epsilon is None and bad.nu is None
    found = score([good, bad], "unaries")
    assert found is not None and (found.n, found.missing) == (1, 1)
    assert "1 WITHOUT an equation of state" in score_lines([found])[0]
    assert score([good, bad], "oxides") is None
    assert acwf_table([good, bad], "H").rows[1][1] == "none"
    assert len(acwf_figure([good, bad], "H").axes) == 2
