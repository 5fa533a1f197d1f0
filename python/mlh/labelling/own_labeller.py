"""Labellers that users write: found by name in every worker process, their labels checked."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import ase
import numpy as np

from mlh.dft.system import System
from mlh.labelling.labels import (
    DFTLabeller,
    EngineSettings,
    Label,
    LabelFunction,
    Labeller,
    load_engine_basis,
)


@dataclass(frozen=True)
class OwnLabeller:
    """The labeller "module:name": a class (made without arguments) or an object with a method `session`.

    Only the name travels to the workers, which import it themselves: the module must be installed or in
    PYTHONPATH.
    """

    name: str

    def session(self, settings: EngineSettings) -> LabelFunction:
        """The session of the named labeller, its labels checked."""
        return _Checked(self.name, self.load().session(settings), settings)

    def load(self) -> Labeller:
        """Import it; ValueError says what is missing."""
        module, _, attribute = self.name.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"labeller: expected module:name of something in PYTHONPATH, got {self.name!r} ({error})"
            ) from error
        labeller: Labeller = found() if isinstance(found, type) else found
        if not callable(getattr(labeller, "session", None)):
            raise ValueError(f"labeller {self.name}: expected a method session(settings), got none")
        return labeller


def labeller_of(name: str) -> Labeller:
    """The labeller of a configuration: the embedded engine (""), or one of the user's own."""
    if not name:
        return DFTLabeller()
    own = OwnLabeller(name)
    own.load()  # an error now, not in every job
    return own


@dataclass(frozen=True)
class _Checked:
    name: str
    function: LabelFunction
    settings: EngineSettings

    def __call__(self, atoms: ase.Atoms) -> Label:
        label, settings = self.function(atoms), self.settings
        if not isinstance(label, Label):
            raise ValueError(
                f"labeller {self.name}: expected an mlh.labelling.labels.Label, got {type(label)}"
            )
        same = len(label.atoms) == len(atoms) and np.array_equal(label.atoms.numbers, atoms.numbers)
        if not same or not np.array_equal(label.atoms.positions, atoms.positions):
            raise ValueError(f"labeller {self.name}: atoms: expected the geometry that was asked for")
        basis = load_engine_basis(settings, atoms.get_chemical_symbols())
        pattern = System(atoms, basis, settings.cutoff_ry, settings.kpts, settings.xc).pattern
        if label.delta_h.shape != (1, pattern.nnz):
            raise ValueError(
                f"labeller {self.name}: delta_h: expected shape (1, {pattern.nnz}), that of the Pattern of "
                f"the structure in {settings.basis}, got {label.delta_h.shape}"
            )
        return label
