"""The preconditioned LBFGS: reaches the minimum, in fewer steps than ASE's LBFGS where it should."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import LBFGS

from mlh.relaxation.optimizer import PreconditionedLBFGS


def rattled_chain() -> Atoms:
    """A long thin crystal: soft waves along it, stiff bonds across."""
    atoms = bulk("Cu", cubic=True).repeat((8, 1, 1))
    atoms.rattle(0.1, seed=3)
    atoms.positions[:, 1] += 0.4 * np.sin(2 * np.pi * atoms.get_scaled_positions()[:, 0])
    atoms.calc = EMT()
    return atoms


def test_same_minimum_as_lbfgs_in_fewer_steps() -> None:
    plain, fast = rattled_chain(), rattled_chain()
    a = LBFGS(plain, logfile=None)
    b = PreconditionedLBFGS(fast)
    assert a.run(fmax=0.005, steps=300) and b.run(fmax=0.005, steps=300)
    assert fast.get_potential_energy() == pytest.approx(plain.get_potential_energy(), abs=1e-4)
    assert b.nsteps < 0.8 * a.nsteps


def test_fixed_atoms_stay_and_steps_are_bounded() -> None:
    atoms = rattled_chain()
    atoms.set_constraint(FixAtoms([0, 5]))
    start = atoms.get_positions()
    optimizer = PreconditionedLBFGS(atoms, maxstep=0.05)
    before = start
    for _ in optimizer.irun(fmax=0.01, steps=60):
        now = atoms.get_positions()
        assert np.linalg.norm(now - before, axis=1).max() <= 0.05 + 1e-9
        before = now
    assert np.array_equal(before[[0, 5]], start[[0, 5]])
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.01
