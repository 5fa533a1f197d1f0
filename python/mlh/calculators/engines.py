"""Which engine gives energies and forces: the embedded DFT, or a model. Built from plain settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mlh.basis.species import Basis
from mlh.calculators import DFTCalculator, HamiltonianModel, MLHCalculator
from mlh.calculators.mlh import ForcesKind
from mlh.dft.theory import Theory
from mlh.matrix.kpoints import KPointsSpec, kpoints_record
from mlh.model.card import model_digest
from mlh.solver import Dense, Solver, as_solver

KPoints = tuple[int, int, int] | Mapping[str, Any] | None
"""(n1, n2, n3), {"size": (n1, n2, n3), "gamma": False}, {"spacing": 0.2}, or None: Gamma, or the model's."""


@dataclass(frozen=True)
class DFTEngine:
    """The embedded DFT engine at a level of theory."""

    theory: Theory = field(default_factory=Theory)
    solver: Solver = field(default_factory=Dense)

    @property
    def kind(self) -> str:
        """Short name for titles."""
        return "DFT"

    def calculator(self, **options: Any) -> DFTCalculator:
        """A fresh calculator; `options` (total_moment, on_scf_step, ...) are passed on."""
        return DFTCalculator(theory=self.theory, **{"solver": self.solver} | options)

    def describe(self) -> dict[str, Any]:
        """Plain values for summaries and for refusing to resume with other settings."""
        return {"kind": "dft", **self.theory.describe(), **self.solver.describe()}

    def charged(self, charge: float) -> DFTEngine:
        """The same with a charged cell (e), over a uniform background."""
        return replace(self, theory=replace(self.theory, charge=float(charge)))

    def subset(self, elements: Sequence[str]) -> Basis:
        """The basis of some elements only."""
        return self.theory.loaded_basis().subset(elements)


@dataclass(frozen=True)
class ModelEngine:
    """A model (file, name of a shipped one, or object) and how many self-consistency steps refine it.

    kpts, cutoff_ry, smearing_ev: where they differ from those of the model's labels; smearing_ev=0.0: integer
    occupations. forces: "exact" (where there is no refinement) or "plain"; kappa: see `MLHCalculator`.
    """

    model: str | HamiltonianModel
    refine: int = 0
    kpts: KPoints = None
    solver: Solver = field(default_factory=Dense)
    cutoff_ry: float | None = None
    smearing_ev: float | None = None
    forces: ForcesKind = "exact"
    kappa: float | None = None
    charge: float = 0.0

    @property
    def kind(self) -> str:
        """Short name for titles."""
        return "MLH"

    def calculator(self) -> MLHCalculator:
        """A fresh calculator with the model loaded."""
        return MLHCalculator(
            self.model,
            refine=self.refine,
            kpts=self.kpts,
            cutoff_ry=self.cutoff_ry,
            smearing_ev=self.smearing_ev,
            solver=self.solver,
            forces=self.forces,
            kappa=self.kappa,
            charge=self.charge,
        )

    def charged(self, charge: float) -> ModelEngine:
        """The same with a charged cell (e); ValueError where the model has learned neutral cells only."""
        if not charge:
            return self if not self.charge else replace(self, charge=0.0)
        if not self._knows_charge:
            raise ValueError(
                f"charge: expected 0 with a model, which knows neutral cells only, got {charge:+g}; "
                "relax charged cells by DFT"
            )
        return replace(self, charge=float(charge))

    @cached_property
    def _knows_charge(self) -> bool:
        return bool(getattr(self.calculator().model, "charged", False))

    @cached_property
    def _own_kpts(self) -> KPointsSpec:
        """The k points of the model's labels."""
        return self.calculator().theory.kpts

    def describe(self) -> dict[str, Any]:
        """Plain values; the model by the digest of its content, the name is for people."""
        name = str(self.model)
        digest = {"digest": model_digest(name)} if isinstance(self.model, str) else {}
        exact = self.forces == "exact" and self.refine == 0
        own = {
            "cutoff_ry": self.cutoff_ry,
            "smearing_ev": self.smearing_ev,
            "kappa": self.kappa,
            "charge": self.charge or None,
            "forces": "exact" if exact else None,  # files of before knew plain ones only, and do not say so
        }
        return {
            "kind": "model",
            "model": name,
            **digest,
            "refine": self.refine,
            "kpts": kpoints_record(self._own_kpts if self.kpts is None else self.kpts),
            **{key: value for key, value in own.items() if value is not None},
            **self.solver.describe(),
        }


Engine = DFTEngine | ModelEngine


def choose_engine(
    model: str | None,
    dft: bool,
    *,
    refine: int = 0,
    theory: Theory | None = None,
    kpts: KPoints = None,
    cutoff_ry: float | None = None,
    smearing_ev: float | None = None,
    solver: Solver | str = "dense",
    forces: ForcesKind = "exact",
    kappa: float | None = None,
) -> Engine:
    """The engine of a command line: exactly one of a model and DFT.

    theory: of DFT. kpts, cutoff_ry, smearing_ev: of a model, where they differ from its own. forces, kappa:
    of a model.
    """
    if (model is None) == (not dft):
        raise ValueError("engine: expected exactly one of a model and DFT")
    chosen = as_solver(solver)
    if model is not None:
        return ModelEngine(model, refine, kpts, chosen, cutoff_ry, smearing_ev, forces, kappa)
    if refine:
        raise ValueError("refine: expected together with a model; DFT is self-consistent already")
    return DFTEngine(theory or Theory(), chosen)


def dft_engine_of(engine: Engine) -> DFTEngine:
    """The DFT engine at the level of theory of a model: basis, grid cutoff, functional, integration."""
    if isinstance(engine, DFTEngine):
        return engine
    theory = replace(engine.calculator().theory, spin=None)
    return DFTEngine(theory, engine.solver)
