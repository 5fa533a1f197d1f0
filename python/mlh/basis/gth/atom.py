"""Self-consistent spherical pseudo-atom in a smooth wall: radial Kohn-Sham equations.

For each l, with f = r^l g in the finite elements of ``finite_elements``,

    [ -1/2 Laplacian + V_loc + V_H[n] + V_xc[n] + V_nl + V_c ] f = e f,   n = sum_s occ_s f_s^2 / (4 pi)

spin-unpolarised, with fractional occupations, so that the atom is spherical. A partial core n_core is added
to n in exchange and correlation only. The potential of a gradient functional needs no second derivative of
n: with e_xc(n, sigma), sigma = n'^2,

    <f_i|V_xc|f_j> = int r^2 dr [ de/dn f_i f_j + 2 de/dsigma n' (f_i f_j)' ]

is the exact derivative of the quadrature of e_xc. Hartree atomic units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve, eigh

from mlh.basis.gth.finite_elements import RadialElements
from mlh.basis.pseudopotential import Pseudopotential

Array = NDArray[np.float64]

_MAX_STEPS = 100
_TOLERANCE = 1e-9  # weighted norm of the change of the potential, Hartree
_HISTORY = 8


@dataclass(frozen=True)
class Wall:
    """V_c(r) = p (p-1)/2 exp(1 - w/(r - r_i)) / (r_c - r)^2 for r_i = r_c - w < r < r_c; zero below r_i.

    The first factor switches the wall on with all derivatives continuous; the pole makes every
    orbital vanish like (r_c - r)^p. With SIESTA's pole of first order (Junquera et al., PRB 64,
    235111 (2001)) the slope at r_c is finite, and the orbital has a kink there.
    """

    cutoff: float
    width: float = 1.5
    power: int = 4

    def __call__(self, r: ArrayLike) -> Array:
        radius = np.asarray(r, dtype=np.float64)
        depth = radius - (self.cutoff - self.width)
        inside = depth > 0.0
        exponent = np.where(inside, 1.0 - self.width / np.where(inside, depth, 1.0), -np.inf)
        value: Array = 0.5 * self.power * (self.power - 1) * np.exp(exponent) / (self.cutoff - radius) ** 2
        return value


@dataclass(frozen=True)
class Shell:
    """One radial state: index n counts the states of this l from 0 upwards."""

    l: int
    n: int
    occupation: float


def ground_state_shells(electrons: tuple[int, ...] | tuple[float, ...]) -> tuple[Shell, ...]:
    """Shells of the neutral atom: the electrons of each l fill its states from below."""
    shells = []
    for l, total in enumerate(electrons):
        n, left = 0, float(total)
        while left > 0.0:
            shells.append(Shell(l, n, min(left, 2.0 * (2 * l + 1))))
            left -= shells[-1].occupation
            n += 1
    return tuple(shells)


class Channel:
    """Fixed matrices of one l: overlap, kinetic energy, nonlocal potential; functions on the points."""

    def __init__(self, elements: RadialElements, l: int, potential: Pseudopotential) -> None:
        self.l = l
        r, weights = elements.quadrature
        g, dg = elements.evaluate(r)
        g, dg = g[:, :-1], dg[:, :-1]
        self.functions = r[:, None] ** l * g
        self.slopes = r[:, None] ** l * dg + (l * r[:, None] ** (l - 1) * g if l else 0.0)
        self.measure = weights * r**2
        self.overlap = self._integral(self.functions, self.functions)
        reduced = r[:, None] ** l * dg
        self.kinetic = 0.5 * self._integral(reduced, reduced)
        self.nonlocal_potential = np.zeros_like(self.overlap)
        for projector in potential.projectors():
            if projector.l == l:
                b = self.functions.T @ (self.measure * projector.reduced(r) * r**l)
                self.nonlocal_potential += projector.energy * np.outer(b, b)

    def _integral(self, left: Array, right: Array) -> Array:
        product: Array = left.T @ (self.measure[:, None] * right)
        return product

    def local(self, v: Array, gradient: Array | None = None) -> Array:
        """Matrix of a potential v and, if given, of the term int r^2 gradient (f_i f_j)'."""
        matrix = self._integral(self.functions, v[:, None] * self.functions)
        if gradient is not None:
            mixed = self._integral(self.functions, gradient[:, None] * self.slopes)
            matrix = matrix + mixed + mixed.T
        return matrix

    def solve(self, hamiltonian: Array, n_states: int) -> tuple[Array, Array]:
        """Lowest eigenvalues and coefficient columns (normalised)."""
        energies, vectors = eigh(hamiltonian, self.overlap, subset_by_index=(0, n_states - 1))
        return energies, vectors


