"""The electronic state of a structure by any engine, or from a matrix file: where `mlh bands`, `dos`,
`charges`, `density` and `orbitals` start."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms

from mlh.analysis.state import ElectronicState, OccupiedState
from mlh.calculators import DFTCalculator, MLHCalculator
from mlh.calculators.engines import DFTEngine, Engine
from mlh.dft.system import System
from mlh.dft.theory import Theory
from mlh.dft.theory_record import theory_of_record
from mlh.io import read_atoms, read_basis_name, read_matrices, read_theory
from mlh.matrix.block_matrix import BlockMatrix
from mlh.scf.loop import SCFStep
from mlh.solver import Dense, Localized, LocalizedState

_SAME_PLACE = 2e-8
"""Angstrom."""

Check = Callable[[System, Atoms], Any]
"""Raises for what cannot be made of a system with these (periodic) atoms."""


def electronic_state(
    atoms: Atoms,
    engine: Engine,
    *,
    on_scf_step: Callable[[SCFStep], Any] | None = None,
    check: Check | None = None,
) -> ElectronicState:
    """Self-consistent state by DFT, or the state of a predicted Hamiltonian (with its `refine` steps).

    check: called before the work.
    """
    if not isinstance(engine.solver, Dense):
        raise ValueError(
            f"solver: levels, bands and states need eigenstates, which {engine.solver.name!r} does not have; "
            "expected 'dense' (practical to about a thousand atoms)"
        )
    return ElectronicState.from_calculator(_calculated(atoms, engine, on_scf_step, check))


def occupied_state(
    atoms: Atoms,
    engine: Engine,
    *,
    on_scf_step: Callable[[SCFStep], Any] | None = None,
    check: Check | None = None,
) -> OccupiedState:
    """As `electronic_state`, without levels: for densities and charges, by any solver."""
    return OccupiedState.from_calculator(_calculated(atoms, engine, on_scf_step, check))


def levels_state(atoms: Atoms, engine: Engine) -> ElectronicState:
    """For levels and pictures: all states, or with the localized solver those next to the gap."""
    if isinstance(engine.solver, Localized):
        return ElectronicState.near_gap(_calculated(atoms, engine, None, None))
    return electronic_state(atoms, engine)


def held_levels(calculator: Any, atoms: Atoms) -> ElectronicState | None:
    """The same of a calculator whose last calculation was of these atoms; None: it has none."""
    if not _calculated_these(calculator, atoms):
        return None
    if isinstance(calculator.result.solution, LocalizedState):
        return ElectronicState.near_gap(calculator)
    return ElectronicState.from_calculator(calculator) if holds_state_of(calculator, atoms) else None


def _calculated(
    atoms: Atoms,
    engine: Engine,
    on_scf_step: Callable[[SCFStep], Any] | None,
    check: Check | None,
) -> DFTCalculator | MLHCalculator:
    """The calculator of an engine after a calculation of the atoms."""
    calculator = (
        engine.calculator(on_scf_step=on_scf_step) if isinstance(engine, DFTEngine) else engine.calculator()
    )
    if check is not None:
        check(*calculator.system_for(atoms))
    work = atoms.copy()
    work.calc = calculator
    work.get_potential_energy()
    return calculator


def holds_state_of(calculator: Any, atoms: Atoms) -> bool:
    """Whether the last calculation was of this geometry, by a solver that gives eigenstates."""
    return _calculated_these(calculator, atoms) and hasattr(calculator.result.solution, "coefficients")


def _calculated_these(calculator: Any, atoms: Atoms) -> bool:
    """Whether the last calculation was of this geometry."""
    known = getattr(calculator, "atoms", None)
    if known is None or getattr(calculator, "result", None) is None:
        return False
    same = len(known) == len(atoms) and bool(np.array_equal(known.numbers, atoms.numbers))
    # What a relaxation hands on has the digits of its file.
    return (
        same
        and bool(np.allclose(known.positions, atoms.positions, rtol=0.0, atol=_SAME_PLACE))
        and bool(np.allclose(known.cell.array, atoms.cell.array, rtol=0.0, atol=_SAME_PLACE))
    )


def state_at(atoms: Atoms, calculator: Any) -> ElectronicState:
    """The state of these atoms that the calculator has, else that of a calculation now."""
    if not holds_state_of(calculator, atoms):
        work = atoms.copy()
        work.calc = calculator
        work.get_potential_energy()
    return ElectronicState.from_calculator(calculator)


def state_of_file(
    path: str | os.PathLike[str],
    changes: Callable[[Atoms], Mapping[str, Any]] | None = None,
    check: Check | None = None,
) -> ElectronicState:
    """The eigenstates of the H in a matrix file (of `mlh.io`), without self-consistency.

    The level of theory, with the k points, is that of the file. changes: fields of `Theory` that are to be
    others, for the atoms of the file: a denser mesh, a width, the cutoff of the grid on which densities and
    orbitals are evaluated. A file of before does not hold its k points: it is an error not to give them.
    """
    given = dict(changes(read_atoms(path))) if changes is not None else {}
    record = read_theory(path)
    if record is None:
        if given.get("kpts") is None:
            raise ValueError(
                f"{path}: was written before matrix files held their k points; give the mesh that it was "
                "made with (kpts; one point for Gamma alone; gamma=False for an even mesh, which had no "
                "Gamma unless it was asked for)"
            )
        theory = Theory(**{"basis": read_basis_name(path), **given})
    else:
        held = {"charge": 0.0, **record}
        own = [name for name in ("xc", "spin", "charge") if given.get(name, held[name]) != held[name]]
        if own:
            raise ValueError(f"{path}: {', '.join(own)}: expected what the file has, got another")
        theory = theory_of_record(record, given)
    content = read_matrices(path, theory.loaded_basis())
    if "H" not in content.matrices:
        raise ValueError(f"{path}: expected a matrix H, got {', '.join(content.matrices)}")
    H = content.matrices["H"]
    # The initial moments, which lower the symmetry, are not in the file: the whole mesh.
    level = replace(theory, basis=content.basis, spin=H.nspin == 2, symmetry=False)
    system = System.of(content.atoms, level)
    if check is not None:
        check(system, content.atoms)
    return ElectronicState.from_hamiltonian(
        system,
        BlockMatrix(system.pattern, H.data),
        content.atoms,
        theory.occupations,
        theory.width,
        theory.total_moment,
    )
