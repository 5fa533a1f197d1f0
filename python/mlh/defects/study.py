"""A whole study of defects: relaxations, the same by DFT where asked for, conditions, charged states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import ase

from mlh.calculators.engines import DFTEngine, Engine
from mlh.defects.cases import DefectCase
from mlh.defects.charged import ChargedRun, ChargedSettings, at_conditions, charged_run, describe_charged
from mlh.defects.conditions import Compound, Conditions, compound_of, limiting_potentials
from mlh.defects.electrons import keep_electrons
from mlh.defects.record import describe_run, write_defects
from mlh.defects.references import Reference
from mlh.defects.run import DefectRun, DefectSettings, check_folder, compare, run_defects, verify
from mlh.dft.theory import count_electrons
from mlh.relaxation.jobs import Announce, Ended
from mlh.solver import Dense

T = TypeVar("T")


@dataclass(frozen=True)
class StudySettings:
    """again: how many of the cases DFT repeats after a model; then_dft: all of them, from the model's minima,
    and the charged ones by DFT only. rich: elements of the conditions ("O" of O-rich), the first ones being
    those of the formation energies. charged: None where no case has a charge."""

    defects: DefectSettings
    again: int = 0
    then_dft: bool = False
    rich: tuple[str, ...] = ()
    charged: ChargedSettings | None = None


@dataclass(frozen=True)
class StudyResult:
    """What came out. checked: by DFT, after a model. charged: of the run by DFT."""

    run: DefectRun
    checked: DefectRun | None
    settings: StudySettings
    potentials: Mapping[str, float]
    conditions: tuple[Conditions, ...]
    charged: ChargedRun | None
    failed: tuple[str, ...] = ()
    """Why conditions or charged states could not be made of what was relaxed."""

    @property
    def converged(self) -> bool:
        """Everything that was relaxed, and charged states where they were asked for."""
        checked = self.checked is None or self.checked.converged
        return self.run.converged and checked and not self.failed

    @property
    def comparison(self) -> list[dict[str, Any]]:
        """The model against DFT."""
        return [] if self.checked is None else compare(self.run, self.checked)


def first_cases(cases: Sequence[DefectCase], settings: StudySettings) -> tuple[DefectCase, ...]:
    """What the first engine relaxes: everything, or before DFT the neutral cells."""
    if not settings.then_dft:
        return tuple(cases)
    return tuple(dict.fromkeys(DefectCase(case.defect) for case in cases))


def check_study(
    host: ase.Atoms, cases: Sequence[DefectCase], engine: Engine, folder: Path, settings: StudySettings
) -> None:
    """Before the work: an error for what cannot be."""
    charges = sorted({case.charge for case in cases if case.charge})
    if isinstance(engine, DFTEngine) and engine.theory.charge:
        raise ValueError(
            f"charge: expected a neutral host, got {engine.theory.charge:+g}; the charges of its defects are "
            "given with them"
        )
    if charges and isinstance(engine, DFTEngine) and engine.theory.total_moment is not None:
        raise ValueError(
            f"total_moment: expected none beside several charges, got {engine.theory.total_moment:g}"
        )
    if settings.then_dft and isinstance(engine, DFTEngine):
        raise ValueError("then_dft: expected together with a model; with DFT everything is DFT")
    if settings.defects.ghost and not (isinstance(engine, DFTEngine) or settings.then_dft or settings.again):
        raise ValueError("ghost: expected DFT, whose orbitals they are; a model has no ghosts")
    if charges and not settings.then_dft:
        engine.charged(charges[0])
    if charges and settings.charged is None:
        raise ValueError(
            "dielectric: expected the dielectric constant of the host (3.9, or the tensor) with charged "
            "defects, whose energies depend on it; or ask for uncorrected ones"
        )
    if charges and not isinstance(engine.solver, Dense):
        raise ValueError(
            f"solver: charged defects need the levels of their host, which {engine.solver.name!r} does not "
            "have; expected 'dense'"
        )
    _check_cells(host, cases, engine)
    for element in settings.rich:
        if element not in host.get_chemical_symbols():
            raise ValueError(
                f"conditions: expected an element of {host.get_chemical_formula()}, got {element!r}"
            )
    check_folder(host, first_cases(cases, settings), folder, settings.defects)
    if settings.then_dft or settings.again:
        again = cases if settings.then_dft else cases[: settings.again]
        check_folder(host, again, folder / "dft", settings.defects)


def _check_cells(host: ase.Atoms, cases: Sequence[DefectCase], engine: Engine) -> None:
    """Elements that the engine does not have, and charges beyond the electrons of a cell."""
    symbols = Counter(host.get_chemical_symbols())
    every = {symbol for case in cases for symbol in case.defect.name.elements} | set(symbols)
    engine.calculator().check_elements(ase.Atoms(sorted(every)))
    if not isinstance(engine, DFTEngine):
        return
    basis = engine.theory.loaded_basis()
    for case in cases:
        cell = symbols.copy()
        for member in case.defect.name.members:
            cell.update([member.added] if member.added is not None else [])
            cell.subtract([member.site] if member.site is not None else [])
        count_electrons(basis, sorted(cell.elements()), case.charge)


def run_study(
    host: ase.Atoms,
    cases: Sequence[DefectCase],
    engine: Engine,
    dft: DFTEngine,
    references: Mapping[str, Reference],
    compounds: Sequence[Compound],
    folder: Path,
    settings: StudySettings,
    announce: Announce,
    ended: Ended | None = None,
    ended_dft: Ended | None = None,
) -> StudyResult:
    """Everything that the settings ask for; `dft` at the level of theory of `engine`. ended, ended_dft: of
    the relaxations by either."""
    keep = keep_electrons if settings.charged is not None else None
    of_dft = replace(settings.defects, keep=keep)
    first = first_cases(cases, settings)
    own = settings.defects if settings.then_dft else of_dft
    run = run_defects(host, first, engine, references, folder, own, announce, ended)
    checked, again = None, cases if settings.then_dft else cases[: settings.again]
    if again:
        start = replace(of_dft, verify_start="relaxed") if settings.then_dft else of_dft
        checked = verify(run, again, dft, references, folder / "dft", start, announce, ended_dft)
    main = checked if checked is not None and settings.then_dft else run
    conditions, no_conditions = _kept(_conditions, main, references, compounds, settings)
    old = settings.defects.potentials
    potentials = conditions[0].potentials if conditions else old
    run = at_conditions(run, old, potentials)
    checked = None if checked is None else at_conditions(checked, old, potentials)
    main = checked if checked is not None and settings.then_dft else run
    charged, no_charged = _kept(_charged, main, settings)
    failed = tuple(text for text in (no_conditions, no_charged) if text is not None)
    return StudyResult(run, checked, settings, potentials, conditions or (), charged, failed)


def write_study(
    result: StudyResult, engine: Engine, dft: DFTEngine, references: Mapping[str, Reference], folder: Path
) -> Path:
    """defects.json of a study; returns its path."""
    checked, charged = result.checked, result.charged
    more: dict[str, Any] = {}
    if result.conditions:
        more["conditions"] = [
            {"name": c.name, "chemical_potentials": dict(c.potentials)} for c in result.conditions
        ]
    if result.failed:
        more["failed"] = list(result.failed)
    if charged is not None:
        more["charged"] = describe_charged(charged, result.conditions, result.potentials, folder)
    return write_defects(
        folder,
        describe_run(result.run, engine),
        references,
        result.potentials,
        None if checked is None else describe_run(checked, dft),
        result.comparison,
        **more,
    )


def _kept(make: Callable[..., T], *given: Any) -> tuple[T | None, str | None]:
    """The value, or why there is none: what hours have relaxed is not thrown away where the host has no gap
    or is not stable."""
    try:
        return make(*given), None
    except ValueError as error:
        return None, str(error)


def _charged(run: DefectRun, settings: StudySettings) -> ChargedRun | None:
    return None if settings.charged is None else charged_run(run, settings.charged)


def _conditions(
    run: DefectRun,
    references: Mapping[str, Reference],
    compounds: Sequence[Compound],
    settings: StudySettings,
) -> tuple[Conditions, ...]:
    if not settings.rich:
        return ()
    elements = {name: reference.energy for name, reference in references.items()}
    host = compound_of(run.host.atoms, run.host.energy, elements)
    found = [limiting_potentials(rich, host, compounds, sorted(elements)) for rich in settings.rich]
    # What is given by hand holds under all of them.
    given = settings.defects.potentials
    return tuple(Conditions(c.name, {**c.potentials, **given}) for c in found)