@dataclass(frozen=True, eq=False)
class AtomResult:
    """The converged atom.

    energies: named contributions (Hartree); the wall's energy is not part of the total.
    states[shell]: (eigenvalue, coefficients of g in the elements, shape (n_inner,)).
    potential, gradient: V_loc + V_H + V_xc (with wall) and 2 de/dsigma n' on the quadrature points.
    """

    elements: RadialElements
    channels: dict[int, Channel]
    shells: tuple[Shell, ...]
    energies: dict[str, float]
    states: dict[Shell, tuple[float, Array]]
    hartree: Array
    potential: Array
    gradient: Array
    steps: int
    _cache: dict[str, Array] = field(default_factory=dict, repr=False)

    @property
    def total_energy(self) -> float:
        """Energy of the pseudo-atom without the wall's energy, Hartree."""
        return sum(value for name, value in self.energies.items() if name != "wall")

    def hamiltonian(self, l: int) -> Array:
        """Kohn-Sham matrix of one l, wall included."""
        channel = self.channels[l]
        return channel.kinetic + channel.nonlocal_potential + channel.local(self.potential, self.gradient)

    def reduced_orbital(self, coefficients: Array, r: Array) -> Array:
        """g(r) of a coefficient vector at points r <= r_c."""
        values, _ = self.elements.evaluate(r)
        g: Array = values[:, :-1] @ coefficients
        return g

    def density(self, r: Array) -> Array:
        """n(r) in electrons/Bohr^3 at points r <= r_c."""
        n = np.zeros_like(r)
        for shell, (_, c) in self.states.items():
            n += shell.occupation / (4.0 * np.pi) * (r**shell.l * self.reduced_orbital(c, r)) ** 2
        return n

    def hartree_potential(self, r: Array) -> Array:
        """V_H[n](r) at points r <= r_c."""
        potential: Array = self.elements.evaluate(r)[0] @ self.hartree
        return potential


