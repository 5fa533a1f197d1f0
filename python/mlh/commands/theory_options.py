"""The options that every command of calculations shares: the level of theory, the engine, the solver.

Nothing here has a default of its own: what is not given is left to `mlh.Theory` and to the model.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from ase import Atoms

from mlh.basis.families import family_of
from mlh.calculators.engines import Engine, KPoints, choose_engine
from mlh.calculators.mlh import ForcesKind
from mlh.commands.completion import model_names
from mlh.commands.deprecated import GAMMA
from mlh.commands.memory import require_memory
from mlh.dft.terms.dispersion import DispersionName
from mlh.dft.theory import Functional, Theory
from mlh.solver import THRESHOLD, Localized, Purification, Solver, as_solver
from mlh.solver.occupations import SmearingType

KSpacing = Annotated[
    float | None,
    typer.Option(help="k mesh of this spacing (1/Angstrom, 2 pi included) instead of --kpts."),
]


@dataclass(frozen=True)
class MeshOptions:
    """The k mesh."""

    panel: ClassVar[str] = "k points"

    kpts: Annotated[
        tuple[int, int, int] | None,
        typer.Option(help="k mesh with Gamma; default: 1 1 1, or of the model or file."),
    ] = None
    kspacing: KSpacing = None
    monkhorst_pack: Annotated[
        bool,
        typer.Option("--monkhorst-pack", help="Monkhorst-Pack's mesh: without Gamma where a number is even."),
    ] = False
    gamma: Annotated[
        bool, typer.Option("--gamma", hidden=True, help="No effect: every mesh contains Gamma.")
    ] = False

    def mesh(self) -> KPoints:
        """What the options ask for; None when they are silent."""
        if self.gamma:
            GAMMA.warn()
        if self.kpts is not None and self.kspacing is not None:
            raise ValueError(f"--kpts, --kspacing: expected one of them, got {self.kpts} and {self.kspacing}")
        if self.kpts is not None and min(self.kpts) < 1:
            raise ValueError(f"--kpts: expected three positive integers, got {self.kpts}")
        if self.kspacing is not None and not self.kspacing > 0.0:
            raise ValueError(f"--kspacing: expected a positive spacing in 1/Angstrom, got {self.kspacing}")
        if self.kspacing is not None:
            spacing = {"spacing": self.kspacing}
            return {**spacing, "gamma": False} if self.monkhorst_pack else spacing
        if self.kpts is None:
            if self.monkhorst_pack:
                raise ValueError("--monkhorst-pack: expected together with --kpts or --kspacing")
            return None
        return {"size": self.kpts, "gamma": False} if self.monkhorst_pack else self.kpts


@dataclass(frozen=True)
class TheoryOptions(MeshOptions):
    """The level of theory of --dft; of a model k mesh, grid cutoff and smearing can be changed."""

    panel: ClassVar[str] = "Level of theory"

    basis: Annotated[
        str | None,
        typer.Option(
            help="Basis set of --dft: gth-nlcc-pbe (default), 'gth-nlcc-pbe precise', gth-pbe, openmx (files "
            "in MLH_OPENMX_DATA), 'files FOLDER' (pseudopotentials: UPF 2, psp8, PSML)."
        ),
    ] = None
    orbitals: Annotated[
        list[str] | None,
        typer.Option(
            help="Orbitals of an element in place of the default: Si=7.0-s2p2d1, with an OpenMX basis "
            "Si=Si7.0-s2p2d1,Si_PBE19, of files Si=precise or Si=precise,Si.upf; repeat."
        ),
    ] = None
    openmx_data: Annotated[
        Path | None,
        typer.Option(
            help="OpenMX database (folder with PAO and VPS): its basis, its integrals; with a model: where "
            "the files of its basis are."
        ),
    ] = None
    openmx_species: Annotated[
        list[str] | None,
        typer.Option(
            help="ELEMENT=ORBITALS,POTENTIAL with --openmx-data, as Si=Si7.0-s2p2d1,Si_PBE19; repeat."
        ),
    ] = None
    openmx_quirks: Annotated[
        bool, typer.Option("--openmx-quirks", help="Its k mesh and forces digit by digit (no stress).")
    ] = False
    integration: Annotated[
        str | None,
        typer.Option(help="spheres, openmx or openmx-grid-vna; default: what belongs to the basis."),
    ] = None
    cutoff: Annotated[float | None, typer.Option(help="Grid cutoff, Ry; default: 200, or the model's.")] = (
        None
    )
    xc: Annotated[Functional | None, typer.Option(help="Functional of --dft; default: PBE.")] = None
    spin: Annotated[
        bool | None,
        typer.Option(
            "--spin/--no-spin", help="Collinear spin (--dft); default: with an odd number of electrons."
        ),
    ] = None
    total_moment: Annotated[float | None, typer.Option(help="N_up - N_down held fixed (--dft).")] = None
    spin_states: Annotated[
        str | None,
        typer.Option(
            help="Moments that are compared at the first geometry, as 0,2; the lowest is kept (--dft)."
        ),
    ] = None
    dispersion: Annotated[
        DispersionName | None,
        typer.Option(help="Dispersion between the atoms (--dft); the extra dispersion of mlh."),
    ] = None
    charge: Annotated[
        float | None,
        typer.Option(
            help="Charge of the cell in e, over a uniform background (--dft, or a model that knows "
            "charges); default: 0."
        ),
    ] = None
    smearing: Annotated[
        float | None,
        typer.Option(
            help="Width of the occupations, eV; default: integer ones, or as the model's labels (0: integer)."
        ),
    ] = None
    smearing_type: Annotated[SmearingType | None, typer.Option(help="Default: fermi-dirac.")] = None

    no_symmetry: Annotated[
        bool, typer.Option("--no-symmetry", help="All k points, not only the irreducible ones.")
    ] = False

    def theory(self, atoms: Atoms) -> Theory:
        """The level of theory for these atoms; what was not given has the defaults of `Theory`."""
        return replace(Theory(), **self.given(atoms))

    def given(self, atoms: Atoms) -> dict[str, Any]:
        """The fields of `Theory` that were given."""
        fields = {"basis": self._basis(atoms), "integration": self._integration()}
        return {name: value for name, value in fields.items() if value is not None} | self.changes()

    def changes(self) -> dict[str, Any]:
        """The same without basis, and of the integration its name only: what a basis does not decide."""
        fields: dict[str, Any] = {
            "cutoff_ry": self.cutoff,
            "kpts": self.mesh(),
            "xc": self.xc,
            "spin": self.spin,
            "total_moment": self.total_moment,
            "charge": self.charge,
            "dispersion": self.dispersion,
            "spin_states": None if self.spin_states is None else _moments(self.spin_states),
            "smearing_ev": self.smearing,
            "smearing": self.smearing_type,
            "integration": None if self.openmx_quirks else self.integration,
            "symmetry": False if self.no_symmetry else None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def of_dft_only(self) -> list[str]:
        """The given options that mean nothing for a model."""
        texts = ("basis", "orbitals", "openmx_species", "integration", "xc")
        names = (*texts, "spin", "total_moment", "spin_states", "charge", "dispersion", "smearing_type")
        given = [name for name in names if getattr(self, name) not in (None, [])]
        return ["--" + name.replace("_", "-") for name in (*given, *(["openmx_quirks"] * self.openmx_quirks))]

    def _basis(self, atoms: Atoms) -> Any:
        from mlh.basis.families import load_basis

        if self.openmx_data is not None:
            from mlh.openmx import load_openmx_basis
            from mlh.openmx.family import chosen_species

            if self.basis is not None:
                raise ValueError(f"--basis: expected none beside --openmx-data, got {self.basis}")
            named = [*(self.openmx_species or []), *(self.orbitals or [])]
            return load_openmx_basis(
                self.openmx_data, chosen_species(atoms, named, self.openmx_data, self.xc or Theory.xc)
            )
        if self.openmx_species or self.openmx_quirks:
            raise ValueError("--openmx-species, --openmx-quirks: expected together with --openmx-data")
        if not self.orbitals:
            return self.basis
        named_orbitals = dict(_pair(text) for text in self.orbitals)
        elements = sorted(set(atoms.get_chemical_symbols()))
        return load_basis(self.basis or Theory.basis, named_orbitals, elements)  # type: ignore[arg-type]

    def _integration(self) -> Any:
        if not self.openmx_quirks:
            return self.integration
        from mlh.dft.integrations import as_integration
        from mlh.openmx.integration import OpenMXIntegration

        method = as_integration(self.integration or "openmx")
        if not isinstance(method, OpenMXIntegration):
            raise ValueError(f"--openmx-quirks: expected an integration of OpenMX, got {self.integration}")
        return replace(method, quirks=True)


def _moments(text: str) -> tuple[float, ...]:
    """0,2"""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--spin-states: expected moments as 0,2, got {text!r}") from None


def _pair(text: str) -> tuple[str, str]:
    """Si=7.0-s2p2d1; an OpenMX definition has a comma, which files write as a space."""
    symbol, equals, orbitals = text.partition("=")
    if not (symbol and equals and orbitals):
        raise ValueError(f"--orbitals: expected a form such as Si=7.0-s2p2d1, got {text!r}")
    return symbol, orbitals.replace(",", " ")


@dataclass(frozen=True)
class EngineOptions:
    """A model or DFT."""

    panel: ClassVar[str] = "Engine"

    model: Annotated[
        str | None, typer.Option(help="Model file or shipped name.", autocompletion=model_names)
    ] = None
    dft: Annotated[bool, typer.Option("--dft", help="Use the embedded DFT engine.")] = False
    refine: Annotated[int, typer.Option(help="Self-consistency steps after the prediction.")] = 0
    forces: Annotated[
        ForcesKind,
        typer.Option(
            help="Of a model: exact, the gradient of its energy (with --refine 0), or plain, without the "
            "response of the density matrix."
        ),
    ] = "exact"
    kappa: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Energies of a model are corrected by this share of their estimated error (exact forces, no "
            "smearing); default: the model's own, 0: not at all.",
        ),
    ] = None


@dataclass(frozen=True)
class MethodOptions:
    """How the density matrix is made."""

    panel: ClassVar[str] = "Solver"

    method: Annotated[str, typer.Option(help="dense, or for large insulators localized or purification.")] = (
        "dense"
    )
    threshold: Annotated[
        float | None,
        typer.Option(
            help=f"Truncation of --method localized (default: {Localized().threshold:g}) or purification "
            f"({THRESHOLD:g})."
        ),
    ] = None

    def solver(self) -> Solver:
        """The solver; a threshold is for those that truncate."""
        chosen = as_solver(self.method)
        if self.threshold is None:
            return chosen
        if not isinstance(chosen, Purification | Localized):
            raise ValueError(
                f"--threshold: expected together with --method localized or purification, got {self.method}"
            )
        return replace(chosen, threshold=self.threshold)


@dataclass(frozen=True)
class SolverOptions(MethodOptions):
    """The same for a run, which has to fit."""

    beyond_memory: Annotated[
        bool,
        typer.Option("--beyond-memory", help="Start also what this machine's memory will not hold."),
    ] = False


def _use_database(folder: Path, model: str) -> None:
    """The files of a model's basis are in this folder, also for the processes that this one starts."""
    from mlh.model.card import read_card
    from mlh.openmx.basis import DATA_VARIABLE

    for name in model.split(","):
        basis = read_card(name.strip()).basis.name
        if family_of(basis) is not family_of("openmx"):
            raise ValueError(f"--openmx-data: expected a model in a basis of OpenMX, {name} has {basis}")
    os.environ[DATA_VARIABLE] = str(folder)


