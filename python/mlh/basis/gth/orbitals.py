"""Numerical atomic orbitals and neutral-atom functions from the confined pseudo-atom.

First functions: the occupied eigenstates of the self-consistent spherical atom in the wall. Further
ones (second zeta, polarisation): sum_k w_k chi(z_k), where chi(z) is the normalised node-free state of

    -1/2 Laplacian - z erf(r / (sqrt2 a)) / r + V_c(r)

with effective charges z and weights w from ``elements.toml``; softening by a = r_loc leaves no cusp. They are
made orthogonal to the earlier functions of the same l, normalised, and given the sign that makes their
outer tail positive. Every function vanishes like (r_c - r)^4.

    n_I = sum_shells occ R^2 / (4 pi),     V_na = V_loc + V_H[n_I]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from importlib import resources
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from mlh.basis.gth.atom import AtomResult, AtomSolver, Wall
from mlh.basis.gth.finite_elements import make_elements
from mlh.basis.gth.table import gth_potential
from mlh.basis.pseudopotential import Pseudopotential, tabulated_core
from mlh.basis.species import RADIAL_STEP, SHELL_LETTERS, RadialFunction, Species, SphereParameters

Array = NDArray[np.float64]

GENERATOR_VERSION = 1
"""Part of every recipe; to be raised when the same recipe gives other functions."""

_SIZE = re.compile(r"^(\d+(?:\.\d+)?)-((?:[spdf]\d+)+)$")
_VANISHES = 1e-7  # |V_na| allowed at the cutoff, Hartree


@dataclass(frozen=True)
class OrbitalSize:
    """Cutoff in Bohr and the number of radial functions per l."""

    cutoff: float
    counts: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> OrbitalSize:
        """From "7.0-s2p2d1"."""
        match = _SIZE.match(text)
        if match is None:
            raise ValueError(f"orbitals: expected '<cutoff>-<shells>', such as '7.0-s2p2d1', got {text!r}")
        shells = re.findall(r"([spdf])(\d+)", match[2])
        letters = [letter for letter, _ in shells]
        if letters != list(SHELL_LETTERS[: len(letters)]):
            raise ValueError(f"orbitals: expected shells in the order s, p, d, f without gaps, got {text!r}")
        cutoff = float(match[1])
        if abs(cutoff / RADIAL_STEP - round(cutoff / RADIAL_STEP)) > 1e-9:
            raise ValueError(f"orbitals: expected a cutoff in multiples of {RADIAL_STEP} Bohr, got {text!r}")
        return cls(cutoff, tuple(int(n) for _, n in shells))


@dataclass(frozen=True)
class ExtraFunction:
    """A function beyond the occupied ones: sum_k weights[k] chi(charges[k])."""

    charges: tuple[float, ...]
    weights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if len(self.charges) != len(self.weights) or not self.charges:
            raise ValueError(
                f"extra: expected as many weights as charges, got {self.charges}, {self.weights}"
            )


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the species made from a pseudopotential; extra[l]: further functions."""

    potential: Pseudopotential
    size: OrbitalSize
    wall_width: float
    extra: tuple[tuple[ExtraFunction, ...], ...]
    sphere: SphereParameters | None
    xc: str = "PBE"

    @property
    def text(self) -> str:
        """Canonical text of the recipe: the identity of the species."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"potential": self.potential.identity()}
        return f"mlh-gth-orbitals-{GENERATOR_VERSION}:{_canonical(values)}"


def _canonical(value: Any) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, tuple | list):
        return "[" + ",".join(_canonical(item) for item in value) + "]"
    return repr(value)


ELEMENTS = {"gth-pbe": ("elements.toml",), "gth-nlcc-pbe": ("elements.toml", "elements_nlcc.toml")}
"""Files of recipes of each family; an element of a later one takes the place of that of an earlier one."""

SIZES = ("minimal", "standard", "precise")


@cache
def _element_table(family: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for source in ELEMENTS[family]:
        with resources.files("mlh.basis.gth").joinpath(source).open("rb") as file:
            table |= tomllib.load(file)
    return table


def available_elements(family: str = "gth-pbe", size: str = "standard") -> tuple[str, ...]:
    """Symbols for which there are orbitals of a size, in the order of the table."""
    table = _element_table(family)
    return tuple(symbol for symbol, entry in table.items() if size != "precise" or "precise" in entry)


def recipe_for(symbol: str, orbitals: str | None = None, family: str = "gth-pbe") -> Recipe:
    """The recipe of an element; orbitals: the name of a size (`SIZES`; None: "standard") or "7.0-s2p2d1".

    A size in numbers takes the functions of the smallest named one that has so many. KeyError for an element
    or a named size that the family does not have.
    """
    table = _element_table(family)
    if symbol not in table:
        raise KeyError(f"{family}: expected one of {', '.join(table)}, got {symbol!r}")
    entry: Mapping[str, Any] = table[symbol]
    potential = gth_potential(symbol, family)
    text = orbitals or "standard"
    if text == "precise" and "precise" not in entry:
        having = ", ".join(available_elements(family, text)) or "no element"
        raise KeyError(
            f"orbitals of {symbol}: expected minimal or standard, {family} has {text} ones of {having}"
        )
    if text == "minimal":
        text = f"{entry['orbitals'].split('-')[0]}-{_label(occupied_counts(potential))}"
    tables = [entry["precise"]] if text == "precise" else [entry]
    if text not in SIZES:
        tables += [entry["precise"]] if "precise" in entry else []
    size = OrbitalSize.parse(str(tables[0]["orbitals"]) if text in SIZES else text)
    functions = [_extra_functions(given) for given in tables]
    occupied = occupied_counts(potential)
    extra = next((found for found in functions if _enough(size, occupied, found)), functions[-1])
    sphere = SphereParameters(**entry["sphere"]) if "sphere" in entry else None
    recipe = Recipe(potential, size, float(entry["wall_width"]), extra, sphere)
    check_counts(recipe)
    return recipe


def _label(counts: Sequence[int]) -> str:
    return "".join(f"{SHELL_LETTERS[l]}{n}" for l, n in enumerate(counts))


def _extra_functions(entry: Mapping[str, Any]) -> tuple[tuple[ExtraFunction, ...], ...]:
    return tuple(
        tuple(ExtraFunction(tuple(f["z"]), tuple(f.get("w", (1.0,)))) for f in entry["extra"].get(letter, ()))
        for letter in SHELL_LETTERS
    )


def _enough(size: OrbitalSize, occupied: Sequence[int], extra: Sequence[Sequence[ExtraFunction]]) -> bool:
    """Whether there are as many functions as the size asks for."""
    return all(
        n <= (occupied[l] if l < len(occupied) else 0) + len(extra[l]) for l, n in enumerate(size.counts)
    )


def occupied_counts(potential: Pseudopotential) -> tuple[int, ...]:
    """Number of occupied radial functions per l of the neutral atom."""
    return tuple(ceil(n / (2 * (2 * l + 1))) for l, n in enumerate(potential.electrons))


def check_counts(recipe: Recipe) -> None:
    """ValueError where the recipe has other functions than the occupied and the extra ones in their order."""
    occupied = occupied_counts(recipe.potential)
    for l, letter in enumerate(SHELL_LETTERS):
        n = recipe.size.counts[l] if l < len(recipe.size.counts) else 0
        least = occupied[l] if l < len(occupied) else 0
        if not least <= n <= least + len(recipe.extra[l]):
            raise ValueError(
                f"orbitals of {recipe.potential.symbol}: expected {least} to {least + len(recipe.extra[l])} "
                f"functions with l = {letter}, got {n}"
            )


def make_species(recipe: Recipe) -> Species:
    """The species of a recipe; deterministic up to rounding."""
    potential, cutoff = recipe.potential, recipe.size.cutoff
    wall = Wall(cutoff, recipe.wall_width)
    elements = make_elements(cutoff, recipe.wall_width, potential.smallest_radius)
    solver = AtomSolver(potential, elements, wall, recipe.xc)
    atom = solver.solve()
    mesh = np.minimum(RADIAL_STEP * np.arange(round(cutoff / RADIAL_STEP) + 1), cutoff)
    orbitals = [
        RadialFunction(l, _end_with_zero(atom.reduced_orbital(c, mesh)))
        for l, count in enumerate(recipe.size.counts)
        for c in _radial_functions(solver, atom, l, count, recipe)
    ]
    return Species(
        symbol=potential.symbol,
        valence=float(potential.valence),
        orbitals=orbitals,
        projectors=tuple(projector.tabulate() for projector in potential.projectors()),
        neutral_potential=_neutral_potential(atom, potential, mesh),
        density=_density(atom, potential, mesh),
        core_density=tabulated_core(potential),
        sphere=recipe.sphere,
        local_potential=potential.local,
        recipe=recipe.text,
    )


def _radial_functions(
    solver: AtomSolver, atom: AtomResult, l: int, count: int, recipe: Recipe
) -> list[Array]:
    """Coefficients of the radial functions of one l: occupied states, then the extra ones."""
    functions = [c for shell, (_, c) in atom.states.items() if shell.l == l]
    for extra in recipe.extra[l][: count - len(functions)]:
        states = [soft_coulomb_state(solver, l, z) for z in extra.charges]
        functions.append(np.array(extra.weights) @ np.array(states))
    return _orthonormal(solver, l, functions)


def soft_coulomb_state(solver: AtomSolver, l: int, z: float) -> Array:
    """Lowest state of one l in -z erf(r / (sqrt2 r_loc)) / r plus the wall."""
    channel = solver.channel(l)
    attraction = -z * erf(solver.r / (np.sqrt(2.0) * solver.potential.softening)) / solver.r
    _, vectors = channel.solve(channel.kinetic + channel.local(attraction + solver.wall), 1)
    state: Array = vectors[:, 0]
    # LAPACK leaves the sign open; the function has none, so its integral fixes it.
    return state if float(channel.measure @ (channel.functions @ state)) > 0.0 else -state


def _orthonormal(solver: AtomSolver, l: int, functions: list[Array]) -> list[Array]:
    """Gram-Schmidt in the given order, twice for accuracy; the outer tail of each is positive."""
    overlap, done = solver.channel(l).overlap, list[Array]()
    for function in functions:
        c = function
        for _ in range(2):
            for other in done:
                c = c - other * float(other @ overlap @ c)
            norm = float(c @ overlap @ c)
            if norm < 1e-4:
                letter = SHELL_LETTERS[l]
                raise ValueError(f"extra functions of l = {letter}: linearly dependent (norm^2 {norm:.1e})")
            c = c / np.sqrt(norm)
        values = solver.channel(l).functions @ c * solver.r
        tail = np.flatnonzero(np.abs(values) > 1e-2 * np.max(np.abs(values)))[-1]
        done.append(c if values[tail] > 0.0 else -c)
    return done


def _end_with_zero(values: Array) -> Array:
    """The mesh values with an exact zero at the cutoff, where they vanish up to rounding."""
    if abs(values[-1]) > _VANISHES:
        raise ValueError(f"radial function: expected 0 at the cutoff, got {values[-1]:.2e}")
    return np.append(values[:-1], 0.0)


def _neutral_potential(atom: AtomResult, potential: Pseudopotential, mesh: Array) -> RadialFunction:
    return RadialFunction(0, _end_with_zero(potential.local(mesh) + atom.hartree_potential(mesh)))


def _density(atom: AtomResult, potential: Pseudopotential, mesh: Array) -> RadialFunction:
    """n_I, scaled (by about 1 + 1e-9) so that the spline integrates to the valence exactly."""
    density = RadialFunction(0, _end_with_zero(atom.density(mesh)))
    charge = 4.0 * np.pi * density.radial_integral()
    return RadialFunction(0, density.g * (potential.valence / charge))