class AtomSolver:
    """Solves one pseudo-atom in one wall (None: only the boundary condition f(r_c) = 0)."""

    def __init__(
        self, potential: Pseudopotential, elements: RadialElements, wall: Wall | None, xc: str = "PBE"
    ) -> None:
        self.potential = potential
        self.elements = elements
        self.xc = xc
        self.r, self.weights = elements.quadrature
        self.wall = np.zeros_like(self.r) if wall is None else wall(self.r)
        self.local = potential.local(self.r)
        core, nothing = potential.core, np.zeros_like(self.r)
        self.core = (nothing, nothing) if core is None else (core(self.r), core.slope(self.r))
        self._channels: dict[int, Channel] = {}

    def channel(self, l: int) -> Channel:
        """The fixed matrices of one l, made once."""
        if l not in self._channels:
            self._channels[l] = Channel(self.elements, l, self.potential)
        return self._channels[l]

    @cached_property
    def _poisson(self) -> tuple[Array, tuple[Array, bool], Array]:
        """Functions at the points, stiffness int r^2 g_i' g_j' dr (factorised), its last column."""
        g, dg = self.elements.evaluate(self.r)
        stiffness = dg.T @ ((self.weights * self.r**2)[:, None] * dg)
        return g, cho_factor(stiffness[:-1, :-1]), stiffness[:-1, -1]

    def hartree(self, density: Array, charge: float) -> tuple[Array, Array]:
        """V_H by the weak Poisson equation, V_H(r_c) = charge / r_c: coefficients, values at the points."""
        g, factor, column = self._poisson
        boundary = charge / self.elements.cutoff
        source = 4.0 * np.pi * (g[:, :-1].T @ (self.weights * self.r**2 * density)) - column * boundary
        coefficients = np.append(cho_solve(factor, source), boundary)
        return coefficients, g @ coefficients

    def exchange_correlation(self, density: Array, slope: Array) -> tuple[Array, Array, Array]:
        """e_xc per volume, de/dn and 2 de/dsigma n' at the points, n with the partial core."""
        from mlh._core import evaluate_xc

        density, slope = density + self.core[0], slope + self.core[1]
        n = np.ascontiguousarray(density[:, None])
        e, v, v_sigma = evaluate_xc(self.xc, n, np.ascontiguousarray(slope[:, None] ** 2))
        return e, v[:, 0], 2.0 * v_sigma[:, 0] * slope

    def solve(self, shells: tuple[Shell, ...] | None = None) -> AtomResult:
        """The self-consistent atom with the given shells (default: the neutral ground state)."""
        shells = ground_state_shells(self.potential.electrons) if shells is None else shells
        charge = sum(shell.occupation for shell in shells)
        decay = 2.0
        density = charge * decay**3 / (8.0 * np.pi) * np.exp(-decay * self.r)
        field_in = np.stack(self._fields(density, -decay * density, charge))
        mixer = _AndersonMixer(np.sqrt(self.weights) * self.r)
        for step in range(1, _MAX_STEPS + 1):
            states = self._states(shells, field_in)
            density, slope = self._density(states)
            field_out = np.stack(self._fields(density, slope, charge))
            residual = field_out - field_in
            if mixer.norm(residual) < _TOLERANCE:
                return self._result(shells, states, field_out, step)
            field_in = mixer.mix(field_in, residual)
        raise RuntimeError(
            f"atom {self.potential.symbol}: no self-consistency in {_MAX_STEPS} steps, "
            f"residual {mixer.norm(residual):.2e} Hartree (wanted {_TOLERANCE:g})"
        )

    def _fields(self, density: Array, slope: Array, charge: float) -> tuple[Array, Array]:
        _, v_xc, gradient = self.exchange_correlation(density, slope)
        return self.hartree(density, charge)[1] + v_xc, gradient

    def _states(self, shells: tuple[Shell, ...], fields: Array) -> dict[Shell, tuple[float, Array]]:
        states: dict[Shell, tuple[float, Array]] = {}
        for l in sorted({shell.l for shell in shells}):
            channel = self.channel(l)
            h = channel.kinetic + channel.nonlocal_potential
            h = h + channel.local(self.local + self.wall + fields[0], fields[1])
            mine = [shell for shell in shells if shell.l == l]
            energies, vectors = channel.solve(h, max(shell.n for shell in mine) + 1)
            for shell in mine:
                states[shell] = float(energies[shell.n]), vectors[:, shell.n]
        return states

    def _density(self, states: Mapping[Shell, tuple[float, Array]]) -> tuple[Array, Array]:
        density, slope = np.zeros_like(self.r), np.zeros_like(self.r)
        for shell, (_, c) in states.items():
            channel = self.channel(shell.l)
            f, df = channel.functions @ c, channel.slopes @ c
            density += shell.occupation / (4.0 * np.pi) * f**2
            slope += shell.occupation / (2.0 * np.pi) * f * df
        return density, slope

    def _result(
        self, shells: tuple[Shell, ...], states: dict[Shell, tuple[float, Array]], fields: Array, steps: int
    ) -> AtomResult:
        density, slope = self._density(states)
        coefficients, v_hartree = self.hartree(density, sum(shell.occupation for shell in shells))
        e_xc, _, _ = self.exchange_correlation(density, slope)
        volume = 4.0 * np.pi * self.weights * self.r**2
        one_body = {"kinetic": 0.0, "nonlocal": 0.0}
        for shell, (_, c) in states.items():
            channel = self.channel(shell.l)
            one_body["kinetic"] += shell.occupation * float(c @ channel.kinetic @ c)
            one_body["nonlocal"] += shell.occupation * float(c @ channel.nonlocal_potential @ c)
        energies = one_body | {
            "local": float(volume @ (density * self.local)),
            "hartree": 0.5 * float(volume @ (density * v_hartree)),
            "xc": float(volume @ e_xc),
            "wall": float(volume @ (density * self.wall)),
        }
        return AtomResult(
            elements=self.elements,
            channels=self._channels,
            shells=shells,
            energies=energies,
            states=states,
            hartree=coefficients,
            potential=self.local + self.wall + fields[0],
            gradient=fields[1],
            steps=steps,
        )


class _AndersonMixer:
    """Anderson mixing of vectors x with residuals F(x) - x, in the norm sum (metric x)^2."""

    def __init__(self, metric: Array, step: float = 0.5) -> None:
        self.metric = metric
        self.step = step
        self._inputs: list[Array] = []
        self._residuals: list[Array] = []

    def norm(self, residual: Array) -> float:
        """Weighted norm of a residual."""
        return float(np.linalg.norm(residual * self.metric))

    def mix(self, x: Array, residual: Array) -> Array:
        """The next input."""
        self._inputs = [*self._inputs, x][-_HISTORY:]
        self._residuals = [*self._residuals, residual][-_HISTORY:]
        best_x, best_residual = x, residual
        if len(self._inputs) > 1:
            dx = np.stack([x - old for old in self._inputs[:-1]])
            dr = np.stack([residual - old for old in self._residuals[:-1]])
            weighted = (dr * self.metric).reshape(len(dr), -1)
            theta = np.linalg.lstsq(weighted.T, (residual * self.metric).ravel(), rcond=1e-10)[0]
            best_x = x - np.tensordot(theta, dx, axes=1)
            best_residual = residual - np.tensordot(theta, dr, axes=1)
        mixed: Array = best_x + self.step * best_residual
        return mixed
