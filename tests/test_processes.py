"""Used calculators in copies, pickles and processes; fork after the threads of the core have run."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

import mlh
import mlh.structures
from mlh.common import fork

SCRIPT = Path(__file__)


def water(shift: float = 0.0) -> Atoms:
    atoms = molecule("H2O", cell=[6.0] * 3, pbc=True)
    atoms.center()
    atoms.positions[0, 0] += shift
    return atoms


def energy(atoms: Atoms) -> float:
    """A calculator of its own where there is none; top level, for pools."""
    if atoms.calc is None:
        atoms.calc = mlh.DFTCalculator(cutoff_ry=60.0)
    return float(atoms.get_potential_energy())


def calculators() -> list[object]:
    return [mlh.DFTCalculator(cutoff_ry=60.0), mlh.MLHCalculator("sio2-vo", cutoff_ry=60.0)]


@pytest.mark.parametrize("number", [0, 1])
def test_a_used_calculator_is_copied_and_pickled(number: int) -> None:
    atoms = water() if number == 0 else mlh.structures.crystal("alpha-quartz")
    atoms.calc = calculators()[number]
    reference, forces = atoms.get_potential_energy(), atoms.get_forces()
    for other in (copy.deepcopy(atoms), pickle.loads(pickle.dumps(atoms))):
        assert other.calc is not atoms.calc and other.calc.results["energy"] == reference
        assert other.calc.theory == atoms.calc.theory
        assert other.get_potential_energy() == reference
        np.testing.assert_array_equal(other.get_forces(), forces)
        with pytest.raises(Exception, match="a copy has the results, but not their state"):
            _ = other.calc.system
        other.positions[0, 0] += 0.05
        assert other.get_potential_energy() != reference
    moved = atoms.copy()
    moved.positions[0, 0] += 0.05
    moved.calc = calculators()[number]
    assert other.get_potential_energy() == pytest.approx(moved.get_potential_energy(), abs=1e-5)


def test_what_a_copy_lacks_is_calculated() -> None:
    atoms = water()
    atoms.calc = mlh.DFTCalculator(cutoff_ry=60.0)
    atoms.get_potential_energy()
    other = pickle.loads(pickle.dumps(atoms))
    np.testing.assert_allclose(other.get_forces(), atoms.get_forces(), atol=1e-4)


def test_fork_after_threads() -> None:
    """In an interpreter of its own, stopped if it hangs: DFT, and a model (PyTorch has its own threads)."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["same", "same"]


def test_a_runtime_that_cannot_pause_leaves_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlh import _core

    before = _core.get_num_threads()
    try:
        _core.set_num_threads(2)
        monkeypatch.setattr(fork, "_left", [])
        fork._one_thread_where_left()
        assert _core.get_num_threads() == 2
        fork._left.append("libgomp.so")
        fork._one_thread_where_left()
        assert _core.get_num_threads() == 1
    finally:
        _core.set_num_threads(before)


def _main() -> None:
    """Two threads in the parent, then a pool of forked children, twice."""
    import multiprocessing

    import torch

    from mlh import _core

    _core.set_num_threads(2)
    torch.set_num_threads(2)
    quartz = mlh.structures.crystal("alpha-quartz")
    quartz.calc = mlh.MLHCalculator("sio2-vo", cutoff_ry=60.0)
    energy(quartz)
    for make in (lambda x: water(x), lambda x: _moved(quartz, x)):
        reference = [energy(make(x)) for x in (0.0, 0.05)]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map_async(energy, [make(x) for x in (0.0, 0.05)]).get(timeout=50)
        assert np.allclose(found, reference, rtol=0.0, atol=1e-9), (found, reference)
        print("same")


def _moved(atoms: Atoms, shift: float) -> Atoms:
    other = copy.deepcopy(atoms)
    other.positions[0, 0] += shift
    return other


if __name__ == "__main__":
    _main()
