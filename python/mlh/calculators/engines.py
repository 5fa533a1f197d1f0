"""Which engine gives energies and forces: the embedded DFT, or a model. Built from plain settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlh.basis.families import load_basis
from mlh.basis.species import Basis
from mlh.calculators import DFTCalculator, HamiltonianModel, MLHCalculator
from mlh.dft.integrations import DEFAULT_INTEGRATION
from mlh.matrix.kpoints import kpoints_record
from mlh.solver import THRESHOLD, Method, as_method

KPoints = tuple[int, int, int] | Mapping[str, Any] | None
"""(n1, n2, n3), {"size": (n1, n2, n3), "gamma": False}, {"spacing": 0.2}, or None: Gamma."""


@dataclass(frozen=True)
class DFTEngine:
    """Settings of the embedded DFT engine; `basis` is the name of an embedded set or a Basis."""

    basis: str | Basis = "gth-pbe"
    cutoff_ry: float = 200.0
    kpts: KPoints = (1, 1, 1)
    xc: str = "PBE"
    integration: str = DEFAULT_INTEGRATION
    method: Method = "dense"
    threshold: float = THRESHOLD

    @property
    def kind(self) -> str:
        """Short name for titles."""
        return "DFT"

    def calculator(self, **options: Any) -> DFTCalculator:
        """A fresh calculator; `options` (spin, total_moment, ...) are passed on."""
        solver = {"method": self.method, "threshold": self.threshold}
        return DFTCalculator(
            basis=self.basis,
            cutoff_ry=self.cutoff_ry,
            kpts=self.kpts,
            xc=self.xc,
            integration=self.integration,
            **solver | options,
        )

    def describe(self) -> dict[str, Any]:
        """Plain values for summaries and for refusing to resume with other settings."""
        basis = self.basis if isinstance(self.basis, str) else self.basis.fingerprint
        described = {
            "kind": "dft",
            "basis": basis,
            "cutoff_ry": self.cutoff_ry,
            "kpts": kpoints_record(self.kpts),
            "xc": self.xc,
        }
        if self.integration != DEFAULT_INTEGRATION:
            described["integration"] = self.integration
        return described | _solver(self.method, self.threshold)

    def subset(self, elements: Sequence[str]) -> Basis:
        """The basis of some elements only."""
        basis = load_basis(self.basis) if isinstance(self.basis, str) else self.basis
        return basis.subset(elements)


@dataclass(frozen=True)
class ModelEngine:
    """A model (file, name of a shipped one, or object) and how many self-consistency steps refine it."""

    model: str | HamiltonianModel
    refine: int = 0
    kpts: KPoints = (1, 1, 1)
    method: Method = "dense"
    threshold: float = THRESHOLD

    @property
    def kind(self) -> str:
        """Short name for titles."""
        return "MLH"

    def calculator(self) -> MLHCalculator:
        """A fresh calculator with the model loaded."""
        return MLHCalculator(
            self.model, refine=self.refine, kpts=self.kpts, method=self.method, threshold=self.threshold
        )

    def describe(self) -> dict[str, Any]:
        """Plain values; the model by its resolved path if it is a file."""
        name = str(self.model)
        return {
            "kind": "model",
            "model": str(Path(name).resolve()) if Path(name).exists() else name,
            "refine": self.refine,
            "kpts": kpoints_record(self.kpts),
            **_solver(self.method, self.threshold),
        }


def _solver(method: Method, threshold: float) -> dict[str, Any]:
    """Nothing for the dense solver, which has no settings."""
    return {} if method == "dense" else {"method": method, "threshold": threshold}


Engine = DFTEngine | ModelEngine


def choose_engine(
    model: str | None,
    dft: bool,
    *,
    refine: int = 0,
    basis: str = "gth-pbe",
    cutoff_ry: float = 200.0,
    kpts: KPoints = (1, 1, 1),
    xc: str = "PBE",
    method: str = "dense",
    threshold: float = THRESHOLD,
) -> Engine:
    """The engine of a command line: exactly one of a model and DFT."""
    if (model is None) == (not dft):
        raise ValueError("engine: expected exactly one of --model MODEL and --dft")
    solver = as_method(method)
    if model is not None:
        return ModelEngine(model, refine, kpts, solver, threshold)
    if refine:
        raise ValueError("refine: expected together with --model; DFT is self-consistent already")
    return DFTEngine(basis, cutoff_ry, kpts, xc, method=solver, threshold=threshold)


def dft_engine_of(engine: Engine) -> DFTEngine:
    """The DFT engine at the level of theory of a model: its basis, grid cutoff and functional."""
    if isinstance(engine, DFTEngine):
        return engine
    calculator = engine.calculator()
    model = calculator.model
    integration = getattr(model, "integration", None) or DEFAULT_INTEGRATION
    return DFTEngine(
        model.basis,
        calculator.cutoff_ry,
        engine.kpts,
        model.xc,
        integration,
        engine.method,
        engine.threshold,
    )
