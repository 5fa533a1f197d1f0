"""Memory and time before a run: what is counted, what is refused, what `mlh info --estimate` says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase.geometry import get_distances
from typer.testing import CliRunner

from mlh.calculators import estimate as module
from mlh.calculators.engines import DFTEngine, ModelEngine
from mlh.calculators.estimate import estimate, gflop_rate, machine_memory, of_counts
from mlh.commands import memory
from mlh.commands.cli import app
from mlh.commands.memory import require_memory
from mlh.common.units import BOHR_ANGSTROM
from mlh.dft.theory import Theory
from mlh.solver import Localized
from mlh.structures import crystal, load_structure

GTH = DFTEngine(Theory("gth-pbe"))


def test_orbitals_that_reach_a_point() -> None:
    """Against counting them at random points of a cell that holds every sphere once."""
    atoms = load_structure("asio2_96_a")
    found = estimate(atoms, GTH)
    species = GTH.theory.loaded_basis()
    points = np.random.default_rng(1).random((400, 3)) @ atoms.cell.array
    _, distances = get_distances(points, atoms.positions, atoms.cell, atoms.pbc)
    reach = np.zeros(len(points))
    for k, symbol in enumerate(atoms.symbols):
        for orbital in species[symbol].orbitals:
            reach += (2 * orbital.l + 1) * (distances[:, k] < orbital.cutoff * BOHR_ANGSTROM)
    assert found.counts.reach == pytest.approx(reach.mean(), rel=0.05)
    assert found.counts.orbitals == 13 * 96 and found.counts.kpoints == 1


def test_it_grows_as_what_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "gflop_rate", lambda: module.RATE)
    one = estimate(load_structure("asio2_96_a"), GTH)
    assert 0.5e9 < one.memory < 1.0e9 and 14.0 < one.seconds < 30.0  # measured: 0.74 GB, 19 s
    many = replace(
        one.counts,
        **{name: 100 * getattr(one.counts, name) for name in ("atoms", "orbitals", "elements", "points")},
    )
    dense, lean = of_counts(many, DFTEngine()), of_counts(many, DFTEngine(solver=Localized()))
    assert dense.memory > 10.0 * lean.memory > 300.0 * one.memory  # squared, and linear
    assert dense.seconds > 1e5 * one.seconds
    exact, plain = ModelEngine("sio2-vo"), ModelEngine("sio2-vo", forces="plain")
    assert of_counts(one.counts, exact).memory > 2.0 * of_counts(one.counts, plain).memory
    spins, points = replace(one.counts, spins=2), replace(one.counts, kpoints=4)
    assert of_counts(spins, DFTEngine()).memory > one.memory < of_counts(points, DFTEngine()).memory


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms, engine = crystal("alpha-quartz"), DFTEngine(Theory("gth-pbe", cutoff_ry=60.0))
    require_memory(atoms, engine)
    needed = estimate(atoms, engine).memory
    monkeypatch.setattr(memory, "machine_memory", lambda: 1.5 * needed)
    require_memory(atoms, engine)
    with pytest.raises(ValueError, match=r"memory: 2 processes of 9 atoms, 117 orbitals.*--beyond-memory"):
        require_memory(atoms, engine, processes=2)
    require_memory(atoms, engine, beyond=True, processes=2)
    monkeypatch.setattr(memory, "machine_memory", lambda: None)
    require_memory(atoms, engine, processes=2)


def test_a_solver_that_fits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = estimate(crystal("alpha-quartz"), DFTEngine())
    large = replace(found, counts=replace(found.counts, orbitals=100_000), memory=4e11)
    monkeypatch.setattr(memory, "estimate", lambda atoms, engine: large)
    monkeypatch.setattr(memory, "machine_memory", lambda: 3e10)
    with pytest.raises(ValueError, match="about 400 GB, this machine has 30; --method localized, for insul"):
        require_memory(crystal("alpha-quartz"), DFTEngine())


def test_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*words: str) -> Any:
        return CliRunner().invoke(app, [*words])

    done = run("info", "--estimate", "alpha-quartz", "--model", "sio2-vo", "--json")
    rows = json.loads(done.output)["calculations"]
    assert [(row["engine"], row["solver"]) for row in rows] == [
        *(("model sio2-vo", "dense"), ("model sio2-vo", "localized")),
        *(("DFT", "dense"), ("DFT", "localized")),
    ]
    assert all(row["fits"] and row["processor_seconds"] > 0.0 for row in rows)
    told = run("info", "--estimate", "alpha-quartz", "--kpts", "2", "2", "2")
    assert "k points: " in told.output and "localized" not in told.output
    assert run("info", "--estimate").exit_code != 0
    assert run("info", "alpha-quartz", "--kpts", "2", "2", "2").exit_code != 0
    monkeypatch.setattr(memory, "machine_memory", lambda: 1e8)
    model = ("--model", "sio2-vo")
    for words in (
        ("relax", "alpha-quartz", "--dft", "--out", "none"),
        ("scf", "alpha-quartz"),
        ("compare", "alpha-quartz", *model),
        ("accuracy", "alpha-quartz", *model, "--out", "none"),
        ("demo", "--host", "alpha-quartz", "--out", "none"),
        ("dos", "alpha-quartz", *model),
    ):
        refused = run(*words)
        assert refused.exit_code != 0 and "--beyond-memory" in str(refused.exception), words


def test_the_machine_is_known() -> None:
    there = machine_memory()
    assert there is None or there > 1e8
    assert 0.5 < gflop_rate() < 2000.0
