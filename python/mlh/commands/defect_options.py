"""Options that name defects: which, where, with which charges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import ase
import typer

from mlh.defects.cases import DefectCase, charged_cases
from mlh.defects.charged import ChargedSettings
from mlh.defects.conditions import parse_conditions
from mlh.defects.corrections import dielectric_tensor
from mlh.defects.references import Reference, given_reference
from mlh.structures import DefectName, PlacedDefect, choose_places, load_structure, select_sites, vacancy_at
from mlh.structures.vacancy_starts import VacancyStart


@dataclass(frozen=True)
class DefectOptions:
    """Which defects, where, with which charges."""

    panel: ClassVar[str] = "Defects"

    defect: Annotated[
        list[str] | None,
        typer.Option(
            help="V_O, Si_O, H_i, V_O+H_i; own sites: V_O@2; repeat. Default: vacancies of --species."
        ),
    ] = None
    species: Annotated[str, typer.Option(help="Element of the vacancies.")] = "O"
    sites: Annotated[
        str,
        typer.Option(help="all, inequivalent, a number drawn at random, or index:4,17 (H_i: of voids)."),
    ] = "1"
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0
    charges: Annotated[
        str,
        typer.Option(help="Charges of every defect, e: -1..2 or 0,1,2 (--dft, or a model that has them)."),
    ] = "0"
    start: Annotated[
        VacancyStart,
        typer.Option(
            help="Vacancies start as the atom left them, or puckered: one neighbour of a bridge behind the "
            "plane of its others (E' centres)."
        ),
    ] = "cut"
    ghost: Annotated[
        bool, typer.Option("--ghost", help="DFT keeps the orbitals of the removed atom, held at its place.")
    ] = False

    def cases(self, host: ase.Atoms) -> tuple[DefectCase, ...]:
        """What is to be calculated in this host."""
        selection = parse_sites(self.sites)
        if self.defect:
            placed = chosen_defects(host, self.defect, selection, self.seed)
        else:
            sites = select_sites(host, self.species, selection, self.seed)
            placed = tuple(vacancy_at(host, site) for site in sites)
        return charged_cases(placed, parse_charges(self.charges))

    def title(self) -> str:
        """What it is, in words."""
        return ", ".join(self.defect) if self.defect else f"vacancies of {self.species}"


@dataclass(frozen=True)
class ConditionOptions:
    """Where the atoms come from and go to."""

    panel: ClassVar[str] = "Reservoirs of the atoms"

    potential: Annotated[
        float | None,
        typer.Option(help="Chemical potential mu of SPECIES in eV; default: 0, oxygen-rich for O."),
    ] = None
    mu: Annotated[
        list[str] | None,
        typer.Option(help="Chemical potential of any element, eV from its reference: O=-2.1; repeat."),
    ] = None
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="Energy of an element per atom, eV, in place of a calculated one: Si=-107.1; repeat."
        ),
    ] = None

    conditions: Annotated[
        list[str] | None,
        typer.Option(
            help="O-rich, Si-rich, ...: limits of the host's stability; repeat, the first is for the table."
        ),
    ] = None
    compound: Annotated[
        list[str] | None,
        typer.Option(help="Crystal (file or name) that limits --conditions, relaxed by DFT; repeat."),
    ] = None

    def rich(self) -> tuple[str, ...]:
        """The elements of --conditions."""
        return tuple(dict.fromkeys(parse_conditions(text) for text in self.conditions or []))

    def compounds(self) -> list[ase.Atoms]:
        """The cells of --compound."""
        if self.compound and not self.conditions:
            raise ValueError(f"--compound: expected together with --conditions, got {self.compound}")
        return [load_structure(text) for text in self.compound or []]

    def given(self) -> dict[str, Reference]:
        """References that are known already."""
        pairs = _pairs("--reference", "Si=-107.1", self.reference or [])
        return {element: given_reference(element, energy) for element, energy in pairs.items()}

    def potentials(self, species: str) -> dict[str, float]:
        """mu by element, eV."""
        own = {} if self.potential is None else {species: self.potential}
        return own | _pairs("--mu", "O=-2.1", self.mu or [])


@dataclass(frozen=True)
class ChargeOptions:
    """What formation energies of charged cells need."""

    panel: ClassVar[str] = "Charged defects"

    dielectric: Annotated[
        str | None,
        typer.Option(help="Of the host, relaxed ions included: 3.9, three numbers, or nine: 4.5,4.5,4.7."),
    ] = None
    uncorrected: Annotated[
        bool, typer.Option("--uncorrected", help="Charged cells without a finite-size correction.")
    ] = False
    edge_shifts: Annotated[
        tuple[float, float],
        typer.Option(help="Shifts of valence and conduction edge, eV, as of a hybrid functional: -1.2 0.9."),
    ] = (0.0, 0.0)

    def settings(self, charged: bool) -> ChargedSettings | None:
        """None without charges; where a dielectric constant is missing too, which `check_study` refuses."""
        if self.uncorrected and self.dielectric is not None:
            raise ValueError("--dielectric, --uncorrected: expected one of them, got both")
        tensor = None if self.dielectric is None else _tensor(self.dielectric)
        if not charged or (tensor is None and not self.uncorrected):
            return None
        return ChargedSettings(tensor, self.edge_shifts)


def parse_sites(text: str, option: str = "--sites") -> str | int | list[int]:
    """ "all", "inequivalent", a number ("20") or indices ("index:4,17")."""
    if text in ("all", "inequivalent"):
        return text
    try:
        if text.startswith("index:"):
            return [int(part) for part in text.removeprefix("index:").split(",")]
        return int(text)
    except ValueError:
        raise typer.BadParameter(
            f"expected all, inequivalent, a number or index:4,17, got {text!r}", param_hint=option
        ) from None


def chosen_defects(
    host: ase.Atoms, texts: Sequence[str], selection: str | int | list[int], seed: int
) -> tuple[PlacedDefect, ...]:
    """The places of every NAME, or NAME@SITES where it has sites of its own; each place once."""
    found: dict[PlacedDefect, None] = {}
    for text in texts:
        name, _, own = text.partition("@")
        sites = parse_sites(own, "--defect") if own else selection
        found |= dict.fromkeys(choose_places(host, DefectName.parse(name), sites, seed))
    return tuple(found)


def parse_charges(text: str) -> tuple[int, ...]:
    """-1..2, or 0,1,2: whole charges, each once, in order."""
    try:
        charges: list[int] = []
        for part in text.split(","):
            first, dots, last = part.partition("..")
            charges += range(int(first), int(last) + 1) if dots else [int(first)]
            if dots and int(last) < int(first):
                raise ValueError
    except ValueError:
        raise ValueError(f"--charges: expected a form such as -1..2 or 0,1,2, got {text!r}") from None
    return tuple(sorted(set(charges)))


def _tensor(text: str) -> Any:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--dielectric: expected numbers such as 3.9 or 4.5,4.5,4.7, got {text!r}") from None
    return dielectric_tensor(values)


def _pairs(option: str, form: str, texts: Sequence[str]) -> dict[str, float]:
    """Elements and numbers of Si=-107.1."""
    found = {}
    for text in texts:
        element, _, number = text.partition("=")
        try:
            found[element] = given_reference(element, float(number)).energy
        except ValueError:
            raise ValueError(f"{option}: expected a form such as {form}, got {text!r}") from None
    return found
