"""Recipes of amorphous networks: elements, potential, schedule and experimental values, as TOML."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import mlh._core as _core
from mlh.common.units import ANGSTROM, EV

Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]

_FOLDER = Path(__file__).parent.parent / "data" / "networks"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkElements(_Model):
    """Which atoms are linked: `former` with `coordination` bonds, directly or through `bridge`."""

    former: str
    coordination: Annotated[int, Field(ge=3)] = 4
    bridge: str | None = None
    density: Positive  # g/cm^3
    start: str  # crystal of `mlh.structures.CRYSTALS` that gives the first network

    @property
    def symbols(self) -> tuple[str, ...]:
        """Elements in the order of their species index."""
        return (self.former,) if self.bridge is None else (self.former, self.bridge)


class BondTerm(_Model):
    """Stretching of the bonds between two elements: eV/Angstrom^2 and Angstrom."""

    pair: tuple[str, str]
    stiffness: Positive
    length: Positive


class AngleTerm(_Model):
    """Bending of the angles end-center-end: eV (harmonic) or eV/Angstrom^2 (keating), and the cosine at
    rest."""

    atoms: tuple[str, str, str]
    stiffness: Positive
    cosine: Cosine


class RepulsionTerm(_Model):
    """1/2 stiffness (r^2 - range^2)^2 below `range` (eV/Angstrom^4, Angstrom) between atoms that are neither
    bonded nor bonded to the same atom."""

    stiffness: NotNegative = 0.0
    range: Positive


class Potential(_Model):
    """Valence potential; the forms are written out in cpp/include/mlh/glass/network_potential.hpp."""

    form: Literal["harmonic", "keating"]
    bonds: Annotated[tuple[BondTerm, ...], Field(min_length=1)]
    angles: Annotated[tuple[AngleTerm, ...], Field(min_length=1)]
    repulsion: RepulsionTerm

    def to_core(self, symbols: tuple[str, ...]) -> _core.NetworkPotential:
        """Tables over the elements in atomic units."""
        count = len(symbols)
        bond_stiffness, bond_length = np.zeros((2, count, count))
        angle_stiffness, angle_cosine = np.zeros((2, count, count, count))
        for bond in self.bonds:
            s, t = (symbols.index(element) for element in bond.pair)
            bond_stiffness[s, t] = bond_stiffness[t, s] = bond.stiffness * EV / ANGSTROM**2
            bond_length[s, t] = bond_length[t, s] = bond.length * ANGSTROM
        # Keating's bending stiffness is per length^2, that of the cosine form an energy.
        unit = EV if self.form == "harmonic" else EV / ANGSTROM**2
        for angle in self.angles:
            s, center, t = (symbols.index(element) for element in angle.atoms)
            angle_stiffness[s, center, t] = angle_stiffness[t, center, s] = angle.stiffness * unit
            angle_cosine[s, center, t] = angle_cosine[t, center, s] = angle.cosine
        return _core.NetworkPotential(
            form=self.form,
            n_species=count,
            bond_stiffness=bond_stiffness,
            bond_length=bond_length,
            angle_stiffness=angle_stiffness,
            angle_cosine=angle_cosine,
            repulsion_stiffness=np.full((count, count), self.repulsion.stiffness * EV / ANGSTROM**4),
            repulsion_range=np.full((count, count), self.repulsion.range * ANGSTROM),
        )


class Schedule(_Model):
    """Moves and temperatures (K), which fall linearly: in the melt, that ends as an equilibrated liquid, and
    in the quench."""

    melt_moves: Count = 5000
    melt_from: Positive
    melt_to: Positive
    quench_moves: Count = 13000
    quench_from: Positive = 2000.0
    quench_to: Positive = 300.0


class Rings(_Model):
    """Energies (eV) added for every ring of three and of four formers. Edge sharing is always forbidden."""

    three: NotNegative = 0.0
    four: NotNegative = 0.0


class Volume(_Model):
    """Changes of the volume: one every `interval` moves (0: fixed cell), up to `step` in ln V, at
    `pressure` (GPa)."""

    interval: Count = 0
    step: Positive = 0.02
    pressure: float = 0.0


class Relaxation(_Model):
    """How each trial network is relaxed; eV, Angstrom. `give_up_factor` (Angstrom^2/eV) is c_f of Barkema and
    Mousseau, Phys. Rev. B 62, 4985 (2000): larger is safer and slower."""

    force_tolerance: Positive = 5e-3
    final_tolerance: Positive = 1e-4
    max_steps: Annotated[int, Field(ge=1)] = 1000
    max_displacement: Positive = 0.2
    skin: Positive = 0.4
    give_up_factor: NotNegative = 100.0
    local_shells: Annotated[int, Field(ge=1)] = 5
    local_steps: Count = 10


class Experiment(_Model):
    """One measured value of "density", "bond A-B", "angle A-B-A" or "distance A-B-A" (of the ends of that
    angle); `spread` is a standard deviation."""

    quantity: str
    value: float
    spread: float | None = None
    source: str


class Recipe(_Model):
    """Everything that a run of bond switching needs to know of a material."""

    name: str
    reference: str
    network: NetworkElements
    potential: Potential
    schedule: Schedule
    rings: Rings = Rings()
    volume: Volume = Volume()
    relaxation: Relaxation = Relaxation()
    experiment: tuple[Experiment, ...] = ()

    @model_validator(mode="after")
    def _potential_covers_the_network(self) -> Recipe:
        former, bridge = self.network.former, self.network.bridge
        end = bridge or former
        wanted_bonds = {frozenset((former, end))}
        wanted_angles = {(end, former, end)} | ({(former, bridge, former)} if bridge else set())
        bonds = {frozenset(bond.pair) for bond in self.potential.bonds}
        angles = {angle.atoms for angle in self.potential.angles}
        if bonds != wanted_bonds:
            expected, got = ([sorted(pair) for pair in pairs] for pairs in (wanted_bonds, bonds))
            raise ValueError(f"potential.bonds: expected {expected}, got {got}")
        if angles != wanted_angles:
            raise ValueError(f"potential.angles: expected {sorted(wanted_angles)}, got {sorted(angles)}")
        return self


def recipes() -> dict[str, Path]:
    """Names and files of the recipes that come with the package."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def load_recipe(source: str | os.PathLike[str]) -> Recipe:
    """A shipped recipe by name ("SiO2", "Si", "GeO2") or a TOML file of the same form."""
    path = recipes().get(os.fspath(source), Path(source))
    if not path.is_file():
        raise FileNotFoundError(
            f"recipe: expected a TOML file or one of {', '.join(recipes())}, got {os.fspath(source)!r}"
        )
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ValueError(f"recipe {path}: {error}") from None
