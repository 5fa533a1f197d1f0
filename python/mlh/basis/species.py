"""Species and Basis: the radial functions that define an element, validated and immutable.

Every radial function is stored as g(r) = f(r) / r^l on the uniform mesh r_k = k * RADIAL_STEP and is
interpolated by one cubic spline with slope zero at both ends, as in the compiled core
(``cpp/include/mlh/basis/radial.hpp``). Atomic units throughout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

if TYPE_CHECKING:
    import mlh._core as _core

GHOST = "X-"
"""How the symbol of a species begins that has orbitals only (`mlh.basis.ghosts`)."""

RADIAL_STEP = 0.01
"""Mesh step in Bohr of every tabulated radial function."""

FORMAT_VERSION = 1
"""Version of what the fingerprint is computed from; part of the fingerprint."""

MAX_ANGULAR_MOMENTUM = 3
SHELL_LETTERS = "spdf"

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RadialFunction:
    """f(r) = r^l g(r) on the mesh r_k = k * step; zero at and beyond the cutoff.

    ``g`` has shape (n,), n >= 4, with g[-1] = 0; the cutoff is (n - 1) * step, step in Bohr.
    """

    l: int
    g: Array
    step: float = RADIAL_STEP

    def __post_init__(self) -> None:
        if not isinstance(self.l, (int, np.integer)) or self.l < 0:
            raise ValueError(f"l: expected an integer >= 0, got {self.l!r}")
        g = np.array(self.g, dtype=np.float64)
        if g.ndim != 1 or g.size < 4:
            raise ValueError(f"g: expected shape (n,) with n >= 4, got {g.shape}")
        if not np.all(np.isfinite(g)):
            raise ValueError(f"g: expected finite values, got {int(np.sum(~np.isfinite(g)))} that are not")
        if not 1e-5 <= self.step <= 0.1:
            raise ValueError(f"step: expected 1e-5 to 0.1 Bohr, got {self.step!r}")
        g.setflags(write=False)
        object.__setattr__(self, "l", int(self.l))
        object.__setattr__(self, "g", g)
        self._check_end()

    def _check_end(self) -> None:
        if self.g[-1] != 0.0:
            raise ValueError(f"g: expected 0 at the cutoff {self.cutoff:g} Bohr, got {self.g[-1]:g}")

    @property
    def cutoff(self) -> float:
        """Radius in Bohr at and beyond which f is zero."""
        return (self.g.size - 1) * self.step

    @property
    def mesh(self) -> Array:
        """The mesh points r_k in Bohr, shape (n,)."""
        return self.step * np.arange(self.g.size, dtype=np.float64)

    @cached_property
    def spline(self) -> CubicSpline:
        """The cubic spline of g, clamped to slope zero at r = 0 and at the cutoff."""
        return CubicSpline(self.mesh, self.g, bc_type="clamped")

    def __call__(self, r: ArrayLike) -> Array:
        """f(r) at radii r >= 0 of any shape."""
        radius = np.asarray(r, dtype=np.float64)
        inside = radius < self.cutoff
        value: Array = np.where(inside, self.spline(np.where(inside, radius, 0.0)), 0.0) * radius**self.l
        return value

    def radial_integral(self, power: int = 0, other: RadialFunction | None = None) -> float:
        """int f(r) [other(r)] r^(2 + power) dr of the splines (exact for l + l' + power < 8)."""
        nodes, weights = np.polynomial.legendre.leggauss(8)
        r = self.step * (np.arange(self.g.size - 1)[:, None] + 0.5 * (nodes + 1.0))
        value = self(r) if other is None else self(r) * other(r)
        return float(np.sum(value * r ** (2 + power) * (0.5 * self.step * weights)))

    def to_core(self) -> Array | _core.RadialTable:
        """What the compiled core takes: g alone where everything else is standard."""
        import mlh._core as _core

        return self.g if self.step == RADIAL_STEP else _core.RadialTable(self.l, self.g, self.step)

    @classmethod
    def from_values(
        cls,
        l: int,
        r: ArrayLike,
        values: ArrayLike,
        cutoff: float | None = None,
    ) -> RadialFunction:
        """Radial function from values f(r) on any increasing mesh r (Bohr), by cubic splines.

        g = f / r^l is extended to r = 0 by an even polynomial fitted to g up to 0.35 Bohr, so that
        the division never touches the small values near the origin. ``cutoff`` (default: the last
        mesh point) must be a multiple of RADIAL_STEP, and f must be negligible there.
        """
        radius, value = np.asarray(r, dtype=np.float64), np.asarray(values, dtype=np.float64)
        if radius.ndim != 1 or radius.size < 8 or value.shape != radius.shape:
            shapes = f"{radius.shape}, {value.shape}"
            raise ValueError(f"r, values: expected equal shapes (n,) with n >= 8, got {shapes}")
        if radius[0] < 0.0 or np.any(np.diff(radius) <= 0.0):
            raise ValueError("r: expected increasing radii >= 0")
        end = float(radius[-1]) if cutoff is None else float(cutoff)
        n = round(end / RADIAL_STEP) + 1
        if abs((n - 1) * RADIAL_STEP - end) > 1e-9:
            raise ValueError(f"cutoff: expected a multiple of {RADIAL_STEP} Bohr, got {end!r}")
        if end > radius[-1] + 1e-9:
            raise ValueError(f"cutoff: expected at most the last radius {radius[-1]:g}, got {end:g}")
        mesh = np.minimum(RADIAL_STEP * np.arange(n), radius[-1])
        g = _divide_by_power(l, radius, value)(mesh)
        scale = float(np.max(np.abs(value)))
        if abs(g[-1]) * end**l > 1e-3 * scale:
            raise ValueError(
                f"values: expected a function that vanishes at the cutoff {end:g}, "
                f"got {g[-1] * end**l:g} (largest value {scale:g})"
            )
        g[-1] = 0.0
        return cls(l, g)


@dataclass(frozen=True, eq=False)
class TruncatedFunction(RadialFunction):
    """A function that another code cuts off at the cutoff where it has not quite vanished.

    g[-1] and ``end_slope`` are the limits of g and g' from below; f is zero at the cutoff and beyond.
    """

    end_slope: float = 0.0

    def _check_end(self) -> None:
        if not np.isfinite(self.end_slope):
            raise ValueError(f"end_slope: expected a finite number, got {self.end_slope!r}")

    @cached_property
    def spline(self) -> CubicSpline:
        """The cubic spline of g with slope zero at r = 0 and ``end_slope`` at the cutoff."""
        return CubicSpline(self.mesh, self.g, bc_type=((1, np.array(0.0)), (1, np.array(self.end_slope))))

    def to_core(self) -> _core.RadialTable:
        """The table with its step and end."""
        import mlh._core as _core

        return _core.RadialTable(self.l, self.g, self.step, self.end_slope)


@dataclass(frozen=True, eq=False)
class WaveTable:
    """Bessel transforms int j_l(kr) f(r) r^2 dr on the mesh k_i = start + i * step (1/Bohr), i < n.

    orbitals (n, shells), projectors (n, projectors), density (n,). Species that follow another code's
    quadrature bring them along; otherwise the core makes them of the radial tables.
    """

    start: float
    step: float
    orbitals: Array
    projectors: Array
    density: Array


def _divide_by_power(l: int, r: Array, values: Array) -> Callable[[Array], Array]:
    """g(r) = f(r) / r^l as a callable that is smooth and even at the origin."""
    start = 0.05 if l > 0 else 0.0
    near = (r > start) & (r <= 0.35)
    if np.count_nonzero(near) >= 8:
        even = np.polynomial.Polynomial.fit(r[near] ** 2, values[near] / r[near] ** l, 4)
    else:  # a coarse mesh: parabola through the two innermost usable points
        first = np.flatnonzero(r > start)[:2]
        even = np.polynomial.Polynomial.fit(r[first] ** 2, values[first] / r[first] ** l, 1)
    kept = r > start
    knots = np.concatenate((np.linspace(0.0, start, 6)[:-1], r[kept])) if l > 0 else r[kept]
    inner = np.flatnonzero(knots <= start)
    if l == 0 and r[0] > 0.0:
        knots, inner = np.concatenate(([0.0], knots)), np.array([0])
    elif l == 0:
        knots, kept, inner = r, np.full(r.shape, True), np.array([], dtype=np.int64)
    g = np.concatenate((even(knots[inner] ** 2), values[kept] / r[kept] ** l if l > 0 else values[kept]))
    return CubicSpline(knots, g, bc_type=("clamped", "not-a-knot"))


@dataclass(frozen=True, eq=False)
class Projector:
    """|beta> energy <beta| summed over m; ``energy`` in Hartree (diagonal form)."""

    radial: RadialFunction
    energy: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.energy):
            raise ValueError(f"energy: expected a finite number, got {self.energy!r}")


