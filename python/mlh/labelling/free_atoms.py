"""Free atoms at the level of theory of a data set: the energies that force fields count from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import ase
from ase.data import atomic_numbers, ground_state_magnetic_moments

from mlh.calculators import DFTCalculator
from mlh.labelling.labels import EngineSettings
from mlh.matrix.kpoints import recorded_kpoints


def settings_of(record: Mapping[str, Any]) -> EngineSettings:
    """The level of theory of a data set from its settings; ValueError where they are not those of a build."""
    if "basis" not in record or "cutoff_ry" not in record:
        raise ValueError(
            "settings: expected the level of theory of a built data set, with basis and cutoff_ry, got "
            f"{', '.join(sorted(record))}"
        )
    known = {field.name for field in fields(EngineSettings)}
    given = {key: value for key, value in record.items() if key in known}
    return EngineSettings(**{**given, "kpts": recorded_kpoints(record.get("kpts"))})


def free_atom_energies(settings: EngineSettings, elements: Sequence[str]) -> dict[str, float]:
    """Energy (eV) of every free atom with the moment of its ground state, in a box of its own.

    RuntimeError where one does not converge.
    """
    theory = replace(settings.theory, kpts=(1, 1, 1), charge=0.0, spin=True)
    found = {}
    for element in elements:
        moment = float(ground_state_magnetic_moments[atomic_numbers[element]])
        atom = ase.Atoms(element, [[0.0, 0.0, 0.0]])
        calculator = DFTCalculator(theory=replace(theory, total_moment=moment), max_scf_steps=200)
        found[element] = float(calculator.get_property("free_energy", atom))
    return found
