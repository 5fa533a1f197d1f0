"""The options that every command about electrons has beside engine and theory, and its state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console

from mlh.commands.theory_options import EngineOptions, SolverOptions, TheoryOptions, engine_of
from mlh.common.terminal import say

if TYPE_CHECKING:
    from ase import Atoms

    from mlh.analysis.state import ElectronicState, HasDensity, OccupiedState
    from mlh.calculators.electronic import Check
    from mlh.calculators.engines import Engine
    from mlh.scf.loop import SCFStep

Made = TypeVar("Made", bound="OccupiedState | ElectronicState")
Format = Annotated[Literal["cube", "xsf", "none"], typer.Option(help="Of the volumetric files.")]
Structure = Annotated[
    str,
    typer.Argument(help="A file, a crystal such as alpha-quartz:2x2x1, or a matrix file of mlh scf (.h5)."),
]
Out = Annotated[Path | None, typer.Option(help="Files are PREFIX.json, ...; default: after the structure.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def state_of(
    console: Console,
    structure: str,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: int | None = None,
    check: Check | None = None,
) -> ElectronicState:
    """The state of a structure by the engine that the options name, with progress on the console.

    check: of what depends on the structure, before the work.
    """
    from mlh.calculators.electronic import electronic_state

    return _made(electronic_state, console, structure, engine, theory, solver, index, check)


def density_of(
    console: Console,
    structure: str,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: int | None = None,
    check: Check | None = None,
) -> HasDensity:
    """As `state_of`, of which only the density matrix is wanted: any solver will do."""
    from mlh.calculators.electronic import occupied_state

    return _made(occupied_state, console, structure, engine, theory, solver, index, check)


def _made(
    make: Callable[..., Made],
    console: Console,
    structure: str,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: int | None,
    check: Check | None,
) -> Made | ElectronicState:
    """By `make` (atoms, engine), or of a matrix file."""
    if structure.endswith(".h5"):
        return _of_file(structure, engine, theory, solver, index, check)
    atoms, chosen = _chosen(structure, engine, theory, solver, index)
    state = make(atoms, chosen, on_scf_step=_shown(console), check=check)
    _say_residual(console, engine, state.residual)
    return state


def _of_file(
    structure: str,
    engine: EngineOptions,
    theory: TheoryOptions,
    solver: SolverOptions,
    index: int | None,
    check: Check | None,
) -> ElectronicState:
    """The state in a matrix file, which leaves nothing to choose."""
    from mlh.calculators.electronic import state_of_file

    if index is not None:
        raise ValueError(f"index: expected none with a matrix file, got {index}")
    if engine.model is not None or engine.dft:
        raise ValueError("structure: expected no --model and no --dft with a matrix file, which holds H")
    if solver != SolverOptions():
        raise ValueError(f"--method: expected none with a matrix file, got {solver.method}")
    return state_of_file(structure, theory.given, check)


def _chosen(
    structure: str, engine: EngineOptions, theory: TheoryOptions, solver: SolverOptions, index: int | None
) -> tuple[Atoms, Engine]:
    from mlh.structures import load_structure

    atoms = load_structure(structure, index)
    return atoms, engine_of(engine, theory, atoms, solver)


def _shown(console: Console) -> Callable[[SCFStep], None]:
    """A line for every step of the self-consistency."""
    from mlh.common.units import HARTREE_EV

    def show(step: SCFStep) -> None:
        say(
            console,
            f"{step.step:3d}  E {step.energy * HARTREE_EV:18.7f} eV  "
            f"residual {step.residual * HARTREE_EV:9.2e} eV  {step.seconds:6.2f} s",
        )

    return show


def _say_residual(console: Console, engine: EngineOptions, residual: float | None) -> None:
    """How far the prediction of a model is from self-consistency."""
    from mlh.common.units import HARTREE_EV

    if engine.model is not None and residual is not None:
        say(console, f"{engine.model}: residual max |H[D] - H| {residual * HARTREE_EV:.2e} eV")


def atoms_of(structure: str) -> Atoms:
    """The atoms of a structure or of a matrix file, without a state."""
    from mlh.io import read_atoms
    from mlh.structures import load_structure

    return read_atoms(structure) if structure.endswith(".h5") else load_structure(structure)


def check_window(window: tuple[float, float]) -> None:
    """Refuse energies that do not increase."""
    if not window[0] < window[1]:
        raise typer.BadParameter(
            f"expected two increasing energies in eV, got {window[0]:g} {window[1]:g}", param_hint="--window"
        )


def beside(prefix: Path, ending: str) -> Path:
    """PREFIX + ending; a dot in the prefix is kept."""
    return prefix.with_name(prefix.name + ending)