@dataclass(frozen=True)
class SphereParameters:
    """Partition of unity w(r) = erfc((r - center) / sigma) / 2, zero beyond ``radius`` (all in Bohr)."""

    center: float
    sigma: float
    radius: float

    def __post_init__(self) -> None:
        if not (self.sigma > 0.0 and 0.0 < self.center < self.radius):
            raise ValueError(
                "sphere: expected 0 < sigma and 0 < center < radius, "
                f"got center={self.center!r}, sigma={self.sigma!r}, radius={self.radius!r}"
            )


@dataclass(frozen=True, eq=False)
class Species:
    """One chemical species: orbitals, projectors and neutral-atom functions.

    symbol: chemical symbol; valence: electrons of the neutral pseudo-atom.
    orbitals: R(r), sorted by l and then zeta, with int R^2 r^2 dr = 1.
    projectors: nonlocal pseudopotential in diagonal form.
    neutral_potential: V_na = V_loc + V_H[n_I] (Hartree), l = 0.
    density: n_I (electrons/Bohr^3), int 4 pi r^2 n_I dr = valence, l = 0.
    core_density: partial core for the nonlinear core correction, l = 0.
    sphere: partition of unity that a hard atom needs.
    local_potential: V_loc(r), long-ranged; only for checks, not part of the fingerprint.
    recipe: text that determines the species completely. A generated species is identified by its recipe,
        because the arrays agree between machines only up to rounding; any other by its numbers.
    """

    symbol: str
    valence: float
    orbitals: Sequence[RadialFunction]
    projectors: Sequence[Projector]
    neutral_potential: RadialFunction
    density: RadialFunction
    core_density: RadialFunction | None = None
    sphere: SphereParameters | None = None
    local_potential: Callable[[ArrayLike], Array] | None = None
    recipe: str | None = None

    norm_tolerance: ClassVar[float] = 1e-6
    """Largest deviation of an orbital's norm from 1."""
    charge_tolerance: ClassVar[float] = 1e-6
    """Largest relative deviation of the density's integral from the valence."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "orbitals", tuple(self.orbitals))
        object.__setattr__(self, "projectors", tuple(self.projectors))
        object.__setattr__(self, "valence", float(self.valence))
        _validate(self)

    @property
    def n_orbitals(self) -> int:
        """Number of orbitals of one atom, sum of 2 l + 1."""
        return sum(2 * orbital.l + 1 for orbital in self.orbitals)

    @property
    def cutoff(self) -> float:
        """Largest orbital cutoff in Bohr."""
        return max(orbital.cutoff for orbital in self.orbitals)

    @property
    def xc_kind(self) -> str | None:
        """ "LDA" or "GGA" where the pseudopotential says with which kind of functional it was made."""
        return None

    def wave_table(self) -> WaveTable | None:
        """Bessel transforms to use instead of those of the tables; None for all but foreign species."""
        return None

    @property
    def orbital_label(self) -> str:
        """Number of radial functions per l, as in "s2p2d1"."""
        count = [0] * (MAX_ANGULAR_MOMENTUM + 1)
        for orbital in self.orbitals:
            count[orbital.l] += 1
        return "".join(f"{SHELL_LETTERS[k]}{n}" for k, n in enumerate(count) if n)

    @cached_property
    def digest(self) -> str:
        """sha256 of the recipe or, without one, of every number that the core sees of this species."""
        digest = hashlib.sha256(f"mlh-species-{FORMAT_VERSION}:{self.symbol}:{self.valence!r}".encode())
        if self.recipe is not None:
            digest.update(f"|recipe:{self.recipe}".encode())
            return digest.hexdigest()
        for name, function, energy in _labelled_functions(self):
            digest.update(f"|{name}:{function.l}:{function.g.size}:{energy!r}|".encode())
            digest.update(np.ascontiguousarray(function.g, dtype="<f8").tobytes())
            if function.step != RADIAL_STEP or isinstance(function, TruncatedFunction):
                digest.update(f"|{function.step!r}:{getattr(function, 'end_slope', 0.0)!r}".encode())
        digest.update(f"|{self.sphere!r}".encode())
        return digest.hexdigest()


def _labelled_functions(species: Species) -> Iterator[tuple[str, RadialFunction, float]]:
    for orbital in species.orbitals:
        yield "orbital", orbital, 0.0
    for projector in species.projectors:
        yield "projector", projector.radial, float(projector.energy)
    yield "neutral_potential", species.neutral_potential, 0.0
    yield "density", species.density, 0.0
    if species.core_density is not None:
        yield "core_density", species.core_density, 0.0


def _validate(species: Species) -> None:
    """Raise ValueError naming the species, what was expected and what was got."""
    where = f"species {species.symbol!r}"
    if not species.symbol or not isinstance(species.symbol, str):
        raise ValueError(f"symbol: expected a chemical symbol, got {species.symbol!r}")
    if not (species.valence > 0.0 or (species.valence == 0.0 and species.symbol.startswith(GHOST))):
        raise ValueError(f"{where}, valence: expected > 0 electrons, got {species.valence!r}")
    if not species.orbitals:
        raise ValueError(f"{where}, orbitals: expected at least one, got none")
    shells = [orbital.l for orbital in species.orbitals]
    if shells != sorted(shells):
        raise ValueError(f"{where}, orbitals: expected ascending l, got {shells}")
    for name, function, _ in _labelled_functions(species):
        if function.l > MAX_ANGULAR_MOMENTUM:
            raise ValueError(f"{where}, {name}: expected l <= {MAX_ANGULAR_MOMENTUM}, got {function.l}")
        if name not in ("orbital", "projector") and function.l != 0:
            raise ValueError(f"{where}, {name}: expected l = 0, got {function.l}")
    for k, orbital in enumerate(species.orbitals):
        norm = orbital.radial_integral(other=orbital)
        if abs(norm - 1.0) > species.norm_tolerance:
            raise ValueError(f"{where}, orbital {k} (l={orbital.l}): expected norm 1, got {norm:.8f}")
    charge = 4.0 * np.pi * species.density.radial_integral()
    if abs(charge - species.valence) > species.charge_tolerance * species.valence:
        raise ValueError(f"{where}, density: expected the integral {species.valence:g}, got {charge:.8f}")


class Basis:
    """A set of species with distinct symbols; ``basis["Si"]`` looks one up.

    Two bases with the same fingerprint give the same matrices. The order of the species is the
    order of the core's species indices; the fingerprint does not depend on it.
    """

    def __init__(self, species: Iterable[Species], name: str = "custom") -> None:
        self._species = tuple(species)
        self._name = name
        if not self._species:
            raise ValueError("species: expected at least one, got none")
        symbols = [s.symbol for s in self._species]
        repeated = sorted({s for s in symbols if symbols.count(s) > 1})
        if repeated:
            raise ValueError(f"species: expected distinct symbols, got {', '.join(repeated)} more than once")

    @property
    def species(self) -> tuple[Species, ...]:
        """The species in the order of the core's indices."""
        return self._species

    @property
    def name(self) -> str:
        """Name of the set, for messages and files."""
        return self._name

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols in the order of ``species``."""
        return tuple(s.symbol for s in self._species)

    def __getitem__(self, symbol: str) -> Species:
        return self.species[self.index(symbol)]

    def __contains__(self, symbol: object) -> bool:
        return symbol in self.symbols

    def __len__(self) -> int:
        return len(self.symbols)

    def __iter__(self) -> Iterator[Species]:
        return iter(self.species)

    def index(self, symbol: str) -> int:
        """Index of a symbol in ``species``."""
        try:
            return self.symbols.index(symbol)
        except ValueError:
            raise KeyError(f"species: expected one of {', '.join(self.symbols)}, got {symbol!r}") from None

    def subset(self, symbols: Iterable[str]) -> Basis:
        """The basis of the given symbols only, each once, in the order of this basis; "X-O": a ghost of O."""
        from mlh.basis.ghosts import ghost_species

        names = dict.fromkeys(symbols)
        ghosts = [n for n in names if n.startswith(GHOST) and n not in self.symbols]
        wanted = {self.symbols[self.index(symbol)] for symbol in names if symbol not in ghosts}
        found = [self[s] for s in self.symbols if s in wanted]
        made = [ghost_species(self[name.removeprefix(GHOST)]) for name in sorted(ghosts)]
        return Basis([*found, *made], self.name)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the digests of all species; independent of their order and of the name."""
        digest = hashlib.sha256(f"mlh-basis-{FORMAT_VERSION}:{RADIAL_STEP!r}".encode())
        for species in sorted(self.species, key=lambda s: s.symbol):
            digest.update(species.digest.encode())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Basis) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"Basis({self.name!r}, {', '.join(self.symbols)})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_core_data"}

    def to_core(self) -> _core.BasisData:
        """The compiled core's copy of this basis, built once."""
        return self._core_data

    @cached_property
    def _core_data(self) -> _core.BasisData:
        import mlh._core as _core

        if _core.RADIAL_STEP != RADIAL_STEP:
            raise RuntimeError(f"mlh._core.RADIAL_STEP: expected {RADIAL_STEP}, got {_core.RADIAL_STEP}")
        return _core.BasisData([_species_to_core(s) for s in self.species])


def _species_to_core(species: Species) -> _core.SpeciesData:
    import mlh._core as _core

    core, sphere, wave = species.core_density, species.sphere, species.wave_table()
    return _core.SpeciesData(
        species.symbol,
        species.valence,
        [(orbital.l, orbital.to_core()) for orbital in species.orbitals],
        [(p.radial.l, p.radial.to_core(), float(p.energy)) for p in species.projectors],
        species.neutral_potential.to_core(),
        species.density.to_core(),
        None if core is None else core.to_core(),
        None if sphere is None else (sphere.center, sphere.sigma, sphere.radius),
        None
        if wave is None
        else _core.WaveTable(wave.start, wave.step, wave.orbitals, wave.projectors, wave.density),
    )