def engine_of(
    engine: EngineOptions,
    theory: TheoryOptions,
    atoms: Atoms,
    solver: SolverOptions | None = None,
    processes: int = 1,
) -> Engine:
    """The engine that the options name, for these atoms; an option that it does not take is an error, and so
    is what so many processes have no memory for."""
    options = solver or SolverOptions()
    chosen = _engine_of(engine, theory, atoms, options)
    require_memory(atoms, chosen, options.beyond_memory, processes)
    return chosen


def _engine_of(engine: EngineOptions, theory: TheoryOptions, atoms: Atoms, solver: SolverOptions) -> Engine:
    if (engine.model is None) == (not engine.dft):
        raise ValueError("--model MODEL, --dft: expected exactly one of them")
    chosen = solver.solver()
    if engine.model is None:
        if engine.forces != "exact" or engine.kappa is not None:
            raise ValueError("--forces, --kappa: expected together with --model; those of DFT are exact")
        return choose_engine(None, True, refine=engine.refine, theory=theory.theory(atoms), solver=chosen)
    refused = [name for name in theory.of_dft_only() if name != "--charge"]
    if refused:
        raise ValueError(f"{', '.join(refused)}: expected together with --dft; a model has its own")
    if theory.openmx_data is not None:
        _use_database(theory.openmx_data, engine.model)
    chosen_engine = choose_engine(
        engine.model,
        False,
        refine=engine.refine,
        forces=engine.forces,
        kappa=engine.kappa,
        kpts=theory.mesh(),
        cutoff_ry=theory.cutoff,
        smearing_ev=theory.smearing,
        solver=chosen,
    )
    return chosen_engine.charged(theory.charge) if theory.charge else chosen_engine
